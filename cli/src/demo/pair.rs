//! A certificate that the demo signs itself, so that it shows TLS without anybody's files.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::random_seed;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::{self, Client};

/// A certificate with its key, and a configuration that names them, in a folder of the owner's
/// alone. The folder goes with it.
pub(super) struct Pair {
    folder: PathBuf,
    cert: CertificateDer<'static>,
}

impl Pair {
    /// Makes one for this machine.
    pub(super) fn make() -> io::Result<Pair> {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made = generate_simple_self_signed(names).map_err(io::Error::other)?;
        let CertifiedKey { cert, signing_key } = made;
        let folder = std::env::temp_dir().join(format!("ringway-demo-{:016x}", random_seed()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        // From here on it is removed, whatever happens.
        let pair = Pair { folder, cert: cert.der().clone() };
        write(&pair.file(CERT), &cert.pem())?;
        write(&pair.file("demo.key"), &signing_key.serialize_pem())?;
        write(&pair.config(), CONFIG)?;
        Ok(pair)
    }

    /// A listener without TLS and one with it; nothing is said of where requests go.
    pub(super) fn config(&self) -> PathBuf {
        self.file("demo.yaml")
    }

    /// The certificate, as a file that clients can be told to trust.
    pub(super) fn cert(&self) -> PathBuf {
        self.file(CERT)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Connects to a server that has to show this certificate.
    pub(super) fn connect(
        &self,
        to: SocketAddr,
    ) -> io::Result<Client<StreamOwned<ClientConnection, TcpStream>>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).map_err(io::Error::other)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::from(to.ip());
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(Client::over(StreamOwned::new(connection, client::connect(to)?)))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

const CERT: &str = "demo.pem";

const CONFIG: &str = "\
version: 1
listeners:
  - {name: http, address: '127.0.0.1:0'}
  - {name: https, address: '127.0.0.1:0', tls: {certificates: [{cert: demo.pem, key: demo.key}]}}
";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_pair_is_its_owners_and_goes_with_the_demo() {
        let pair = Pair::make().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&pair.folder), mode(&pair.file("demo.key"))), (0o700, 0o600));
        let upstream = vec!["127.0.0.1:1".to_owned()];
        let sources =
            control::Sources { file: Some(pair.config()), upstream, ..control::Sources::default() };
        let snapshot = control::load(&sources).unwrap();
        let has_tls: Vec<bool> = snapshot.listeners.iter().map(|it| it.tls.is_some()).collect();
        assert_eq!(has_tls, [false, true]);
        let folder = pair.folder.clone();
        drop(pair);
        assert!(!folder.exists());
    }
}

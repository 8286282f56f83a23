//! `openssl s_server` with the certificate `edge`: a server of TLS that shows what it is sent and
//! sends what it is told, and speaks no protocol inside.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{Folder, Origin};

/// A running server; it serves one connection after the other.
pub(crate) struct OpenSsl {
    pub(crate) address: SocketAddr,
    child: Child,
    stdin: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl OpenSsl {
    /// Starts it with `edge.pem` and `edge.key` of the folder, and waits until it accepts.
    pub(crate) fn start(folder: &Folder, args: &[&str]) -> Self {
        let address = Origin::absent();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", &address.to_string(), "-cert", "edge.pem"]);
        command.args(["-key", "edge.key"]).args(args).current_dir(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl runs");
        let stdin = child.stdin.take().expect("standard input is piped");
        let said = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        let mut server = Self { address, child, stdin, said };
        server.wait_for("ACCEPT");
        server
    }

    /// Reads on to a line with these words.
    pub(crate) fn wait_for(&mut self, words: &str) {
        let mut lines = self.said.by_ref().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(words)), "{words} is never said");
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stdin.write_all(bytes).expect("a server that reads");
    }

    /// Ends it; what it has said since the last look.
    pub(crate) fn end(mut self) -> String {
        let _ = self.child.kill();
        let rest: Vec<String> = self.said.by_ref().map_while(Result::ok).collect();
        rest.join("\n")
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Files that change while ringway runs: a set of them is loaded anew, or the old one stays.
//!
//! Files are looked at every two seconds by what `stat` says of them, also through links: that
//! finds a file that was written, replaced by a rename, or moved by a switched link, on every file
//! system, and costs one call a file. A set is loaded when it looks the same twice in a row, so
//! that a certificate is not read while its key is still to be written.
//!
//! W1 What is in force is compared, not what was seen last: a change during a load is not lost.
//! W2 A set that cannot be loaded is said once, and again only when its files change.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ClientTls, LoadFault, ServerTls};
use crate::snapshot::{ListenerPlan, Snapshot};

/// What tells a version of a file from another one; `None` for one that is not there.
pub(super) type Stamps = Vec<(PathBuf, Option<Stamp>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    bytes: u64,
    changed: (i64, i64),
    inode: u64,
}

pub(super) fn stamps<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Stamps {
    files.map(|path| (path.clone(), stamp(path))).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    let changed = (data.mtime(), data.mtime_nsec());
    Some(Stamp { bytes: data.len(), changed, inode: data.ino() })
}

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Looks after the files of a snapshot's certificates. Owned by the control thread.
#[derive(Debug, Default)]
pub struct CertificateWatch {
    next: Option<Instant>,
    /// Sets that differ from what is in force, as they were seen last.
    seen: BTreeMap<String, Stamps>,
    /// Sets that could not be loaded, as they were then.
    refused: BTreeMap<String, Stamps>,
}

/// What a look has come to.
#[derive(Debug, Default)]
pub struct Renewed {
    /// The snapshot with the new certificates, its generation one more; `None`: nothing changed.
    pub snapshot: Option<Snapshot>,
    /// Sets that take effect with it, a line each.
    pub taken: Vec<String>,
    /// Sets that stay as they are because their files are bad, a line each.
    pub refused: Vec<String>,
    /// What is doubtful of the new ones.
    pub warnings: Vec<String>,
}

impl CertificateWatch {
    /// Looks at the files of `current`, if the last look was long enough ago. Blocks on files.
    pub fn look(&mut self, current: &Snapshot, now: Instant) -> Renewed {
        if self.next.is_some_and(|next| now < next) {
            return Renewed::default();
        }
        self.next = Some(now + INTERVAL);
        self.look_now(current)
    }

    fn look_now(&mut self, current: &Snapshot) -> Renewed {
        let mut renewed = Renewed::default();
        let mut listeners: Vec<ListenerPlan> = Vec::new();
        for plan in current.listeners.iter() {
            let mut plan = plan.clone();
            if let Some(tls) = &plan.tls
                && let Some(new) = self.renew_server(&plan.name, tls, &mut renewed)
            {
                plan.tls = Some(Arc::new(new));
            }
            listeners.push(plan);
        }
        let listeners_taken = renewed.taken.len();
        let mut clusters: Vec<Option<Arc<ClientTls>>> = Vec::new();
        for (tls, cluster) in current.upstream_tls.iter().zip(current.clusters.iter()) {
            let new =
                tls.as_ref().and_then(|tls| self.renew_client(&cluster.name, tls, &mut renewed));
            clusters.push(new.map(Arc::new).or_else(|| tls.clone()));
        }
        if renewed.taken.is_empty() {
            return renewed;
        }
        let mut next = Snapshot { generation: current.generation + 1, ..current.clone() };
        if listeners_taken > 0 {
            next.listeners = listeners.into();
        }
        if renewed.taken.len() > listeners_taken {
            next.upstream_tls = clusters.into();
        }
        renewed.snapshot = Some(next);
        renewed
    }

    fn renew_server(
        &mut self,
        name: &str,
        tls: &ServerTls,
        renewed: &mut Renewed,
    ) -> Option<ServerTls> {
        let set = format!("listener `{name}`");
        let seen = self.settled(&set, &tls.stamps, stamps(tls.source.files()))?;
        let mut notes = Vec::new();
        let loaded = ServerTls::load(tls.source.clone(), tls.read, Some(tls), &mut notes);
        renewed.warnings.extend(notes);
        self.settle(set, seen, loaded, renewed)
    }

    fn renew_client(
        &mut self,
        name: &str,
        tls: &ClientTls,
        renewed: &mut Renewed,
    ) -> Option<ClientTls> {
        let set = format!("cluster `{name}`");
        let seen = self.settled(&set, &tls.stamps, stamps(tls.source.files()))?;
        let loaded = ClientTls::load(tls.source.clone(), tls.read, tls.trusted);
        self.settle(set, seen, loaded, renewed)
    }

    /// The stamps of a set that changed, has come to rest, and has not been refused as it is.
    fn settled(&mut self, set: &str, in_force: &Stamps, now: Stamps) -> Option<Stamps> {
        if *in_force == now {
            self.seen.remove(set);
            self.refused.remove(set);
            return None;
        }
        let rests = self.seen.insert(set.to_owned(), now.clone()).is_some_and(|seen| seen == now);
        (rests && self.refused.get(set) != Some(&now)).then_some(now)
    }

    fn settle<T>(
        &mut self,
        set: String,
        seen: Stamps,
        loaded: Result<T, LoadFault>,
        renewed: &mut Renewed,
    ) -> Option<T> {
        match loaded {
            Ok(new) => {
                self.refused.remove(&set);
                renewed.taken.push(format!("{set} has new certificates"));
                Some(new)
            }
            Err(fault) => {
                let message = fault.message;
                renewed.refused.push(format!("{set} keeps its old certificates: {message}"));
                self.refused.insert(set, seen);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::testing::{Authority, Folder};
    use crate::{Sources, load};

    fn start(folder: &Folder, authority: &Authority) -> Snapshot {
        folder.write_pair("edge", &authority.issue(&["a.test"]));
        folder.write_pair("client", &authority.issue(&["client.test"]));
        folder.write("ca.pem", &authority.pem);
        let file = folder.write(
            "ringway.yaml",
            "version: 1\n\
             listeners:\n\
             \x20 - {name: edge, address: 127.0.0.1:1, tls: {certificates: [{cert: edge.pem, \
             key: edge.key}]}}\n\
             clusters:\n\
             \x20 c: {endpoints: [127.0.0.1:2], tls: {sni: b.test, ca: ca.pem, cert: client.pem, \
             key: client.key}}\n\
             routes: [{id: all, cluster: c}]\n",
        );
        load(&Sources { file: Some(file), ..Sources::default() }).unwrap()
    }

    fn look(watch: &mut CertificateWatch, snapshot: &mut Snapshot) -> Renewed {
        let renewed = watch.look_now(snapshot);
        *snapshot = renewed.snapshot.clone().unwrap_or_else(|| snapshot.clone());
        renewed
    }

    fn names(snapshot: &Snapshot) -> Vec<String> {
        let tls = snapshot.listeners[0].tls.as_ref().unwrap();
        tls.certificates[0].facts.dns_names.clone()
    }

    #[test]
    fn a_changed_pair_takes_once_it_rests() {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        let (mut watch, mut snapshot) = (CertificateWatch::default(), start(&folder, &authority));
        assert!(look(&mut watch, &mut snapshot).snapshot.is_none());
        folder.write_pair("edge", &authority.issue(&["new.test"]));
        assert!(look(&mut watch, &mut snapshot).snapshot.is_none(), "it may still be written");
        let renewed = look(&mut watch, &mut snapshot);
        assert_eq!(renewed.taken, ["listener `edge` has new certificates"]);
        assert_eq!((names(&snapshot), snapshot.generation), (vec!["new.test".to_owned()], 2));
        assert!(look(&mut watch, &mut snapshot).snapshot.is_none());
    }

    #[test]
    fn a_bad_pair_leaves_the_old_one_and_is_said_once() {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        let (mut watch, mut snapshot) = (CertificateWatch::default(), start(&folder, &authority));
        folder.write("edge.pem", &authority.issue(&["other.test"]).pem);
        look(&mut watch, &mut snapshot);
        let refused = look(&mut watch, &mut snapshot).refused;
        assert!(refused.len() == 1 && refused[0].contains("keeps its old"), "{refused:?}");
        assert!(look(&mut watch, &mut snapshot).refused.is_empty(), "said once");
        std::fs::remove_file(folder.file("edge.key")).unwrap();
        look(&mut watch, &mut snapshot);
        let refused = look(&mut watch, &mut snapshot).refused;
        assert!(refused[0].contains("cannot be read"), "{refused:?}");
        assert_eq!((names(&snapshot), snapshot.generation), (vec!["a.test".to_owned()], 1));
        folder.write_pair("edge", &authority.issue(&["good.test"]));
        look(&mut watch, &mut snapshot);
        assert_eq!(look(&mut watch, &mut snapshot).taken.len(), 1);
        assert_eq!(names(&snapshot), ["good.test"]);
    }

    #[test]
    fn a_client_certificate_changes_alone() {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        let (mut watch, mut snapshot) = (CertificateWatch::default(), start(&folder, &authority));
        let before = snapshot.clone();
        folder.write_pair("client", &authority.issue(&["new.test"]));
        look(&mut watch, &mut snapshot);
        assert_eq!(look(&mut watch, &mut snapshot).taken, ["cluster `c` has new certificates"]);
        let tls = snapshot.upstream_tls[0].as_ref().unwrap();
        assert_eq!(tls.certificates[0].facts.dns_names, ["new.test"]);
        assert!(Arc::ptr_eq(&before.listeners, &snapshot.listeners));
        assert!(!before.is_akin(&snapshot), "links are made with something new");
    }

    #[test]
    fn looks_are_apart() {
        let (folder, authority) = (Folder::new(), Authority::new("root"));
        let (mut watch, snapshot) = (CertificateWatch::default(), start(&folder, &authority));
        let start = Instant::now();
        watch.look(&snapshot, start);
        folder.write_pair("edge", &authority.issue(&["new.test"]));
        let at = |ms| start + Duration::from_millis(ms);
        assert!([1, 1999].iter().all(|ms| watch.look(&snapshot, at(*ms)).snapshot.is_none()));
        assert!(watch.look(&snapshot, at(2000)).snapshot.is_none());
        assert!(watch.look(&snapshot, at(4000)).snapshot.is_some());
    }
}

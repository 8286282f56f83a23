//! What a route is checked against: settings, clusters, folders. Owned and `Sync`, so that threads
//! can read routes side by side, and so that routes can be checked long after the load.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use router::{ClusterProtocol, ErrorPageSpec};

use super::protocol;
use crate::config::Config;
use crate::decode::Fault;
use crate::error::did_you_mean;
use crate::settings::{REGISTRY, Settings, position};
use crate::snapshot::{ErrorPage, ErrorPages};
use crate::tree::{Place, shorten};

/// Clusters by name, limits, and how files are read.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) settings: Arc<Settings>,
    clusters: BTreeMap<String, u32>,
    /// By position: its name, and its protocol where it could be read.
    protocols: Vec<(String, Option<ClusterProtocol>)>,
    /// The folder of each file, by its number.
    folders: Vec<PathBuf>,
    read: fn(&Path) -> io::Result<Vec<u8>>,
}

/// A page is queued whole for whoever asks: it fits the send queue of one connection.
const PAGE_BYTES_MAX: usize = 64 * 1024;

impl Facts {
    pub(super) fn new(config: &Config, read: fn(&Path) -> io::Result<Vec<u8>>) -> Facts {
        let name = |item: &crate::config::Item<_>| item.name.clone();
        let protocols = config
            .clusters
            .iter()
            .map(|item| (name(item), item.spec.as_ref().map(protocol)))
            .collect();
        Facts {
            settings: Arc::new(config.settings.clone()),
            clusters: config.clusters.iter().map(name).zip(0..).collect(),
            protocols,
            folders: config.folders(),
            read,
        }
    }

    /// The position of a cluster.
    pub(super) fn cluster(&self, name: &str) -> Option<u32> {
        self.clusters.get(name).copied()
    }

    /// The folder of the file that a place is in.
    pub(super) fn folder(&self, place: Place) -> Option<&PathBuf> {
        self.folders.get(usize::from(place.file))
    }

    /// The fault of a cluster that is not there.
    pub(super) fn unknown_cluster(&self, place: Place, name: &str) -> Fault {
        let hint = did_you_mean(name, self.clusters.keys().map(String::as_str));
        Fault { hint, ..Fault::new(place, format!("unknown cluster `{}`", shorten(name))) }
    }

    /// A cluster that speaks something else would be talked to in the wrong language.
    pub(super) fn expect_protocol(
        &self,
        place: Place,
        cluster: u32,
        expected: &[ClusterProtocol],
    ) -> Option<Fault> {
        let (name, protocol) = self.protocols.get(cluster as usize)?;
        let protocol = protocol.filter(|protocol| !expected.contains(protocol))?;
        let expected: Vec<&str> = expected.iter().map(|protocol| protocol.as_str()).collect();
        let (name, expected) = (shorten(name), expected.join(" or "));
        let message =
            format!("cluster `{name}` has protocol {}, not {expected}", protocol.as_str());
        Some(Fault::new(place, message))
    }

    /// Pages by status. A file is read relative to the folder of the file that names it.
    pub(super) fn error_pages(
        &self,
        place: Place,
        specs: &[ErrorPageSpec],
        faults: &mut Vec<Fault>,
    ) -> ErrorPages {
        let mut fault =
            |message: String| faults.push(Fault::new(place, format!("error page: {message}")));
        let mut pages = ErrorPages::default();
        for spec in specs {
            let page = match self.error_page(place, spec) {
                Ok(page) => Arc::new(page),
                Err(why) => {
                    fault(why);
                    continue;
                }
            };
            if spec.status.is_empty() {
                fault("`status` is empty".to_owned());
            }
            for status in &spec.status {
                if !(400..=599).contains(status) {
                    fault(format!("status {status} is not 400 to 599"));
                } else if !pages.insert(*status, &page) {
                    fault(format!("status {status} has two pages"));
                }
            }
        }
        pages
    }

    fn error_page(&self, place: Place, spec: &ErrorPageSpec) -> Result<ErrorPage, String> {
        let body = match (&spec.file, &spec.body) {
            (Some(file), None) => {
                let read = (self.read)(&self.path(place, file));
                read.map_err(|error| format!("file `{}`: {error}", shorten(file)))?
            }
            (None, Some(body)) => body.clone().into_bytes(),
            _ => return Err("give it either `file` or `body`".to_owned()),
        };
        if body.len() > PAGE_BYTES_MAX {
            return Err(format!("{} bytes are more than {PAGE_BYTES_MAX}", body.len()));
        }
        let content_type = spec.content_type.as_deref().unwrap_or("text/html; charset=utf-8");
        let legal = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if content_type.is_empty() || !content_type.bytes().all(legal) {
            let shown = shorten(content_type);
            return Err(format!("content_type `{shown}` is no value of a field"));
        }
        Ok(ErrorPage { content_type: content_type.to_owned(), body })
    }
}

/// The fault of a value outside of the range of the setting that it goes before.
pub(super) fn range(place: Place, key: &str, setting: &str, value: Option<u64>) -> Option<Fault> {
    let value = value?;
    let why = REGISTRY[position(setting)?].kind.check(value).err()?;
    Some(Fault::new(place, format!("{key}: {why}")))
}

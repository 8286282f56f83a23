//! The configuration as it was typed: items with their places, nothing resolved.
//!
//! The form is fixed by the documents (docs/config.md). This module assembles what other crates
//! own: `router::RouteSpec` and `router::ClusterSpec` are decoded by their own serde impls, the
//! settings are read by their registry. It knows the top level and listeners; `protocols.rs` their
//! short form, `flags.rs` what flags change of all this.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use router::{ClusterSpec, ErrorPageSpec, RouteSpec};

use crate::compile::{Resolve, compile};
use crate::decode::{Fault, decode, unknown_key};
use crate::error::{ConfigError, did_you_mean};
use crate::settings::{REGISTRY, Setting, Settings, Source, position};
use crate::tree::{self, Key, Node, Place};

mod flags;
mod protocols;

pub(crate) use flags::TlsFlags;
#[cfg(test)]
pub(crate) use protocols::ProtocolSpec;

/// One listener as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerSpec {
    /// Its address when absent.
    #[serde(default)]
    pub(crate) name: Option<String>,
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) protocols: Option<Protocols>,
    /// Where the connections of a `tcp` listener go.
    #[serde(default)]
    pub(crate) cluster: Option<String>,
    /// Where the TLS connections of a `tcp` listener go, by the server that they ask for.
    #[serde(default)]
    pub(crate) sni: BTreeMap<String, String>,
    /// What callers of Thrift may speak.
    #[serde(default)]
    pub(crate) thrift: Option<ListenerThriftSpec>,
    /// Instead of the setting `body-bytes-max`, where a route has none.
    #[serde(default, deserialize_with = "router::deserialize_bytes")]
    pub(crate) body_bytes_max: Option<u64>,
    /// Instead of the setting `path-rule`.
    #[serde(default)]
    pub(crate) path_rule: Option<String>,
    #[serde(default)]
    pub(crate) proxy_protocol: Option<ProxySpec>,
    /// Connections at a time.
    #[serde(default)]
    pub(crate) max_conns: Option<u32>,
    /// Pages for errors outside of a route that has its own.
    #[serde(default)]
    pub(crate) error_pages: Vec<ErrorPageSpec>,
    /// It answers health checks of gRPC.
    #[serde(default)]
    pub(crate) grpc_health: Option<GrpcHealthSpec>,
    /// Whether callers may say who they are and pass metadata on; false by default.
    #[serde(default)]
    pub(crate) trust_metadata: Option<bool>,
    /// Its connections begin with TLS.
    #[serde(default)]
    pub(crate) tls: Option<ListenerTlsSpec>,
    /// Whether it takes the pair of `--tls-cert`, and does not without; as there is one when
    /// absent.
    #[serde(skip)]
    pub(crate) wants_tls: Option<bool>,
}

impl ListenerSpec {
    /// It comes from `protocols` at the top level.
    pub(crate) fn is_short(&self) -> bool {
        self.wants_tls.is_some()
    }
}

/// Thrift on a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerThriftSpec {
    /// `framed`, `buffered`, `theader` or `ttheader`: all others are refused.
    #[serde(default)]
    pub(crate) transport: Option<String>,
}

/// The health service of gRPC on a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrpcHealthSpec {
    /// Names beside the empty one.
    #[serde(default)]
    pub(crate) services: Vec<String>,
    /// Clusters that are services of their own names.
    #[serde(default)]
    pub(crate) clusters: Vec<String>,
}

/// TLS on a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerTlsSpec {
    /// At least one; the first is the default.
    pub(crate) certificates: Vec<CertificateSpec>,
    /// Authorities that sign clients.
    #[serde(default)]
    pub(crate) client_ca: Option<String>,
    /// `none`, `optional` or `required`, which it is where there is a `client_ca`.
    #[serde(default)]
    pub(crate) client_auth: Option<String>,
    /// `1.2`, as by default, or `1.3`.
    #[serde(default)]
    pub(crate) min_version: Option<String>,
    /// Instead of all that the listener speaks.
    #[serde(default)]
    pub(crate) alpn: Option<Vec<String>>,
    /// Whether clients may resume sessions; true by default.
    #[serde(default)]
    pub(crate) session_tickets: Option<bool>,
}

/// A chain and its key: names of PEM files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateSpec {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// PROXY headers on a listener: who may send them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProxySpec {
    /// Networks that may; a Unix peer always may.
    #[serde(default)]
    pub(crate) from: Vec<String>,
    /// Whether they must; true by default.
    #[serde(default)]
    pub(crate) required: Option<bool>,
}

/// `auto`, one name, or a list of names.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected `auto`, a protocol or a list of protocols")]
pub(crate) enum Protocols {
    One(String),
    Many(Vec<String>),
}

/// Something typed, with the node it was read from. Its name is here; the spec of a route that was
/// read as JSON has none any more.
#[derive(Clone, Debug)]
pub(crate) struct Item<T> {
    /// `None` when nothing could be made of it.
    pub(crate) spec: Option<T>,
    /// It had faults: `spec` has neutral values in some places, see `decode`.
    pub(crate) healed: bool,
    pub(crate) name: String,
    /// Where it begins, with its key if it has one; line 0 when it was made from flags.
    place: Place,
    pub(crate) node: Option<Node>,
}

impl<T: DeserializeOwned> Item<T> {
    pub(crate) fn read(name: &str, place: Place, node: &Node, faults: &mut Vec<Fault>) -> Item<T> {
        let before = faults.len();
        let spec = decode(node, faults);
        let healed = faults.len() > before;
        Item { spec, healed, name: name.to_owned(), place, node: Some(node.clone()) }
    }
}

impl<T> Item<T> {
    fn made(name: &str, spec: T) -> Item<T> {
        Item::plain(name.to_owned(), Place::default(), spec)
    }

    /// Of a place alone, without the tree that it was read from.
    pub(crate) fn plain(name: String, place: Place, spec: T) -> Item<T> {
        Item { spec: Some(spec), healed: false, name, place, node: None }
    }

    /// Where `path` inside the item stands, or as far towards it as there is something.
    pub(crate) fn place(&self, path: &[&str]) -> Place {
        let begins = |node: &Node| path.first().and_then(|key| node.field(key)).is_some();
        let node = self.node.as_ref().filter(|node| begins(node));
        node.map_or(self.place, |node| node.towards(path).place)
    }
}

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// By the number in a [`Place`]; none where everything came from flags.
    files: Vec<Text>,
    pub(crate) settings: Settings,
    pub(crate) listeners: Vec<Item<ListenerSpec>>,
    pub(crate) clusters: Vec<Item<ClusterSpec>>,
    pub(crate) routes: Vec<Item<RouteSpec>>,
    /// Files of further routes, and where each was named.
    pub(crate) route_files: Vec<(PathBuf, Place)>,
    pub(crate) warnings: Vec<String>,
    /// The top level of some file could not be read as a whole: what is not there may have been
    /// typed.
    broken: bool,
}

/// A file of a configuration.
#[derive(Clone, Debug, Default)]
struct Text {
    name: String,
    text: String,
    /// Where each line of `text` begins; finding one must not mean counting from the top.
    line_starts: Vec<usize>,
}

impl Text {
    fn new(name: &str, text: &str) -> Text {
        // A byte order mark is no part of the first line.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let newlines = text.bytes().zip(1..).filter(|(byte, _)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(_, next)| next)).collect();
        Text { name: name.to_owned(), text: text.to_owned(), line_starts }
    }

    fn line(&self, line: u32) -> Option<String> {
        let start = *self.line_starts.get((line as usize).checked_sub(1)?)?;
        self.text.get(start..)?.lines().next().map(str::to_owned)
    }
}

const TOP: &[&str] =
    &["version", "settings", "protocols", "listeners", "clusters", "routes", "route_files"];

impl Config {
    /// Whether what is not there was not typed either.
    pub(crate) fn is_complete(&self) -> bool {
        !self.files.is_empty() && !self.broken
    }

    /// Reads a file's text. Faults are added; what could be read is returned.
    pub(crate) fn parse(file: &str, text: &str, errors: &mut Vec<ConfigError>) -> Config {
        let mut config = Config::default();
        config.add(file, text, errors);
        config
    }

    /// Reads one more file.
    pub(crate) fn add(&mut self, name: &str, text: &str, errors: &mut Vec<ConfigError>) {
        let file = self.number(Text::new(name, text));
        let (mut yaml, mut faults) = (Vec::new(), Vec::new());
        let start = Place::start(file);
        let root = tree::parse(start, &self.files[usize::from(file)].text, &mut yaml);
        let broken = root.is_none() && !yaml.is_empty();
        faults.extend(yaml.into_iter().map(|(place, message)| Fault::new(place, message)));
        match root {
            Some(root) => self.read(&root, &mut faults),
            None if broken => self.broken = true,
            None => faults.push(Fault::new(start, "the file is empty")),
        }
        errors.extend(faults.into_iter().map(|fault| self.error(fault)));
    }

    fn number(&mut self, text: Text) -> u16 {
        // INVARIANT: whoever lists a folder takes fewer files than that.
        let file = u16::try_from(self.files.len()).expect("fewer than 65536 files");
        self.files.push(text);
        file
    }

    /// Takes up a number for a file that is read elsewhere.
    pub(crate) fn add_unkept(&mut self, name: &str) -> u16 {
        self.number(Text { name: name.to_owned(), ..Text::default() })
    }

    /// The name of the file of a place.
    pub(crate) fn file(&self, place: Place) -> &str {
        self.files.get(usize::from(place.file)).map_or("flags", |file| &file.name)
    }

    /// The folder of each file, by its number.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let folder = |file: &Text| Path::new(&file.name).parent().unwrap_or(Path::new("")).into();
        self.files.iter().map(folder).collect()
    }

    /// A place as it is said beside another one: `line 7`, or with its file where that differs.
    pub(crate) fn relative(&self, place: Place, beside: Place, words: &str) -> String {
        if place.file == beside.file {
            format!("{words} {}", place.line)
        } else {
            format!("at {}:{}", self.file(place), place.line)
        }
    }

    /// A fault with file and line text.
    pub(crate) fn error(&self, fault: Fault) -> ConfigError {
        let Place { line, column, .. } = fault.place;
        let error = ConfigError::new(self.file(fault.place), fault.message).hint(fault.hint);
        if line == 0 {
            return error;
        }
        let kept = self.files.get(usize::from(fault.place.file));
        let snippet = fault.snippet.or_else(|| kept?.line(line));
        ConfigError { order: fault.place.file, line, column, snippet, ..error }
    }

    fn read(&mut self, root: &Node, faults: &mut Vec<Fault>) {
        if root.entries().is_empty() {
            self.broken = true;
            let found = root.describe();
            faults.push(Fault::new(root.place, format!("expected a mapping, found {found}")));
            return;
        }
        read_version(root, faults);
        for (key, node) in root.entries() {
            match &*key.text {
                "version" => {}
                _ if node.is_null() => {}
                "settings" => self.read_settings(node, faults),
                "listeners" => self.listeners.extend(read_list(node, "address", faults)),
                "routes" => self.routes.extend(read_list(node, "id", faults)),
                "clusters" => self.clusters.extend(read_map(node, faults)),
                "route_files" => self.read_route_files(node, faults),
                "protocols" => self.read_protocols(node, faults),
                other => {
                    self.broken = true;
                    faults.push(unknown_key(key.place, other, TOP));
                }
            }
        }
    }

    fn read_settings(&mut self, node: &Node, faults: &mut Vec<Fault>) {
        if !expect_map(node, faults) {
            return;
        }
        for (key, node) in node.entries() {
            if let Err(fault) = self.read_setting(key, node) {
                faults.push(fault);
            }
        }
    }

    fn read_route_files(&mut self, node: &Node, faults: &mut Vec<Fault>) {
        if !matches!(node.value, tree::Value::List(_)) {
            let message = format!("expected a list of files, found {}", node.describe());
            faults.push(Fault::new(node.place, message));
        }
        let folder = Path::new(self.file(node.place)).parent().unwrap_or(Path::new("")).to_owned();
        for node in node.items() {
            match node.text().filter(|_| !node.is_null()) {
                Some(path) => self.route_files.push((folder.join(path), node.place)),
                None => {
                    let message = format!("expected the name of a file, found {}", node.describe());
                    faults.push(Fault::new(node.place, message));
                }
            }
        }
    }

    fn read_setting(&mut self, key: &Key, node: &Node) -> Result<(), Fault> {
        let index = REGISTRY.iter().position(|setting| setting.key() == *key.text);
        let index = index.ok_or_else(|| unknown_setting(key))?;
        let Some(text) = node.text().filter(|_| !node.is_null()) else {
            let found = node.describe();
            return Err(Fault::new(node.place, format!("expected a value, found {found}")));
        };
        if let Source::File { file, line, .. } = self.settings.source_at(index) {
            let message = format!("setting `{}` is already set at {file}:{line}", key.text);
            return Err(Fault::new(key.place, message));
        }
        let Place { line, column, .. } = node.place;
        let source = Source::File { file: self.file(node.place).to_owned(), line, column };
        self.settings.set(index, text, source).map_err(|why| Fault::new(node.place, why))
    }

    /// Faults of settings that are each in range, reported where the value came from.
    pub(crate) fn check_settings(&self, errors: &mut Vec<ConfigError>) {
        for (index, why) in self.settings.check() {
            errors.push(match self.settings.source_at(index) {
                Source::File { file, line, column } => {
                    let file = self.files.iter().position(|text| text.name == *file).unwrap_or(0);
                    let place = Place { file: file as u16, line: *line, column: *column };
                    self.error(Fault::new(place, why))
                }
                Source::Default => ConfigError::new("settings", why),
                other => ConfigError::new(other.to_string(), why),
            });
        }
    }

    fn main_file(&self) -> &str {
        self.file(Place::default())
    }
}

fn read_version(root: &Node, faults: &mut Vec<Fault>) {
    match root.field("version") {
        // Files with it are older than versions.
        None if root.field("protocols").is_some() => {}
        None => faults.push(Fault::new(root.place, "`version: 1` is missing")),
        Some(node) if node.text() == Some("1") => {}
        Some(node) => {
            let found = node.describe();
            let message = format!("version {found} is not known: this build reads version 1");
            faults.push(Fault::new(node.place, message));
        }
    }
}

fn unknown_setting(key: &Key) -> Fault {
    let keys: Vec<String> = REGISTRY.iter().map(Setting::key).collect();
    let hint = match position(&key.text) {
        Some(index) => Some(format!("write it as `{}`", REGISTRY[index].key())),
        None => did_you_mean(&key.text, keys.iter().map(String::as_str)),
    };
    let message = format!("unknown setting `{}`", tree::shorten(&key.text));
    Fault { hint, ..Fault::new(key.place, message) }
}

fn expect_map(node: &Node, faults: &mut Vec<Fault>) -> bool {
    let is_map = matches!(node.value, tree::Value::Map(_));
    if !is_map {
        let found = node.describe();
        faults.push(Fault::new(node.place, format!("expected a mapping, found {found}")));
    }
    is_map
}

fn read_list<T: DeserializeOwned>(
    node: &Node,
    name_key: &str,
    faults: &mut Vec<Fault>,
) -> Vec<Item<T>> {
    if !matches!(node.value, tree::Value::List(_)) {
        let found = node.describe();
        faults.push(Fault::new(node.place, format!("expected a list, found {found}")));
    }
    let name =
        |node: &Node| node.field(name_key).and_then(Node::text).unwrap_or_default().to_owned();
    node.items().iter().map(|node| Item::read(&name(node), node.place, node, faults)).collect()
}

fn read_map<T: DeserializeOwned>(node: &Node, faults: &mut Vec<Fault>) -> Vec<Item<T>> {
    expect_map(node, faults);
    let read = |(key, node): &(Key, Node)| Item::read(&key.text, key.place, node, faults);
    node.entries().iter().map(read).collect()
}

/// For fuzzers: reads and compiles any bytes as a file, without touching the network or the disk.
pub fn fuzz_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut errors = Vec::new();
    let mut config = Config::parse("fuzz.yaml", text, &mut errors);
    config.check_settings(&mut errors);
    let mut resolve = Resolve::with(|_, _| Err(std::io::ErrorKind::NotFound.into()));
    let compiled = compile(&mut config, None, &mut resolve, &mut errors);
    ConfigError::sort(&mut errors);
    assert!(compiled.is_some() || !errors.is_empty(), "refused without a reason");
    for error in errors {
        assert!(!error.to_string().is_empty());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fuzz_config;

    /// Fragments that steer random text into the decoder instead of the YAML errors.
    fn fragment() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "version: 1\n",
            "settings:\n",
            "listeners:\n",
            "clusters:\n",
            "routes:\n",
            "  ",
            "- ",
            "name: x\n",
            "address: 127.0.0.1:1\n",
            "endpoints: [",
            "]",
            "{",
            "}",
            "id: a\n",
            ", ",
            "cluster: c\n",
            "match: ",
            "host: '*.a'\n",
            "path: /a/*\n",
            "c:\n",
            "&a ",
            "*a ",
            "\n",
            "protocols: auto\n",
            "protocols: {http: {enable: true}}\n",
            "thrift: {transport: framed}\n",
            "timeout: 5s\n",
            "weight: 1",
            "null",
            "? ",
            ": ",
            "!!str ",
            "---\n",
        ]);
        prop_oneof![9 => words.prop_map(str::to_owned), 1 => "\\PC{0,6}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics(parts in prop::collection::vec(fragment(), 0..40)) {
            fuzz_config(parts.concat().as_bytes());
        }

        #[test]
        fn a_damaged_file_is_read_or_refused(
            at in 0usize..600,
            with in "\\PC{0,3}",
            cut in 0usize..9,
        ) {
            let text = include_str!("../../docs/examples/edge.yaml");
            let kept = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
            fuzz_config([kept(0..at), &with, kept(at + cut..text.len())].concat().as_bytes());
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_ignored() {
        fuzz_config(b"\xff\xfe");
    }
}

//! The configuration as it was typed: items with their places, nothing resolved.
//!
//! The form is fixed by the documents (docs/config.md). This module assembles what other crates
//! own: `router::RouteSpec` and `router::ClusterSpec` are decoded by their own serde impls, the
//! settings are read by their registry. It knows the top level and listeners.

use serde::Deserialize;

use router::{ClusterSpec, EndpointSpec, RouteSpec};

use crate::compile::{Resolve, compile};
use crate::decode::{Fault, decode, unknown_key};
use crate::error::{ConfigError, did_you_mean};
use crate::settings::{REGISTRY, Setting, Settings, Source, position};
use crate::tree::{self, Key, Node, Place};

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
}

/// `auto`, one name, or a list of names.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected `auto`, a protocol or a list of protocols")]
pub(crate) enum Protocols {
    One(String),
    Many(Vec<String>),
}

/// Something typed, with the node it was read from; `spec` is `None` when it was faulty.
#[derive(Clone, Debug)]
pub(crate) struct Item<T> {
    pub(crate) spec: Option<T>,
    pub(crate) name: String,
    pub(crate) node: Option<Node>,
}

impl<T> Item<T> {
    /// Where `path` inside the item stands; line 0 for an item made from flags.
    pub(crate) fn place(&self, path: &[&str]) -> Place {
        self.node.as_ref().map_or(Place::default(), |node| node.towards(path).place)
    }
}

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) file: String,
    text: String,
    pub(crate) settings: Settings,
    pub(crate) listeners: Vec<Item<ListenerSpec>>,
    pub(crate) clusters: Vec<Item<ClusterSpec>>,
    pub(crate) routes: Vec<Item<RouteSpec>>,
    pub(crate) warnings: Vec<String>,
}

const TOP: &[&str] = &["version", "settings", "listeners", "clusters", "routes"];

/// Where a flags-only start listens when only `--upstream` is given.
const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

impl Config {
    /// Reads a file's text. Faults are added; what could be read is returned.
    pub(crate) fn parse(file: &str, text: &str, errors: &mut Vec<ConfigError>) -> Config {
        let mut config =
            Config { file: file.to_owned(), text: text.to_owned(), ..Config::default() };
        let (mut yaml, mut faults) = (Vec::new(), Vec::new());
        let root = tree::parse(text, &mut yaml);
        let broken = root.is_none() && !yaml.is_empty();
        faults.extend(yaml.into_iter().map(|(place, message)| Fault::new(place, message)));
        match root {
            Some(root) => config.read(&root, &mut faults),
            None if broken => {}
            None => faults.push(Fault::new(Place { line: 1, column: 1 }, "the file is empty")),
        }
        errors.extend(faults.into_iter().map(|fault| config.error(fault)));
        config
    }

    /// A fault with file and line text.
    pub(crate) fn error(&self, fault: Fault) -> ConfigError {
        let Place { line, column } = fault.place;
        let file = if self.file.is_empty() { "flags" } else { &self.file };
        let error = ConfigError::new(file, fault.message).hint(fault.hint);
        if line == 0 {
            return error;
        }
        let snippet = self.text.lines().nth(line as usize - 1).map(str::to_owned);
        ConfigError { line, column, snippet, ..error }
    }

    fn read(&mut self, root: &Node, faults: &mut Vec<Fault>) {
        if root.entries().is_empty() {
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
                "listeners" => self.listeners = read_list(node, "address", faults),
                "routes" => self.routes = read_list(node, "id", faults),
                "clusters" => self.clusters = read_map(node, faults),
                other => faults.push(unknown_key(key.place, other, TOP)),
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

    fn read_setting(&mut self, key: &Key, node: &Node) -> Result<(), Fault> {
        let index = REGISTRY.iter().position(|setting| setting.key() == *key.text);
        let index = index.ok_or_else(|| unknown_setting(key))?;
        let Some(text) = node.text().filter(|_| !node.is_null()) else {
            let found = node.describe();
            return Err(Fault::new(node.place, format!("expected a value, found {found}")));
        };
        let Place { line, column } = node.place;
        let source = Source::File { file: self.file.clone(), line, column };
        self.settings.set(index, text, source).map_err(|why| Fault::new(node.place, why))
    }

    /// Faults of settings that are each in range, reported where the value came from.
    pub(crate) fn check_settings(&self, errors: &mut Vec<ConfigError>) {
        for (index, why) in self.settings.check() {
            let source = self.settings.source_at(index);
            let name = REGISTRY[index].name;
            let message = format!("{name}: {why}");
            errors.push(match source {
                Source::File { line, column, .. } => {
                    self.error(Fault::new(Place { line: *line, column: *column }, message))
                }
                Source::Default => ConfigError::new("settings", message),
                other => ConfigError::new(other.to_string(), why),
            });
        }
    }

    /// Lays `--listen` and `--upstream` over the file.
    pub(crate) fn lay_addresses(
        &mut self,
        listen: Vec<String>,
        upstream: Vec<String>,
        errors: &mut Vec<ConfigError>,
    ) {
        if !upstream.is_empty() {
            self.lay_upstream(upstream, errors);
            if listen.is_empty() && self.listeners.is_empty() {
                return self.lay_listen(vec![LISTEN_DEFAULT.to_owned()], errors);
            }
        }
        if !listen.is_empty() {
            self.lay_listen(listen, errors);
        }
        if self.file.is_empty() && self.clusters.is_empty() {
            errors.push(ConfigError::new(
                "flags",
                "nothing to serve: give --config FILE, or --listen ADDRESS and --upstream ADDRESS",
            ));
        }
    }

    fn lay_upstream(&mut self, upstream: Vec<String>, errors: &mut Vec<ConfigError>) {
        if !self.clusters.is_empty() || !self.routes.is_empty() {
            let message =
                format!("{} already has clusters and routes: use one or the other", self.file);
            errors.push(ConfigError::new("flag --upstream", message));
            return;
        }
        let endpoint = |address| EndpointSpec { address, weight: 1 };
        let endpoints = upstream.into_iter().map(endpoint).collect();
        let cluster = ClusterSpec { endpoints, ..ClusterSpec::default() };
        let name = "upstream".to_owned();
        self.clusters.push(Item { spec: Some(cluster), name: name.clone(), node: None });
        let route = RouteSpec { id: "all".to_owned(), cluster: name, ..RouteSpec::default() };
        self.routes.push(Item { spec: Some(route), name: "all".to_owned(), node: None });
    }

    fn lay_listen(&mut self, listen: Vec<String>, errors: &mut Vec<ConfigError>) {
        if self.listeners.len() > 1 {
            let message = format!(
                "{} has {} listeners: --listen replaces the address of one",
                self.file,
                self.listeners.len()
            );
            errors.push(ConfigError::new("flag --listen", message));
            return;
        }
        let typed = self.listeners.pop().and_then(|item| item.spec).unwrap_or_default();
        let several = listen.len() > 1;
        let replace = |address: String| {
            let name = typed.name.clone().filter(|_| !several);
            let spec = ListenerSpec { name, address: address.clone(), ..typed.clone() };
            Item { spec: Some(spec), name: address, node: None }
        };
        self.listeners = listen.into_iter().map(replace).collect();
    }
}

fn read_version(root: &Node, faults: &mut Vec<Fault>) {
    match root.field("version") {
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

fn read_list<T: serde::de::DeserializeOwned>(
    node: &Node,
    name_key: &str,
    faults: &mut Vec<Fault>,
) -> Vec<Item<T>> {
    if !matches!(node.value, tree::Value::List(_)) {
        let found = node.describe();
        faults.push(Fault::new(node.place, format!("expected a list, found {found}")));
    }
    let item = |node: &Node| Item {
        spec: decode(node, faults),
        name: node.field(name_key).and_then(Node::text).unwrap_or_default().to_owned(),
        node: Some(node.clone()),
    };
    node.items().iter().map(item).collect()
}

fn read_map<T: serde::de::DeserializeOwned>(node: &Node, faults: &mut Vec<Fault>) -> Vec<Item<T>> {
    expect_map(node, faults);
    let item = |(key, node): &(Key, Node)| Item {
        spec: decode(node, faults),
        name: key.text.to_string(),
        node: Some(node.clone()),
    };
    node.entries().iter().map(item).collect()
}

/// For fuzzers: reads and compiles any bytes as a file, without touching the network or the disk.
pub fn fuzz_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut errors = Vec::new();
    let config = Config::parse("fuzz.yaml", text, &mut errors);
    config.check_settings(&mut errors);
    let mut resolve = Resolve::with(|_, _| Err(std::io::ErrorKind::NotFound.into()));
    let compiled = compile(&config, &mut resolve, &mut errors);
    ConfigError::sort(&mut errors);
    assert!(compiled.is_some() || !errors.is_empty(), "refused without a reason");
    for error in errors {
        assert!(!error.to_string().is_empty());
    }
}

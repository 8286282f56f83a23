//! The documents' examples: each loads, and each key there is stands in one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use router::{ClusterSpec, ClusterTlsSpec, EndpointSpec, RouteSpec};
use serde::de::DeserializeOwned;

use super::{Scratch, messages, strings};
use crate::certs::testing::Authority;
use crate::config::{
    CertificateSpec, GrpcHealthSpec, ListenerSpec, ListenerThriftSpec, ListenerTlsSpec,
    ProtocolSpec, ProxySpec,
};
use crate::decode::decode;
use crate::settings::{REGISTRY, Setting, Source};
use crate::snapshot::Snapshot;
use crate::source::load;
use crate::tree::{self, Node, Place};

/// One configuration, with the document that shows it.
struct Example {
    document: String,
    text: String,
}

impl Example {
    /// Loads it beside the page and the routes that some of them name.
    fn load(&self, index: usize) -> Snapshot {
        let file = Scratch::new(&format!("example-{index}"), &self.text);
        std::fs::write(file.0.with_file_name("down.html"), "<h1>Back soon</h1>").unwrap();
        std::fs::write(file.0.with_file_name("routes.jsonl"), routes_of(&self.document)).unwrap();
        write_certificates(&file.0);
        let mut sources = file.sources();
        if self.text.contains("tls: true") {
            sources.tls_cert = Some(file.0.with_file_name("edge.pem"));
            sources.tls_key = Some(file.0.with_file_name("edge.key"));
        }
        if !self.text.contains("clusters:") {
            sources.upstream = strings(&["http=127.0.0.1:1,grpc=127.0.0.1:2,thrift=127.0.0.1:3"]);
        }
        load(&sources).unwrap_or_else(|errors| {
            let found = messages(Err(errors));
            panic!("{}: {found:?}\n{}", self.document, self.text)
        })
    }

    fn root(&self) -> Node {
        tree::parse(Place::start(0), &self.text, &mut Vec::new()).unwrap()
    }
}

/// The pairs and the authorities that documents name.
fn write_certificates(beside: &Path) {
    let authority = Authority::new("root");
    let write = |name: &str, text: &str| std::fs::write(beside.with_file_name(name), text).unwrap();
    write("ca.pem", &authority.pem);
    for name in ["edge", "shop", "client"] {
        let made = authority.issue(&[&format!("{name}.example.com")]);
        write(&format!("{name}.pem"), &made.pem);
        write(&format!("{name}.key"), &made.key);
    }
}

/// The blocks of a document that are files of routes.
fn routes_of(document: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split("```json\n{")
        .skip(1)
        .map(|block| format!("{{{}", block.split("```").next().unwrap()))
        .collect()
}

/// Every file in docs/examples, and every block of the documents.
fn examples() -> Vec<Example> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let files = |folder: &Path, extension: &str| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|end| end == extension)).collect();
        paths.sort();
        let read = |path: PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        };
        paths.into_iter().map(read).collect::<Vec<_>>()
    };
    let whole = files(&root.join("examples"), "yaml");
    let mut examples: Vec<_> =
        whole.into_iter().map(|(document, text)| Example { document, text }).collect();
    for (document, text) in files(&root, "md") {
        let blocks = text.split("```yaml\n").skip(1);
        let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
        let example = |block| Example { document: document.clone(), text: completed(block) };
        examples.extend(blocks.map(example));
    }
    examples
}

/// A block as a whole file: documents show the part they speak of. Routes alone are indented.
fn completed(block: &str) -> String {
    if block.starts_with("version:") {
        return block.to_owned();
    }
    let mut text = "version: 1\n".to_owned();
    if block.starts_with(' ') {
        text.push_str("routes:\n");
    }
    text.push_str(block);
    let has = |text: &str, section: &str| text.lines().any(|line| line.starts_with(section));
    if !has(&text, "listeners:") && !has(&text, "protocols:") {
        text.push_str("listeners: [{address: '127.0.0.1:8080'}]\n");
    }
    if !has(&text, "clusters:") {
        text.push_str("clusters: {app: {endpoints: ['127.0.0.1:9001']}}\n");
    }
    if !has(&text, "routes:") && text.contains("app:") {
        text.push_str("routes: [{id: all, cluster: app}]\n");
    }
    text
}

#[test]
fn the_examples_load() {
    let examples = examples();
    for (index, example) in examples.iter().enumerate() {
        let snapshot = example.load(index);
        assert_eq!(*snapshot.warnings, [] as [String; 0], "{}: {}", example.document, example.text);
    }
    assert!(examples.len() >= 20, "{} examples", examples.len());
}

/// docs/settings.md sets each setting to something else than its default.
#[test]
fn every_setting_has_an_example_of_its_own() {
    let mut unset: BTreeMap<&str, &str> =
        REGISTRY.iter().map(|setting| (setting.name, setting.default)).collect();
    let of_settings = |(_, example): &(usize, &Example)| example.document == "settings.md";
    for (index, example) in examples().iter().enumerate().filter(of_settings) {
        for (setting, text, source) in example.load(index + 1000).settings.iter() {
            let default = setting.kind.parse(setting.default);
            if matches!(source, Source::File { .. }) && setting.kind.parse(&text) != default {
                unset.remove(setting.name);
            }
        }
    }
    assert_eq!(unset, BTreeMap::new(), "add them to a block of docs/settings.md");
}

/// The keys that a struct takes, by the message that refuses another one.
fn keys_of<T: DeserializeOwned>() -> BTreeSet<String> {
    let node = tree::parse(Place::start(0), "{zzzzzzzz: 1}", &mut Vec::new()).unwrap();
    let mut faults = Vec::new();
    decode::<T>(&node, &mut faults);
    let hints = faults.into_iter().filter_map(|fault| fault.hint);
    let lists = hints.filter_map(|hint| hint.strip_prefix("possible here: ").map(str::to_owned));
    lists.flat_map(|list| list.split(", ").map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The nodes that stand under `path`; `*` is any key of a mapping or any item of a list.
fn under(node: &Node, path: &[&str]) -> Vec<Node> {
    let Some((first, rest)) = path.split_first() else { return vec![node.clone()] };
    let next: Vec<&Node> = match *first {
        "*" => node.items().iter().chain(node.entries().iter().map(|(_, node)| node)).collect(),
        key => node.field(key).into_iter().collect(),
    };
    next.into_iter().flat_map(|node| under(node, rest)).collect()
}

/// Keys of `T` that no example has in the mappings under `path`.
fn missing<T: DeserializeOwned>(roots: &[Node], path: &[&str]) -> Vec<String> {
    let keys = keys_of::<T>();
    assert!(!keys.is_empty(), "{path:?}: what a key may be is known");
    shown(roots, path, keys)
}

fn shown(roots: &[Node], path: &[&str], mut keys: BTreeSet<String>) -> Vec<String> {
    for node in roots.iter().flat_map(|root| under(root, path)) {
        for (key, _) in node.entries() {
            keys.remove(&*key.text);
        }
    }
    keys.into_iter().map(|key| format!("{}.{key}", path.join("."))).collect()
}

#[test]
fn every_key_has_an_example() {
    let roots: Vec<Node> = examples().iter().map(Example::root).collect();
    let settings = REGISTRY.iter().map(Setting::key).collect();
    let lacking = [
        shown(&roots, &["settings"], settings),
        missing::<ProtocolSpec>(&roots, &["protocols", "*"]),
        missing::<ListenerSpec>(&roots, &["listeners", "*"]),
        missing::<ListenerThriftSpec>(&roots, &["listeners", "*", "thrift"]),
        missing::<ProxySpec>(&roots, &["listeners", "*", "proxy_protocol"]),
        missing::<GrpcHealthSpec>(&roots, &["listeners", "*", "grpc_health"]),
        missing::<ListenerTlsSpec>(&roots, &["listeners", "*", "tls"]),
        missing::<CertificateSpec>(&roots, &["listeners", "*", "tls", "certificates", "*"]),
        missing::<ClusterSpec>(&roots, &["clusters", "*"]),
        missing::<ClusterTlsSpec>(&roots, &["clusters", "*", "tls"]),
        missing::<router::ThriftSpec>(&roots, &["clusters", "*", "thrift"]),
        missing::<EndpointSpec>(&roots, &["clusters", "*", "endpoints", "*"]),
        missing::<RouteSpec>(&roots, &["routes", "*"]),
        missing::<router::MatchSpec>(&roots, &["routes", "*", "match"]),
        missing::<router::BufferSpec>(&roots, &["routes", "*", "buffer"]),
        missing::<router::GrpcWebSpec>(&roots, &["routes", "*", "grpc_web"]),
        missing::<router::ErrorPageSpec>(&roots, &["routes", "*", "error_pages", "*"]),
    ];
    assert_eq!(lacking.concat(), [] as [String; 0], "add them to a block of a document");
}

//! Flags, variables and a file together; reloads. What the documents show is in `documents`.

mod documents;
mod protocols;

use std::path::PathBuf;

use super::{Sources, load, reload};
use crate::error::ConfigError;
use crate::snapshot::Snapshot;

/// A file that is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Scratch {
        let folder = format!("ringway-control-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let scratch = Scratch(folder.join(format!("{name}.yaml")));
        scratch.write(text);
        scratch
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn sources(&self) -> Sources {
        Sources { file: Some(self.0.clone()), ..Sources::default() }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.with_file_name(""));
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Messages without snippets, and without the folder of scratch files.
fn messages(result: Result<Snapshot, Vec<ConfigError>>) -> Vec<String> {
    let shown = |error: ConfigError| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.rsplit_once('/')
            .filter(|_| line.starts_with('/'))
            .map_or(line, |(_, end)| end)
            .to_owned()
    };
    result.err().unwrap_or_default().into_iter().map(shown).collect()
}

fn addresses(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.listeners.iter().map(|plan| plan.address.as_str()).collect()
}

const FILE: &str = "\
version: 1
settings: {retries: 2, shards: 2}
listeners: [{name: edge, address: 127.0.0.1:8080}]
clusters: {app: {endpoints: [127.0.0.1:9001]}}
routes: [{id: all, cluster: app}]
";

#[test]
fn flags_alone_are_enough() {
    let listen = strings(&["127.0.0.1:8080,[::1]:8080"]);
    let upstream = strings(&["127.0.0.1:9001, 127.0.0.1:9002", "unix:/tmp/u.sock"]);
    let snapshot = load(&Sources { listen, upstream, ..Sources::default() }).unwrap();
    assert_eq!(addresses(&snapshot), ["127.0.0.1:8080", "[::1]:8080"]);
    let endpoints = &snapshot.clusters[0].endpoints;
    assert_eq!(
        endpoints.iter().map(|endpoint| endpoint.address.as_str()).collect::<Vec<_>>(),
        ["127.0.0.1:9001", "127.0.0.1:9002", "unix:/tmp/u.sock"]
    );
    assert_eq!((snapshot.routes.name(router::RouteId(0)), snapshot.routes.len()), (Some("all"), 1));
}

#[test]
fn variables_stand_in_for_flags() {
    let env = pairs(&[("RINGWAY_UPSTREAM", "127.0.0.1:1"), ("RINGWAY_SHARDS", "3")]);
    let snapshot = load(&Sources { env, ..Sources::default() }).unwrap();
    assert_eq!(addresses(&snapshot), ["127.0.0.1:8080"], "the default");
    assert_eq!(snapshot.settings.shards(), Some(3));
}

#[test]
fn nothing_is_not_enough() {
    let expected =
        "flags: nothing to serve: give --config FILE, or --listen ADDRESS and --upstream ADDRESS";
    assert_eq!(messages(load(&Sources::default())), [expected]);
    let listen = strings(&["127.0.0.1:1"]);
    assert_eq!(messages(load(&Sources { listen, ..Sources::default() })), [expected]);
}

#[test]
fn faults_of_flags_have_no_line() {
    let upstream = strings(&["127.0.0.1"]);
    let listen = strings(&["localhost:80"]);
    let flags = pairs(&[("shards", "none")]);
    assert_eq!(
        messages(load(&Sources { listen, upstream, flags, ..Sources::default() })),
        [
            "flag --shards: `none` is not a whole number, or `auto`",
            "flags: address `localhost:80` is a name: listen on an IP address, like 0.0.0.0:80 or \
         127.0.0.1:80",
            "flags: endpoint `127.0.0.1` has no port: write it as host:port",
        ]
    );
}

#[test]
fn flags_go_before_variables_before_the_file() {
    let file = Scratch::new("layers", FILE);
    let mut sources = file.sources();
    sources.env = pairs(&[("RINGWAY_RETRIES", "3"), ("RINGWAY_BACKLOG", "7")]);
    sources.flags = pairs(&[("retries", "4")]);
    sources.listen = strings(&["127.0.0.1:9090"]);
    let snapshot = load(&sources).unwrap();
    let settings = &snapshot.settings;
    assert_eq!((settings.shards(), settings.retries(), settings.backlog()), (Some(2), 4, 7));
    assert_eq!(snapshot.clusters[0].retries, 4);
    assert_eq!(
        (snapshot.listeners[0].name.as_str(), addresses(&snapshot)),
        ("edge", vec!["127.0.0.1:9090"])
    );
    let source = settings.show("shards").unwrap().1.to_string();
    assert!(source.ends_with("layers.yaml:2:32"), "{source}");
}

#[test]
fn upstream_and_a_file_with_clusters_do_not_mix() {
    let file = Scratch::new("mix", FILE);
    let sources = Sources { upstream: strings(&["127.0.0.1:1"]), ..file.sources() };
    let found = messages(load(&sources));
    assert!(found[0].starts_with("flag --upstream: "), "{found:?}");
    assert!(
        found[0].ends_with("already has clusters and routes: use one or the other"),
        "{found:?}"
    );

    file.write("version: 1\nsettings: {shards: 1}\n");
    let snapshot = load(&sources).unwrap();
    assert_eq!((snapshot.settings.shards(), snapshot.clusters.len()), (Some(1), 1));
}

#[test]
fn listen_replaces_one_listener_only() {
    let two = FILE.replace("8080}", "8080}, {address: 127.0.0.1:8081}");
    let file = Scratch::new("two", &two);
    let sources = Sources { listen: strings(&["127.0.0.1:1"]), ..file.sources() };
    let found = messages(load(&sources));
    assert!(found[0].ends_with("has 2 listeners: say which, as NAME=ADDRESS"), "{found:?}");
}

#[test]
fn files_that_cannot_be_read() {
    let sources = |path: &str| Sources { file: Some(path.into()), ..Sources::default() };
    assert_eq!(
        messages(load(&sources("no/such.yaml"))),
        ["no/such.yaml: cannot be read: No such file or directory (os error 2)"]
    );
    assert!(messages(load(&sources("/")))[0].contains("has no *.yaml file"));
    let file = Scratch::new("bytes", "");
    file.write(b"version: 1\n\xff");
    assert!(messages(load(&file.sources()))[0].ends_with("line 2 is not UTF-8"));
    file.write(vec![b'#'; (super::file::FILE_BYTES_MAX + 1) as usize]);
    assert!(messages(load(&file.sources()))[0].ends_with("is larger than 16 MiB"));
}

#[test]
fn a_reload_takes_whole_or_not_at_all() {
    let file = Scratch::new("reload", FILE);
    let first = load(&file.sources()).unwrap();

    file.write(FILE.replace("retries: 2", "retries: 3").replace("9001", "9002"));
    let second = reload(&first, &file.sources()).unwrap();
    assert_eq!((second.generation, second.settings.retries()), (2, 3));
    assert_ne!(first.hash, second.hash);

    let same = reload(&second, &file.sources()).unwrap();
    assert_eq!((same.generation, same.hash), (3, second.hash));

    file.write(FILE.replace("cluster: app", "cluster: ap"));
    assert_eq!(messages(reload(&second, &file.sources())).len(), 1);

    file.write(FILE.replace("shards: 2", "shards: 4").replace("8080", "8081"));
    let found = messages(reload(&second, &file.sources()));
    let end = "this needs a restart, nothing was changed";
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].contains(&format!("2:32: setting shards changes from 2 to 4: {end}")),
        "{found:?}"
    );
    assert!(
        found[1].contains(&format!("listener edge at 127.0.0.1:8080 is gone: {end}")),
        "{found:?}"
    );
    assert!(
        found[2].contains(&format!("listener edge at 127.0.0.1:8081 is new: {end}")),
        "{found:?}"
    );
}

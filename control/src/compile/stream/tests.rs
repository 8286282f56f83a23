//! Files of routes as they are read: cut anywhere, by any number of threads, with faults.

use std::io::{self, Read};

use router::RouteId;

use super::CHUNK_BYTES;
use crate::error::ConfigError;
use crate::routes::find_get;
use crate::{Snapshot, Sources, load};

const HEAD: &str = "version: 1
listeners: [{address: 127.0.0.1:0}]
clusters: {app: {endpoints: ['127.0.0.1:9001']}, tcp: {protocol: tcp, endpoints: ['127.0.0.1:9']}}
";

/// A folder with a configuration and files of routes, removed at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let name = format!("ringway-stream-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        Folder(folder)
    }

    fn load(&self, file: &str) -> Result<Snapshot, Vec<ConfigError>> {
        load(&Sources { file: Some(self.0.join(file)), ..Sources::default() })
    }

    /// Messages with their lines, without the folder.
    fn faults(&self, file: &str) -> String {
        let errors = self.load(file).expect_err("a faulty configuration");
        let text: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
        text.join("\n").replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Another run's folder has another name.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn find(snapshot: &Snapshot, host: &str, path: &str) -> Option<String> {
    let found = find_get(&snapshot.routes, host, path)?;
    snapshot.routes.name(found.route).map(str::to_owned)
}

/// More than a chunk of routes, with two actions.
fn many() -> String {
    let line = |at: usize| {
        let timeout = 1 + at % 2;
        format!(
            "{{\"id\": \"r{at}\", \"cluster\": \"app\", \"timeout\": \"{timeout}s\", \
             \"match\": {{\"host\": \"h{}.test\", \"path\": \"/p{at}\"}}}}\n",
            at / 20
        )
    };
    (0..25_000).map(line).collect()
}

#[test]
fn a_folder_is_one_configuration_and_its_lines_are_routes() {
    let lines = many();
    assert!(lines.len() > 2 * CHUNK_BYTES);
    let extra = "\u{feff}version: 1\nroutes: [{id: first, match: {path: /x}, cluster: app}]\n";
    let folder = Folder::new("folder", &[("a.yaml", HEAD), ("b.yml", extra), ("r.jsonl", &lines)]);
    std::fs::write(folder.0.join(".hidden.yaml"), "broken: [").unwrap();
    let snapshot = folder.load("").unwrap();
    assert_eq!(snapshot.routes.len(), 25_001);
    assert_eq!(snapshot.routes.name(RouteId(0)), Some("first"));
    assert_eq!(snapshot.routes.name(RouteId(25_000)), Some("r24999"));
    for at in [0, 1, 12_345, 24_999] {
        let found = find(&snapshot, &format!("h{}.test", at / 20), &format!("/p{at}"));
        assert_eq!(found, Some(format!("r{at}")));
        let plan = snapshot.routes.plan_of(RouteId(at + 1)).unwrap();
        assert_eq!(plan.timeout.unwrap().as_secs(), 1 + u64::from(at) % 2);
    }
    assert_eq!(find(&snapshot, "h0.test", "/p20"), None);
    let again = folder.load("").unwrap();
    assert_eq!(snapshot.hash, again.hash, "whichever thread read which chunk");
    std::fs::write(folder.0.join("r.jsonl"), lines.replace("/p777\"", "/q777\"")).unwrap();
    assert_ne!(folder.load("").unwrap().hash, snapshot.hash);
}

#[test]
fn faults_of_lines_have_their_places_and_hints() {
    let lines = "{\"id\": \"a\", \"cluster\": \"app\", \"match\": {\"path\": \"/a\"}}\r\n\
                 \n\
                 {\"id\": \"b\", \"cluster\": \"ap\", \"match\": {\"path\": \"~(\"}, \
                 \"timout\": 1}\n\
                 {\"id\": \"c\", \"cluster\": \"app\"\n\
                 {\"id\": \"a\", \"cluster\": \"app\", \"match\": {\"path\": \"/x\"}}\n\
                 {\"id\": \"d\", \"cluster\": \"app\", \"match\": {\"path\": \"/d\"}}\n\
                 {\"id\": \"e\", \"cluster\": \"tcp\", \"body_bytes_max\": 10}";
    let main = format!("{HEAD}route_files: [sub.jsonl, gone.jsonl]\n");
    let folder = Folder::new("faults", &[("m.yaml", &main), ("sub.jsonl", lines)]);
    let faults = folder.faults("m.yaml");
    let said: Vec<&str> = faults.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(said.len(), 7, "{faults}");
    for (line, start) in said.iter().zip([
        "m.yaml:4:26: file `gone.jsonl` cannot be read: No such file",
        "sub.jsonl:3:24: unknown cluster `ap` (did you mean `app`?)",
        "sub.jsonl:3:48: route `b`: path `~(`",
        "sub.jsonl:3:55: unknown key `timout` (did you mean `timeout`?)",
        "sub.jsonl:4:28: not a route: EOF while parsing an object",
        "sub.jsonl:5:1: route id `a` is already used on line 1",
        "sub.jsonl:7:24: cluster `tcp` has protocol tcp, not http1",
    ]) {
        assert!(line.starts_with(start), "{line}\nis not\n{start}\n{faults}");
    }
    assert!(faults.contains("3 | {\"id\": \"b\""), "{faults}");
}

#[test]
fn routes_of_two_files_that_take_each_other_name_both_places() {
    let line = |id: &str, path: &str| {
        format!("{{\"id\": \"{id}\", \"cluster\": \"app\", \"match\": {{\"path\": \"{path}\"}}}}\n")
    };
    let main = format!("{HEAD}routes: [{{id: y, match: {{path: /x}}, cluster: app}}]\n");
    let (one, two) = (line("a", "/a") + &line("b", "/x"), line("a", "/b"));
    let folder = Folder::new("two", &[("m.yaml", &main), ("1.jsonl", &one), ("2.jsonl", &two)]);
    let faults = folder.faults("");
    assert!(faults.contains("2.jsonl:1:1: route id `a` is already used at 1.jsonl:1"), "{faults}");
    std::fs::write(folder.0.join("2.jsonl"), "").unwrap();
    let faults = folder.faults("");
    let taken = "1.jsonl:2:1: route `b`: can never match: what it takes is taken before by route \
                 `y` (at m.yaml:4)";
    assert!(faults.contains(taken), "{faults}");
}

#[test]
fn settings_and_clusters_are_declared_in_one_file() {
    let main = format!("{HEAD}settings: {{shards: 1}}\n");
    let other = "version: 1\nsettings: {shards: 2}\nclusters: {app: {endpoints: ['127.0.0.1:1']}}\n\
                 routes: [{id: r, cluster: app}]\n";
    let folder = Folder::new("merge", &[("1.yaml", &main), ("2.yaml", other)]);
    let faults = folder.faults("");
    assert!(faults.contains("2.yaml:2:12: setting `shards` is already set at "), "{faults}");
    assert!(
        faults.contains("2.yaml:3:12: cluster `app` is already declared at 1.yaml:3"),
        "{faults}"
    );
    let empty = Folder::new("empty", &[("r.jsonl", "{}")]);
    assert!(empty.faults("").ends_with("has no *.yaml file"), "{}", empty.faults(""));
}

#[test]
fn a_line_without_end_and_an_input_that_fails_are_refused() {
    struct Endless(usize);
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            into.fill(b' ');
            self.0 += into.len();
            assert!(self.0 < 8 << 20, "it stops asking");
            Ok(into.len())
        }
    }
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk is gone"))
        }
    }
    let mut config = crate::config::Config::parse("m.yaml", HEAD, &mut Vec::new());
    let facts = super::Facts::new(&config, |_| Err(io::ErrorKind::NotFound.into()));
    let make = super::super::make(&config.settings);
    let terms = super::Terms { facts: &facts, make, journal: None };
    let file = config.add_unkept("r.jsonl");
    for (input, why) in [
        (Box::new(Endless(0)) as Box<dyn Read + Send>, "a line is longer than 1048576 bytes"),
        (Box::new(Broken), "cannot be read: disk is gone"),
    ] {
        let (_, faults) = super::read(file, input, terms, 2);
        let said: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
        assert_eq!(faults[0].place.file, file);
    }
}

//! Routes of a running gateway: from a folder, changed over its admin socket, kept over a kill.
#![forbid(unsafe_code)]

mod support;

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mock::http1::{Options, Running};
use support::{Folder, Gateway, Setup, until};

fn mock(body_bytes: u64) -> Running {
    let options = Options { body_bytes, ..Options::default() };
    mock::http1::start(options).expect("a mock upstream")
}

/// A folder of two configuration files, one of routes, and the place of a journal.
fn configure(folder: &Folder, upstreams: [SocketAddr; 2]) {
    let [one, two] = upstreams;
    let journal = folder.file("journal");
    folder.write(
        "1.yaml",
        format!(
            "version: 1\nsettings: {{route_journal: '{}'}}\n\
             listeners: [{{address: '127.0.0.1:0'}}]\n\
             clusters: {{one: {{endpoints: ['{one}']}}}}\n",
            journal.display()
        ),
    );
    folder.write("2.yaml", format!("version: 1\nclusters: {{two: {{endpoints: ['{two}']}}}}\n"));
    let line = |at: usize| {
        format!(
            "{{\"id\": \"r{at}\", \"cluster\": \"one\", \"match\": {{\"path\": \"/r{at}\"}}}}\n"
        )
    };
    folder.write("routes.jsonl", (0..1000).map(line).collect::<String>());
}

/// A request to the admin server, by curl; its body with the status behind it.
fn curl(gateway: &Gateway, words: &[&str], path: &str) -> String {
    let output: Output = Command::new("curl")
        .args(["-sS", "--unix-socket"])
        .arg(gateway.file("admin.sock"))
        .args(["-w", "%{http_code}"])
        .args(words)
        .arg(format!("http://admin{path}"))
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn put(gateway: &Gateway, id: &str, cluster: &str, path: &str) -> String {
    let route = format!("{{\"cluster\": \"{cluster}\", \"match\": {{\"path\": \"{path}\"}}}}");
    curl(gateway, &["-X", "PUT", "-d", &route], &format!("/routes/{id}"))
}

/// Status and length of a reply.
fn ask(gateway: &Gateway, path: &str) -> (u16, usize) {
    let reply = gateway.client().get(path);
    (reply.status, reply.body.len())
}

#[test]
fn changes_take_effect_and_outlive_a_kill() {
    let (one, two) = (mock(11), mock(22));
    let folder = Folder::new();
    configure(&folder, [one.address, two.address]);
    let mut gateway = Setup::config(folder.path()).start();
    assert_eq!((ask(&gateway, "/r999"), ask(&gateway, "/new").0), ((200, 11), 404));
    assert!(put(&gateway, "new", "two", "/new").ends_with("{\"generation\":2}\n200"));
    assert!(put(&gateway, "r5", "two", "/r5").ends_with("200"));
    assert!(curl(&gateway, &["-X", "DELETE"], "/routes/r6").ends_with("200"));
    let moved = "[{\"delete\": \"r7\"}, {\"put\": {\"id\": \"r8\", \"cluster\": \"two\", \
                  \"match\": {\"path\": \"/r7\"}}}]";
    assert!(curl(&gateway, &["-d", moved], "/routes:batch").ends_with("200"));
    let check = |gateway: &Gateway| {
        let replies = ["/new", "/r4", "/r5", "/r6", "/r7", "/r8"].map(|path| ask(gateway, path));
        let statuses = replies.map(|(status, _)| status);
        assert_eq!(statuses, [200, 200, 200, 404, 200, 404]);
        assert_eq!([replies[0].1, replies[1].1, replies[2].1, replies[4].1], [22, 11, 22, 22]);
    };
    until("the shard has them", || ask(&gateway, "/r8").0 == 404);
    check(&gateway);
    gateway.signal("KILL");
    gateway.wait();
    let gateway = Setup::config(folder.path()).start();
    check(&gateway);
    gateway.signal("HUP");
    until("the reload is in force", || gateway.metric("ringway_config_generation") == 2.0);
    check(&gateway);
    let log = gateway.log(1);
    let names: Vec<_> = log.iter().map(|line| line["route"].as_str()).collect();
    assert!(names.contains(&Some("new")), "{names:?}");
}

#[test]
fn a_refused_change_says_why_and_changes_nothing() {
    let (one, two) = (mock(11), mock(22));
    let folder = Folder::new();
    configure(&folder, [one.address, two.address]);
    let gateway = Setup::config(folder.path()).start();
    let conflict = put(&gateway, "same", "two", "/r1");
    assert!(conflict.contains("taken before by `r1`") && conflict.ends_with("409"), "{conflict}");
    let nowhere = put(&gateway, "new", "there", "/new");
    assert!(nowhere.contains("unknown cluster `there`") && nowhere.ends_with("400"), "{nowhere}");
    assert!(nowhere.contains("\"column\":"), "{nowhere}");
    assert!(curl(&gateway, &["-X", "DELETE"], "/routes/nobody").ends_with("404"));
    let half = "[{\"delete\": \"r1\"}, {\"put\": {\"id\": \"x\", \"cluster\": \"there\"}}]";
    assert!(curl(&gateway, &["-d", half], "/routes:batch").ends_with("400"));
    assert_eq!(gateway.metric("ringway_config_generation"), 1.0);
    assert_eq!(ask(&gateway, "/r1"), (200, 11));
    let upstream = Setup::upstream(one.address).start();
    assert!(put(&upstream, "new", "upstream", "/new").ends_with("403"), "no journal");
}

#[test]
fn the_routes_in_force_are_listed_and_explained() {
    let (one, two) = (mock(11), mock(22));
    let folder = Folder::new();
    configure(&folder, [one.address, two.address]);
    let gateway = Setup::config(folder.path()).start();
    put(&gateway, "new", "two", "/new/{id}");
    let ringway = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        let output =
            command.args(words).arg("--live").arg("--admin").arg(gateway.file("admin.sock"));
        String::from_utf8(output.output().expect("the binary starts").stdout).expect("UTF-8")
    };
    assert_eq!(ringway(&["routes", "--cluster", "two"]), "new -> two: * */new/{id}\n");
    assert_eq!(ringway(&["routes", "--name", "r99"]).lines().count(), 11);
    assert_eq!(ringway(&["routes"]).lines().count(), 1001);
    let explained = ringway(&["explain", "GET", "http://x/new/7"]);
    assert!(explained.contains("route new -> two") && explained.contains("captured: 7"));
    assert!(ringway(&["explain", "GET", "http://x/nothing"]).contains("no route\n"));
}

#[test]
fn no_request_fails_while_routes_change() {
    let (one, two) = (mock(11), mock(22));
    let folder = Folder::new();
    configure(&folder, [one.address, two.address]);
    let gateway = Setup::config(folder.path()).start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let (mut client, mut count) = (gateway.client(), 0);
            while !done.load(Ordering::Acquire) || count < 100 {
                let reply = client.get("/r1");
                assert!(matches!((reply.status, reply.body.len()), (200, 11 | 22)));
                count += 1;
            }
            count
        });
        for round in 0..50 {
            let cluster = ["one", "two"][round % 2];
            assert!(put(&gateway, "r1", cluster, "/r1").ends_with("200"));
            assert!(
                put(&gateway, &format!("n{round}"), "two", &format!("/n{round}")).ends_with("200")
            );
        }
        done.store(true, Ordering::Release);
        assert!(asked.join().expect("the client") >= 100);
    });
    assert_eq!(gateway.metric("ringway_config_generation"), 101.0);
}

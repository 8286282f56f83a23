//! Commands against a running gateway: reload and its outcome, connections, logs, the ways out.
#![forbid(unsafe_code)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};

use mock::http1::{Options, Running};
use support::{Exit, Folder, Gateway, Setup, until};

fn mock() -> Running {
    mock::http1::start(Options::default()).expect("a mock upstream")
}

fn config(upstream: SocketAddr) -> String {
    format!(
        "version: 1\n\
         listeners:\n  - {{name: edge, address: '127.0.0.1:0', protocols: [http1]}}\n\
         clusters:\n  only: {{endpoints: ['{upstream}'], protocol: http1}}\n\
         routes:\n  - {{id: all, match: {{path: /*}}, cluster: only}}\n"
    )
}

/// Runs a command against the gateway's admin socket.
fn tell(gateway: &Gateway, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(words).arg("--admin").arg(gateway.file("admin.sock"));
    command.output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn reload_waits_for_the_outcome() {
    let mock = mock();
    let folder = Folder::new();
    let file = folder.write("r.yaml", config(mock.address));
    let gateway = Setup::config(&file).start();
    let good = tell(&gateway, &["reload"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert_eq!(text(&good.stdout), "generation 2 is in force\n");
    fs::write(&file, config(mock.address).replace("routes", "rootes")).unwrap();
    let bad = tell(&gateway, &["-s", "reload"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("generation 2 stays in force"), "{}", text(&bad.stderr));
    assert!(text(&bad.stderr).contains("`rootes`"), "{}", text(&bad.stderr));
    assert_eq!(gateway.metric("ringway_config_reloads_total"), 2.0);
    assert_eq!(gateway.metric("ringway_config_generation"), 2.0);
    assert_eq!(gateway.client().get("/").status, 200);
}

#[test]
fn a_reload_never_moves_a_listener() {
    let mock = mock();
    let folder = Folder::new();
    let file = folder.write("r.yaml", config(mock.address));
    let gateway = Setup::config(&file).start();
    fs::write(&file, config(mock.address).replace("127.0.0.1:0", "127.0.0.1:1")).unwrap();
    let moved = tell(&gateway, &["reload"]);
    assert_eq!(moved.status.code(), Some(1), "{}", text(&moved.stdout));
    assert_eq!(gateway.client().get("/").status, 200);
}

#[test]
fn conns_lists_who_is_there() {
    let mock = mock();
    let gateway = Setup::upstream(mock.address).start();
    let mut client = gateway.client();
    assert_eq!(client.get("/").status, 200);
    let table = text(&tell(&gateway, &["conns"]).stdout);
    assert!(table.starts_with("SHARD"), "{table}");
    let rows: Vec<_> = table.lines().filter(|row| row.contains(" down ")).collect();
    assert!(rows.len() == 1 && rows[0].contains("http1") && rows[0].contains("idle"), "{table}");
    let up = format!(" {} ", mock.address);
    assert!(table.lines().any(|row| row.contains(" up ") && row.contains(&up)), "{table}");
    let json = tell(&gateway, &["conns", "--format", "json"]).stdout;
    let list: Vec<serde_json::Value> = serde_json::from_slice(&json).expect("a list");
    assert_eq!(list.len(), 2);
}

#[test]
fn config_and_version_pages_tell_what_runs() {
    let mock = mock();
    let gateway = Setup::upstream(mock.address).flag("--idle-timeout", "9s").start();
    let (status, config) = gateway.admin("/config");
    assert!(status == 200 && config.contains("flag --idle-timeout"), "{config}");
    assert!(config.contains(&mock.address.to_string()), "{config}");
    let (_, version) = gateway.admin("/version");
    let version: serde_json::Value = serde_json::from_str(&version).expect("JSON");
    assert_eq!(version["pid"], gateway.pid());
    assert!(version["ring"].as_str().is_some_and(|ring| ring.contains("sq=")), "{version}");
    assert_eq!(gateway.admin("/readyz").0, 200);
    assert_eq!(gateway.admin("/nothing").0, 404);
}

#[test]
fn logs_are_reopened_after_a_rotation() {
    let mock = mock();
    let gateway = Setup::upstream(mock.address).start();
    assert_eq!(gateway.client().get("/before").status, 200);
    assert_eq!(gateway.log(1)[0]["target"], "/before");
    fs::rename(gateway.file("access.log"), gateway.file("access.log.1")).unwrap();
    assert_eq!(tell(&gateway, &["reopen"]).status.code(), Some(0));
    until("the new file is there", || gateway.file("access.log").exists());
    assert_eq!(gateway.client().get("/after").status, 200);
    let line = &gateway.log(1)[0];
    assert_eq!((&line["target"], &line["status"]), (&"/after".into(), &200.into()));
    assert_eq!((&line["route"], &line["reason"]), (&"all".into(), &serde_json::Value::Null));
    assert_eq!(line["upstream"], mock.address.to_string());
    assert_eq!(fs::read_to_string(gateway.file("access.log.1")).unwrap().lines().count(), 1);
}

#[test]
fn stop_finds_the_process_by_admin_socket_or_pid_file() {
    let mock = mock();
    let mut gateway = Setup::upstream(mock.address).start();
    assert_eq!(tell(&gateway, &["stop"]).status.code(), Some(0));
    assert_eq!(gateway.wait(), Exit(Some(0)));
    let folder = Folder::new();
    let pid_file = folder.file("ringway.pid");
    let path = pid_file.display().to_string();
    let mut gateway = Setup::upstream(mock.address).flag("--pid-file", &path).start();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", gateway.pid()));
    let stop = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["-s", "stop", "--pid-file", &path])
        .status()
        .expect("the binary starts");
    assert_eq!(stop.code(), Some(0));
    assert_eq!(gateway.wait(), Exit(Some(0)));
    assert!(!pid_file.exists());
}

#[test]
fn quit_waits_longer_than_the_drain_timeout() {
    let mock = mock();
    let mut gateway = Setup::upstream(mock.address).flag("--drain-timeout", "1ms").start();
    let mut client = gateway.client();
    client.send("GET /?delay_ms=700 HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the request is at the upstream", || mock.requests() == 1);
    assert_eq!(tell(&gateway, &["quit"]).status.code(), Some(0));
    assert_eq!(client.reply().expect("an answer").status, 200);
    assert_eq!(gateway.wait(), Exit(Some(0)));
}

#[test]
fn readyz_turns_before_the_listeners_close() {
    let mock = mock();
    let mut gateway = Setup::upstream(mock.address).flag("--drain-grace", "1500ms").start();
    gateway.signal("TERM");
    until("it is not ready", || gateway.admin("/readyz").0 == 503);
    assert_eq!(gateway.client().get("/").status, 200, "still accepting");
    assert_eq!(gateway.wait(), Exit(Some(0)));
}

#[test]
fn systemd_is_told() {
    let folder = Folder::new();
    let path = folder.file("notify");
    let manager = UnixDatagram::bind(&path).expect("a notification socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(["run", "-q", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"]);
    command.args(["--admin", "off", "--shards", "1"]).env("NOTIFY_SOCKET", &path);
    let mut child = command.spawn().expect("the binary starts");
    let told = || {
        let mut buffer = [0; 256];
        let len = manager.recv(&mut buffer).expect("a message");
        text(&buffer[..len])
    };
    let signal = |name: &str| {
        let line = format!("kill -{name} {}", child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().expect("sh starts").success());
    };
    assert_eq!(told().trim(), "READY=1");
    signal("HUP");
    let reloading = told();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="));
    assert_eq!(told().trim(), "READY=1");
    signal("TERM");
    assert_eq!(told().trim(), "STOPPING=1");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

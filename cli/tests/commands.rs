//! The command line as an interface: exit codes, what goes to which stream, and the hints.
#![forbid(unsafe_code)]

mod support;

use std::net::TcpListener;
use std::process::{Command, Output};

use support::Folder;

fn ringway(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGWAY_") {
            command.env_remove(name);
        }
    }
    command.args(words).output().expect("the binary starts")
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn said(words: &[&str]) -> Said {
    let output = ringway(words);
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

const GOOD: &str = "\
version: 1
listeners:
  - {name: edge, address: '127.0.0.1:0', protocols: [http1]}
clusters:
  users: {endpoints: ['127.0.0.1:9001'], protocol: http1}
routes:
  - {id: users, match: {path: /users/*}, cluster: users}
settings: {shards: 3}
";

#[test]
fn help_is_data_and_lists_every_command() {
    let said = said(&["--help"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    for command in ["run", "check", "demo", "doctor", "mock", "conns", "reload", "stop", "version"]
    {
        assert!(said.out.contains(command), "{command} in {}", said.out);
    }
    assert!(said.out.contains("Exit codes:"));
}

/// The example with a port for each protocol asks for TLS.
#[test]
fn tls_without_a_pair_exits_with_1_and_the_remedy() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/gateway-config.yaml");
    let upstream = "http=127.0.0.1:1,grpc=127.0.0.1:2,thrift=127.0.0.1:3";
    for command in ["run", "check"] {
        let said = said(&[command, "--config", file, "--upstream", upstream]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        let place = "gateway-config.yaml:7:10: `tls: true` of `grpc` needs a certificate";
        assert!(said.err.contains(place), "{}", said.err);
        assert!(said.err.contains("--tls-cert FILE and --tls-key FILE"), "{}", said.err);
    }
}

#[test]
fn usage_errors_exit_with_2_and_a_hint() {
    for (words, hint) in [
        (&["chekc"][..], "check"),
        (&["run", "--shard", "2"], "--shards"),
        (&["run", "--lisen", "127.0.0.1:0"], "--listen"),
        (&["run"], "--config"),
        (&["-d"], "systemd"),
        (&["-s"], "reload"),
        (&["mock", "--delay", "fast"], "5ms"),
        (&["mock", "--protocol", "smtp"], "thrift"),
        (&["mock", "--protocol", "thrift", "--kind", "raw"], "--protocol http1"),
        (&["conns", "--admin", "8.8.8.8:1"], "loopback"),
    ] {
        let said = said(words);
        assert_eq!(said.code, Some(2), "{words:?}: {}", said.err);
        assert!(said.err.contains(hint), "{words:?}: {}", said.err);
        assert_eq!(said.out, "", "{words:?}");
    }
}

#[test]
fn versions() {
    let short = said(&["-v"]);
    assert!(short.code == Some(0) && short.out.starts_with("ringway 0."), "{}", short.out);
    let long = said(&["-V"]);
    assert!(long.out.contains("kernel: ") && long.out.contains("http/1.1"), "{}", long.out);
    assert_eq!(said(&["version"]).out, short.out);
}

#[test]
fn check_accepts_and_dumps() {
    let folder = Folder::new();
    let file = folder.write("r.yaml", GOOD).display().to_string();
    let quiet = said(&["check", "-c", &file]);
    assert_eq!((quiet.code, quiet.out.as_str()), (Some(0), ""), "{}", quiet.err);
    assert!(quiet.err.contains("1 listeners, 1 routes, 1 clusters"), "{}", quiet.err);
    assert_eq!(said(&["-t", "-c", &file]).code, Some(0));
    let dump = said(&["-T", "-c", &file]).out;
    for row in
        ["listener edge 127.0.0.1:0", "route users -> users", "cluster users: 127.0.0.1:9001"]
    {
        assert!(dump.contains(row), "{row} in {dump}");
    }
}

#[test]
fn check_reports_every_fault_with_its_place() {
    let folder = Folder::new();
    let bad = GOOD.replace("protocols", "protcols").replace("cluster: users}", "cluster: usres}");
    let file = folder.write("bad.yaml", bad).display().to_string();
    for words in [&["check", "-c", &file][..], &["-t", "-c", &file], &["run", "-c", &file]] {
        let said = said(words);
        assert_eq!(said.code, Some(1), "{words:?}: {}", said.err);
        assert!(said.err.contains(&format!("{file}:3:")), "{}", said.err);
        assert!(said.err.contains("did you mean `protocols`?"), "{}", said.err);
        assert!(said.err.contains(&format!("{file}:7:")), "{}", said.err);
        assert!(said.err.contains("2 errors"), "{}", said.err);
    }
}

#[test]
fn a_missing_file_is_refused() {
    let said = said(&["check", "-c", "/nonexistent/ringway.yaml"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("/nonexistent/ringway.yaml"), "{}", said.err);
}

#[test]
fn print_effective_shows_value_and_source() {
    let folder = Folder::new();
    let file = folder.write("r.yaml", GOOD).display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(["run", "-c", &file, "--print-effective", "--idle-timeout", "7s"]);
    let output = command.env("RINGWAY_BACKLOG", "77").output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |name: &str| {
        let is_it = |line: &&str| line.split(' ').next() == Some(name);
        text.lines().find(is_it).unwrap_or_default().to_owned()
    };
    assert!(row("shards").contains("3") && row("shards").contains("r.yaml:8:"), "{text}");
    assert!(row("backlog").contains("77") && row("backlog").contains("env RINGWAY_BACKLOG"));
    assert!(row("idle-timeout").contains("7s"), "{text}");
    assert!(row("idle-timeout").contains("flag --idle-timeout"), "{text}");
    assert!(row("max-conns").contains("default"), "{text}");
    assert_eq!(said(&["run", "--print-effective"]).code, Some(0), "without anything to serve");
}

#[test]
fn a_bad_setting_names_its_flag() {
    let said = said(&["run", "--upstream", "127.0.0.1:1", "--shards", "many"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("flag --shards"), "{}", said.err);
}

#[test]
fn a_busy_port_exits_with_4() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let run = ["run", "--upstream", "127.0.0.1:1", "--admin", "off", "--shards", "1"];
    let taken = said(&[&run[..], &["--listen", &address]].concat());
    assert_eq!(taken.code, Some(4), "{}", taken.err);
    assert!(taken.err.contains(&address), "{}", taken.err);
    let admin = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--admin", &address];
    let taken = said(&[&["run", "--shards", "1"], &admin[..]].concat());
    assert_eq!(taken.code, Some(4), "{}", taken.err);
    assert_eq!(said(&["mock", "--listen", &address]).code, Some(4));
}

#[test]
fn signals_need_a_running_ringway() {
    let folder = Folder::new();
    let socket = folder.file("none.sock").display().to_string();
    for command in ["reload", "stop", "quit", "reopen", "conns"] {
        let said = said(&[command, "--admin", &socket]);
        assert_eq!(said.code, Some(1), "{command}: {}", said.err);
        assert!(said.err.contains("is it running?"), "{}", said.err);
    }
    let file = folder.write("pid", "not a number").display().to_string();
    assert_eq!(said(&["-s", "stop", "--pid-file", &file]).code, Some(1));
}

const ROUTED: &str = "\
version: 1
listeners:
  - {name: edge, address: '127.0.0.1:0'}
clusters:
  users: {endpoints: ['127.0.0.1:9001']}
  rest: {endpoints: ['127.0.0.1:9002']}
routes:
  - {id: user, match: {host: a.example, path: '/users/{id}', methods: [GET]}, cluster: users}
  - {id: acme, match: {host: a.example, headers: {x-tenant: acme}}, cluster: rest, priority: 7}
  - {id: numbers, match: {path: '~^/[0-9]+$'}, cluster: rest}
";

#[test]
fn explain_names_the_winner_and_what_the_others_lack() {
    let folder = Folder::new();
    let file = folder.write("r.yaml", ROUTED).display().to_string();
    let explain = |words: &[&str]| said(&[&["explain", "-c", &file], words].concat());
    let won = explain(&["GET", "http://A.example:80/users/%37?x=1"]);
    assert_eq!((won.code, &*won.err), (Some(0), ""));
    assert_eq!(
        won.out,
        "GET a.example/users/7?x=1\n\
         route user -> users\n  GET a.example/users/{id}\n  captured: 7\n\
         not acme: it asks for header `x-tenant` = `acme`; the request has none\n\
         not numbers: its path is ~^/[0-9]+$\n"
    );
    let other = explain(&["GET", "a.example/users/7", "-H", "X-Tenant: acme"]);
    assert!(other.out.contains("route acme -> rest\n  * a.example*, header `x-tenant` = `acme`, "));
    assert!(other.out.contains("not user: takes it as well, but the winner has a higher priority"));
    let none = explain(&["PUT", "a.example/users/7"]);
    assert_eq!(none.code, Some(1));
    assert!(none.out.contains("not user: it takes only GET"), "{}", none.out);
    assert!(none.err.contains("no route takes this request"));
    let refused = explain(&["GET", "a.example/a%2fb"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("encoded_slash"), "{}", refused.err);
}

#[test]
fn routes_are_listed_and_filtered() {
    let folder = Folder::new();
    let file = folder.write("r.yaml", ROUTED).display().to_string();
    let all = said(&["routes", "-c", &file]);
    assert_eq!(all.out.lines().count(), 3);
    assert!(all.out.starts_with("user -> users: GET a.example/users/{id}\n"), "{}", all.out);
    let some = said(&["routes", "-c", &file, "--cluster", "rest", "--host", "a.ex"]);
    assert_eq!(some.out, "acme -> rest: * a.example*, header `x-tenant` = `acme`, priority 7\n");
}

#[test]
fn expectations_of_routes_are_checked() {
    let folder = Folder::new();
    let file = folder.write("r.yaml", ROUTED).display().to_string();
    let check = |expected: &str| {
        let expected = folder.write("expected", expected).display().to_string();
        said(&["test", &expected, "-c", &file])
    };
    let good = check(
        "# users\nGET a.example/users/1 -> user\n\nGET /12 -> numbers\n\
         GET a.example/users/1 [X-Tenant: acme] [A: b] -> acme\nPUT a.example/x -> none\n",
    );
    assert_eq!((good.code, &*good.out), (Some(0), "4 passed, 0 failed\n"));
    let bad = check("GET a.example/users/1 -> acme\nGET /1 -> numbers\n");
    assert_eq!(bad.code, Some(1));
    assert!(
        bad.out.contains("expected:1: GET a.example/users/1 -> acme: takes user\n"),
        "{}",
        bad.out
    );
    assert!(bad.out.ends_with("1 passed, 1 failed\n"));
    assert_eq!(check("GET a.example\n").code, Some(2), "no arrow");
    assert_eq!(check("").code, Some(1), "nothing expected");
}

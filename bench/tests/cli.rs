//! The binary as scripts use it: every subcommand against an upstream of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

struct Upstream {
    child: Child,
    url: String,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.child.kill().expect("the upstream is running");
        self.child.wait().expect("its end");
    }
}

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway-bench"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn upstream() -> Upstream {
    upstream_of("http1")
}

fn upstream_of(protocol: &str) -> Upstream {
    let args = ["upstream", "--body-bytes", "50", "--protocol", protocol];
    let mut child = bench(&args).spawn().expect("an upstream");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).expect("its address");
    let address = line.trim().strip_prefix("listening on ").expect("its address");
    Upstream { child, url: format!("http://{address}/") }
}

fn output(args: &[&str]) -> Output {
    bench(args).output().expect("a run")
}

fn json(args: &[&str]) -> Value {
    let output = output(&[args, &["--format", "json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn http1_counts_requests_and_the_cpu_of_a_process() {
    let upstream = upstream();
    let pid = upstream.child.id().to_string();
    let report = json(&["http1", "--url", &upstream.url, "--requests", "500", "--pid", &pid]);
    assert_eq!(report["completed"], 500);
    assert_eq!(report["errors_count"], 0);
    assert_eq!(report["cpu"]["requests"], 500);
    assert_eq!(report["loop"], "closed");
    let open = ["--rate", "2000", "--connections", "5", "--requests", "100"];
    let report = json(&[&["http1", "--url", &upstream.url], &open[..]].concat());
    assert_eq!((&report["completed"], &report["loop"]), (&100.into(), &"open".into()));
}

#[test]
fn http1_fails_when_requests_fail() {
    let upstream = upstream();
    let url = format!("{}?status=500", upstream.url);
    let output = output(&["http1", "--url", &url, "--requests", "3"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("status 5xx 3"));
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let output = output(&["http1", "--url", "ftp://x", "--requests", "3"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("http://"));
}

#[test]
fn http2_and_grpc_count_requests_over_few_connections() {
    let upstream = upstream_of("http2");
    for command in ["http2", "grpc"] {
        let url = [command, "--url", &upstream.url, "--connections", "2", "--streams", "10"];
        let report = json(&[&url, &["--requests", "500"][..]].concat());
        let seen = (&report["completed"], &report["errors_count"], &report["connects"]);
        assert_eq!(seen, (&500.into(), &0.into(), &2.into()), "{command}");
        let report = json(&[&url, &["--rate", "2000", "--requests", "100"][..]].concat());
        assert_eq!((&report["completed"], &report["loop"]), (&100.into(), &"open".into()));
    }
    let failing = ["--requests", "3", "--metadata", "mock-status=5"];
    let output = output(&[&["grpc", "--url", &upstream.url], &failing[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("grpc-status 5: 3"));
}

#[test]
fn thrift_counts_calls_over_few_connections() {
    let upstream = upstream_of("thrift");
    for transport in ["framed", "ttheader"] {
        let url = ["thrift", "--url", &upstream.url, "--transport", transport];
        let few = ["--connections", "2", "--calls", "10", "--requests"];
        let report = json(&[&url, &few[..], &["500"]].concat());
        let seen = (&report["completed"], &report["errors_count"], &report["connects"]);
        assert_eq!(seen, (&500.into(), &0.into(), &2.into()), "{transport}");
        let report = json(&[&url, &few[..], &["100", "--rate", "2000"]].concat());
        assert_eq!((&report["completed"], &report["loop"]), (&100.into(), &"open".into()));
    }
    let failing = ["--transport", "ttheader", "--requests", "3", "--metadata", "mock-exception=1"];
    let run = output(&[&["thrift", "--url", &upstream.url], &failing[..]].concat());
    assert_eq!(run.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&run.stdout).contains("exception 1: 3"));
    let nowhere = ["thrift", "--url", &upstream.url, "--metadata", "mock-exception=1"];
    let run = output(&nowhere);
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&run.stderr).contains("--transport ttheader"));
}

const HOLD: [&str; 8] =
    ["--hold", "--connections", "3", "--streams", "20", "--every", "20ms", "--format"];

#[test]
fn held_streams_echo_until_standard_input_ends() {
    let upstream = upstream_of("http2");
    let args = [&["grpc", "--url", &upstream.url], &HOLD[..], &["json"]].concat();
    let mut load = bench(&args).stdin(Stdio::piped()).spawn().expect("a load");
    let mut said = BufReader::new(load.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    drop(load.stdin.take());
    line.clear();
    said.read_line(&mut line).expect("a report");
    let report: Value = serde_json::from_str(&line).expect("JSON");
    let seen = (&report["ended"], &report["broken_count"], &report["connects"]);
    assert_eq!(seen, (&60.into(), &0.into(), &3.into()));
    assert!(report["echoes"].as_u64().unwrap() >= 60 && load.wait().unwrap().success());
}

#[test]
fn held_streams_that_break_are_counted_by_cause() {
    let upstream = upstream_of("http2");
    let run = |more: &[&str]| {
        let url = ["grpc", "--url", &upstream.url, "--duration", "100ms"];
        let args = [&url[..], &HOLD, &["json"], more].concat();
        let output = bench(&args).stdin(Stdio::piped()).output().expect("a run");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str::<Value>(text.lines().last().expect("a line")).expect("JSON")
    };
    let late = run(&["--metadata", "mock-delay-ms=3000000", "--timeout", "50ms"]);
    assert_eq!((&late["broken"]["timeout"], &late["ended"]), (&60.into(), &0.into()));
    assert_eq!(run(&["--metadata", "mock-status=9"])["broken"]["grpc_status_9"], 60);
    assert_eq!(run(&["--metadata", "mock-status=99"])["broken"]["grpc_status_3"], 60);
}

#[test]
fn conns_measures_idle_connections() {
    let upstream = upstream();
    let pid = upstream.child.id().to_string();
    let url = ["conns", "--url", &upstream.url, "--pid", &pid];
    let report = json(&[&url, &["--baseline", "5", "--count", "55", "--warm", "9"][..]].concat());
    assert_eq!((&report["count"], &report["lost"]), (&55.into(), &0.into()));
    assert!(report["private_dirty_bytes"][0].as_u64().unwrap() > 0);
}

#[test]
fn slow_clients_of_every_kind_hold_on() {
    let upstream = upstream();
    let large = format!("{}?bytes=100000000", upstream.url);
    let hold = ["--hold", "300ms", "--count", "4"];
    let report = json(&[&["slow", "--url", &large], &hold[..]].concat());
    assert_eq!((&report["opened"], &report["ended"]), (&4.into(), &0.into()));
    let drip = ["slow", "--url", &upstream.url, "--kind", "drip", "--every", "10ms"];
    let report = json(&[&drip, &hold[..]].concat());
    assert!(report["bytes_out"].as_u64().unwrap() > 4);
    assert_eq!((&report["opened"], &report["ended"]), (&4.into(), &0.into()));
    let reader = ["slow", "--url", &large, "--kind", "reader", "--bytes-per-second", "100000"];
    let report = json(&[&reader, &hold[..]].concat());
    assert!(report["bytes_in"].as_u64().unwrap() > 0);
}

#[test]
fn floods_of_every_kind_run_to_their_end() {
    let upstream = upstream();
    let large = format!("{}?bytes=262144", upstream.url);
    let size = ["--hold", "200ms", "--count", "60", "--batch", "25", "--every", "50ms"];
    for (kind, url) in
        [("resets", &upstream.url), ("half-heads", &upstream.url), ("slow-readers", &large)]
    {
        let report = json(&[&["flood", "--url", url, "--kind", kind], &size[..]].concat());
        let seen = (&report["opened"], &report["refused"], &report["ended"]);
        assert_eq!(seen, (&60.into(), &0.into(), &0.into()), "{kind}");
        assert!(kind == "slow-readers" || report["bytes_in"] == 0, "{kind}");
    }
}

//! The real binary, started on port 0 with its admin socket and access log in a folder of its own.
//!
//! Dropping it kills the process. What it prints on standard error is kept and shown when a test
//! fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

use super::{Client, Folder, until};

/// What adds to messages by default, each flag with the value that turns it off.
const OWN: &[(&str, &str)] =
    &[("--request-id", "false"), ("--forwarded", "false"), ("--via", "off"), ("--date", "false")];

/// What a gateway is started with.
pub(crate) struct Setup {
    args: Vec<String>,
    /// A program that runs the binary, with its own words before the binary's.
    wrapper: Vec<String>,
}

impl Setup {
    /// One upstream, one shard, everything else by default.
    pub(crate) fn upstream(address: SocketAddr) -> Self {
        Self::listening("127.0.0.1:0", address)
    }

    /// As `upstream`, listening on an address of the test's choice.
    pub(crate) fn listening(listen: &str, upstream: SocketAddr) -> Self {
        let args = ["--listen", listen, "--upstream", &upstream.to_string()];
        Self { args: args.map(str::to_owned).to_vec(), wrapper: Vec::new() }
    }

    /// A configuration file.
    pub(crate) fn config(path: &Path) -> Self {
        let args = vec!["--config".to_owned(), path.display().to_string()];
        Self { args, wrapper: Vec::new() }
    }

    /// A flag and its value.
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.args.push(format!("{name}={value}"));
        self
    }

    /// Without what the gateway adds to messages by default ([`OWN`]), but for one flag's.
    pub(crate) fn bare(mut self, keep: &str) -> Self {
        let own = OWN.iter().filter(|(name, _)| *name != keep);
        self.args.extend(own.map(|(name, value)| format!("{name}={value}")));
        self
    }

    /// A flag that is true or false.
    pub(crate) fn switch(mut self, name: &str, on: bool) -> Self {
        self.args.push(format!("{name}={on}"));
        self
    }

    /// Runs it by way of another program, which must replace itself by it.
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub(crate) fn start(self) -> Gateway {
        Gateway::start(self)
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    /// Where it listens for traffic.
    pub(crate) address: SocketAddr,
    child: Child,
    folder: Folder,
    said: Arc<Mutex<Vec<String>>>,
}

/// How it ended.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Exit(pub(crate) Option<i32>);

impl Gateway {
    fn start(setup: Setup) -> Self {
        let folder = Folder::new();
        let words = setup.wrapper.iter().map(String::as_str);
        let mut words = words.chain([env!("CARGO_BIN_EXE_ringway"), "run"]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(&setup.args);
        if !setup.args.iter().any(|arg| arg.starts_with("--shards=")) {
            command.args(["--shards", "1"]);
        }
        command.arg("--admin").arg(folder.file("admin.sock"));
        command.arg("--access-log").arg(folder.file("access.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("standard error is piped");
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = follow(stderr, Arc::clone(&said));
        let address = first_address(&lines, &said);
        Self { address, child, folder, said }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A file of its folder: `admin.sock`, `access.log` or a test's own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    /// What it has printed on standard error so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().expect("the reader of standard error lives").clone()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.pid());
        let status = Command::new("sh").args(["-c", &line]).status().expect("sh runs");
        assert!(status.success(), "{line}");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Exit {
        Exit(self.child.wait().expect("the process can be waited for").code())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the process can be looked at").is_some()
    }

    /// An admin page's status and body.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        let socket = self.folder.file("admin.sock");
        let mut stream = UnixStream::connect(socket).expect("the admin socket accepts");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a read limit");
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the admin socket reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("the admin socket answers");
        let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status.expect("a status line"), body.expect("a complete head"))
    }

    /// The sum of a metric over its labels; absent counts as 0.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.admin("/metrics");
        let is_it =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values = page.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }

    /// As `metric`, of the series whose labels contain `label`.
    pub(crate) fn metric_of(&self, name: &str, label: &str) -> f64 {
        let (_, page) = self.admin("/metrics");
        let is_it = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
        let values = page.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }

    /// Every TCP address that it said it listens on, in the order of the configuration.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.said().iter().filter_map(|line| listened(line)).collect()
    }

    /// The access log once it holds at least `count` lines. The last one may still be written.
    pub(crate) fn log(&self, count: usize) -> Vec<serde_json::Value> {
        let path = self.folder.file("access.log");
        let read = || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            text[..whole].to_owned()
        };
        until("the access log has its lines", || read().lines().count() >= count);
        let lines = read();
        lines.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// Waits until the last client connection is gone and every operation's buffer is back.
    pub(crate) fn until_idle(&self) {
        until("no request is active", || self.metric("http_server_active_requests") == 0.0);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the gateway said:\n{}", self.said().join("\n"));
        }
    }
}

/// Keeps every line and passes it on while somebody listens.
fn follow(stream: impl Read + Send + 'static, said: Arc<Mutex<Vec<String>>>) -> Receiver<String> {
    let (sender, lines) = sync_channel(1024);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            said.lock().expect("no holder panics").push(line.clone());
            let _ = sender.try_send(line);
        }
    });
    lines
}

/// The address of a start line, where it is one of TCP.
fn listened(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("ringway: listening on ")?.split(' ').next()?.parse().ok()
}

/// Reads up to the ready line; gives the address of the first listener.
fn first_address(lines: &Receiver<String>, said: &Mutex<Vec<String>>) -> SocketAddr {
    let mut address = None;
    for line in lines {
        address = address.or_else(|| listened(&line));
        if line.starts_with("ringway: ready") {
            break;
        }
    }
    address.unwrap_or_else(|| panic!("no ready line: {:?}", said.lock()))
}

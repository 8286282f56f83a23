//! End to end: what happens when memory or descriptors run out.
//!
//! Whoever is in is served on, whoever comes is refused under a named reason, the admin socket
//! answers, nothing spins, and all of it ends when there is room again.
#![forbid(unsafe_code)]

mod support;

use std::net::SocketAddr;
use std::process::Command;

use mock::http1::{Options, Running};
use support::{Client, Folder, Gateway, Setup, until};

fn mock() -> Running {
    mock::http1::start(Options::default()).expect("a mock upstream")
}

/// Connections that each have had a reply.
fn held(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| gateway.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    clients
}

fn is_served(gateway: &Gateway) -> bool {
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.reply().is_ok_and(|reply| reply.status == 200)
}

fn closes(gateway: &Gateway, word: &str) -> f64 {
    gateway.metric_of("ringway_connection_closes_total", &format!("reason=\"{word}\""))
}

/// Sends one request on every connection before any reply is read; the statuses.
fn all_at_once(clients: &mut [Client], target: &str) -> Vec<u16> {
    for client in &mut *clients {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }
    clients.iter_mut().map(|client| client.reply().expect("a reply").status).collect()
}

#[test]
fn the_kernel_is_prepared_for_bursts() {
    let mock = mock();
    let nofile = ["sh", "-c", "ulimit -n 4000 && exec \"$0\" \"$@\""];
    let gateway = Setup::upstream(mock.address).under(&nofile).start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().parse::<u64>().expect(name)
    };
    assert!(value("FDSize:") >= 4000, "the table of open files grows under load");
    assert_eq!(huge_without_advice(gateway.pid()), 0, "a fault may zero a huge page");
}

/// KiB of huge pages in memory that was not advised to have them.
fn huge_without_advice(pid: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut huge_kb = 0;
    let mut sum = 0;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("AnonHugePages:") => huge_kb = words.next().unwrap().parse().unwrap(),
            Some("VmFlags:") if !words.any(|flag| flag == "hg") => sum += huge_kb,
            _ => {}
        }
    }
    sum
}

/// With 128 descriptors, one shard and one listener: (128 - 69) / 2.
const NOFILE: &[&str] = &["sh", "-c", "ulimit -n 128 && exec \"$0\" \"$@\""];
const CLIENTS: usize = 29;

#[test]
fn clients_leave_descriptors_to_the_upstreams() {
    let mock = mock();
    let gateway = Setup::upstream(mock.address).under(NOFILE).start();
    let line = format!("ringway: at most {CLIENTS} client connections (nofile 128 - own 69");
    assert!(gateway.said().iter().any(|said| said.starts_with(&line)), "{:?}", gateway.said());
    let mut clients = held(&gateway, CLIENTS);
    for _ in 0..20 {
        assert!(!is_served(&gateway));
    }
    assert_eq!(closes(&gateway, "fd_reserve"), 20.0);
    assert_eq!(gateway.metric("ringway_connections_refused_total"), 20.0);
    // Everybody who is in has an upstream connection of its own.
    assert_eq!(all_at_once(&mut clients, "/?delay_ms=500"), [200; CLIENTS]);
    assert_eq!(gateway.metric("ringway_accept_pauses_total"), 0.0);
    assert!(gateway.metric("process_open_fds") < 128.0);
    clients.truncate(CLIENTS - 10);
    until("the places are free", || is_served(&gateway));
}

/// What would be in force is said without starting, and by `doctor` for default settings.
#[test]
fn the_operator_is_told_what_descriptors_allow() {
    let words = ["run", "--upstream", "127.0.0.1:1", "--shards", "1", "--print-effective"];
    for (words, line) in
        [(&words[..], "# at most 29 client"), (&["doctor"], "ok   conns     at most")]
    {
        let mut command = Command::new(NOFILE[0]);
        command.args(&NOFILE[1..]).arg(env!("CARGO_BIN_EXE_ringway")).args(words);
        let output = command.output().expect("sh starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.lines().any(|said| said.starts_with(line)), "{words:?}: {text}");
        assert!(text.contains("(nofile 128 - own "), "{words:?}: {text}");
    }
}

/// One cluster for each address, at `/0`, `/1` and so on.
fn several(upstreams: &[SocketAddr]) -> String {
    let mut text = "version: 1\nlisteners: [{address: '127.0.0.1:0'}]\n".to_owned();
    let each = |line: &dyn Fn(usize, &SocketAddr) -> String| {
        upstreams.iter().enumerate().map(|(at, address)| line(at, address)).collect::<String>()
    };
    text += "clusters:\n";
    text += &each(&|at, address| format!("  c{at}: {{endpoints: ['{address}']}}\n"));
    text += "routes:\n  - {id: all, cluster: c0}\n";
    text + &each(&|at, _| format!("  - {{id: r{at}, match: {{path: /{at}}}, cluster: c{at}}}\n"))
}

/// Bursts to five endpoints leave more idle links than there are descriptors: accepting pauses,
/// and goes on when they have aged out.
#[test]
fn accepting_pauses_without_descriptors_and_resumes() {
    let mocks: Vec<_> = (0..5).map(|_| mock()).collect();
    let folder = Folder::new();
    let addresses: Vec<_> = mocks.iter().map(|mock| mock.address).collect();
    let file = folder.write("r.yaml", several(&addresses));
    let setup = Setup::config(&file).under(NOFILE);
    let gateway = setup.flag("--upstream-idle-timeout", "3s").start();
    let mut clients = held(&gateway, CLIENTS);
    let mut statuses = Vec::new();
    for at in 0..5 {
        statuses.extend(all_at_once(&mut clients, &format!("/{at}?delay_ms=200")));
    }
    assert!(statuses.contains(&502), "no descriptor is left: {statuses:?}");
    assert!(statuses.iter().all(|status| [200, 502].contains(status)), "{statuses:?}");
    let mut late: Vec<_> = (0..5).map(|_| gateway.client()).collect();
    assert_eq!(clients[0].get("/0").status, 200, "an idle link serves who is in");
    assert!(late.iter_mut().all(Client::is_closed), "refused, not left to hang");
    // The admin socket lacks descriptors as well, and waits for one.
    until("idle links have aged out", || gateway.metric("ringway_upstream_pool_idle") == 0.0);
    let pauses = gateway.metric("ringway_accept_pauses_total");
    assert!(pauses >= 1.0);
    // A pause is 10 ms; a shard that spins makes some hundred thousand turns in this time.
    let turns = gateway.metric("ringway_turns_total");
    let events = pauses + (7 * CLIENTS) as f64;
    assert!(turns < 50.0 * events, "{turns} turns for {events} pauses and requests");
    println!("{turns} turns, {pauses} pauses");
    clients.truncate(CLIENTS - 5);
    until("accepting goes on", || is_served(&gateway));
    assert_eq!(gateway.metric("ringway_panics_total"), 0.0);
}

/// The part of a head that a client has sent, without its end.
fn unfinished_head() -> String {
    let field = |at: usize| format!("X-{at}: {}\r\n", "x".repeat(15_000));
    let fields: String = (0..60).map(field).collect();
    format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}")
}

/// Every unfinished head holds 0.9 MiB, so that some fifty of them reach the limit.
#[test]
fn memory_near_its_limit_sheds_idle_clients_and_recovers() {
    let mock = mock();
    let gateway = Setup::upstream(mock.address)
        .flag("--mem-limit", "80MiB")
        .flag("--head-bytes-max", "1MiB")
        .flag("--head-timeout", "1h")
        .start();
    let mut idle = held(&gateway, 20);
    let mut busy = gateway.client();
    busy.send("GET /?delay_ms=3000 HTTP/1.1\r\nHost: test\r\n\r\n");
    until("it is at the upstream", || mock.requests() == 21);
    let (head, mut hogs) = (unfinished_head(), Vec::new());
    until("memory is short", || {
        let mut hog = gateway.client();
        hog.send(&head);
        hogs.push(hog);
        gateway.metric("ringway_memory_shedding") == 1.0
    });
    println!("{} heads of {} bytes reached the limit", hogs.len(), head.len());
    assert!(idle.iter_mut().all(Client::is_closed), "idle connections are closed");
    until("it is counted", || closes(&gateway, "mem_limit_idle") == 20.0);
    until("new connections are refused", || !is_served(&gateway));
    assert!(closes(&gateway, "mem_limit") >= 1.0);
    assert!(gateway.metric("ringway_connections_refused_total") >= 1.0);
    assert_eq!(busy.reply().expect("who is busy is served").status, 200);
    drop(hogs);
    until("memory has come free", || gateway.metric("ringway_memory_shedding") == 0.0);
    until("connections are taken again", || is_served(&gateway));
    assert_eq!(gateway.metric("ringway_memory_limit_bytes"), f64::from(80 << 20));
}

//! The admin server over real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io};

use super::*;
use crate::routes::{ChangeFault, ChangeFaultKind, Refusal};

fn state(readiness: Readiness) -> Arc<AdminState> {
    Arc::new(AdminState {
        readiness: Box::new(move || readiness),
        metrics: Content::new(|out| out.push_str("ringway_build_info 1\n")),
        version: Content::new(|out| out.push_str("{}")),
        config: Content::new(|out| out.push_str("shards: 2  # default\n")),
        connections: Content::new(|out| out.push_str("[]")),
        routes: Box::new(|filter| format!("{filter:?}")),
        route: Box::new(|id| (id == "a b").then(|| "{}".to_owned())),
        explain: Box::new(|asked| match asked.url.as_str() {
            "bad" => Err("no URL".to_owned()),
            _ => Ok(format!("{asked:?}")),
        }),
        change: Box::new(|changes| match changes[0].id() {
            "none" => Err(Refusal::NoJournal),
            "broken" => Err(Refusal::Journal("disk full".into())),
            "odd" => Err(Refusal::Faults(vec![fault(ChangeFaultKind::Conflict)])),
            "gone" => Err(Refusal::Faults(vec![fault(ChangeFaultKind::Unknown)])),
            _ => Ok(changes.len() as u64),
        }),
    })
}

fn fault(kind: ChangeFaultKind) -> ChangeFault {
    let (id, message) = ("odd".to_owned(), "why".to_owned());
    ChangeFault { at: 3, id, kind, line: 1, column: 7, message, hint: None }
}

/// A folder of its own for each test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringway-admin-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn socket(&self) -> AdminAddress {
        AdminAddress::Unix(self.0.join("run/admin.sock"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ask(admin: &Admin, request: &[u8]) -> String {
    let mut reply = Vec::new();
    match admin.address() {
        AdminAddress::Unix(path) => {
            exchange(UnixStream::connect(path).unwrap(), request, &mut reply)
        }
        AdminAddress::Tcp(address) => {
            exchange(TcpStream::connect(address).unwrap(), request, &mut reply)
        }
        AdminAddress::Off => unreachable!("a server that listens"),
    }
    String::from_utf8(reply).unwrap()
}

fn exchange(mut peer: impl Read + Write, request: &[u8], reply: &mut Vec<u8>) {
    peer.write_all(request).unwrap();
    peer.read_to_end(reply).unwrap();
}

fn get(admin: &Admin, path: &str) -> String {
    ask(admin, format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n").as_bytes())
}

#[test]
fn pages_over_both_kinds_of_socket() {
    let folder = Folder::new();
    for listen in [folder.socket(), AdminAddress::parse("127.0.0.1:0").unwrap()] {
        let admin = Admin::serve(&listen, state(Readiness::Ready)).unwrap();
        let metrics = get(&admin, "/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
        assert!(metrics.contains("version=0.0.4"), "{metrics}");
        assert!(metrics.ends_with("\r\n\r\nringway_build_info 1\n"), "{metrics}");
        assert!(metrics.to_ascii_lowercase().contains("connection: close"), "{metrics}");
        for (path, text) in [("/livez", "alive\n"), ("/readyz", "ready\n"), ("/version", "{}")] {
            assert!(get(&admin, path).ends_with(&format!("\r\n\r\n{text}")), "{path}");
        }
        assert!(get(&admin, "/").contains("/connections\n"));
    }
}

#[test]
fn not_ready_is_503() {
    let folder = Folder::new();
    let admin = Admin::serve(&folder.socket(), state(Readiness::Draining)).unwrap();
    let reply = get(&admin, "/readyz");
    assert!(reply.starts_with("HTTP/1.1 503 ") && reply.ends_with("draining\n"), "{reply}");
    assert!(get(&admin, "/livez").starts_with("HTTP/1.1 200 "));
}

#[test]
fn nothing_but_get_and_head_of_known_pages() {
    let folder = Folder::new();
    let admin = Admin::serve(&folder.socket(), state(Readiness::Ready)).unwrap();
    let status = |request: &str| {
        let reply = ask(&admin, request.as_bytes());
        reply.get(9..12).unwrap_or_default().to_owned()
    };
    assert_eq!(status("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"), "404");
    assert_eq!(status("DELETE /config HTTP/1.1\r\nHost: a\r\n\r\n"), "405");
    assert_eq!(status("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), "405");
    assert_eq!(status("GET /metrics HTTP/1.1\r\n\r\n"), "400");
    assert_eq!(status("\x16\x03\x01 nonsense\r\n\r\n"), "400");
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(4000));
    assert_eq!(status(&long), "431");
    let head = ask(&admin, b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for reply in [head, ask(&admin, b"GET /metrics HTTP/1.1\r\n\r\n")] {
        assert!(reply.contains(" GMT\r\n"), "a Date in {reply}");
    }
}

#[test]
fn a_request_in_single_bytes() {
    let folder = Folder::new();
    let admin = Admin::serve(&folder.socket(), state(Readiness::Ready)).unwrap();
    let AdminAddress::Unix(path) = admin.address() else { unreachable!("a unix socket") };
    let mut peer = UnixStream::connect(path).unwrap();
    for byte in b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" {
        peer.write_all(&[*byte]).unwrap();
    }
    let mut reply = String::new();
    peer.read_to_string(&mut reply).unwrap();
    assert!(reply.ends_with("alive\n"), "{reply}");
}

#[test]
fn the_socket_is_private_and_goes_with_the_server() {
    let folder = Folder::new();
    let AdminAddress::Unix(path) = folder.socket() else { unreachable!("a unix socket") };
    let admin = Admin::serve(&folder.socket(), state(Readiness::Ready)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = Admin::serve(&folder.socket(), state(Readiness::Ready));
    assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
    drop(admin);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_but_a_file_is_not() {
    let folder = Folder::new();
    let AdminAddress::Unix(path) = folder.socket() else { unreachable!("a unix socket") };
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    let admin = Admin::serve(&folder.socket(), state(Readiness::Ready)).unwrap();
    assert!(get(&admin, "/livez").ends_with("alive\n"));
    drop(admin);
    fs::write(&path, "precious").unwrap();
    assert!(Admin::serve(&folder.socket(), state(Readiness::Ready)).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn idle_connections_beyond_the_cap_are_closed() {
    let folder = Folder::new();
    let admin = Admin::serve(&folder.socket(), state(Readiness::Ready)).unwrap();
    let AdminAddress::Unix(path) = admin.address() else { unreachable!("a unix socket") };
    let idle: Vec<_> = (0..CONNECTIONS_MAX).map(|_| UnixStream::connect(path).unwrap()).collect();
    let mut over = UnixStream::connect(path).unwrap();
    // Ends soon: nothing was asked, so an accepted connection would wait for 5 s.
    over.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    assert_eq!(over.read(&mut [0; 1]).unwrap(), 0);
    drop(idle);
}

#[test]
fn a_connection_beyond_the_cap_gets_the_place_that_comes_free() {
    let slots = Arc::new(Slots::default());
    let all: Vec<_> = (0..CONNECTIONS_MAX).map_while(|_| slots.take(Duration::ZERO)).collect();
    assert_eq!(all.len(), CONNECTIONS_MAX);
    assert!(slots.take(Duration::ZERO).is_none());
    let leaver = thread::spawn(move || drop(all));
    assert!(slots.take(Duration::MAX).is_some());
    leaver.join().unwrap();
    assert_eq!(*slots.open.lock().unwrap(), 0);
}

fn send(admin: &Admin, method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
    ask(admin, request.as_bytes())
}

#[test]
fn routes_are_listed_explained_and_changed() {
    let folder = Folder::new();
    let admin = Admin::serve(&folder.socket(), state(Readiness::Ready)).unwrap();
    let get =
        |path: &str| ask(&admin, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let listed = get("/routes?host=a%2Eb&cluster=c+d&skip=5&limit=7");
    assert!(listed.contains("host: Some(\"a.b\"), cluster: Some(\"c d\"), skip: 5, limit: 7"));
    assert!(get("/routes?limit=10001").starts_with("HTTP/1.1 400 "));
    assert!(get("/routes/a%20b").ends_with("{}") && get("/routes/x").starts_with("HTTP/1.1 404 "));
    assert!(get("/routes/%ff").starts_with("HTTP/1.1 400 "));
    let explained = get("/explain?method=PUT&url=http%3A%2F%2Fa%2Fb&header=X%3A%20y&source=::1");
    assert!(explained.contains("url: \"http://a/b\", fields: [\"X: y\"], source: Some(\"::1\")"));
    for bad in ["/explain", "/explain?url=bad", "/explain?url=x&who=me"] {
        assert!(get(bad).starts_with("HTTP/1.1 400 "), "{bad}");
    }
    let put = send(&admin, "PUT", "/routes/a", "{\"cluster\": \"x\"}");
    assert!(put.starts_with("HTTP/1.1 200 ") && put.ends_with("{\"generation\":1}\n"), "{put}");
    assert!(send(&admin, "DELETE", "/routes/a", "").starts_with("HTTP/1.1 200 "));
    let both = "[{\"delete\": \"a\"}, {\"put\": {\"id\": \"b\"}}]";
    assert!(send(&admin, "POST", "/routes:batch", both).ends_with("{\"generation\":2}\n"));
    for (path, status) in [("none", 403), ("broken", 503), ("odd", 409), ("gone", 404)] {
        let said = send(&admin, "DELETE", &format!("/routes/{path}"), "");
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
    }
    let odd = send(&admin, "DELETE", "/routes/odd", "");
    assert!(odd.contains("\"change\":3,") && odd.contains("\"column\":7"), "{odd}");
    let refused = send(&admin, "PATCH", "/routes/a", "");
    assert!(
        refused.starts_with("HTTP/1.1 405 ") && refused.contains("allow: GET, HEAD, PUT, DELETE")
    );
}

#[test]
fn bodies_are_bounded_and_changes_local() {
    let folder = Folder::new();
    let admin = Admin::serve(&folder.socket(), state(Readiness::Ready)).unwrap();
    let long = format!("{{\"id\": \"{}\"}}", "x".repeat(1 << 20));
    assert!(send(&admin, "PUT", "/routes/a", &long).starts_with("HTTP/1.1 413 "));
    let batch = format!("[{{\"put\": {long}}}]");
    assert!(send(&admin, "POST", "/routes:batch", &batch).starts_with("HTTP/1.1 200 "));
    assert!(send(&admin, "GET", "/metrics", "x").starts_with("HTTP/1.1 413 "));
    assert!(send(&admin, "PUT", "/routes/a", "[]").starts_with("HTTP/1.1 400 "));
    let chunked = "PUT /routes/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
                   Expect: 100-continue\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
    let said = ask(&admin, chunked.as_bytes());
    assert!(said.contains("HTTP/1.1 200 "), "{said}");
    let tcp = Admin::serve(&AdminAddress::parse("127.0.0.1:0").unwrap(), state(Readiness::Ready));
    let said = send(&tcp.unwrap(), "DELETE", "/routes/a", "");
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
}

//! How long HAProxy and nginx take to load the same rules, and the memory they hold then.
//!
//! Both match less than our rules ask for, so that they have the easier work:
//! - HAProxy looks host and path up in one map file by the longest prefix (`map_beg`), an entry a
//!   rule. A path is cut before its first name or regular expression; methods, header fields and
//!   priorities are left out.
//! - nginx has one server block a host, one location a rule: exact, by prefix, or a regular
//!   expression for a name. Methods, header fields and priorities are left out, and so is a rule
//!   whose location its server has already.
//!
//! The time goes from the start of the process to its first answer, in seconds; memory is its
//! resident set in MB. Each runs as one process on a socket in a folder that is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Figures;
use super::sets::Set;

/// Looks for an answer so often.
const POLL: Duration = Duration::from_millis(10);

/// Load times and memory of both.
///
/// # Errors
/// A tool that is not installed, or that refuses its configuration.
pub(super) fn measure(set: &Set) -> Result<Figures> {
    let folder = Folder::new()?;
    let (haproxy_s, haproxy_mb) = haproxy(set, &folder.0)?;
    let (nginx_s, nginx_mb) = nginx(set, &folder.0)?;
    Ok(vec![
        ("haproxy_load_seconds", haproxy_s),
        ("haproxy_rss_mb", haproxy_mb),
        ("nginx_load_seconds", nginx_s),
        ("nginx_rss_mb", nginx_mb),
    ])
}

/// A folder of this process, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("ringway-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's cleaning of its temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A started peer, killed on drop.
struct Peer {
    child: Child,
    started: Instant,
    said: PathBuf,
}

impl Peer {
    fn start(command: &mut Command, said: PathBuf) -> Result<Peer> {
        let out = File::create(&said)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Peer { child, started, said })
    }

    /// Seconds until it answers with 200, and the MB it holds then.
    fn load(mut self, socket: &Path, host: &str, path: &str) -> Result<(f64, f64)> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status}: {}", fs::read_to_string(&self.said)?);
            }
            match UnixStream::connect(socket) {
                Ok(stream) => break first_line(stream, host, path)?,
                Err(_) => std::thread::sleep(POLL),
            }
        };
        let seconds = self.started.elapsed().as_secs_f64();
        ensure!(status.starts_with("HTTP/1.1 200 "), "answers `{status}` for {host}{path}");
        Ok((seconds, resident_mb(self.child.id())?))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first_line(mut stream: UnixStream, host: &str, path: &str) -> Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply.lines().next().unwrap_or_default().to_owned())
}

fn resident_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib = line.trim().trim_end_matches(" kB").parse::<f64>()?;
    Ok(kib * 1024.0 / 1e6)
}

fn haproxy(set: &Set, folder: &Path) -> Result<(f64, f64)> {
    let (map, config) = (folder.join("rules.map"), folder.join("haproxy.cfg"));
    let socket = folder.join("haproxy.sock");
    write_map(set, &map)?;
    let (map, at) = (map.display(), socket.display());
    let lines = [
        "global\n nbthread 1\ndefaults\n mode http".to_owned(),
        " timeout client 10s\n timeout server 10s\n timeout connect 1s".to_owned(),
        format!("frontend rules\n bind unix@{at}"),
        format!(" http-request set-var(txn.route) base,map_beg({map})"),
        " acl found var(txn.route) -m found".to_owned(),
        " http-request return status 200 if found".to_owned(),
        " http-request return status 404\n".to_owned(),
    ];
    fs::write(&config, lines.join("\n"))?;
    let check = Command::new("haproxy").arg("-c").arg("-f").arg(&config).output();
    let check = check.context("cannot start haproxy")?;
    ensure!(check.status.success(), "haproxy: {}", String::from_utf8_lossy(&check.stderr));
    let mut command = Command::new("haproxy");
    let command = command.arg("-db").arg("-f").arg(&config);
    let peer = Peer::start(command, folder.join("haproxy.out"))?;
    let (host, path, _) = set.request(0);
    peer.load(&socket, &host, &path)
}

/// A line a rule: host and the path up to its first name, and the rule's number.
fn write_map(set: &Set, path: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for index in 0..set.len() {
        let (host, path) = rule(set, index);
        let plain = path.strip_prefix("~^").unwrap_or(&path);
        let end = plain.find(['{', '*', '[']).unwrap_or(plain.len());
        writeln!(out, "{host}{} {index}", &plain[..end])?;
    }
    Ok(out.flush()?)
}

fn rule(set: &Set, index: usize) -> (String, String) {
    let (spec, _) = set.spec(index);
    (spec.host.unwrap_or_default(), spec.path.unwrap_or_default())
}

fn nginx(set: &Set, folder: &Path) -> Result<(f64, f64)> {
    let (config, socket) = (folder.join("nginx.conf"), folder.join("nginx.sock"));
    write_nginx(set, &config, folder)?;
    let mut command = Command::new("nginx");
    let command = command.arg("-p").arg(folder).arg("-c").arg(&config).arg("-e").arg("stderr");
    let peer = Peer::start(command, folder.join("nginx.out"))?;
    let (host, path, _) = set.request(0);
    peer.load(&socket, &host, &path)
}

fn write_nginx(set: &Set, config: &Path, folder: &Path) -> Result<()> {
    let mut hosts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for index in 0..set.len() {
        let (host, path) = rule(set, index);
        hosts.entry(host).or_default().insert(location(&path));
    }
    let mut out = BufWriter::new(File::create(config)?);
    let at = folder.display();
    writeln!(out, "daemon off; master_process off; pid {at}/nginx.pid; error_log stderr;")?;
    writeln!(out, "events {{ worker_connections 64; }}\nhttp {{ access_log off;")?;
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(out, "{kind}_temp_path {at}/{kind};")?;
    }
    writeln!(out, "server_names_hash_max_size {}; server_names_hash_bucket_size 128;", 1 << 20)?;
    for (host, locations) in &hosts {
        writeln!(out, "server {{ listen unix:{at}/nginx.sock; server_name {host};")?;
        for location in locations {
            writeln!(out, "location {location} {{ return 200; }}")?;
        }
        writeln!(out, "}}")?;
    }
    writeln!(out, "}}")?;
    Ok(out.flush()?)
}

/// What stands behind `location` for a path pattern.
fn location(path: &str) -> String {
    if let Some(regex) = path.strip_prefix('~') {
        return format!("~ \"{regex}\"");
    }
    let (prefix, is_prefix) = path.strip_suffix('*').map_or((path, false), |path| (path, true));
    if !path.contains('{') {
        return format!("{}{prefix}", if is_prefix { "" } else { "= " });
    }
    let mut regex = String::from("^");
    for segment in prefix.split('/').skip(1) {
        let text = if segment.starts_with('{') { "[^/]+" } else { segment };
        // Writing to a string cannot fail.
        let _ = write!(regex, "/{text}");
    }
    format!("~ \"{regex}{}\"", if is_prefix { "" } else { "$" })
}

#[cfg(test)]
mod tests {
    use super::location;

    #[test]
    fn locations_of_patterns() {
        assert_eq!(location("/a/b"), "= /a/b");
        assert_eq!(location("/a/b/*"), "/a/b/");
        assert_eq!(location("/a/{id}/b"), "~ \"^/a/[^/]+/b$\"");
        assert_eq!(location("/a/{id}/*"), "~ \"^/a/[^/]+/\"");
        assert_eq!(location("~^/a/[0-9]+$"), "~ \"^/a/[0-9]+$\"");
    }
}

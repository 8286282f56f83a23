//! Where the machine says no: io_uring refused by seccomp, an ordinary user, little locked memory.
#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use support::Folder;

/// The three system calls that a container's default profile refuses; alike on all machines.
const IO_URING_CALLS: [i64; 3] = [425, 426, 427];
const EPERM: u32 = 1;
const NOBODY: u32 = 65534;

/// Runs the binary under a filter that answers io_uring with EPERM, as Docker's default does. The
/// filter binds one thread of this test and what that thread starts.
fn refused(words: &[&str]) -> Output {
    let rules = IO_URING_CALLS.map(|call| (call, Vec::new()));
    let arch = std::env::consts::ARCH.try_into().expect("a known machine");
    let (refuse, allow) = (SeccompAction::Errno(EPERM), SeccompAction::Allow);
    let filter = SeccompFilter::new(BTreeMap::from(rules), allow, refuse, arch);
    let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(words).stdin(Stdio::null());
    std::thread::spawn(move || {
        apply_filter(&program).expect("the filter is applied");
        command.output().expect("the binary starts")
    })
    .join()
    .expect("the filtered thread")
}

#[test]
fn io_uring_refused_exits_with_3_and_says_what_to_do() {
    let run = ["run", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--admin", "off"];
    for words in [&["demo", "--once"][..], &run, &["doctor"]] {
        let output = refused(words);
        let err = String::from_utf8_lossy(&output.stderr);
        let all = format!("{}{err}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.code(), Some(3), "{words:?}: {all}");
        assert!(all.contains("--security-opt seccomp="), "{words:?}: {all}");
    }
}

#[test]
fn demo_runs_as_nobody_with_8_mib_of_locked_memory() {
    let folder = Folder::new();
    let output = as_nobody(&copy_for_all(&folder), 8192, &["demo", "--once"]);
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert!(out.contains("GET /") && out.contains("p50"), "{out}");
    let over_tls = out.lines().find(|line| line.contains("over TLS"));
    assert!(over_tls.is_some_and(|line| line.contains(" 200 ")), "{out}");
    assert!(out.contains("smuggling attempt") && out.contains("400"), "{out}");
    assert!(err.contains("ringway: listening on 127.0.0.1:"), "{err}");
}

#[test]
fn too_little_locked_memory_exits_with_3_and_the_number() {
    let folder = Folder::new();
    let output = as_nobody(&copy_for_all(&folder), 64, &["demo", "--once"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("LimitMEMLOCK="), "{err}");
}

#[test]
fn demo_keeps_running_until_it_is_interrupted() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    let lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
    let mut said = lines.map_while(Result::ok);
    let edge = said.find_map(|line| line.strip_prefix("  curl -i ").map(str::to_owned));
    let edge = edge.expect("a curl line to try");
    let address = edge.trim_start_matches("http://").trim_end_matches('/');
    drop(TcpStream::connect(address).expect("it still listens"));
    let kill = format!("kill -INT {}", child.id());
    Command::new("sh").args(["-c", &kill]).status().expect("sh starts");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

/// Runs the binary as nobody where this test is root, under a limit of locked memory in KiB.
fn as_nobody(binary: &Path, memlock_kib: u32, words: &[&str]) -> Output {
    let script = format!("ulimit -l {memlock_kib} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(binary).args(words);
    command.current_dir("/").env_clear().stdin(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().expect("sh starts")
}

/// The build folder may be closed to other users.
fn copy_for_all(folder: &Folder) -> PathBuf {
    let path = folder.file("ringway");
    fs::copy(env!("CARGO_BIN_EXE_ringway"), &path).expect("a copy of the binary");
    for path in [folder.path(), &path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("open to all");
    }
    path
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a Uid line");
    uids.split_ascii_whitespace().nth(1) == Some("0")
}

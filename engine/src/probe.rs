//! What this machine allows: kernel, io_uring permission, locked memory, descriptors, cores.
//!
//! Each finding names what was found and the remedy. Used by `ringway doctor` and for the causes
//! in set-up errors.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use crate::config::{SetupError, ShardConfig};
use crate::memory;
use crate::ring::uring;
use crate::shard::cores;
use crate::sys;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// Good enough to run.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when nothing needs doing.
    pub remedy: String,
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they matter.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Everything is good enough to run.
    pub fn ok(&self) -> bool {
        self.findings.iter().all(|finding| finding.ok)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            let mark = if finding.ok { "ok  " } else { "FAIL" };
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{mark} {:<9} {}", finding.name, finding.found)?;
            if !finding.remedy.is_empty() {
                write!(f, "\n               {}", finding.remedy)?;
            }
        }
        Ok(())
    }
}

/// Looks at everything. Makes and drops one small ring.
pub fn run() -> Report {
    let findings = vec![kernel(), io_uring(), memlock(), nofile(), cpus()];
    Report { findings }
}

/// The oldest kernel: DEFER_TASKRUN and multishot receive into buffer rings.
const FLOOR: (u32, u32) = (6, 1);

/// Major and minor number of the running kernel; (0, 0) if it does not say.
pub(crate) fn kernel_version() -> (u32, u32) {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| parse_version(&release()))
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel() -> Finding {
    let ok = kernel_version() >= FLOOR;
    let remedy = if ok { String::new() } else { TOO_OLD.to_owned() };
    Finding { name: "kernel", ok, found: format!("Linux {}", release()), remedy }
}

/// The remedy for a kernel without what the ring needs.
pub(crate) const TOO_OLD: &str = "Linux 6.1 or newer is needed";

/// The likely cause of a refused ring, with the remedy.
pub(crate) fn cause(errno: i32) -> &'static str {
    match errno {
        libc::ENOSYS if kernel_version() >= FLOOR => {
            "a seccomp filter hides io_uring: run the container with --security-opt \
             seccomp=unconfined, or a profile that allows io_uring_setup, io_uring_enter and \
             io_uring_register"
        }
        libc::ENOSYS | libc::EINVAL => TOO_OLD,
        libc::EPERM | libc::EACCES if disabled() => {
            "switched off by sysctl: set kernel.io_uring_disabled=0, or 1 and put the user into \
             kernel.io_uring_group"
        }
        libc::EPERM | libc::EACCES => {
            "a seccomp filter or security module forbids it: run the container with \
             --security-opt seccomp=unconfined, or a profile that allows io_uring_setup, \
             io_uring_enter and io_uring_register"
        }
        libc::ENOMEM => "locked memory is used up: raise LimitMEMLOCK= (systemd) or ulimit -l",
        libc::EMFILE | libc::ENFILE => "no descriptor is left: raise LimitNOFILE= or ulimit -n",
        _ => "no known cause",
    }
}

fn disabled() -> bool {
    let value = std::fs::read_to_string(Path::new("/proc/sys/kernel/io_uring_disabled"));
    value.is_ok_and(|value| value.trim() != "0")
}

fn io_uring() -> Finding {
    match uring::try_ring() {
        Ok(features) => Finding {
            name: "io_uring",
            ok: true,
            found: features.flags.join(","),
            remedy: String::new(),
        },
        Err(SetupError::Refused { errno, cause }) => Finding {
            name: "io_uring",
            ok: false,
            found: std::io::Error::from_raw_os_error(errno).to_string(),
            remedy: cause.to_owned(),
        },
        Err(error) => {
            Finding { name: "io_uring", ok: false, found: error.to_string(), remedy: String::new() }
        }
    }
}

fn memlock() -> Finding {
    let shards = cores().len().max(1);
    let (ok, found, remedy) = match memory::plan_memory(shards, &ShardConfig::default()) {
        Ok(plan) if plan.notes().is_empty() => (true, plan.to_string(), String::new()),
        Ok(plan) => (true, plan.to_string(), plan.notes().join("; ")),
        Err(error) => (false, error.to_string(), "see LimitMEMLOCK= above".to_owned()),
    };
    Finding { name: "memlock", ok, found: format!("{found} ({shards} shards)"), remedy }
}

/// Descriptors for about a thousand connections with their upstream sides.
const NOFILE_WANTED: u64 = 4096;

fn nofile() -> Finding {
    let (soft, hard) = sys::limit(libc::RLIMIT_NOFILE).unwrap_or((0, 0));
    let enough = hard >= NOFILE_WANTED;
    let remedy = if enough { String::new() } else { "raise LimitNOFILE= or ulimit -n".to_owned() };
    Finding { name: "nofile", ok: enough, found: format!("soft {soft}, hard {hard}"), remedy }
}

/// The soft limit of open descriptors.
pub fn nofile_soft() -> std::io::Result<u64> {
    sys::limit(libc::RLIMIT_NOFILE).map(|(soft, _)| soft)
}

/// Raises the soft limit of open descriptors to the hard one; returns what counts now.
pub fn raise_nofile() -> std::io::Result<u64> {
    sys::raise_limit(libc::RLIMIT_NOFILE)?;
    nofile_soft()
}

fn cpus() -> Finding {
    let cores = cores();
    let list = cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let remedy = if cores.is_empty() { "no core may be used: check the affinity" } else { "" };
    Finding { name: "cores", ok: !cores.is_empty(), found: list, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_any_release_name() {
        assert_eq!(parse_version("6.18.44-fc-v669"), (6, 18));
        assert_eq!(parse_version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(parse_version(""), (0, 0));
    }

    #[test]
    fn this_machine_is_described() {
        let report = run();
        let names: Vec<_> = report.findings.iter().map(|finding| finding.name).collect();
        assert_eq!(names, ["kernel", "io_uring", "memlock", "nofile", "cores"]);
        assert!(report.ok(), "{report}");
        assert!(report.to_string().contains("io_uring"));
    }

    #[test]
    fn every_refusal_has_a_cause() {
        for errno in [libc::ENOSYS, libc::EPERM, libc::ENOMEM, libc::EINVAL] {
            assert_ne!(cause(errno), "no known cause");
        }
    }
}

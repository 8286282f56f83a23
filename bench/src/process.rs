//! What a process used: CPU time and private memory, read from /proc.
//!
//! Nothing is sampled in between: a caller takes two readings and subtracts. CPU time has the
//! kernel's tick of 10 ms, so a counted window should last seconds.

use std::fs;
use std::ops::Sub;

use anyhow::{Context, Result};

/// USER_HZ: the unit of /proc/PID/stat, 100 a second on every Linux architecture Rust runs on.
const TICK_US: u64 = 10_000;

/// CPU time of one or more processes, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Time in the process's own code.
    pub(crate) user_us: u64,
    /// Time in the kernel on its behalf.
    pub(crate) system_us: u64,
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu {
            user_us: self.user_us.saturating_sub(before.user_us),
            system_us: self.system_us.saturating_sub(before.system_us),
        }
    }
}

/// CPU time used by `pids` so far.
pub(crate) fn cpu(pids: &[u32]) -> Result<Cpu> {
    let mut sum = Cpu::default();
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let one = parse_stat(&stat).with_context(|| format!("cannot understand {path}"))?;
        sum.user_us += one.user_us;
        sum.system_us += one.system_us;
    }
    Ok(sum)
}

/// Fields 14 and 15; the name in field 2 may hold blanks and parentheses.
fn parse_stat(stat: &str) -> Option<Cpu> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Cpu { user_us: ticks()? * TICK_US, system_us: ticks()? * TICK_US })
}

/// Private_Dirty of `pids` in bytes: all of it, and the part in mappings named like `exclude`.
pub(crate) fn private_dirty(pids: &[u32], exclude: &str) -> Result<(u64, u64)> {
    let (mut all, mut excluded) = (0, 0);
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        all += dirty_bytes(&text, "");
        if !exclude.is_empty() {
            let path = format!("/proc/{pid}/smaps");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            excluded += dirty_bytes(&text, exclude);
        }
    }
    Ok((all, excluded))
}

/// Sums the Private_Dirty lines of the mappings whose header line contains `name`.
fn dirty_bytes(smaps: &str, name: &str) -> u64 {
    let (mut sum, mut counts) = (0, false);
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("Private_Dirty:"), Some(kib)) if counts => {
                sum += kib.parse::<u64>().unwrap_or(0) * 1024;
            }
            // `55d0-55d1 rw-p ...`: a header has no colon after its first word.
            (Some(first), _) if !first.ends_with(':') => counts = line.contains(name),
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_hostile_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4 100 0 0 0 12 34 0 0 20 0 1 0 5";
        assert_eq!(parse_stat(stat), Some(Cpu { user_us: 120_000, system_us: 340_000 }));
        assert_eq!(parse_stat("7 (x) S 1"), None);
    }

    #[test]
    fn dirty_memory_is_summed_by_mapping() {
        let smaps = "1-2 rw-p 0 00:00 0 [heap]\nRss: 9 kB\nPrivate_Dirty: 3 kB\n\
                     2-3 rw-p 0 00:00 0 [anon:pool]\nPrivate_Dirty: 5 kB\nVmFlags: rd wr\n";
        assert_eq!(dirty_bytes(smaps, ""), 8 * 1024);
        assert_eq!(dirty_bytes(smaps, "anon:pool"), 5 * 1024);
    }

    #[test]
    fn the_own_process_can_be_read() {
        let pid = [std::process::id()];
        cpu(&pid).unwrap();
        assert!(private_dirty(&pid, "").unwrap().0 > 0);
        assert!(cpu(&[u32::MAX]).is_err());
    }
}

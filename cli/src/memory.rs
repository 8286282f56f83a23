//! The memory watcher: a thread that compares the process's resident memory with `mem-limit`.
//!
//! Above 90 % of the limit it says so in one shared flag, which shards read at each accept and
//! four times a second: they refuse new connections and close idle ones. Below 85 % it takes it
//! back. It is *not* an allocator's limit: what is busy goes on, and may still grow. Cost to a
//! shard: one load. The thread reads a page of `/proc` ten times a second, only where a limit is
//! set.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use control::Settings;
use gateway::Caps;
use observe::{ErrorLog, Level, Registry};

/// How often memory is read. A flood that fills memory faster than a tenth of the limit within
/// this time gets past the limit.
const INTERVAL: Duration = Duration::from_millis(100);
/// Percent of the limit above which connections are shed, and below which that ends.
const SHED_ABOVE: u64 = 90;
const CALM_BELOW: u64 = 85;

/// The running watcher; when dropped it ends, and with it the shedding.
pub(crate) struct MemoryWatch {
    limit_bytes: u64,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Watches for one limit, in bytes.
    pub(crate) fn start(
        limit_bytes: u64,
        caps: Arc<Caps>,
        registry: Arc<Registry>,
        errors: ErrorLog,
    ) -> std::io::Result<MemoryWatch> {
        let (stop, stopped) = sync_channel::<()>(0);
        let body = move || {
            let process = registry.process();
            process.memory_limit_bytes.store(limit_bytes, Relaxed);
            let mut gauge = Gauge { limit_bytes, is_shedding: false };
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let Some(resident) = resident_bytes() else { continue };
                if gauge.look(resident) {
                    publish(gauge.is_shedding, &caps, &registry);
                    say(&gauge, resident, &errors);
                }
            }
            publish(false, &caps, &registry);
            process.memory_limit_bytes.store(0, Relaxed);
        };
        let thread = thread::Builder::new().name("memory".into()).spawn(body)?;
        Ok(MemoryWatch { limit_bytes, stop: Some(stop), thread: Some(thread) })
    }

    /// What it was started with.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            let _ = thread.join();
        }
    }
}

fn publish(is_shedding: bool, caps: &Caps, registry: &Registry) {
    caps.set_shedding(is_shedding);
    registry.process().memory_shedding.store(u64::from(is_shedding), Relaxed);
}

fn say(gauge: &Gauge, resident: u64, errors: &ErrorLog) {
    let (mib, limit) = (resident >> 20, gauge.limit_bytes >> 20);
    let text = if gauge.is_shedding {
        format!("{mib} MiB resident of {limit}: idle connections are closed, new ones refused")
    } else {
        format!("{mib} MiB resident of {limit}: connections are taken again")
    };
    errors.write(Level::Warn, "memory", text);
}

/// The least limit that an idle process stays below, once every receive buffer was used: 85 % of
/// it are the buffers, 2 MiB a shard for rings and tables, and 24 MiB for program and threads.
pub(crate) fn least_bytes(shards: usize, settings: &Settings) -> u64 {
    let heads = u64::from(settings.bufs()) * u64::from(settings.buf_bytes());
    let bulk = u64::from(settings.bulk_bufs()) * u64::from(settings.bulk_buf_bytes());
    let resident = shards as u64 * (heads + bulk + (2 << 20)) + (24 << 20);
    resident * 100 / CALM_BELOW
}

/// Resident memory of this process, in bytes.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Where memory stands towards the limit.
struct Gauge {
    limit_bytes: u64,
    is_shedding: bool,
}

impl Gauge {
    /// True when the level has changed.
    fn look(&mut self, resident: u64) -> bool {
        let percent = |part: u64| u128::from(self.limit_bytes) * u128::from(part) / 100;
        let resident = u128::from(resident);
        let next = match self.is_shedding {
            false => resident > percent(SHED_ABOVE),
            true => resident >= percent(CALM_BELOW),
        };
        std::mem::replace(&mut self.is_shedding, next) != next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sheds_above_90_percent_until_below_85() {
        let mut gauge = Gauge { limit_bytes: 1000, is_shedding: false };
        let mut look = |resident| (gauge.look(resident), gauge.is_shedding);
        assert_eq!(look(900), (false, false));
        assert_eq!(look(901), (true, true));
        assert_eq!(look(850), (false, true), "not yet");
        assert_eq!(look(849), (true, false));
        assert_eq!(look(899), (false, false), "and not again");
        assert_eq!(look(u64::MAX), (true, true));
    }

    #[test]
    fn buffers_set_the_least_limit() {
        // One shard: 4 + 8 MiB of buffers, 2 + 24 MiB beside them.
        assert_eq!(least_bytes(1, &Settings::default()), (38 << 20) * 100 / 85);
    }

    #[test]
    fn this_process_is_resident() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}

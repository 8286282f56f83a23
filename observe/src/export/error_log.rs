//! The error log: level, target and message on standard error, as text or JSON.
//!
//! Any thread may write, shards included: a line goes on a bounded queue and a thread of its own
//! prints it, so a blocked terminal blocks nobody; a full queue drops and counts. E1 A line equal
//! to one of the last ten seconds is not printed but counted, and `repeated N times` follows
//! when the ten seconds are over. E2 [`ErrorLog::flush`] returns when everything written before
//! it is out; a process calls it before it exits.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_queue::ArrayQueue;

use crate::export::json::push_string;
use crate::export::time::push_rfc3339;

/// Lines that may wait for the thread.
const QUEUE_LINES: usize = 1024;
/// How long an equal line is held back (E1).
const REPEAT_WINDOW: Duration = Duration::from_secs(10);
/// Different lines remembered for E1; beyond that the oldest is let go.
const REMEMBERED_MAX: usize = 64;

/// How bad it is; ordered, so a level admits itself and what is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is wrong and was got round.
    Warn,
    /// Something happened that an operator may want to know.
    Info,
    /// For whoever looks for a fault.
    Debug,
}

impl Level {
    /// The word of the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// Reads the word of the log.
    pub fn parse(text: &str) -> Option<Level> {
        let all = [Level::Error, Level::Warn, Level::Info, Level::Debug];
        all.into_iter().find(|level| level.as_str() == text)
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time level target: message`.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Reads what an operator types: `text` or `json`.
    pub fn parse(text: &str) -> Option<Format> {
        match text {
            "text" => Some(Format::Text),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// The running log; clones write to the same one.
#[derive(Clone)]
pub struct ErrorLog {
    shared: Arc<Shared>,
}

struct Shared {
    queue: ArrayQueue<Item>,
    dropped: AtomicU64,
    level: Level,
    writer: Option<Thread>,
}

enum Item {
    Line(Line),
    Flush(SyncSender<()>),
}

#[derive(Clone, PartialEq, Eq)]
struct Line {
    level: Level,
    target: &'static str,
    message: String,
}

impl ErrorLog {
    /// Starts a log that prints `level` and worse. Where no thread can be had it is a log that
    /// drops and counts.
    pub fn start(format: Format, level: Level) -> ErrorLog {
        let (hand_over, inbox) = sync_channel::<Arc<Shared>>(1);
        let body = move || {
            if let Ok(shared) = inbox.recv() {
                print_lines(&shared, format);
            }
        };
        let spawned = thread::Builder::new().name("error-log".into()).spawn(body);
        let writer = spawned.ok().map(|handle| handle.thread().clone());
        let queue = ArrayQueue::new(QUEUE_LINES);
        let shared = Arc::new(Shared { queue, dropped: AtomicU64::new(0), level, writer });
        // Without a thread there is nobody to hand the queue to.
        let _ = hand_over.send(Arc::clone(&shared));
        ErrorLog { shared }
    }

    /// Queues a line; `target` is the part of ringway that speaks.
    pub fn write(&self, level: Level, target: &'static str, message: impl Into<String>) {
        if level > self.shared.level {
            return;
        }
        let line = Line { level, target, message: message.into() };
        if self.shared.push(Item::Line(line)).is_err() {
            self.shared.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines lost because the thread was behind.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Waits until everything written so far is out, repeats included (E2).
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.shared.writer.is_some() && self.shared.push(Item::Flush(done)).is_ok() {
            // An error means that the thread is gone: nothing is left to wait for.
            let _ = wait.recv();
        }
    }
}

impl fmt::Debug for ErrorLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorLog({})", self.shared.level.as_str())
    }
}

impl Shared {
    fn push(&self, item: Item) -> Result<(), Item> {
        self.queue.push(item)?;
        if let Some(writer) = &self.writer {
            writer.unpark();
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the log's own thread is no shard")]
fn print_lines(shared: &Shared, format: Format) {
    let mut repeats = Repeats::default();
    let mut out = String::new();
    loop {
        let mut flushed = Vec::new();
        while let Some(item) = shared.queue.pop() {
            match item {
                Item::Line(line) => repeats.admit(line, Instant::now(), &mut |line| {
                    push_line(&mut out, line, format, SystemTime::now());
                }),
                Item::Flush(done) => flushed.push(done),
            }
        }
        // A flush is the last word before exit: what was held back is told now.
        let held = if flushed.is_empty() { REPEAT_WINDOW } else { Duration::ZERO };
        repeats.expire(Instant::now(), held, &mut |line| {
            push_line(&mut out, line, format, SystemTime::now());
        });
        if !out.is_empty() {
            // Standard error may be closed; there is no better place to say so.
            let _ = io::stderr().write_all(out.as_bytes());
            out.clear();
        }
        for done in flushed {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
        match repeats.seen.is_empty() {
            true => thread::park(),
            false => thread::park_timeout(REPEAT_WINDOW),
        }
    }
}

fn push_line(out: &mut String, line: &Line, format: Format, at: SystemTime) {
    match format {
        Format::Text => {
            push_rfc3339(out, at);
            let (level, target) = (line.level.as_str(), line.target);
            out.push_str(&format!(" {level:<5} {target}: {}\n", line.message));
        }
        Format::Json => {
            out.push_str("{\"time\":\"");
            push_rfc3339(out, at);
            let (level, target) = (line.level.as_str(), line.target);
            out.push_str(&format!("\",\"level\":\"{level}\",\"target\":\"{target}\",\"message\":"));
            push_string(out, line.message.as_bytes(), false);
            out.push_str("}\n");
        }
    }
}

/// What was printed in the last window, and how often it came again (E1).
#[derive(Default)]
struct Repeats {
    seen: Vec<Seen>,
}

struct Seen {
    line: Line,
    printed: Instant,
    held_back: u64,
}

impl Repeats {
    fn admit(&mut self, line: Line, now: Instant, print: &mut dyn FnMut(&Line)) {
        self.expire(now, REPEAT_WINDOW, print);
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.line == line) {
            seen.held_back += 1;
            return;
        }
        if self.seen.len() == REMEMBERED_MAX {
            let oldest = self.seen.remove(0);
            oldest.tell(print);
        }
        print(&line);
        self.seen.push(Seen { line, printed: now, held_back: 0 });
    }

    fn expire(&mut self, now: Instant, window: Duration, print: &mut dyn FnMut(&Line)) {
        self.seen.retain(|seen| {
            let over = now.saturating_duration_since(seen.printed) >= window;
            if over {
                seen.tell(print);
            }
            !over
        });
    }
}

impl Seen {
    fn tell(&self, print: &mut dyn FnMut(&Line)) {
        if self.held_back > 0 {
            let message = format!("{} (repeated {} times)", self.line.message, self.held_back);
            print(&Line { message, ..self.line.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests run on no shard")]

    use super::*;

    fn line(message: &str) -> Line {
        Line { level: Level::Warn, target: "gateway", message: message.into() }
    }

    #[test]
    fn equal_lines_are_counted_and_told_when_the_window_ends() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        let mut told = Vec::new();
        for (message, second) in [("a", 0), ("a", 1), ("b", 2), ("a", 9), ("a", 10), ("a", 11)] {
            let now = start + Duration::from_secs(second);
            repeats.admit(line(message), now, &mut |line| told.push(line.message.clone()));
        }
        assert_eq!(told, ["a", "b", "a (repeated 2 times)", "a"]);
        told.clear();
        repeats.expire(start, Duration::ZERO, &mut |line| told.push(line.message.clone()));
        assert_eq!(told, ["a (repeated 1 times)"]);
    }

    #[test]
    fn memory_of_lines_is_bounded() {
        let now = Instant::now();
        let mut repeats = Repeats::default();
        for n in 0..REMEMBERED_MAX * 2 {
            repeats.admit(line(&n.to_string()), now, &mut |_| {});
        }
        assert_eq!(repeats.seen.len(), REMEMBERED_MAX);
    }

    #[test]
    fn both_formats() {
        let mut out = String::new();
        push_line(&mut out, &line("x \"y\""), Format::Text, SystemTime::UNIX_EPOCH);
        push_line(&mut out, &line("x \"y\""), Format::Json, SystemTime::UNIX_EPOCH);
        assert_eq!(
            out,
            "1970-01-01T00:00:00.000Z warn  gateway: x \"y\"\n\
             {\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warn\",\"target\":\"gateway\",\
             \"message\":\"x \\\"y\\\"\"}\n"
        );
    }

    #[test]
    fn levels_are_ordered_and_flush_returns() {
        assert!(Level::Error < Level::Debug);
        assert_eq!(Level::parse("warn"), Some(Level::Warn));
        let log = ErrorLog::start(Format::Text, Level::Error);
        log.write(Level::Info, "test", "not printed");
        log.flush();
        assert_eq!(log.dropped(), 0);
    }
}

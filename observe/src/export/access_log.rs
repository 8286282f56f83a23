//! The JSON access log: one line a request, written by a thread of its own.
//!
//! The thread empties every shard's [`Feed`] each 20 ms, formats into one batch and writes it with
//! one call. It blocks on the file as long as the file likes; meanwhile shards drop and count
//! ([`crate::Recorder`]). L1 The field list is stable: every field is in every line, and what is
//! not known is `null`. L2 Each line is valid JSON whatever a peer sent. L3 On USR1 the file is
//! opened anew before the old one is let go; if that fails the old one stays in use.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crate::export::error_log::{ErrorLog, Level};
use crate::export::json::{push_number, push_string};
use crate::export::time::push_rfc3339;
use crate::record::{Phase, Place, Record, Text};
use crate::recorder::Feed;

/// How long records may lie in their queue; [`crate::recorder`] sizes the queue by it.
const INTERVAL: Duration = Duration::from_millis(20);
/// So many in one pass, and the next one follows at once: a quarter of a shard's queue.
const BUSY_RECORDS: usize = 1024;
/// Records taken from one shard before the next one's turn: one full queue.
const FEED_RECORDS_MAX: usize = 4096;
/// A batch is written when it has this many bytes, or when the queues are empty.
const BATCH_BYTES: usize = 256 * 1024;
/// Generations whose names are kept: requests of older ones than these show `null`.
const GENERATIONS_MAX: usize = 8;

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere; no record is made.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to, created with mode 0640.
    File(PathBuf),
}

impl Target {
    /// Reads what an operator types: `off`, `stdout` or a path.
    pub fn parse(text: &str) -> Target {
        match text {
            "off" | "" => Target::Off,
            "stdout" | "-" | "/dev/stdout" => Target::Stdout,
            path => Target::File(PathBuf::from(path)),
        }
    }

    fn open(&self) -> io::Result<Output> {
        match self {
            Target::Off => Ok(Output::Nowhere),
            Target::Stdout => Ok(Output::Stdout(io::stdout())),
            Target::File(path) => {
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o640).open(path).map(Output::File)
            }
        }
    }
}

/// What the indices in records mean.
pub trait Names: Send + Sync {
    /// The name of a route.
    fn route(&self, index: u32) -> Option<&str>;
    /// The name of a cluster.
    fn cluster(&self, index: u32) -> Option<&str>;
}

/// Names from a generation on.
struct Since {
    generation: u64,
    names: Box<dyn Names>,
}

/// The running log.
pub struct AccessLog {
    commands: SyncSender<Command>,
    thread: JoinHandle<()>,
}

enum Command {
    Names(Since),
    Reopen(SyncSender<io::Result<()>>),
    Stop,
}

impl AccessLog {
    /// Opens the target and starts the thread. Trouble with the file afterwards goes to `errors`.
    pub fn start(target: Target, feeds: Vec<Feed>, errors: ErrorLog) -> io::Result<AccessLog> {
        let output = target.open()?;
        let (commands, inbox) = sync_channel(16);
        let mut writer = Writer {
            target,
            output,
            feeds,
            errors,
            names: Vec::new(),
            batch: String::with_capacity(BATCH_BYTES + 4096),
        };
        let thread = thread::Builder::new().name("access-log".into()).spawn(move || {
            let mut wait = INTERVAL;
            loop {
                match inbox.recv_timeout(wait) {
                    Ok(Command::Names(names)) => writer.learn(names),
                    Ok(Command::Reopen(answer)) => drop(answer.send(writer.reopen())),
                    Err(RecvTimeoutError::Timeout) => {
                        // Whoever fills a queue in one interval is not made to wait for the next.
                        let busy = writer.pass() >= BUSY_RECORDS;
                        wait = if busy { Duration::ZERO } else { INTERVAL };
                    }
                    Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            writer.pass();
        })?;
        Ok(AccessLog { commands, thread })
    }

    /// Tells what indices mean from this generation on; before it is published. Names of the same
    /// generation replace each other.
    pub fn names(&self, generation: u64, names: Box<dyn Names>) {
        // A thread that is gone has nothing to name.
        let _ = self.commands.send(Command::Names(Since { generation, names }));
    }

    /// Opens the file anew, for USR1 after a rotation, and waits until that is done (L3).
    pub fn reopen(&self) -> io::Result<()> {
        let (answer, done) = sync_channel(1);
        let gone = || io::Error::other("the access log has stopped");
        self.commands.send(Command::Reopen(answer)).map_err(|_| gone())?;
        done.recv().map_err(|_| gone())?
    }

    /// Writes what is queued and ends the thread; once the shards have ended.
    pub fn stop(self) {
        let _ = self.commands.send(Command::Stop);
        // A panic of the thread has been printed; there is nothing left to write with.
        let _ = self.thread.join();
    }
}

enum Output {
    Nowhere,
    Stdout(io::Stdout),
    File(File),
}

impl Output {
    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Output::Nowhere => Ok(()),
            Output::Stdout(stdout) => stdout.write_all(batch).and_then(|()| stdout.flush()),
            Output::File(file) => file.write_all(batch),
        }
    }
}

struct Writer {
    target: Target,
    output: Output,
    feeds: Vec<Feed>,
    errors: ErrorLog,
    /// The newest last.
    names: Vec<Since>,
    batch: String,
}

impl Writer {
    fn learn(&mut self, names: Since) {
        self.names.retain(|known| known.generation != names.generation);
        self.names.push(names);
        if self.names.len() > GENERATIONS_MAX {
            self.names.remove(0);
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        // What happened before the rotation belongs to the old file.
        self.pass();
        self.output = self.target.open()?;
        Ok(())
    }

    /// Writes what is queued; gives the number of records.
    fn pass(&mut self) -> usize {
        let mut count = 0;
        for index in 0..self.feeds.len() {
            // Bounded, so that one busy shard starves neither the others nor the commands.
            for _ in 0..FEED_RECORDS_MAX {
                let Some(record) = self.feeds[index].pop() else { break };
                push_line(&mut self.batch, &record, &self.names);
                self.feeds[index].give_back(record);
                count += 1;
                if self.batch.len() >= BATCH_BYTES {
                    self.write();
                }
            }
        }
        self.write();
        count
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if let Err(error) = self.output.write(self.batch.as_bytes()) {
            self.errors.write(Level::Error, "access_log", format!("cannot write: {error}"));
        }
        self.batch.clear();
    }
}

fn push_line(out: &mut String, record: &Record, names: &[Since]) {
    let known = names.iter().rfind(|since| since.generation <= record.generation);
    let known = known.map(|since| &*since.names);
    out.push_str("{\"time\":\"");
    push_rfc3339(out, record.at.unwrap_or(SystemTime::UNIX_EPOCH));
    out.push_str("\",\"request_id\":");
    push_text(out, &record.request_id);
    out.push_str(",\"method\":");
    push_text(out, &record.method);
    out.push_str(",\"host\":");
    push_text(out, &record.host);
    out.push_str(",\"target\":");
    push_text(out, &record.target);
    out.push_str(",\"protocol\":");
    push_string(out, record.protocol.as_str().as_bytes(), false);
    push_field(out, "status", u64::from(record.status));
    out.push_str(",\"grpc_status\":");
    push_known(out, record.grpc_status);
    out.push_str(",\"reason\":");
    push_word(out, (!record.reason.is_empty()).then_some(record.reason));
    out.push_str(",\"route\":");
    push_word(out, record.route.and_then(|route| known?.route(route)));
    out.push_str(",\"cluster\":");
    push_word(out, record.cluster.and_then(|cluster| known?.cluster(cluster)));
    out.push_str(",\"upstream\":");
    push_place(out, &record.upstream);
    out.push_str(",\"peer\":");
    push_place(out, &record.peer);
    push_field(out, "bytes_in", record.bytes_in);
    push_field(out, "bytes_out", record.bytes_out);
    push_field(out, "tries", u64::from(record.tries));
    push_times(out, record);
    push_field(out, "generation", record.generation);
    out.push_str("}\n");
}

fn push_times(out: &mut String, record: &Record) {
    for phase in Phase::ALL {
        out.push_str(phase_key(phase));
        push_known(out, record.phase_us(phase));
    }
    push_field(out, "duration_us", record.duration_us);
    push_field(out, "overhead_us", record.overhead_us);
}

fn phase_key(phase: Phase) -> &'static str {
    match phase {
        Phase::Head => ",\"t_head_us\":",
        Phase::Route => ",\"t_route_us\":",
        Phase::Queue => ",\"t_queue_us\":",
        Phase::Connect => ",\"t_connect_us\":",
        Phase::Send => ",\"t_send_us\":",
        Phase::FirstByte => ",\"t_ttfb_us\":",
        Phase::Body => ",\"t_body_us\":",
    }
}

fn push_field(out: &mut String, key: &str, value: u64) {
    out.push_str(",\"");
    out.push_str(key);
    out.push_str("\":");
    push_number(out, value);
}

fn push_known(out: &mut String, number: Option<u32>) {
    match number {
        Some(number) => push_number(out, u64::from(number)),
        None => out.push_str("null"),
    }
}

fn push_text<const N: usize>(out: &mut String, text: &Text<N>) {
    if text.is_empty() {
        return out.push_str("null");
    }
    push_string(out, text.as_bytes(), text.is_cut());
}

fn push_word(out: &mut String, word: Option<&str>) {
    match word {
        Some(word) => push_string(out, word.as_bytes(), false),
        None => out.push_str("null"),
    }
}

fn push_place(out: &mut String, place: &Place) {
    match place {
        Place::None => out.push_str("null"),
        Place::Inet(address) => {
            out.push('"');
            // INVARIANT: writing to a String cannot fail.
            write!(out, "{address}").expect("write to a string");
            out.push('"');
        }
        Place::Unix(path) => {
            let named = [b"unix:", path.as_bytes()].concat();
            push_string(out, &named, path.is_cut());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::counter::Registry;
    use crate::export::error_log::Format;
    use crate::record::Protocol;
    use crate::recorder::Recorder;

    fn sample() -> Record {
        let mut record = Record {
            at: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_404_461_123)),
            protocol: Protocol::Http11,
            status: 502,
            grpc_status: Some(14),
            reason: "upstream_reset_before_headers",
            route: Some(0),
            cluster: Some(9),
            generation: 3,
            upstream: Place::Inet("127.0.0.1:9001".parse().unwrap()),
            bytes_in: 1,
            bytes_out: 20,
            tries: 2,
            duration_us: 1234,
            overhead_us: 30,
            ..Record::default()
        };
        record.method.set(b"GET");
        record.host.set(b"api.example.com");
        record.target.set(b"/a\"b\\\xff?\x01");
        record.set_phase(Phase::Route, 2);
        record
    }

    struct Users;

    impl Names for Users {
        fn route(&self, index: u32) -> Option<&str> {
            (index == 0).then_some("users")
        }

        fn cluster(&self, _: u32) -> Option<&str> {
            None
        }
    }

    fn since(generation: u64) -> Since {
        Since { generation, names: Box::new(Users) }
    }

    #[test]
    fn a_line_has_every_field_and_null_for_the_unknown() {
        let mut line = String::new();
        push_line(&mut line, &sample(), &[since(2)]);
        assert_eq!(
            line,
            "{\"time\":\"2026-11-23T03:27:41.123Z\",\"request_id\":null,\"method\":\"GET\",\
             \"host\":\"api.example.com\",\"target\":\"/a\\\"b\\\\\u{fffd}?\\u0001\",\
             \"protocol\":\"http/1.1\",\"status\":502,\"grpc_status\":14,\
             \"reason\":\"upstream_reset_before_headers\",\"route\":\"users\",\"cluster\":null,\
             \"upstream\":\"127.0.0.1:9001\",\"peer\":null,\"bytes_in\":1,\"bytes_out\":20,\
             \"tries\":2,\"t_head_us\":null,\"t_route_us\":2,\"t_queue_us\":null,\
             \"t_connect_us\":null,\"t_send_us\":null,\"t_ttfb_us\":null,\"t_body_us\":null,\
             \"duration_us\":1234,\"overhead_us\":30,\"generation\":3}\n"
        );
    }

    #[test]
    fn names_of_a_later_generation_are_not_asked() {
        let mut line = String::new();
        push_line(&mut line, &sample(), &[since(4)]);
        assert!(line.contains("\"route\":null"));
    }

    #[test]
    fn the_thread_writes_reopens_and_stops() {
        let folder = std::env::temp_dir().join(format!("ringway-access-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, moved) = (folder.join("access.log"), folder.join("access.log.1"));
        let registry = Arc::new(Registry::new(1, "0", SystemTime::UNIX_EPOCH));
        let (recorder, feed) = Recorder::on(registry.shard(0));
        let errors = ErrorLog::start(Format::Text, Level::Error);
        let log = AccessLog::start(Target::File(path.clone()), vec![feed], errors).unwrap();
        log.names(3, Box::new(Users));
        recorder.record(&sample());
        fs::rename(&path, &moved).unwrap();
        log.reopen().unwrap();
        recorder.record(&Record::default());
        log.stop();
        assert!(fs::read_to_string(&moved).unwrap().contains("\"route\":\"users\""));
        assert!(fs::read_to_string(&path).unwrap().contains("\"status\":0,\"grpc_status\":null"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn targets_as_typed() {
        assert_eq!(Target::parse("off"), Target::Off);
        assert_eq!(Target::parse("stdout"), Target::Stdout);
        assert_eq!(Target::parse("/var/log/x"), Target::File("/var/log/x".into()));
    }
}

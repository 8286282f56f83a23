//! `ringway run`: the gateway until a signal ends it.
//!
//! The main thread is the control thread: it starts the service and then only waits for signals
//! and for changes of routes.
//! TERM and INT drain up to `drain-timeout`, a second one cuts; QUIT drains without a deadline;
//! HUP reloads; USR1 reopens the logs. Exit 0 after a clean drain, 6 when connections were cut.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches};
use control::{Snapshot, Sources};
use observe::Level;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::args;
use crate::check;
use crate::command::Command;
use crate::descriptors::Descriptors;
use crate::failure::Failure;
use crate::group::Group;
use crate::output;
use crate::serve::{self, Service};

pub(crate) const COMMAND: Command =
    Command { name: "run", about: "Run the gateway (the default)", define, run };

/// How long the main thread sleeps between looks at the shards; while draining it looks often.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_DRAINING: Duration = Duration::from_millis(10);

fn define(command: clap::Command) -> clap::Command {
    let print_effective = Arg::new("print-effective")
        .long("print-effective")
        .action(ArgAction::SetTrue)
        .help("Print every setting with its value and source, and exit");
    let pid_file = Arg::new("pid-file")
        .long("pid-file")
        .value_name("PATH")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Write the process id to this file while running");
    let quiet = Arg::new("quiet")
        .long("quiet")
        .short('q')
        .action(ArgAction::SetTrue)
        .help("Print no start lines");
    args::with_source_flags(command.arg(print_effective).arg(pid_file).arg(quiet))
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let sources = args::sources(matches);
    if matches.get_flag("print-effective") {
        return print_effective(&sources);
    }
    // Before anything else, so that a signal during start neither kills nor is lost.
    let (sender, events) = sync_channel(EVENTS_MAX);
    forward_signals(sender.clone())?;
    let (snapshot, store) = check::load_store(&sources)?;
    let service = Service::start(snapshot, store, sender)?;
    let pid_file = PidFile::write(matches.get_one::<PathBuf>("pid-file"))?;
    if !matches.get_flag("quiet") {
        service.announce();
    }
    notify(&[NotifyState::Ready]);
    let panics = PanicWatch::new(Instant::now());
    let done = Control { service, sources, stage: Stage::Running, panics }.run(&events);
    drop(pid_file);
    done
}

fn print_effective(sources: &Sources) -> Result<(), Failure> {
    // Settings have values also where there is nothing to serve yet.
    let nothing = sources.file.is_none() && sources.upstream.is_empty();
    let upstream = if nothing { vec!["127.0.0.1:1".into()] } else { sources.upstream.clone() };
    let sources = Sources { upstream, ..sources.clone() };
    let snapshot = check::load(&sources)?;
    output::print(&format!("{}{}", snapshot.settings.print_effective(), by_nofile(&snapshot)))
}

/// What the limit of open files makes of `max-conns`, as a comment.
fn by_nofile(snapshot: &Snapshot) -> String {
    let settings = &snapshot.settings;
    let cores = settings.cpus().map_or_else(engine::cores, <[usize]>::to_vec);
    let nofile = engine::probe::raise_nofile().or_else(|_| engine::probe::nofile_soft());
    let shards = serve::shard_count(settings, &cores);
    let descriptors = Descriptors::new(nofile.unwrap_or(u64::MAX), shards, snapshot);
    format!("# {}\n", descriptors.describe(settings.max_conns()))
}

/// What the control thread waits for.
pub(crate) enum Event {
    Signal(i32),
    /// Somebody wants routes changed.
    Changes(Group),
}

/// Events that may wait: more changes than admin connections cannot.
pub(crate) const EVENTS_MAX: usize = 64;

/// Signals are received by a thread of their own, so that the main thread can also wait for other
/// events and for time.
pub(crate) fn forward_signals(sender: SyncSender<Event>) -> Result<(), Failure> {
    let internal = |error: std::io::Error| Failure::Internal(format!("signals: {error}"));
    let wanted = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1];
    let mut signals = Signals::new(wanted).map_err(internal)?;
    let forward = move || {
        for signal in signals.forever() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(forward).map_err(internal)?;
    Ok(())
}

/// Panics within [`PANIC_WINDOW`] that end the process.
const PANICS_MAX: u64 = 10;
const PANIC_WINDOW: Duration = Duration::from_secs(60);

/// Counts panics by windows of a minute.
struct PanicWatch {
    window: Instant,
    before: u64,
    tripped: bool,
}

impl PanicWatch {
    fn new(now: Instant) -> PanicWatch {
        PanicWatch { window: now, before: 0, tripped: false }
    }

    /// Whether the limit has just been reached, `total` being all panics so far.
    fn look(&mut self, total: u64, now: Instant) -> bool {
        if now.saturating_duration_since(self.window) >= PANIC_WINDOW {
            (self.window, self.before) = (now, total);
        }
        let reached = total.saturating_sub(self.before) >= PANICS_MAX && !self.tripped;
        self.tripped |= reached;
        reached
    }
}

/// How far the way out has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Not ready any more, but still accepting until the grace is over.
    Grace {
        until: Instant,
    },
    /// Draining, without a deadline.
    Quitting,
    /// Draining up to the deadline.
    Draining,
    /// Cut.
    Stopping,
}

struct Control {
    service: Service,
    sources: Sources,
    stage: Stage,
    panics: PanicWatch,
}

impl Control {
    fn run(mut self, events: &Receiver<Event>) -> Result<(), Failure> {
        while !self.service.is_finished() {
            let look = if self.stage == Stage::Running { LOOK } else { LOOK_DRAINING };
            if let Ok(event) = events.recv_timeout(look) {
                self.take(event, events);
            }
            self.end_grace(Instant::now());
            self.watch_panics(Instant::now());
            self.service.tidy();
        }
        let (stage, broken) = (self.stage, self.panics.tripped);
        let cut = self.service.join();
        if stage == Stage::Running {
            return Err(Failure::Internal("every shard ended by itself".into()));
        }
        if broken {
            return Err(Failure::Internal("too many panics; see the log".into()));
        }
        if cut > 0 {
            return Err(Failure::Cut(format!("{cut} connections were cut")));
        }
        Ok(())
    }

    /// Groups of changes that wait together are brought to the disk and to the shards together.
    fn take(&mut self, event: Event, events: &Receiver<Event>) {
        let mut groups = Vec::new();
        let mut signals = Vec::new();
        for event in std::iter::once(event).chain(events.try_iter().take(EVENTS_MAX)) {
            match event {
                Event::Changes(group) => groups.push(group),
                Event::Signal(signal) => signals.push(signal),
            }
        }
        self.service.change(groups, self.stage == Stage::Running);
        signals.into_iter().for_each(|signal| self.handle(signal));
    }

    fn handle(&mut self, signal: i32) {
        match signal {
            SIGHUP => self.reload(),
            SIGUSR1 => self.reopen_logs(),
            SIGQUIT => self.quit(),
            _ => self.terminate(Instant::now()),
        }
    }

    fn terminate(&mut self, now: Instant) {
        let settings = &self.service.snapshot().settings;
        let grace = settings.drain_grace();
        match self.stage {
            Stage::Running if !grace.is_zero() => {
                self.say("not ready any more; accepting until the grace is over");
                notify(&[NotifyState::Stopping]);
                self.service.unready();
                self.stage = Stage::Grace { until: now + grace };
            }
            Stage::Running | Stage::Quitting => self.drain(now),
            Stage::Grace { .. } | Stage::Draining | Stage::Stopping => {
                self.say("second signal: cutting what is left");
                self.service.stop();
                self.stage = Stage::Stopping;
            }
        }
    }

    fn end_grace(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Grace { until } if now >= until) {
            self.drain(now);
        }
    }

    /// A panic costs one task, but many mean that something is broken: drain, so that whoever
    /// supervises can start afresh.
    fn watch_panics(&mut self, now: Instant) {
        if self.stage == Stage::Running && self.panics.look(self.service.panics(), now) {
            let text = format!("{PANICS_MAX} panics within a minute: draining");
            self.service.errors().write(Level::Error, "control", text);
            self.drain(now);
        }
    }

    fn drain(&mut self, now: Instant) {
        let timeout = self.service.snapshot().settings.drain_timeout();
        self.say(&format!("draining for at most {} ms", timeout.as_millis()));
        notify(&[NotifyState::Stopping]);
        self.service.drain(Some(now + timeout));
        self.stage = Stage::Draining;
    }

    fn quit(&mut self) {
        if self.stage == Stage::Running {
            self.say("draining without a deadline");
            notify(&[NotifyState::Stopping]);
            self.service.drain(None);
            self.stage = Stage::Quitting;
        }
    }

    fn reload(&mut self) {
        if self.stage != Stage::Running {
            return self.say("reload ignored: on the way out");
        }
        // systemd's notify-reload wants the clock in the same message.
        let began = NotifyState::monotonic_usec_now();
        if let Ok(clock) = began {
            notify(&[NotifyState::Reloading, clock]);
        }
        match self.service.reload(&self.sources) {
            Ok(generation) => self.say(&format!("generation {generation} is in force")),
            Err(why) => {
                let kept = self.service.snapshot().generation;
                let text = format!("reload refused, generation {kept} stays in force: {why}");
                self.service.errors().write(Level::Error, "config", text);
            }
        }
        notify(&[NotifyState::Ready]);
    }

    fn reopen_logs(&self) {
        match self.service.reopen_logs() {
            Ok(()) => self.say("logs reopened"),
            Err(error) => {
                let text = format!("cannot reopen the access log, the old one stays: {error}");
                self.service.errors().write(Level::Error, "access_log", text);
            }
        }
    }

    fn say(&self, text: &str) {
        self.service.errors().write(Level::Info, "control", text);
    }
}

/// Tells systemd, where it listens; elsewhere this does nothing.
fn notify(states: &[NotifyState<'_>]) {
    // A service manager that cannot be told is no reason to stop serving.
    let _ = sd_notify::notify(states);
}

/// The pid file, removed at the end.
struct PidFile(Option<PathBuf>);

impl PidFile {
    fn write(path: Option<&PathBuf>) -> Result<PidFile, Failure> {
        if let Some(path) = path {
            std::fs::write(path, format!("{}\n", std::process::id())).map_err(|error| {
                Failure::Refused(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        Ok(PidFile(path.cloned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_panics_in_a_minute_are_too_many() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut watch = PanicWatch::new(start);
        assert!(!watch.look(9, at(59)));
        assert!(!watch.look(9, at(60)), "a new minute");
        assert!(!watch.look(18, at(80)));
        assert!(watch.look(19, at(81)) && watch.tripped);
        assert!(!watch.look(20, at(82)), "said once");
    }
}

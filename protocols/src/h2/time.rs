//! Deadlines of an HTTP/2 connection.
//!
//! | what | time | at its end |
//! |---|---|---|
//! | preface, SETTINGS acknowledged | `h2_settings_timeout` | `settings_timeout` |
//! | a field block, from its HEADERS to its END_HEADERS | `head_timeout` | `head_timeout` |
//! | no stream is open | `idle_timeout`, both roles | GOAWAY, close |
//! | streams are open and nothing comes | `h2_ping_interval` | PING |
//! | nothing comes after that PING | `h2_ping_timeout` | `ping_timeout` |
//! | a drain whose PING is not answered | 1 s | the final GOAWAY |
//!
//! A server counts the first of them from the first byte that comes. A client keeps an unused
//! connection as long as a server does: a server that closes first says so by GOAWAY, so the race
//! for which HTTP/1 has `link_idle_timeout` does not arise. A message that comes slowly has no
//! deadline here: gRPC streams may be silent for hours, and a stream holds no more than its window.

use std::time::{Duration, Instant};

use super::frame::{self, Code};
use super::{Drain, H2};
use crate::error::{Error, Fault};
use crate::spec::WireSpec;
use crate::wire::Cx;

/// What the PING of a drain says.
pub(super) const PING_DRAIN: [u8; 8] = *b"rw-drain";
/// What a PING that asks for a sign of life says.
const PING_ALIVE: [u8; 8] = *b"rw-alive";
/// How long a drain waits for its PING.
pub(super) const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// What the deadlines depend on.
#[derive(Debug, Default)]
pub(super) struct Clock {
    settings_by: Option<Instant>,
    pub(super) block_by: Option<Instant>,
    pub(super) drain_by: Option<Instant>,
    /// No stream is open since.
    idle_since: Option<Instant>,
    /// The last byte came, or the first stream opened.
    heard: Option<Instant>,
    /// The peer was asked for a sign of life.
    pinged: Option<Instant>,
}

impl Clock {
    pub(super) fn restart_idle(&mut self, now: Instant) {
        self.idle_since = self.idle_since.map(|_| now);
    }

    pub(super) fn note_streams(&mut self, held: u32, now: Instant) {
        if held == 0 {
            self.idle_since.get_or_insert(now);
        } else if self.idle_since.take().is_some() {
            self.heard = Some(now);
        }
    }

    /// Bytes came.
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// Our SETTINGS are to be acknowledged from now on.
    pub(super) fn expect_settings(&mut self, now: Instant, spec: &WireSpec) {
        self.settings_by.get_or_insert(now + spec.h2_settings_timeout);
    }

    pub(super) fn settings_came(&mut self) {
        self.settings_by = None;
    }

    fn idle_by(&self, spec: &WireSpec) -> Option<Instant> {
        self.idle_since.map(|since| since + spec.idle_timeout)
    }

    /// When to ask for a sign of life, or to give up waiting for one.
    fn ping_by(&self, held: u32, spec: &WireSpec) -> Option<Instant> {
        let interval = spec.h2_ping_interval?;
        let heard = self.heard?;
        match self.pinged {
            Some(pinged) => Some(pinged.max(heard) + spec.h2_ping_timeout),
            None if held > 0 => Some(heard + interval),
            None => None,
        }
    }

    /// The next of them all.
    pub(super) fn next(&self, held: u32, spec: &WireSpec) -> Option<Instant> {
        let idle = if held == 0 { self.idle_by(spec) } else { None };
        let ping = self.ping_by(held, spec);
        let all = [self.settings_by, self.block_by, self.drain_by, idle, ping];
        all.into_iter().flatten().min()
    }
}

impl H2 {
    pub(super) fn act_on_time(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.is_done() {
            return Ok(());
        }
        let now = cx.now;
        let is_past = |by: Option<Instant>| by.is_some_and(|by| now >= by);
        if is_past(self.clock.settings_by) {
            return Err(Error::connection(Fault::SettingsTimeout));
        }
        if is_past(self.clock.block_by) {
            return Err(Error::connection(Fault::HeadTimeout));
        }
        if is_past(self.clock.drain_by) {
            self.drain_now(cx);
        }
        if is_past(self.clock.idle_by(&self.spec)) {
            self.go_away(Code::NoError, b"", cx);
            self.close();
        }
        if is_past(self.clock.ping_by(self.streams.held(), &self.spec)) {
            return self.ask_for_life(cx);
        }
        Ok(())
    }

    fn ask_for_life(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.clock.pinged.is_some() {
            return Err(Error::connection(Fault::PingTimeout));
        }
        if !self.closing {
            frame::ping(PING_ALIVE, false, cx.out);
            self.clock.pinged = Some(cx.now);
        }
        Ok(())
    }

    /// A PING of ours came back. Whether it was one.
    pub(super) fn pong(&mut self, opaque: [u8; 8], cx: &mut Cx<'_>) -> bool {
        match opaque {
            PING_ALIVE => self.clock.pinged.take().is_some(),
            PING_DRAIN if self.drain == Drain::Asked => {
                self.drain_now(cx);
                true
            }
            // It may come after the second that it was waited for.
            PING_DRAIN => self.drain == Drain::Final,
            _ => false,
        }
    }
}

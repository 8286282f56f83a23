//! What clients of either version of HTTP hold a reply to, and what they count.

use engine::sim::Net;

use super::http::Message;
use super::plan::{Conduct, Plan, Upload};

/// What came of the exchanges of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Requests begun.
    pub(crate) sent: u64,
    /// Whole replies of the origin.
    pub(crate) good: u64,
    /// Replies made by the gateway.
    pub(crate) errors: u64,
    /// Exchanges that ended without a whole reply.
    pub(crate) broken: u64,
    /// Connections opened.
    pub(crate) connections: u64,
    /// Clients that gave up waiting.
    pub(crate) gave_up: u64,
    /// Tunnels that carried all they were to carry.
    pub(crate) tunnels: u64,
    /// Replies over HTTP/2 that ended as a whole.
    pub(crate) streams: u64,
    /// Calls of Thrift that were answered as their server meant it.
    pub(crate) calls: u64,
    /// Requests begun that panic in the gateway.
    pub(crate) panics: u64,
    /// Replies by the gateway: 502, 503, 504, 408, 4xx else.
    pub(crate) statuses: [u64; 5],
}

impl Tally {
    /// Adds another run's.
    pub(crate) fn merge(&mut self, other: &Tally) {
        self.sent += other.sent;
        self.good += other.good;
        self.errors += other.errors;
        self.broken += other.broken;
        self.connections += other.connections;
        self.gave_up += other.gave_up;
        self.panics += other.panics;
        self.tunnels += other.tunnels;
        self.streams += other.streams;
        self.calls += other.calls;
        for (mine, theirs) in self.statuses.iter_mut().zip(other.statuses) {
            *mine += theirs;
        }
    }
}

/// Holds replies against the plans of their exchanges.
pub(crate) struct Judge<'a> {
    /// Where the reply is noted, so that two runs of a seed can be compared.
    pub(crate) net: &'a Net,
    /// Nothing is allowed to fail but what a plan itself breaks.
    pub(crate) quiet: bool,
}

impl Judge<'_> {
    /// A whole reply.
    pub(crate) fn reply(&self, plan: &Plan, reply: &Message, tally: &mut Tally) {
        self.net.note(plan.id << 16 | u64::from(reply.status()));
        let Some(echo) = reply.field("x-echo-id") else {
            self.error(plan, reply, tally);
            return;
        };
        assert_eq!(echo, plan.id.to_string(), "the reply to another request: {}", reply.start);
        if let Some(hash) = reply.field("x-upload-hash") {
            assert_eq!(hash, format!("{:x}", plan.upload_hash()), "upload of {}", plan.id);
        }
        let bodiless = plan.upload == Upload::Head
            || matches!(plan.conduct, Conduct::NoContent | Conduct::NotModified);
        let expected = if bodiless { Vec::new() } else { plan.reply_body() };
        assert_eq!(reply.body.len(), expected.len(), "a part passed off as whole: {plan:?}");
        assert!(reply.body == expected, "another body than the origin's: {plan:?}");
        tally.good += 1;
    }

    /// The gateway's own reply: only where something may have gone wrong.
    fn error(&self, plan: &Plan, reply: &Message, tally: &mut Tally) {
        tally.errors += 1;
        let row = [502, 503, 504, 408].iter().position(|status| *status == reply.status());
        tally.statuses[row.unwrap_or(4)] += 1;
        assert!(row.is_some(), "{} for {plan:?}", reply.start);
        let excused = !self.quiet || !plan.conduct.is_good() || plan.cluster == 2;
        // A stale connection may fail a request that must not be sent twice.
        let stale = plan.upload != Upload::Get && plan.upload != Upload::Head;
        assert!(excused || stale, "{} for {plan:?} though nothing was wrong", reply.start);
    }
}

//! Attempts: which endpoint is tried, and when a second try is allowed.
//!
//! A try that failed before anything of a reply was seen may be repeated on a fresh link: any
//! request if nothing of it can have reached a server, an idempotent one without a body if the
//! link had served before and was closed in its idle time (RFC 9112 section 9.3.1). A request
//! with a body is not repeated after its first byte went out, unless its route had it stored.
//! What the upstream says it did nothing with (RFC 9113 section 8.7) has tries of its own.

use std::future::poll_fn;
use std::rc::Rc;

use observe::WordFamily;
use protocols::Head;
use router::EndpointId;

use crate::end::End;
use crate::failure::{Cause, Failure, Stage, is_idempotent};
use crate::relay::{Body, Relay};
use crate::shard::Plan;
use crate::thrift;
use crate::track::Track;
use crate::upstream::{self, Link};

/// Carries the request to an endpoint of its plan's cluster and the reply back.
pub(crate) async fn forward(
    track: &Track,
    down: &End,
    plan: &Rc<Plan>,
    request: &Head,
    body: &Body,
) -> Result<(), Failure> {
    let idempotent = is_idempotent(request.method());
    let mut avoid: Option<EndpointId> = None;
    let mut tries = Tries::new(plan.retries());
    loop {
        let fresh = track.tries.get() > 0;
        let picked = plan.pick(avoid);
        let Some((id, endpoint)) = picked else {
            return Err(Failure::new(Stage::Connect, Cause::NoEndpoint));
        };
        track.begin_try(&endpoint);
        let result = attempt(track, down, (&endpoint, fresh), request, body).await;
        let Err(failure) = result else { return Ok(()) };
        endpoint.failed(&track.state, &failure);
        if !may_repeat(track, &failure, idempotent, body) || !tries.take(&failure) {
            return Err(failure);
        }
        track.state.metrics.word(WordFamily::Retries, failure.reason());
        avoid = (failure.stage == Stage::Connect).then_some(id);
    }
}

/// How often a request that its upstream did nothing with is tried again: a server that ends its
/// connections in turn, or refuses what a burst brings, may do so to one request more than once.
const UNPROCESSED_TRIES: u32 = 3;

/// Further tries that a request may have.
struct Tries {
    left: u32,
    /// After an upstream said that it did nothing.
    unprocessed_left: u32,
}

impl Tries {
    fn new(retries: u32) -> Tries {
        let unprocessed_left = if retries > 0 { retries.max(UNPROCESSED_TRIES) } else { 0 };
        Tries { left: retries, unprocessed_left }
    }

    /// Takes one after a failure: false when there is none.
    fn take(&mut self, failure: &Failure) -> bool {
        let left = if failure.unprocessed { &mut self.unprocessed_left } else { &mut self.left };
        let any = *left > 0;
        *left = left.saturating_sub(1);
        any
    }
}

/// A body of which nothing was taken yet can still be sent whole.
fn may_repeat(track: &Track, failure: &Failure, idempotent: bool, body: &Body) -> bool {
    let replayable = body.is_repeatable() || track.bytes_in.get() == 0;
    replayable && failure.may_retry(idempotent)
}

async fn attempt(
    track: &Track,
    down: &End,
    (endpoint, fresh): (&Rc<upstream::Endpoint>, bool),
    request: &Head,
    body: &Body,
) -> Result<(), Failure> {
    let end = matches!(body, Body::None);
    let Link { end: up, reused } = upstream::checkout(track, down.conn(), endpoint, fresh).await?;
    let turn = thrift::link_turn(up).await;
    let up = turn.map_err(|failure| Failure { reused, sent: false, ..failure })?;
    let mut sent = false;
    let result = match up.send_head(request, end) {
        Err(_) => Err(Failure::new(Stage::SendHead, Cause::ConnectRefused)),
        Ok(()) => {
            sent = true;
            track.head_sent(end);
            let mut relay = Relay::new(track, down, up, body);
            poll_fn(|cx| relay.poll(cx)).await
        }
    };
    result.map_err(|failure| Failure { reused, sent, ..failure })
}

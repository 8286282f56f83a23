//! Attempts: which endpoint is tried, and when a second try is allowed.
//!
//! A try that failed before anything of a reply was seen may be repeated once on a fresh link: any
//! request if nothing of it can have reached a server, an idempotent one without a body if the
//! link had served before and was closed in its idle time (RFC 9112 section 9.3.1). A request
//! with a body is not repeated after its first byte went out, unless its route had it stored.

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
    let mut tries_left = plan.tries_max();
    loop {
        tries_left -= 1;
        let fresh = track.tries.get() > 0;
        let picked = plan.pick(avoid);
        let Some((id, endpoint)) = picked else {
            return Err(Failure::new(Stage::Connect, Cause::NoEndpoint));
        };
        track.begin_try(&endpoint);
        let result = attempt(track, down, (&endpoint, fresh), request, body).await;
        if let Err(failure) = &result {
            endpoint.failed(&track.state, failure);
        }
        match result {
            Err(failure) if tries_left > 0 && may_repeat(track, &failure, idempotent, body) => {
                track.state.metrics.word(WordFamily::Retries, failure.reason());
                avoid = (failure.stage == Stage::Connect).then_some(id);
            }
            other => return other,
        }
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

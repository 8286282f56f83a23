//! Collecting a request's body before anything is done with it.

use std::future::poll_fn;

use protocols::{Head, Length};

use crate::end::End;
use crate::exchange::client_cause;
use crate::failure::{Cause, Failure, Stage};
use crate::metadata;
use crate::relay::Body;
use crate::shard::State;
use crate::stash::{Filled, Stash, Stored};
use crate::track::Track;

/// Collects the request's body before anything of it is forwarded. The head then says how long it
/// is; a client that waits to be told to send it is told here.
///
/// # Errors
/// As [`gather`].
pub(crate) async fn collect(
    track: &Track,
    down: &End,
    request: &mut Head,
    bytes_max: u64,
) -> Result<Body, Failure> {
    let stored = gather(track, down, request, bytes_max).await?;
    if stored.trailers().is_some() {
        return Ok(Body::Stored(stored));
    }
    request.set_length(Length::Exact(stored.bytes()));
    Ok(if stored.bytes() == 0 { Body::None } else { Body::Stored(stored) })
}

/// The whole body of a request.
///
/// # Errors
/// It is too long, the buffers are used up, or the client broke off.
pub(crate) async fn gather(
    track: &Track,
    down: &End,
    request: &mut Head,
    bytes_max: u64,
) -> Result<Box<Stored>, Failure> {
    answer_expectation(&track.state, down, request);
    let bytes_max = track.body_bytes_max.get().map_or(bytes_max, |max| max.min(bytes_max));
    if matches!(request.length(), Length::Exact(bytes) if bytes > bytes_max) {
        return Err(Failure::new(Stage::Route, Cause::BodyTooLarge));
    }
    let mut stash = Box::new(Stash::new(&track.state, bytes_max));
    let filled = poll_fn(|cx| stash.poll_fill(down, cx)).await;
    track.bytes_in.set(stash.held());
    let failed = |cause| Err(Failure::new(Stage::Route, cause));
    match filled {
        Filled::Whole if stash.held() <= bytes_max => {}
        Filled::Whole | Filled::Full | Filled::Head(..) => return failed(Cause::BodyTooLarge),
        Filled::OverBudget => return failed(Cause::BufferBudget),
        Filled::Cut { fault, .. } => return failed(client_cause(&track.state, fault)),
    }
    let mut stored = Box::new(stash.into_stored());
    if let Some(trailers) = stored.trailers_mut() {
        metadata::admit_trailers(&track.state, trailers);
    }
    Ok(stored)
}

/// Asks a client that waits for it to send its body (RFC 9110 section 10.1.1).
pub(crate) fn answer_expectation(state: &State, down: &End, request: &mut Head) {
    if request.remove(b"expect") == 0 || down.conn().is_thrift() {
        return;
    }
    let mut head = state.take_head();
    head.set_status(100, b"Continue");
    // A client that left meanwhile is noticed where its body is awaited.
    let _ = down.send_head(&head, false);
    state.give_head(head);
}

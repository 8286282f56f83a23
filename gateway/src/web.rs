//! gRPC-Web on a route: which of its requests are calls, what their replies tell a browser, and
//! the preflight that it asks for first.
//!
//! A call goes on as one of gRPC: its head is edited once, its bodies pass a
//! [`Transform`] in the relay. Other requests of such a route are carried as on any other. What the
//! gateway answers to a call by itself is a status in the head, which gRPC-Web allows. Once a reply
//! has begun, a failure is a cut: no status could be told from the end of a message that is not
//! whole.
//! (PROTOCOL-WEB.md of gRPC; the Fetch standard, "CORS protocol".)

use std::cell::RefCell;
use std::rc::Rc;

use protocols::grpc::web::{ContentType, GrpcWeb, reply_content_type};
use protocols::grpc::{self, Code};
use protocols::{Head, Name, Transform};
use router::RouteId;

use crate::conn::Conn;
use crate::end::End;
use crate::exchange;
use crate::failure::{Cause, Failure, Stage};
use crate::shard::Plan;
use crate::track::Track;

/// A call of gRPC-Web.
pub(crate) struct Web {
    text_request: bool,
    text_reply: bool,
    message_bytes_max: u32,
    /// Of what the gateway answers by itself.
    content_type: Vec<u8>,
    /// What the browser is told: who may read the reply, also to a call with credentials, and
    /// which fields of it. Empty if nobody.
    origin: Vec<u8>,
    credentials: bool,
    exposed: String,
    /// Of the present try.
    pub(crate) request: RefCell<Option<Transform>>,
    pub(crate) reply: RefCell<Option<Transform>>,
}

impl Web {
    /// A call, if the request is one and its route takes them.
    pub(crate) fn of(plan: &Plan, request: &Head) -> Option<Web> {
        let route = plan.grpc_web()?;
        let content_type = ContentType::parse(request.known(Name::ContentType)?)?;
        let accepted = request.all(b"accept").flat_map(|value| value.split(|&b| b == b','));
        let accepted: Vec<_> =
            accepted.filter_map(|one| ContentType::parse(one.trim_ascii())).collect();
        let accepts = |text| accepted.iter().any(|one| one.text == text);
        let text_reply = accepts(true) || (content_type.text && !accepts(false));
        let origin = request.field(b"origin").and_then(|origin| route.allowed(origin));
        Some(Web {
            text_request: content_type.text,
            text_reply,
            message_bytes_max: route.message_bytes_max,
            content_type: reply_content_type(&content_type.as_grpc(), text_reply),
            origin: origin.unwrap_or_default().as_bytes().to_vec(),
            credentials: route.allow_credentials,
            exposed: route.expose_headers.clone(),
            request: RefCell::new(None),
            reply: RefCell::new(None),
        })
    }

    /// Makes the request's head one of gRPC; `end` if no body follows.
    pub(crate) fn edit(&self, request: &mut Head, end: bool) {
        self.transform().head(request, end);
    }

    fn transform(&self) -> Transform {
        GrpcWeb::request(self.text_request, self.message_bytes_max)
    }

    /// Nothing of the bodies has been seen.
    pub(crate) fn begin_try(&self) {
        *self.request.borrow_mut() = Some(self.transform());
        *self.reply.borrow_mut() = None;
    }

    /// Makes a reply's head one of gRPC-Web. What is no reply of gRPC keeps its status and body,
    /// and says in a field what a caller makes of the status.
    pub(crate) fn reply(&self, head: &mut Head, end: bool) {
        let content_type = head.known(Name::ContentType);
        let is_grpc = head.status() == 200 && content_type.is_some_and(grpc::is_content_type);
        if is_grpc {
            let mut transform = GrpcWeb::reply(self.text_reply);
            transform.head(head, end);
            *self.reply.borrow_mut() = Some(transform);
        } else if grpc::status_number(head).is_none() {
            grpc::push_status(head, Code::from_http(head.status()), b"");
        }
        self.allow(head);
    }

    /// Makes an answer of the gateway one of gRPC-Web.
    pub(crate) fn local(&self, head: &mut Head) {
        head.set(b"content-type", &self.content_type);
        self.allow(head);
    }

    /// Says who may read a reply. What an upstream says of it does not count: it is the route that
    /// names origins.
    fn allow(&self, head: &mut Head) {
        head.remove(b"access-control-allow-origin");
        head.remove(b"access-control-allow-credentials");
        if self.origin.is_empty() {
            return;
        }
        allow_origin(head, &self.origin, self.credentials);
        head.set(b"access-control-expose-headers", self.exposed.as_bytes());
    }
}

/// Says who may read a reply, and where that depends on who asked.
fn allow_origin(head: &mut Head, origin: &[u8], credentials: bool) {
    head.push(b"access-control-allow-origin", origin);
    if credentials {
        head.push(b"access-control-allow-credentials", b"true");
    }
    if origin != b"*" {
        head.push(b"vary", b"origin");
    }
}

/// The route that an OPTIONS asks about on behalf of a page, where that takes calls of gRPC-Web.
pub(crate) fn preflight(track: &Track, conn: &Conn, request: &Head) -> Option<(RouteId, Rc<Plan>)> {
    if request.method() != b"OPTIONS" || request.field(b"origin").is_none() {
        return None;
    }
    let method = request.field(b"access-control-request-method")?;
    let found = exchange::route(track, conn, request, method).ok();
    found.filter(|(_, plan)| plan.grpc_web().is_some())
}

/// Answers a preflight.
///
/// # Errors
/// The page is of an origin that the route does not name, or the client is gone.
pub(crate) fn answer(
    track: &Track,
    down: &End,
    plan: &Plan,
    request: &Head,
) -> Result<(), Failure> {
    let failed = |cause| Err(Failure::new(Stage::Route, cause));
    let origin = request.field(b"origin").unwrap_or_default();
    let allowed = plan.grpc_web().and_then(|route| Some((route, route.allowed(origin)?)));
    let Some((route, origin)) = allowed else { return failed(Cause::OriginRefused) };
    let mut head = track.state.take_head();
    head.set_status(204, b"No Content");
    track.state.stamp(&mut head);
    allow_origin(&mut head, origin.as_bytes(), route.allow_credentials);
    head.push(b"access-control-allow-methods", b"POST");
    head.push(b"access-control-allow-headers", route.allow_headers.as_bytes());
    head.push(b"access-control-max-age", PREFLIGHT_SECONDS);
    let sent = down.send_head(&head, true);
    track.state.give_head(head);
    if sent.is_err() {
        return failed(Cause::ClientGone);
    }
    track.answered(204, "grpc_web_preflight");
    Ok(())
}

/// How long a browser may keep the answer to a preflight: ten minutes.
const PREFLIGHT_SECONDS: &[u8] = b"600";

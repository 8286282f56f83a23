//! The pages of the admin server and what fills them.
//!
//! A page is a path, a media type and a closure's text; the closures run on the connection's own
//! thread and may take as long as they like within reason (a page is not a request of the data
//! path). `/livez` and `/readyz` have a status of their own.

use super::routes::{self, Asked, ExplainQuery, RouteFilter};
use crate::routes::{Change, Refusal};

/// What a page says, appended to the string it is given.
pub struct Content(Box<dyn Fn(&mut String) + Send + Sync>);

impl Content {
    /// A page made anew at each request.
    pub fn new(write: impl Fn(&mut String) + Send + Sync + 'static) -> Content {
        Content(Box::new(write))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        (self.0)(&mut text);
        text
    }
}

/// Whether new traffic is welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Shards accept.
    Ready,
    /// Shards are not up yet.
    Starting,
    /// On the way out: balancers should look elsewhere.
    Draining,
}

/// Everything that the server can tell.
pub struct AdminState {
    /// Asked by `/readyz`.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// `/metrics`, Prometheus text.
    pub metrics: Content,
    /// `/version`, JSON.
    pub version: Content,
    /// `/config`, YAML-like text: every setting, its value and source.
    pub config: Content,
    /// `/connections`, JSON.
    pub connections: Content,
    /// `/routes`, JSON.
    pub routes: Ask<RouteFilter, String>,
    /// `/routes/{id}`, JSON; none where there is no such route.
    pub route: Ask<str, Option<String>>,
    /// `/explain`, text; or why the request cannot be understood.
    pub explain: Ask<ExplainQuery, Result<String, String>>,
    /// Changes routes and waits until that is done; gives the generation that has them.
    pub change: Box<dyn Fn(Vec<Change>) -> Result<u64, Refusal> + Send + Sync>,
}

/// Answers a question.
pub type Ask<Q, A> = Box<dyn Fn(&Q) -> A + Send + Sync>;

/// An answer.
pub(super) struct Page {
    pub(super) status: u16,
    /// The methods that a 405 names.
    pub(super) allow: &'static str,
    pub(super) media_type: &'static str,
    pub(super) text: String,
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Entry(&'static str, fn(&AdminState) -> Page);

/// Every page by its path; `/` lists them.
const PAGES: &[Entry] = &[
    Entry("/livez", |_| page(200, TEXT, "alive\n".into())),
    Entry("/readyz", |state| readyz((state.readiness)())),
    Entry("/metrics", |state| page(200, PROMETHEUS, state.metrics.text())),
    Entry("/version", |state| page(200, JSON, state.version.text())),
    Entry("/config", |state| page(200, TEXT, state.config.text())),
    Entry("/connections", |state| page(200, JSON, state.connections.text())),
];

/// The answer to a request.
pub(super) fn answer(state: &AdminState, asked: &Asked<'_>) -> Page {
    if let Some(page) = routes::answer(state, asked) {
        return page;
    }
    let reads = matches!(asked.method, b"GET" | b"HEAD");
    if asked.path == b"/" && reads {
        let known = PAGES.iter().map(|Entry(path, _)| *path);
        let list: String = known.chain(ROUTES).map(|path| format!("{path}\n")).collect();
        return page(200, TEXT, list);
    }
    let known = PAGES.iter().find(|Entry(known, _)| known.as_bytes() == asked.path);
    let Some(Entry(_, make)) = known else {
        return page(404, TEXT, "no such page; / lists them\n".into());
    };
    if !reads {
        let text = "this page is read-only: GET or HEAD\n";
        return page(405, TEXT, text.into());
    }
    make(state)
}

/// What `routes` answers.
const ROUTES: [&str; 4] = ["/routes", "/routes/{id}", "/routes:batch", "/explain"];

pub(super) fn page(status: u16, media_type: &'static str, text: String) -> Page {
    Page { status, allow: "GET, HEAD", media_type, text }
}

/// The answer to a body that no page takes.
pub(super) fn too_long() -> Page {
    page(413, TEXT, "the body is longer than this page takes\n".into())
}

fn readyz(readiness: Readiness) -> Page {
    match readiness {
        Readiness::Ready => page(200, TEXT, "ready\n".into()),
        Readiness::Starting => page(503, TEXT, "starting\n".into()),
        Readiness::Draining => page(503, TEXT, "draining\n".into()),
    }
}

/// The reason phrase of a status that this server sends.
pub(super) fn reason(status: u16) -> &'static [u8] {
    match status {
        200 => b"OK",
        400 => b"Bad Request",
        403 => b"Forbidden",
        404 => b"Not Found",
        405 => b"Method Not Allowed",
        409 => b"Conflict",
        413 => b"Content Too Large",
        503 => b"Service Unavailable",
        _ => b"",
    }
}

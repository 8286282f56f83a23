//! `/routes`, `/routes/{id}`, `/routes:batch` and `/explain`: routes listed, changed, explained.
//!
//! Changes are taken on a unix socket only, whose mode says who may make them. An answer to one
//! comes after it is on the disk and published. A batch is a JSON array of `{"put": {route}}` and
//! `{"delete": "id"}`: all of it takes effect or nothing does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use form_urlencoded::parse;
use percent_encoding::percent_decode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use serde_json::value::RawValue;

use super::pages::{AdminState, JSON, Page, TEXT, page};
use crate::routes::{Change, ChangeFault, ChangeFaultKind, Refusal};

/// Changes of one batch: some milliseconds of the control thread.
const BATCH_CHANGES_MAX: usize = 10_000;
/// Routes of one list.
const LIST_MAX: usize = 10_000;

/// Which routes are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// The name contains this.
    pub name: Option<String>,
    /// The host contains this.
    pub host: Option<String>,
    /// The cluster is this.
    pub cluster: Option<String>,
    /// Only routes behind so many others that are wanted.
    pub skip: usize,
    /// At most so many.
    pub limit: usize,
}

/// A request that somebody asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainQuery {
    /// Its method.
    pub method: String,
    /// Its URL.
    pub url: String,
    /// Its fields, as `Name: value`.
    pub fields: Vec<String>,
    /// The client's address.
    pub source: Option<String>,
}

/// A request to this resource.
pub(super) struct Asked<'a> {
    pub(super) method: &'a [u8],
    pub(super) path: &'a [u8],
    pub(super) query: &'a [u8],
    pub(super) body: &'a [u8],
    /// It came over the unix socket.
    pub(super) local: bool,
}

/// Bytes of body that a request may have.
pub(super) fn body_bytes_max(method: &[u8], path: &[u8]) -> usize {
    match (method, path) {
        (b"PUT", path) if path.starts_with(b"/routes/") => 1 << 20,
        (b"POST", b"/routes:batch") => 8 << 20,
        _ => 0,
    }
}

/// The answer, if the path is one of these.
pub(super) fn answer(state: &AdminState, asked: &Asked<'_>) -> Option<Page> {
    let reads = matches!(asked.method, b"GET" | b"HEAD");
    Some(match (asked.method, asked.path) {
        (_, b"/routes") if reads => list(state, asked.query),
        (_, b"/explain") if reads => explain(state, asked.query),
        (b"POST", b"/routes:batch") => batch(state, asked),
        (_, b"/routes" | b"/explain") => refused_method("GET, HEAD"),
        (_, b"/routes:batch") => refused_method("POST"),
        (method, path) => {
            let id = percent_decode(path.strip_prefix(b"/routes/")?).decode_utf8();
            match (method, id) {
                (_, Err(_)) => page(400, TEXT, "the name is not UTF-8\n".into()),
                (b"PUT", Ok(id)) => put(state, asked, &id),
                (b"DELETE", Ok(id)) => change(state, asked, vec![Change::Delete { id: id.into() }]),
                (_, Ok(id)) if reads => one(state, &id),
                _ => refused_method("GET, HEAD, PUT, DELETE"),
            }
        }
    })
}

fn refused_method(allow: &'static str) -> Page {
    let text = format!("only {allow} here\n");
    Page { allow, ..page(405, TEXT, text) }
}

fn list(state: &AdminState, query: &[u8]) -> Page {
    let mut filter = RouteFilter { limit: 1000, ..RouteFilter::default() };
    for (key, value) in parse(query) {
        let number = value.parse::<usize>();
        match (&*key, number) {
            ("name", _) => filter.name = Some(value.into_owned()),
            ("host", _) => filter.host = Some(value.into_owned()),
            ("cluster", _) => filter.cluster = Some(value.into_owned()),
            ("skip", Ok(skip)) => filter.skip = skip,
            ("limit", Ok(limit)) if limit <= LIST_MAX => filter.limit = limit,
            _ => {
                let text = format!(
                    "`{key}={value}` is none of name, host, cluster, skip and limit \
                     (at most {LIST_MAX})\n"
                );
                return page(400, TEXT, text);
            }
        }
    }
    page(200, JSON, (state.routes)(&filter))
}

fn one(state: &AdminState, id: &str) -> Page {
    match (state.route)(id) {
        Some(text) => page(200, JSON, text),
        None => page(404, TEXT, "there is no route of this name\n".into()),
    }
}

fn explain(state: &AdminState, query: &[u8]) -> Page {
    let mut asked = ExplainQuery { method: "GET".into(), ..ExplainQuery::default() };
    for (key, value) in parse(query) {
        match &*key {
            "method" => asked.method = value.into_owned(),
            "url" => asked.url = value.into_owned(),
            "header" => asked.fields.push(value.into_owned()),
            "source" => asked.source = Some(value.into_owned()),
            _ => {
                let text = format!("`{key}` is not method, url, header or source\n");
                return page(400, TEXT, text);
            }
        }
    }
    if asked.url.is_empty() {
        return page(400, TEXT, "`url` is missing\n".into());
    }
    match (state.explain)(&asked) {
        Ok(text) => page(200, TEXT, text),
        Err(why) => page(400, TEXT, format!("{why}\n")),
    }
}

fn put(state: &AdminState, asked: &Asked<'_>, id: &str) -> Page {
    match route_text(asked.body, id) {
        Ok(route) => change(state, asked, vec![Change::Put { id: id.to_owned(), route }]),
        Err(why) => page(400, TEXT, format!("{why}\n")),
    }
}

/// A route's text. The name in the path stands for an `id` that the text lacks.
fn route_text(body: &[u8], id: &str) -> Result<String, String> {
    let text = std::str::from_utf8(body).map_err(|error| format!("not UTF-8: {error}"))?;
    let keys: BTreeMap<Cow<'_, str>, IgnoredAny> =
        serde_json::from_str(text).map_err(|error| format!("no route: {error}"))?;
    let Some((before, rest)) = text.split_once('{').filter(|_| !keys.contains_key("id")) else {
        return Ok(text.to_owned());
    };
    let comma = if rest.trim_start().starts_with('}') { "" } else { ", " };
    Ok(format!("{before}{{\"id\": {}{comma}{rest}", json!(id)))
}

fn batch(state: &AdminState, asked: &Asked<'_>) -> Page {
    match changes(asked.body) {
        Ok(changes) => change(state, asked, changes),
        Err(why) => page(400, TEXT, format!("{why}\n")),
    }
}

/// The changes of a batch.
pub(crate) fn changes(body: &[u8]) -> Result<Vec<Change>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Typed<'a> {
        #[serde(borrow)]
        Put(&'a RawValue),
        Delete(String),
    }
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let typed: Vec<Typed<'_>> = serde_json::from_slice(body)
        .map_err(|error| format!("no list of {{\"put\": ..}} and {{\"delete\": ..}}: {error}"))?;
    if typed.len() > BATCH_CHANGES_MAX {
        return Err(format!("{} changes: at most {BATCH_CHANGES_MAX} in a batch", typed.len()));
    }
    let change = |(at, typed)| match typed {
        Typed::Delete(id) => Ok(Change::Delete { id }),
        Typed::Put(route) => {
            let named: Named = serde_json::from_str(route.get())
                .map_err(|error| format!("change {at} has no route with an `id`: {error}"))?;
            Ok(Change::Put { id: named.id, route: route.get().to_owned() })
        }
    };
    typed.into_iter().enumerate().map(change).collect()
}

fn change(state: &AdminState, asked: &Asked<'_>, changes: Vec<Change>) -> Page {
    if !asked.local {
        let text = "routes are changed over the unix socket only\n";
        return page(403, TEXT, text.into());
    }
    match (state.change)(changes) {
        Ok(generation) => page(200, JSON, format!("{}\n", json!({ "generation": generation }))),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Page {
    match refusal {
        Refusal::NoJournal => {
            let text = "no change is taken without a journal: set route-journal\n";
            page(403, TEXT, text.into())
        }
        Refusal::Journal(why) => {
            page(503, TEXT, format!("the journal failed, no change is taken: {why}\n"))
        }
        Refusal::Stopping => page(503, TEXT, "on the way out: no change is taken\n".into()),
        Refusal::Faults(faults) => faulty(faults),
    }
}

fn faulty(faults: &[ChangeFault]) -> Page {
    // What is wrong in itself goes before what does not fit.
    let kind = faults.iter().map(|fault| fault.kind).min();
    let status = match kind {
        Some(ChangeFaultKind::Unknown) => 404,
        Some(ChangeFaultKind::Conflict) => 409,
        _ => 400,
    };
    let shown = |fault: &ChangeFault| {
        json!({
            "change": fault.at,
            "id": fault.id,
            "line": (fault.line > 0).then_some(fault.line),
            "column": (fault.column > 0).then_some(fault.column),
            "message": fault.message,
            "hint": fault.hint,
        })
    };
    let errors: Vec<_> = faults.iter().take(100).map(shown).collect();
    let text = json!({ "errors": errors, "count": faults.len() });
    page(status, JSON, format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_the_path_stands_for_a_missing_id() {
        let text = |body: &str| route_text(body.as_bytes(), "a\"b");
        assert_eq!(text("{}"), Ok("{\"id\": \"a\\\"b\"}".into()));
        assert_eq!(text(" { \"x\": 1}"), Ok(" {\"id\": \"a\\\"b\",  \"x\": 1}".into()));
        assert_eq!(text("{\"id\": 5}"), Ok("{\"id\": 5}".into()));
        assert!(text("[]").is_err() && text("{").is_err());
        assert!(route_text(b"{\"id\": \"\xff\"}", "x").is_err());
    }

    #[test]
    fn batches_as_typed() {
        let read = |body: &str| changes(body.as_bytes());
        let good = read("[{\"put\": {\"id\": \"a\", \"x\": [1]}}, {\"delete\": \"b\"}]").unwrap();
        assert_eq!(good[1], Change::Delete { id: "b".into() });
        assert_eq!(good[0].id(), "a");
        for bad in ["{}", "[{\"put\": {}}]", "[{\"drop\": 1}]", "[{\"delete\": 7}]", "["] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let many = format!("[{}]", vec!["{\"delete\": \"b\"}"; 10_001].join(","));
        assert_eq!(read(&many), Err("10001 changes: at most 10000 in a batch".into()));
    }
}

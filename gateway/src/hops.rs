//! What a message says of the hops that it makes: Via and Max-Forwards (RFC 9110 section 7.6).
//!
//! A request that comes back to a gateway of the same name more often than any chain of gateways is
//! long is in a loop, and is refused before it holds yet another connection.
//!
//! Cost: Via is one look at each field's name and one field appended, nothing where it is off;
//! Max-Forwards is looked for in OPTIONS and TRACE only.

use protocols::{Head, Name, Version};
use router::{Field, Query};

use crate::conn::Conn;
use crate::end::End;
use crate::failure::{Cause, Failure, Stage};
use crate::forwarded;
use crate::shard::State;
use crate::track::Track;

/// This gateway's name in Via.
pub(crate) struct Via {
    name: String,
    http10: String,
    http11: String,
    http2: String,
    thrift: String,
}

impl Via {
    /// `None` where the setting says `off`.
    pub(crate) fn new(name: &str) -> Option<Via> {
        (name != "off").then(|| Via {
            name: name.to_owned(),
            http10: format!("1.0 {name}"),
            http11: format!("1.1 {name}"),
            http2: format!("2.0 {name}"),
            thrift: format!("Thrift/1 {name}"),
        })
    }

    /// The name itself.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Adds the hop that a message came by.
    fn sign(&self, head: &mut Head) {
        let hop = match head.version() {
            Version::Http10 => &self.http10,
            Version::Http11 => &self.http11,
            Version::Http2 => &self.http2,
            Version::Thrift => &self.thrift,
        };
        head.push_known(Name::Via, hop.as_bytes());
    }

    /// How often a message was here. Commas inside of comments divide elements as well: no comment
    /// that another hop adds can then hide this one's name.
    fn passes(&self, head: &Head) -> usize {
        let elements = head.values(Name::Via).flat_map(|value| value.split(|&byte| byte == b','));
        elements.filter(|element| self.is_received_by(element)).count()
    }

    /// Whether an element's second word is this name: `1.1 name`, `HTTP/1.1 name (comment)`.
    fn is_received_by(&self, element: &[u8]) -> bool {
        let mut words = element.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|word| word.eq_ignore_ascii_case(self.name.as_bytes()))
    }
}

/// Signs a request that is about to be forwarded.
///
/// # Errors
/// It was here too often.
pub(crate) fn sign_request(state: &State, request: &mut Head) -> Result<(), Failure> {
    let options = state.options();
    let Some(via) = &options.via else { return Ok(()) };
    if via.passes(request) > PASSES_MAX {
        return Err(Failure::new(Stage::Route, Cause::LoopDetected));
    }
    via.sign(request);
    Ok(())
}

/// Signs a reply, where that is asked for.
pub(crate) fn sign_reply(state: &State, reply: &mut Head) {
    let options = state.options();
    if let (true, Some(via)) = (options.via_replies, &options.via) {
        via.sign(reply);
    }
}

/// Lowers Max-Forwards of an OPTIONS or TRACE. True when it goes no further.
///
/// # Errors
/// It is no number, or there are two: how far the request goes could be read in two ways.
pub(crate) fn count_down(request: &mut Head) -> Result<bool, Failure> {
    if !matches!(request.method(), b"OPTIONS" | b"TRACE") {
        return Ok(false);
    }
    let mut count = 0;
    let left = request.values(Name::MaxForwards).map(number).inspect(|_| count += 1).last();
    let Some(left) = left else { return Ok(false) };
    match left.filter(|_| count == 1) {
        None => Err(Failure::new(Stage::Route, Cause::BadMaxForwards)),
        Some(0) => Ok(true),
        Some(left) => {
            let left = (left - 1).to_string();
            request.set(Name::MaxForwards.text(), left.as_bytes());
            Ok(false)
        }
    }
}

/// `1*DIGIT`; what is larger than the largest number is the largest number.
fn number(value: &[u8]) -> Option<u32> {
    let digit = |left: Option<u32>, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(left?.saturating_mul(10).saturating_add(digit))
    };
    value.iter().fold((!value.is_empty()).then_some(0), digit)
}

/// Answers a request whose Max-Forwards was 0, as its final recipient: OPTIONS with the methods
/// that routes take there. A TRACE is refused: what it would reflect may hold credentials.
///
/// # Errors
/// There is no such route, TRACE was asked for, or the client is gone.
pub(crate) fn answer(track: &Track, down: &End, request: &Head) -> Result<(), Failure> {
    let state = &track.state;
    let failed = |cause| Err(Failure::new(Stage::Route, cause));
    let allowed = allowed(state, down.conn(), request);
    if allowed.is_empty() {
        return failed(Cause::NoRoute);
    }
    if request.method() == b"TRACE" {
        return failed(Cause::TraceRefused);
    }
    let mut head = state.take_head();
    head.set_status(204, b"No Content");
    state.stamp(&mut head);
    head.push_known(Name::Allow, allowed.as_bytes());
    if let Some(id) = request.known(Name::XRequestId) {
        head.push_known(Name::XRequestId, id);
    }
    let sent = down.send_head(&head, true);
    state.give_head(head);
    if sent.is_err() {
        return failed(Cause::ClientGone);
    }
    track.answered(204, "max_forwards_reached");
    Ok(())
}

/// The usual methods that some route takes for a request's host and path, as Allow lists them.
pub(crate) fn allowed(state: &State, conn: &Conn, request: &Head) -> String {
    let live = state.live();
    let field = |name: &[u8]| Field::of(request.all(name));
    let peer = forwarded::client(state, conn, request);
    let (host, path) = (request.host(), request.path());
    let query = request.query().unwrap_or_default();
    let is_taken = |method: &'static str| {
        let ask = Query { method: method.as_bytes(), host, path, query, peer, field: &field };
        live.find(&ask).is_some()
    };
    let methods: Vec<&str> = METHODS.into_iter().filter(|method| is_taken(method)).collect();
    methods.join(", ")
}

/// CONNECT and TRACE are not answered by ringway.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A request that was here more often is in a loop: chains of gateways with one name are shorter.
const PASSES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &[u8], fields: &[(&[u8], &[u8])]) -> Head {
        let mut head = Head::new();
        head.set_request(method, b"/");
        for (name, value) in fields {
            head.push(name, value);
        }
        head
    }

    #[test]
    fn own_hops_are_counted_whatever_others_wrote() {
        let via = Via::new("edge").unwrap();
        let passes = |values: &[&[u8]]| {
            let fields: Vec<(&[u8], &[u8])> =
                values.iter().map(|value| (&b"via"[..], *value)).collect();
            via.passes(&request(b"GET", &fields))
        };
        assert_eq!(passes(&[]), 0);
        assert_eq!(passes(&[b"1.1 edge"]), 1);
        assert_eq!(passes(&[b"1.0 a, HTTP/1.1  EDGE (b, c) ,\t1.1\tedge", b"1.1 edge"]), 3);
        assert_eq!(passes(&[b"1.1 a (an open comment, 1.1 edge"]), 1);
        assert_eq!(passes(&[b"edge, 1.1 edges, 1.1 a edge, 1.1", b"", b",,"]), 0);
        assert!(Via::new("off").is_none());
    }

    #[test]
    fn a_hop_is_named_by_the_version_it_was_received_in() {
        let via = Via::new("edge").unwrap();
        let mut head = request(b"GET", &[(b"via", b"1.1 a")]);
        via.sign(&mut head);
        head.set_version(Version::Http10);
        via.sign(&mut head);
        let values: Vec<&[u8]> = head.values(Name::Via).collect();
        assert_eq!(values, [&b"1.1 a"[..], b"1.1 edge", b"1.0 edge"]);
    }

    #[test]
    fn max_forwards_counts_down_to_its_end() {
        let lowered = |value: &[u8]| {
            let mut head = request(b"OPTIONS", &[(b"max-forwards", value)]);
            let ends = count_down(&mut head).ok()?;
            let left = head.known(Name::MaxForwards).unwrap_or_default();
            Some((ends, String::from_utf8(left.to_vec()).unwrap()))
        };
        let left = |ends, text: &str| Some((ends, text.to_owned()));
        assert_eq!(lowered(b"0"), left(true, "0"));
        assert_eq!(lowered(b"00"), left(true, "00"));
        assert_eq!(lowered(b"1"), left(false, "0"));
        assert_eq!(lowered(b"010"), left(false, "9"));
        assert_eq!(lowered(b"99999999999999999999"), left(false, "4294967294"));
        for bad in [&b""[..], b"-1", b"+1", b"1.0", b"1, 2", b"0x1", b"a"] {
            assert_eq!(lowered(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn other_methods_and_second_values() {
        let twice: [(&[u8], &[u8]); 2] = [(b"max-forwards", b"3"), (b"max-forwards", b"3")];
        assert!(count_down(&mut request(b"TRACE", &twice)).is_err());
        let mut get = request(b"GET", &twice);
        assert_eq!(count_down(&mut get).ok(), Some(false));
        assert_eq!(get.known(Name::MaxForwards), Some(&b"3"[..]));
        assert_eq!(count_down(&mut request(b"OPTIONS", &[])).ok(), Some(false));
    }
}

//! What a message says of the hops that it makes: Via (RFC 9110 section 7.6.3).
//!
//! A request that comes back to a gateway of the same name more often than any chain of gateways is
//! long is in a loop, and is refused before it holds yet another connection.
//!
//! Cost: Via is one look at each field's name and one field appended, nothing where it is off.

use protocols::{Head, Name, Version};

use crate::failure::{Cause, Failure, Stage};
use crate::shard::State;

/// This gateway's name in Via.
pub(crate) struct Via {
    name: String,
    http10: String,
    http11: String,
    http2: String,
}

impl Via {
    /// `None` where the setting says `off`.
    pub(crate) fn new(name: &str) -> Option<Via> {
        (name != "off").then(|| Via {
            name: name.to_owned(),
            http10: format!("1.0 {name}"),
            http11: format!("1.1 {name}"),
            http2: format!("2.0 {name}"),
        })
    }

    /// Adds the hop that a message came by.
    fn sign(&self, head: &mut Head) {
        let hop = match head.version() {
            Version::Http10 => &self.http10,
            Version::Http11 => &self.http11,
            Version::Http2 => &self.http2,
        };
        head.push(Name::Via.text(), hop.as_bytes());
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
}

//! RFC 9112 section 10: messages as content.

use crate::support::Talk;

/// A message that is enclosed in another is content: its folded lines and bare LFs are nobody's
/// framing and pass unchanged (§10.1).
#[test]
fn an_enclosed_message_is_content() {
    let mut talk = Talk::start();
    let inner = "GET / HTTP/1.1\nHost: a\r\n b\r\n\r\n";
    let lines = format!("Content-Type: message/http\r\ncontent-length: {}\r\n\r\n", inner.len());
    talk.client(format!("POST / HTTP/1.1\r\nHost: test\r\n{lines}{inner}"));
    talk.forwarded(format!("POST / HTTP/1.1\r\nhost: test\r\n{lines}{inner}"));
    talk.origin(format!("HTTP/1.1 200 OK\r\n{lines}{inner}"));
    talk.reply(format!("HTTP/1.1 200 OK\r\n{lines}{inner}")).goes_on();
}

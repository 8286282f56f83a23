//! Any fields as a caller's metadata.

use super::{Trust, admit};
use crate::head::{Head, Version, is_tchar};

/// For fuzzers: a byte that chooses the protocol and the trust, then a field on each line, its name
/// before the first `:`. What a wire would not have let in is left out.
pub fn fuzz_metadata(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else { return };
    let mut head = Head::new();
    head.set_version(if choice & 1 == 0 { Version::Http2 } else { Version::Thrift });
    for line in text.split(|&byte| byte == b'\n') {
        let at = line.iter().position(|&byte| byte == b':').unwrap_or(0);
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let is_value = value.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control());
        if at > 0 && name.iter().all(|&byte| is_tchar(byte)) && is_value {
            head.push(name, value);
        }
    }
    check(&mut head, Trust { claims: choice & 2 != 0, addresses: choice & 4 != 0 });
}

/// Each field is counted as left or as refused; what goes on means something, so that the next hop
/// which looks at it in the same way keeps all of it.
pub(super) fn check(head: &mut Head, trust: Trust) {
    let (fields, mut refused) = (head.count(), 0);
    admit(head, || trust, |_| refused += 1);
    // A log id may have become a request id.
    assert!(head.count() + refused <= fields + 1, "{} and {refused} of {fields}", head.count());
    let once = text(head);
    let mut words = Vec::new();
    admit(head, || trust, |word| words.push(word));
    assert!(words.is_empty(), "{words:?} of {once}");
    assert_eq!(text(head), once);
}

fn text(head: &Head) -> String {
    let mut out = Vec::new();
    head.write_fields(&mut out, |_, _| true);
    out.escape_ascii().to_string()
}

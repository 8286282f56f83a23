//! Writing JSON by hand, for lines whose shape is fixed.
//!
//! J1 Whatever the bytes, what is written is valid JSON in UTF-8: controls are escaped, and each
//! maximal invalid sequence becomes U+FFFD. Not a serializer: the caller writes the braces.

use std::fmt::Write;

/// Appends `text` as a JSON string, quotes included; a cut text ends in an ellipsis.
pub(crate) fn push_string(out: &mut String, text: &[u8], cut: bool) {
    out.push('"');
    for chunk in text.utf8_chunks() {
        push_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
    if cut {
        out.push('…');
    }
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                // INVARIANT: writing to a String cannot fail.
                write!(out, "\\u{byte:04x}").expect("write to a string");
            }
        }
    }
    out.push_str(&text[plain..]);
}

/// Appends a number in decimal.
pub(crate) fn push_number(out: &mut String, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    // Digits are ASCII, so the text is never replaced by nothing.
    out.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &[u8]) -> String {
        let mut out = String::new();
        push_string(&mut out, text, false);
        out
    }

    #[test]
    fn escapes_what_json_reserves() {
        assert_eq!(string(b"a\"b\\c\n\r\t\x00\x1f\x7f/"), r#""a\"b\\c\n\r\t\u0000\u001f\u007f/""#);
        assert_eq!(string("grün".as_bytes()), "\"grün\"");
    }

    #[test]
    fn every_byte_alone_gives_a_valid_string() {
        for byte in 0..=255u8 {
            let text = string(&[b'a', byte, b'z']);
            assert!(text.starts_with("\"a") && text.ends_with("z\""), "{byte:#x}: {text}");
            let inner = &text[1..text.len() - 1];
            assert!(inner.chars().all(|c| c >= ' ' && c != '\u{7f}'), "{byte:#x}: {text}");
        }
        assert_eq!(string(b"\xff\xfe\xe2\x82"), "\"\u{fffd}\u{fffd}\u{fffd}\"");
    }

    #[test]
    fn numbers_and_cut_texts() {
        let mut out = String::new();
        push_number(&mut out, 0);
        push_number(&mut out, u64::MAX);
        assert_eq!(out, "018446744073709551615");
        out.clear();
        push_string(&mut out, b"ab", true);
        assert_eq!(out, "\"ab…\"");
    }
}

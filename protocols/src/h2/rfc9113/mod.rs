//! Every MUST of RFC 9113, by section: `docs/rfc9113.md` says which test shows which.
//!
//! Inputs are built by hand (`testing.rs`); what is compared is what the wire said and every frame
//! that it wrote. Helpers deliver in every cut; tests that also answer deliver once.

mod section_3;
mod section_4;
mod section_5;
mod section_6;
mod section_7;
mod section_8;

use super::testing::{client_says, server_says};

/// A server that is told this ends the connection, with GOAWAY of this code.
fn server_fails(input: &[u8], fault: &str, code: u32) {
    fails(&server_says(input), fault, code);
}

/// A client that asked for `/`, likewise.
fn client_fails(input: &[u8], fault: &str, code: u32) {
    fails(&client_says("GET", input), fault, code);
}

fn fails((said, wrote): &(String, String), fault: &str, code: u32) {
    assert_eq!(said.lines().last(), Some(format!("fault {fault}").as_str()), "{said}");
    let last = wrote.lines().last().unwrap_or_default();
    let words: Vec<_> = last.split(' ').collect();
    assert_eq!((words[0], words[2], words[3]), ("GOAWAY", code.to_string().as_str(), fault));
}

/// A server that is told this resets stream 1 with this code, and lives on.
fn server_resets(input: &[u8], fault: &str, code: u32) {
    let (said, wrote) = server_says(input);
    assert_eq!(said.lines().last(), Some(format!("0 reset {fault}").as_str()), "{said}");
    assert!(wrote.contains(&format!("RST_STREAM 1 {code}")), "{wrote}");
    assert!(!wrote.contains("GOAWAY"), "{wrote}");
}

/// A server that is told this refuses a request before it is one, with RST_STREAM of this code.
fn server_refuses(input: &[u8], fault: &str, code: u32) {
    let (said, wrote) = server_says(input);
    assert_eq!(said, format!("- refused {fault}"));
    assert_eq!(wrote, format!("RST_STREAM 1 {code}"));
}

/// A client that is told this resets its request.
fn client_resets(method: &str, input: &[u8], fault: &str, code: u32) {
    let (said, wrote) = client_says(method, input);
    assert_eq!(said.lines().last(), Some(format!("0 reset {fault}").as_str()), "{said}");
    assert!(wrote.contains(&format!("RST_STREAM 1 {code}")), "{wrote}");
}

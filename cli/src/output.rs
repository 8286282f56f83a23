//! Data for standard output and notes for standard error; a reader that went away is no error.

use std::io::{self, ErrorKind, Write};

use crate::failure::Failure;

/// Prints `text`; a closed pipe (`ringway conns | head`) ends the output quietly.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Refused(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line for the operator on standard error. Where that is gone nobody is left to tell,
/// and it is no reason to stop serving (`eprintln!` would panic).
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "ringway: {line}");
}

//! Why a command failed, and the exit code that says so to a script.
//!
//! The codes are the documented ones; a code never changes its meaning.

use std::fmt;
use std::process::ExitCode;

use crate::output;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// clap's own answer: help and version (0), or what is wrong with the command line (2).
    Clap(Box<clap::Error>),
    /// The command line makes no sense: 2.
    Usage(String),
    /// The configuration is invalid, or a check or request failed: 1.
    Refused(String),
    /// The environment does not allow what is needed (io_uring, memlock, kernel): 3.
    Environment(String),
    /// An address cannot be bound: 4.
    Bind(String),
    /// The drain deadline passed and connections were cut: 6.
    Cut(String),
    /// A fault of ringway itself: 70.
    Internal(String),
}

impl Failure {
    /// The documented exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Clap(error) => u8::try_from(error.exit_code()).unwrap_or(2),
            Failure::Refused(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Environment(_) => 3,
            Failure::Bind(_) => 4,
            Failure::Cut(_) => 6,
            Failure::Internal(_) => 70,
        })
    }

    /// Tells the operator: on standard error, but help on standard output.
    pub(crate) fn print(&self) {
        match self {
            // Nobody is left to tell when this fails.
            Failure::Clap(error) => drop(error.print()),
            other => output::note(&other.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Clap(error) => error.fmt(f),
            Failure::Usage(text)
            | Failure::Refused(text)
            | Failure::Environment(text)
            | Failure::Bind(text)
            | Failure::Cut(text)
            | Failure::Internal(text) => f.write_str(text),
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Failure {
        Failure::Clap(Box::new(error))
    }
}

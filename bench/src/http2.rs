//! `ringway-bench http2`: reads the plan from the flags, as `http1` does, and runs it over HTTP/2
//! by prior knowledge.

use std::process::ExitCode;

use anyhow::Result;
use clap::ArgMatches;

use crate::args::{number_of, text_of};
use crate::http1;
use crate::plan::{Plan, Wire};

/// Exits 0 when every request was answered with a status below 400, 1 otherwise.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let common = http1::common_plan(matches)?;
    let plan = Plan {
        wire: Wire::Http2,
        streams: number_of(matches, "streams").max(1),
        paths: http1::paths_of(matches, &common)?,
        method: text_of(matches, "method").to_owned(),
        body_bytes: number_of(matches, "body-bytes"),
        ..common
    };
    http1::offer(plan, matches)
}

//! `ringway-bench grpc`: unary calls over HTTP/2 by prior knowledge, or streams that are held open.
//!
//! Messages are bytes of a pattern; which service answers does not matter to unary calls. `--hold`
//! needs one that echoes, as the mock's `Bidi` does.

use std::process::ExitCode;

use anyhow::Result;
use clap::ArgMatches;

use crate::args::{number_of, span_of};
use crate::plan::{Plan, Wire};
use crate::thrift::pair;
use crate::{hold, http1};

/// Exits 0 when every call ended with status 0, 1 otherwise.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let holds = matches.get_flag("hold");
    let plan = plan_of(matches, if holds { "Bidi" } else { "Unary" })?;
    if holds {
        return hold::run(plan, span_of(matches, "every"), matches);
    }
    http1::offer(plan, matches)
}

fn plan_of(matches: &ArgMatches, method: &str) -> Result<Plan> {
    let common = http1::common_plan(matches)?;
    let path = match common.url.path.as_str() {
        "/" => format!("/{}/{method}", mock::http2::grpc::SERVICE),
        path => path.to_owned(),
    };
    let fields = matches.get_many::<String>("metadata").unwrap_or_default();
    Ok(Plan {
        wire: Wire::Grpc,
        streams: number_of(matches, "streams").max(1),
        method: "POST".to_owned(),
        body_bytes: number_of(matches, "message-bytes"),
        fields: fields.map(|field| pair(field)).collect::<Result<_>>()?,
        paths: vec![path],
        ..common
    })
}

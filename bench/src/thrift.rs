//! `ringway-bench thrift`: calls in frames or TTHeaders, several at a time on each connection if
//! asked to.
//!
//! The argument of a call is one string; which service answers does not matter.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::ArgMatches;
use mock::thrift::Encoding;

use crate::args::{number_of, text_of};
use crate::http1;
use crate::plan::{Dialect, Plan, Wire};

/// Exits 0 when every call was answered with a result, 1 otherwise.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let common = http1::common_plan(matches)?;
    let encoding = match text_of(matches, "encoding") {
        "compact" => Encoding::Compact,
        _ => Encoding::Binary,
    };
    let dialect = Dialect { is_ttheader: text_of(matches, "transport") == "ttheader", encoding };
    let path = match common.url.path.as_str() {
        "/" => "/echo",
        path => path,
    };
    let fields = matches.get_many::<String>("metadata").unwrap_or_default();
    let fields: Vec<_> = fields.map(|field| pair(field)).collect::<Result<_>>()?;
    ensure!(fields.is_empty() || dialect.is_ttheader, "--metadata needs --transport ttheader");
    let plan = Plan {
        wire: Wire::Thrift(dialect),
        streams: number_of(matches, "calls").max(1),
        method: format!("{} {}", text_of(matches, "transport"), text_of(matches, "encoding")),
        body_bytes: number_of(matches, "message-bytes"),
        paths: vec![path.to_owned()],
        fields,
        ..common
    };
    http1::offer(plan, matches)
}

/// A `NAME=VALUE`.
pub(crate) fn pair(field: &str) -> Result<(String, String)> {
    let (name, value) = field.split_once('=').context("--metadata is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

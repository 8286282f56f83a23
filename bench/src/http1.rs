//! `ringway-bench http1`: reads the plan from the flags, runs it, prints the report.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::ArgMatches;

use crate::args::{number_of, path_of, pids_of, span_of, text_of, url_of, wants_json};
use crate::plan::{self, Plan, Wire};
use crate::{load, pace, report};

/// Exits 0 when every request was answered with a status below 400, 1 otherwise.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let common = common_plan(matches)?;
    let plan = Plan {
        paths: paths_of(matches, &common)?,
        method: text_of(matches, "method").to_owned(),
        body_bytes: number_of(matches, "body-bytes"),
        pipeline: number_of(matches, "pipeline").max(1),
        ..common
    };
    offer(plan, matches)
}

/// Runs a plan and prints its report.
pub(crate) fn offer(plan: Plan, matches: &ArgMatches) -> Result<ExitCode> {
    let pids = pids_of(matches);
    pace::sharpen();
    let outcome = load::run(plan.clone(), &pids)?;
    if wants_json(matches) {
        println!("{}", report::json(&plan, &outcome));
    } else {
        print!("{}", report::text(&plan, &outcome));
    }
    Ok(ExitCode::from(u8::from(outcome.tally.errors() > 0)))
}

/// What the flags say that all protocols have; one GET a connection at a time.
pub(crate) fn common_plan(matches: &ArgMatches) -> Result<Plan> {
    let url = url_of(matches)?;
    let connections = number_of(matches, "connections").max(1);
    Ok(Plan {
        wire: Wire::Http1,
        rate: number_of(matches, "rate"),
        connections,
        streams: 1,
        warmup: span_of(matches, "warmup"),
        duration: span_of(matches, "duration"),
        requests_max: number_of(matches, "requests"),
        method: "GET".to_owned(),
        body_bytes: 0,
        fields: Vec::new(),
        paths: vec![url.path.clone()],
        pipeline: 1,
        threads: number_of(matches, "threads").clamp(1, connections),
        timeout: span_of(matches, "timeout"),
        url,
    })
}

/// The paths of `--path-file`, or the URL's.
pub(crate) fn paths_of(matches: &ArgMatches, plan: &Plan) -> Result<Vec<String>> {
    let Some(file) = path_of(matches, "path-file") else { return Ok(plan.paths.clone()) };
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let paths = plan::paths(&text);
    ensure!(!paths.is_empty(), "the path file has no line that starts with /");
    Ok(paths)
}

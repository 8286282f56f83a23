//! `ringway-bench http1`: reads the plan from the flags, runs it, prints the report.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::ArgMatches;

use crate::args::{number_of, pids_of, span_of, text_of, url_of, wants_json};
use crate::plan::{self, Plan};
use crate::{load, pace, report};

/// Exits 0 when every request was answered with a status below 400, 1 otherwise.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let plan = plan_of(matches)?;
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

fn plan_of(matches: &ArgMatches) -> Result<Plan> {
    let url = url_of(matches)?;
    let paths = match matches.get_one::<std::path::PathBuf>("path-file") {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            plan::paths(&text)
        }
        None => vec![url.path.clone()],
    };
    ensure!(!paths.is_empty(), "the path file has no line that starts with /");
    let connections = number_of(matches, "connections").max(1);
    Ok(Plan {
        url,
        rate: number_of(matches, "rate"),
        connections,
        warmup: span_of(matches, "warmup"),
        duration: span_of(matches, "duration"),
        requests_max: number_of(matches, "requests"),
        method: text_of(matches, "method").to_owned(),
        body_bytes: number_of(matches, "body-bytes"),
        paths,
        pipeline: number_of(matches, "pipeline").max(1),
        threads: number_of(matches, "threads").clamp(1, connections),
        timeout: span_of(matches, "timeout"),
    })
}

//! `ringway conns`: the connections of a running ringway, from its admin server.

use clap::{Arg, ArgMatches};
use serde_json::Value;

use crate::args;
use crate::client;
use crate::command::Command;
use crate::failure::Failure;
use crate::output;

pub(crate) const COMMAND: Command =
    Command { name: "conns", about: "List the connections of a running ringway", define, run };

/// Column, its field in `/connections`, and its width.
const COLUMNS: &[(&str, &str, usize)] = &[
    ("SHARD", "shard", 5),
    ("SIDE", "side", 4),
    ("PEER", "peer", 24),
    ("PROTOCOL", "protocol", 8),
    ("STATE", "state", 8),
    ("ROUTE", "route", 16),
    ("IN", "bytes_in", 10),
    ("OUT", "bytes_out", 10),
    ("AGE_MS", "age_ms", 9),
    ("HELD", "held_bytes", 8),
];

fn define(command: clap::Command) -> clap::Command {
    command.arg(args::admin_flag()).arg(
        Arg::new("format")
            .long("format")
            .value_name("FORMAT")
            .value_parser(["text", "json"])
            .default_value("text")
            .help("A table, or the JSON that the admin server gives"),
    )
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let admin = args::admin_address(matches)?;
    let reply = client::admin_page(&admin, "/connections").map_err(|error| {
        Failure::Refused(format!("no ringway answers on {admin}: {error}; is it running?"))
    })?;
    if matches.get_one::<String>("format").is_some_and(|format| format == "json") {
        return output::print(&format!("{}\n", reply.text().trim_end()));
    }
    let list: Vec<Value> = serde_json::from_slice(&reply.body)
        .map_err(|error| Failure::Internal(format!("{admin} sent no list: {error}")))?;
    output::print(&table(&list))
}

fn table(list: &[Value]) -> String {
    let mut text = String::new();
    let mut row = |cell: &dyn Fn(&str, &str) -> String| {
        let cells = COLUMNS.iter().map(|(title, key, width)| {
            let cell = cell(title, key);
            format!("{cell:<width$}")
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    };
    row(&|title, _| title.to_owned());
    for connection in list {
        row(&|_, key| match &connection[key] {
            Value::Null => "-".into(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
    }
    text.push_str(&format!("{} connections\n", list.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_what_is_known() {
        let list = serde_json::json!([{"shard": 1, "peer": "127.0.0.1:9", "bytes_in": 7}]);
        let text = table(list.as_array().unwrap());
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("SHARD  SIDE  PEER"));
        assert!(lines[1].starts_with("1      -     127.0.0.1:9"), "{}", lines[1]);
        assert_eq!(lines[2], "1 connections");
    }
}

//! Layers, sources, ranges, and the registry against itself and its document.

use std::collections::BTreeSet;

use super::{Kind, REGISTRY, Setting, Settings, Source, Value};
use crate::error::ConfigError;

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn flags(list: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let (mut settings, mut errors) = (Settings::default(), Vec::new());
    settings.lay_flags(&pairs(list), &mut errors);
    (settings, errors.iter().map(ConfigError::to_string).collect())
}

#[test]
fn defaults_are_valid() {
    for setting in REGISTRY {
        assert!(setting.kind.parse(setting.default).is_ok(), "{}", setting.name);
    }
    assert_eq!(Settings::default().check(), []);
}

#[test]
fn names_are_distinct_and_plain() {
    let names: BTreeSet<&str> = REGISTRY.iter().map(|setting| setting.name).collect();
    assert_eq!(names.len(), REGISTRY.len());
    for name in names {
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{name}"
        );
    }
}

#[test]
fn the_defaults_are_those_of_the_wires() {
    assert_eq!(Settings::default().wire(), protocols::WireSpec::default());
}

/// Sets each number to both ends of its range and reads it back through the accessors that
/// `wire` and the shards use: a range wider than its accessor would show 0.
#[test]
fn ranges_fit_their_accessors() {
    for (index, setting) in REGISTRY.iter().enumerate() {
        let Kind::Number { min, max, .. } = setting.kind else { continue };
        for end in [min, max] {
            let mut settings = Settings::default();
            settings.values[index].0 = Value::Number(Some(end));
            let text = format!("{:?} {:?}", settings.wire(), accessors(&settings));
            let shown = match setting.kind {
                Kind::Number { unit: super::Unit::Time, .. } => {
                    format!("{:?}", std::time::Duration::from_millis(end))
                }
                _ => end.to_string(),
            };
            assert!(text.contains(&shown), "{} {end}: {text}", setting.name);
        }
    }
}

fn accessors(s: &Settings) -> impl std::fmt::Debug {
    let ring = (s.shards(), s.ring_entries(), s.cq_entries(), s.buf_bytes(), s.bufs());
    let bulk = (s.bulk_buf_bytes(), s.bulk_bufs(), s.poll_budget(), s.seed(), s.backlog());
    let queue = (s.send_queue_bytes(), s.inbox_bytes(), s.stalled_bytes(), s.max_conns());
    let times = (s.drain_timeout(), s.drain_grace(), s.write_stall_timeout(), s.request_timeout());
    let up = (s.connect_timeout(), s.first_byte_timeout(), s.links_max(), s.retries());
    let dead = (s.tcp_keepalive(), s.tcp_user_timeout());
    let caps = (s.max_conns_per_source(), s.mem_limit());
    let edge = (s.buffered_bytes(), s.tunnel_idle_timeout(), s.trusted_hops());
    let tls = (s.tls_handshake_timeout(), s.tls_handshakes());
    (ring, bulk, queue, times, up, dead, caps, edge, tls)
}

#[test]
fn later_layers_win_and_are_named() {
    let (mut settings, mut errors, mut warnings) = (Settings::default(), Vec::new(), Vec::new());
    let file = Source::File { file: "r.yaml".to_owned(), line: 3, column: 11 };
    for name in ["shards", "retries", "backlog"] {
        settings.set(super::position(name).unwrap(), "2", file.clone()).unwrap();
    }
    let variables = pairs(&[("RINGWAY_SHARDS", "3"), ("RINGWAY_RETRIES", "3"), ("HOME", "/")]);
    settings.lay_variables(&variables, &mut errors, &mut warnings);
    settings.lay_flags(&pairs(&[("--shards", "4")]), &mut errors);
    assert_eq!((errors, warnings), (vec![], vec![]));
    let shown = |name| settings.show(name).map(|(text, source)| format!("{text} {source}"));
    assert_eq!(shown("shards").as_deref(), Some("4 flag --shards"));
    assert_eq!(shown("retries").as_deref(), Some("3 env RINGWAY_RETRIES"));
    assert_eq!(shown("backlog").as_deref(), Some("2 r.yaml:3:11"));
    assert_eq!(shown("admin").as_deref(), Some("auto default"));
    assert_eq!((settings.shards(), settings.retries()), (Some(4), 3));
}

#[test]
fn faults_name_the_range() {
    let (_, errors) = flags(&[
        ("shards", "0"),
        ("shard", "2"),
        ("buf-bytes", "2MiB"),
        ("head-timeout", "10"),
        ("head-timeout", "0s"),
        ("huge-pages", "on"),
        ("log-level", "loud"),
        ("body-bytes-max", "lots"),
    ]);
    assert_eq!(
        errors,
        [
            "flag --shards: `0` is out of range: 1 to 1024",
            "flag --shard: no such flag (did you mean `shards`?)",
            "flag --buf-bytes: `2MiB` is out of range: 512B to 1MiB",
            "flag --head-timeout: `10` has no unit: write 10ms, 10s or 10m",
            "flag --head-timeout: `0s` is out of range: 1ms to 24h",
            "flag --huge-pages: `on` is neither true nor false",
            "flag --log-level: `loud` is not one of error, warn, info, debug",
            "flag --body-bytes-max: `lots` is not a size: write a whole number and B, KiB, MiB, \
             GiB, KB, MB or GB, like 64KiB, or `none`",
        ]
    );
}

#[test]
fn a_misspelt_variable_is_a_warning() {
    let (mut settings, mut errors, mut warnings) = (Settings::default(), Vec::new(), Vec::new());
    let variables =
        pairs(&[("RINGWAY_SHARD", "3"), ("RINGWAY_SERVICE_HOST", "h"), ("RINGWAY_BUFS", "")]);
    settings.lay_variables(&variables, &mut errors, &mut warnings);
    assert_eq!(errors, []);
    assert_eq!(warnings, ["env RINGWAY_SHARD: no such setting (did you mean `RINGWAY_SHARDS`?)"]);
    assert_eq!(settings, Settings::default());
}

#[test]
fn relations_are_checked() {
    let faults = |list: &[(&str, &str)]| {
        let (settings, errors) = flags(list);
        assert_eq!(errors, [] as [String; 0]);
        settings.check().into_iter().map(|(_, why)| why).collect::<Vec<_>>()
    };
    let ring = faults(&[("ring-entries", "32768")]);
    assert_eq!(ring, ["cq-entries (8192) is below ring-entries (32768)"]);
    assert_eq!(faults(&[("buf-bytes", "1000")]), ["buf-bytes (1000B) is not a multiple of 512"]);
    let cores = faults(&[("cpus", "0-1"), ("shards", "3")]);
    assert_eq!(cores, ["shards (3) is above the number of cores in cpus (0-1)"]);
    let target = faults(&[("line-bytes-max", "1KiB")]);
    assert_eq!(target, ["target-bytes-max (8KiB) is above line-bytes-max (1KiB)"]);
    let frame = faults(&[("thrift-frame-bytes-max", "64KiB")]);
    let not_below = "thrift-header-bytes-max (64KiB) is not below thrift-frame-bytes-max (64KiB)";
    assert_eq!(frame, [not_below]);
}

#[test]
fn print_effective_shows_value_and_source() {
    let (settings, _) = flags(&[("shards", "2"), ("cpus", "0-1")]);
    let text = settings.print_effective();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_eq!(text.lines().count(), REGISTRY.len());
    let words = |name| line(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words("shards "), ["shards", "=", "2", "#", "flag", "--shards"]);
    assert_eq!(words("idle-timeout "), ["idle-timeout", "=", "75s", "#", "default"]);
}

#[test]
fn changes_that_need_a_restart_are_named() {
    let (next, _) = flags(&[("shards", "2"), ("idle-timeout", "10s")]);
    let restarts = Settings::default().restarts(&next);
    let names: Vec<&str> = restarts.iter().map(|(index, _, _)| REGISTRY[*index].name).collect();
    assert_eq!(names, ["shards"]);
    assert_eq!((restarts[0].1.as_str(), restarts[0].2.as_str()), ("auto", "2"));
}

/// docs/config.md holds the table below; this keeps it equal to the registry.
#[test]
fn the_document_has_the_registry() {
    let row = |setting: &Setting| {
        let applies = match setting.applies {
            super::Applies::Restart => "restart",
            super::Applies::Reload => "reload",
        };
        let values = setting.kind.describe();
        let Setting { name, default, help, .. } = setting;
        format!("| `{name}` | `{}` | {values} | {default} | {applies} | {help} |", setting.key())
    };
    let table: Vec<String> = REGISTRY.iter().map(row).collect();
    let document = include_str!("../../../docs/config.md");
    let found: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(found.join("\n"), table.join("\n"), "replace the table in docs/config.md");
}

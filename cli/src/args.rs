//! What was typed: parsing only; nothing here opens a file or a socket.
//!
//! Commands come from [`COMMANDS`], tunables from `control`'s registry, so a new one of either
//! needs no line here. What nginx users type is rewritten first ([`rewrite`]): `-t`, `-T`, `-v`,
//! `-V`, `-s SIGNAL`, and flags without a command mean `run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};
use control::admin::AdminAddress;
use control::{Kind, REGISTRY, Setting, Sources, Unit};

use crate::command::{COMMANDS, Command};
use crate::failure::Failure;

/// Finds the command and its arguments.
pub(crate) fn parse(typed: Vec<OsString>) -> Result<(&'static Command, ArgMatches), Failure> {
    let typed = rewrite(typed)?;
    let mut matches = definition().try_get_matches_from(typed)?;
    let name_and_matches = matches.remove_subcommand();
    let found = name_and_matches.and_then(|(name, matches)| {
        let command = COMMANDS.iter().find(|command| command.name == name)?;
        Some((command, matches))
    });
    found.ok_or_else(|| Failure::Usage("no command; see ringway --help".into()))
}

fn definition() -> clap::Command {
    let mut root = clap::Command::new("ringway")
        .disable_version_flag(true)
        .about("An API gateway: one shard a core, one io_uring a shard")
        .after_help(AFTER_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true);
    for command in COMMANDS {
        let empty = clap::Command::new(command.name).about(command.about);
        root = root.subcommand((command.define)(empty));
    }
    root
}

const AFTER_HELP: &str = "\
As in nginx: -t = check, -T = check --dump, -s reload|stop|quit|reopen, -v = version,
-V = version --verbose; flags without a command mean run.
Exit codes: 0 ok, 1 refused (configuration, request), 2 usage, 3 environment (io_uring, memlock,
kernel), 4 cannot bind, 6 drain deadline passed and connections were cut, 70 internal fault.";

/// Puts nginx's spelling into ours. The first word is the program's name.
fn rewrite(typed: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let mut words = typed.into_iter();
    let program = words.next().unwrap_or_else(|| "ringway".into());
    let mut words: Vec<OsString> = words.collect();
    let is_flag = words.first().is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let help = ["-h", "--help"];
    if is_flag && !help.iter().any(|flag| words[0] == *flag) {
        words = with_command(words)?;
    }
    words.insert(0, program);
    Ok(words)
}

fn with_command(mut words: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let take = |words: &mut Vec<OsString>, flag: &str| {
        let at = words.iter().position(|word| word == flag);
        at.map(|at| drop(words.remove(at))).is_some()
    };
    let command: &[&str] = if take(&mut words, "-d") {
        let hint = "ringway does not daemonise (-d): run it under systemd or with nohup";
        return Err(Failure::Usage(hint.into()));
    } else if take(&mut words, "-T") {
        &["check", "--dump"]
    } else if take(&mut words, "-t") {
        &["check"]
    } else if take(&mut words, "-V") {
        &["version", "--verbose"]
    } else if take(&mut words, "-v") || take(&mut words, "--version") {
        &["version"]
    } else if let Some(at) = words.iter().position(|word| word == "-s") {
        words.remove(at);
        // The word after -s is the command: reload, stop, quit or reopen.
        if at >= words.len() {
            return Err(Failure::Usage("-s needs reload, stop, quit or reopen".into()));
        }
        let signal = words.remove(at);
        words.insert(0, signal);
        &[]
    } else {
        &["run"]
    };
    words.splice(0..0, command.iter().map(OsString::from));
    Ok(words)
}

/// Adds the flags that say what to serve, and one for each tunable.
pub(crate) fn with_source_flags(command: clap::Command) -> clap::Command {
    let config = Arg::new("config")
        .long("config")
        .short('c')
        .value_name("FILE")
        .action(ArgAction::Append)
        .value_parser(clap::value_parser!(PathBuf))
        .help("The configuration file or folder; may be repeated [env: RINGWAY_CONFIG]");
    let listen =
        Arg::new("listen").long("listen").value_name("ADDR").action(ArgAction::Append).help(
            "Listen on IP:PORT or unix:PATH, or NAME=ADDR to move a listener of the file; may be \
             repeated [env: RINGWAY_LISTEN]",
        );
    let upstream =
        Arg::new("upstream").long("upstream").value_name("ADDR").action(ArgAction::Append).help(
            "Forward everything to this upstream, or with http=, grpc= or thrift= before it what \
             is of that kind; may be repeated [env: RINGWAY_UPSTREAM]",
        );
    let tls_cert = Arg::new("tls-cert")
        .long("tls-cert")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(
            "Serve TLS with this PEM chain: on every listener, of `protocols` where they say \
             `tls: true` [env: RINGWAY_TLS_CERT]",
        );
    let tls_key = Arg::new("tls-key")
        .long("tls-key")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("The PEM key of --tls-cert [env: RINGWAY_TLS_KEY]");
    let command = command.arg(config).arg(listen).arg(upstream).arg(tls_cert).arg(tls_key);
    with_setting_flags(command)
}

/// Adds one flag for each tunable.
pub(crate) fn with_setting_flags(command: clap::Command) -> clap::Command {
    command.next_help_heading("Settings").args(REGISTRY.iter().map(setting_flag))
}

fn setting_flag(setting: &'static Setting) -> Arg {
    let help = format!("{} [default: {}]", setting.help, setting.default);
    let flag = Arg::new(setting.name).long(setting.name).help(help).hide_default_value(true);
    match setting.kind {
        Kind::Bool => flag
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        _ => flag.value_name(value_name(setting.kind)).allow_hyphen_values(false),
    }
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Number { unit: Unit::Bytes, .. } => "BYTES",
        Kind::Number { unit: Unit::Time, .. } => "TIME",
        Kind::Number { .. } => "N",
        Kind::Bool => "BOOL",
        Kind::Cpus => "LIST",
        Kind::Word(_) => "WORD",
        Kind::Admin => "ADDR|PATH",
        Kind::Target => "off|stdout|PATH",
        Kind::Folder => "off|PATH",
        Kind::Cidrs => "NETWORKS",
        Kind::Token => "NAME",
    }
}

/// What was typed and set in the environment, for `control` to lay over the file.
pub(crate) fn sources(matches: &ArgMatches) -> Sources {
    let mut files = matches.get_many::<PathBuf>("config").into_iter().flatten().cloned();
    Sources {
        file: files.next().or_else(|| variable("RINGWAY_CONFIG").map(PathBuf::from)),
        further: files.collect(),
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        flags: setting_values(matches),
        listen: list(matches, "listen", "RINGWAY_LISTEN"),
        upstream: list(matches, "upstream", "RINGWAY_UPSTREAM"),
        tls_cert: matches.get_one::<PathBuf>("tls-cert").cloned(),
        tls_key: matches.get_one::<PathBuf>("tls-key").cloned(),
    }
}

/// The tunables that were typed as flags, by name.
pub(crate) fn setting_values(matches: &ArgMatches) -> Vec<(String, String)> {
    let typed = REGISTRY.iter().filter_map(|setting| {
        let value = matches.get_one::<String>(setting.name)?;
        Some((setting.name.to_owned(), value.clone()))
    });
    typed.collect()
}

fn list(matches: &ArgMatches, flag: &str, name: &str) -> Vec<String> {
    if let Some(typed) = matches.get_many::<String>(flag) {
        return typed.cloned().collect();
    }
    let value = variable(name).unwrap_or_default();
    value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The flag by which a command finds a running ringway.
pub(crate) fn admin_flag() -> Arg {
    Arg::new("admin")
        .long("admin")
        .value_name("ADDR|PATH")
        .help("The admin server of the running ringway [env: RINGWAY_ADMIN]")
}

/// `--live`: ask the running ringway instead of reading a configuration.
pub(crate) fn live_flag() -> Arg {
    Arg::new("live")
        .long("live")
        .action(ArgAction::SetTrue)
        .help("Ask the running ringway, at --admin, instead of reading a configuration")
}

/// Where the admin server is, by flag, variable or default.
pub(crate) fn admin_address(matches: &ArgMatches) -> Result<AdminAddress, Failure> {
    let typed = matches.get_one::<String>("admin").cloned();
    match typed.or_else(|| variable("RINGWAY_ADMIN")) {
        Some(text) => resolve_admin(&text).map_err(Failure::Usage),
        None => Ok(default_admin()),
    }
}

/// Reads an admin address as settings and flags spell it; `auto` is the default socket.
pub(crate) fn resolve_admin(text: &str) -> Result<AdminAddress, String> {
    if text == "auto" { Ok(default_admin()) } else { AdminAddress::parse(text) }
}

fn default_admin() -> AdminAddress {
    let is_root = rustix::process::geteuid().is_root();
    AdminAddress::default_for(is_root, variable("XDG_RUNTIME_DIR").as_deref())
}

/// A time such as `250ms`, `5s` or `1m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| "write a time like 5ms or 1s")?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err("the unit is ms, s or m".into()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(|| "is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        match rewrite(words) {
            Ok(words) => words.join(std::ffi::OsStr::new(" ")).into_string().unwrap(),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn what_nginx_users_type() {
        for (typed, meant) in [
            ("ringway -t -c f.yaml", "ringway check -c f.yaml"),
            ("ringway -c f.yaml -t", "ringway check -c f.yaml"),
            ("ringway -T", "ringway check --dump"),
            ("ringway -s reload", "ringway reload"),
            ("ringway -s quit --admin /x", "ringway quit --admin /x"),
            ("ringway -v", "ringway version"),
            ("ringway -V", "ringway version --verbose"),
            ("ringway --version", "ringway version"),
            ("ringway -c f.yaml", "ringway run -c f.yaml"),
            ("ringway --listen :8080", "ringway run --listen :8080"),
            ("ringway --help", "ringway --help"),
            ("ringway check -c f.yaml", "ringway check -c f.yaml"),
        ] {
            assert_eq!(rewritten(typed), meant);
        }
        assert!(rewritten("ringway -d").contains("systemd"));
        assert!(rewritten("ringway -s").contains("reload"));
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_of_run() {
        let words = ["ringway", "run", "--shards", "2", "--huge-pages", "--forwarded=false"];
        let (command, matches) = parse(words.map(OsString::from).to_vec()).unwrap();
        assert_eq!(command.name, "run");
        let pairs = setting_values(&matches);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs.len(), 3);
        assert!(pairs.contains(&pair("shards", "2")));
        assert!(pairs.contains(&pair("huge-pages", "true")));
        assert!(pairs.contains(&pair("forwarded", "false")));
    }

    #[test]
    fn times_as_typed() {
        assert_eq!(parse_duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "ms", "-1s", "1h", "99999999999999999999s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}

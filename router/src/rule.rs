//! A rule as it was typed becomes a rule that can be written: patterns are read, names checked,
//! expressions compiled. All faults of a rule come back at once.

use crate::hash::HashKey;
use crate::pattern::host::HostPattern;
use crate::pattern::path::{Class, PathPattern};
use crate::predicate::method::{self, MethodSet};
use crate::predicate::source::{self, Networks};
use crate::predicate::value::{Test, ValueSpec};
use crate::predicate::{Predicate, ValuePlace};
use crate::spec::{GrpcMatchSpec, MatchSpec};
use crate::table::BuildFault;
use crate::table::Interned;
use crate::table::record::Rule;

/// Predicates of one rule, methods aside.
const PREDICATES_MAX: usize = 32;

/// Methods of one rule.
const METHODS_MAX: usize = 64;

/// Longest text in a predicate in bytes.
const VALUE_BYTES_MAX: usize = 4096;

/// Where a rule applies, and what it asks there.
pub(crate) struct Read<'a> {
    pub(crate) host: HostPattern,
    pub(crate) rule: Rule<'a>,
}

/// What a rule says in another form than it was typed in; the rule borrows it.
#[derive(Default)]
pub(crate) struct Scratch {
    networks: Vec<u8>,
    path: Option<String>,
}

/// Reads a rule.
pub(crate) fn read<'a>(
    spec: &'a MatchSpec,
    priority: i32,
    scratch: &'a mut Scratch,
    (regexes, key): (&mut Interned, &HashKey),
) -> Result<Read<'a>, Vec<BuildFault>> {
    let mut reader = Reader { regexes, key, faults: Vec::new() };
    let host = reader.host(spec.host.as_deref());
    let Scratch { networks, path } = scratch;
    *path = spec.grpc.as_ref().and_then(|grpc| reader.grpc(grpc, spec.path.is_some()));
    let path = reader.path(path.as_deref().or(spec.path.as_deref()));
    let regex = reader.path_regex(path);
    reader.methods(&spec.methods);
    reader.networks(&spec.source, networks);
    let networks: &'a [u8] = networks;
    let mut predicates = Vec::new();
    for (place, tests) in [
        (ValuePlace::Header, &spec.headers),
        (ValuePlace::QueryParam, &spec.query),
        (ValuePlace::Cookie, &spec.cookies),
    ] {
        predicates.extend(tests.iter().filter_map(|(name, test)| reader.value(place, name, test)));
    }
    if !networks.is_empty() {
        predicates.push(Predicate::Source(Networks::of(networks)));
    }
    if predicates.len() > PREDICATES_MAX {
        reader.fault(format!("has more than {PREDICATES_MAX} predicates"));
    }
    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    let methods = MethodSet::new(spec.methods.iter().map(String::as_bytes));
    Ok(Read { host, rule: Rule { path, regex, methods, predicates, priority } })
}

struct Reader<'r> {
    regexes: &'r mut Interned,
    key: &'r HashKey,
    faults: Vec<BuildFault>,
}

impl Reader<'_> {
    fn fault(&mut self, why: String) {
        self.faults.push(BuildFault::Rule(why));
    }

    fn host(&mut self, text: Option<&str>) -> HostPattern {
        HostPattern::read(text).unwrap_or_else(|why| {
            let text = text.unwrap_or_default().to_owned();
            self.faults.push(BuildFault::Host(text, why.to_owned()));
            HostPattern::Any
        })
    }

    fn path<'a>(&mut self, text: Option<&'a str>) -> PathPattern<'a> {
        PathPattern::read(text).unwrap_or_else(|why| {
            let text = text.unwrap_or_default().to_owned();
            self.faults.push(BuildFault::Path(text, why.to_owned()));
            PathPattern { class: Class::Any, text: b"" }
        })
    }

    /// The path of a gRPC service or method.
    fn grpc(&mut self, grpc: &GrpcMatchSpec, has_path: bool) -> Option<String> {
        if has_path {
            self.fault("has a path and grpc: give one of them".to_owned());
        }
        let is_name = |name: &str, dots: bool| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let part = |part: &str| !part.is_empty() && part.bytes().all(known);
            if dots { name.split('.').all(part) } else { part(name) }
        };
        let method = grpc.method.as_deref();
        for (what, name, is_fine) in [
            ("service", &*grpc.service, is_name(&grpc.service, true)),
            ("method", method.unwrap_or("*"), method.is_none_or(|name| is_name(name, false))),
        ] {
            if !is_fine {
                self.fault(format!("grpc {what} `{name}` is no name"));
            }
        }
        Some(format!("/{}/{}", grpc.service, method.unwrap_or("*")))
    }

    /// The hash of a path that is a regular expression.
    fn path_regex(&mut self, path: PathPattern<'_>) -> u64 {
        if path.class != Class::Regex {
            return 0;
        }
        let text = std::str::from_utf8(path.text).unwrap_or_default();
        self.regexes.hash(text, self.key).unwrap_or_else(|why| {
            let why = format!("is no regular expression: {why}");
            self.faults.push(BuildFault::Path(format!("~{text}"), why));
            0
        })
    }

    fn methods(&mut self, names: &[String]) {
        for name in names {
            if let Err(why) = method::check(name) {
                self.faults.push(BuildFault::Method(name.clone(), why.to_owned()));
            }
        }
        if names.len() > METHODS_MAX {
            self.fault(format!("has more than {METHODS_MAX} methods"));
        }
    }

    fn networks(&mut self, texts: &[String], out: &mut Vec<u8>) {
        out.clear();
        for text in texts {
            match source::read(text) {
                Ok(network) => out.extend(source::encode(&[network])),
                Err(why) => self.faults.push(BuildFault::Source(text.clone(), why.to_owned())),
            }
        }
        if texts.len() > source::NETWORKS_MAX {
            self.fault(format!("has more than {} networks", source::NETWORKS_MAX));
        }
    }

    fn value<'a>(
        &mut self,
        place: ValuePlace,
        name: &'a str,
        spec: &'a ValueSpec,
    ) -> Option<Predicate<'a>> {
        let mut refuse = |why: String| {
            self.faults.push(BuildFault::Value(place, name.to_owned(), why));
            None
        };
        if let Err(why) = place.check_name(name) {
            return refuse(why.to_owned());
        }
        let text = match spec {
            ValueSpec::Exact(text) | ValueSpec::Prefix(text) | ValueSpec::Regex(text) => text,
            ValueSpec::Present(_) => "",
        };
        if name.len() + text.len() > VALUE_BYTES_MAX {
            return refuse(format!("takes more than {VALUE_BYTES_MAX} bytes"));
        }
        let test = match spec {
            ValueSpec::Exact(_) => Test::Exact(text.as_bytes()),
            ValueSpec::Prefix(_) => Test::Prefix(text.as_bytes()),
            ValueSpec::Present(true) => Test::Present,
            ValueSpec::Present(false) => Test::Absent,
            ValueSpec::Regex(_) => match self.regexes.hash(text, self.key) {
                Ok(hash) => Test::Regex(hash),
                Err(why) => return refuse(format!("is no regular expression: {why}")),
            },
        };
        Some(Predicate::Value { place, name: name.as_bytes(), test })
    }
}

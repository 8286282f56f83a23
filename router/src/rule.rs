//! A rule as it was typed becomes a rule that can be written: patterns are read, names checked,
//! expressions compiled. All faults of a rule come back at once.

use crate::hash::HashKey;
use crate::pattern::host::HostPattern;
use crate::pattern::path::{Class, PathPattern};
use crate::predicate::method::{self, MethodSet};
use crate::predicate::source::{self, Networks};
use crate::predicate::value::{Test, ValueSpec};
use crate::predicate::{Predicate, ValuePlace};
use crate::spec::{GrpcMatchSpec, MatchSpec, ThriftMatchSpec};
use crate::table::BuildFault;
use crate::table::Interned;
use crate::table::record::Rule;

/// Predicates of one rule, methods aside.
const PREDICATES_MAX: usize = 32;

/// Methods of one rule.
const METHODS_MAX: usize = 64;

/// What a Thrift wire asks with, as its message types are called.
const THRIFT_METHODS: &[&[u8]] = &[b"CALL", b"ONEWAY"];

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
    *path = reader.named_path(spec);
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
    let calls = if spec.thrift.is_some() { THRIFT_METHODS } else { &[] };
    let methods = spec.methods.iter().map(String::as_bytes).chain(calls.iter().copied());
    let methods = MethodSet::new(methods);
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

    /// The path of a service or method.
    fn named_path(&mut self, spec: &MatchSpec) -> Option<String> {
        let named = [
            ("path", spec.path.is_some()),
            ("grpc", spec.grpc.is_some()),
            ("thrift", spec.thrift.is_some()),
        ];
        let mut named = named.iter().filter(|(_, is_there)| *is_there);
        if let (Some((one, _)), Some((other, _))) = (named.next(), named.next()) {
            self.fault(format!("has a {one} and {other}: give one of them"));
        }
        match (&spec.grpc, &spec.thrift) {
            (Some(grpc), _) => Some(self.grpc(grpc)),
            (None, Some(thrift)) => Some(self.thrift(thrift, spec)),
            (None, None) => None,
        }
    }

    fn grpc(&mut self, grpc: &GrpcMatchSpec) -> String {
        self.name("grpc service", &grpc.service, true);
        if let Some(method) = &grpc.method {
            self.name("grpc method", method, false);
        }
        format!("/{}/{}", grpc.service, grpc.method.as_deref().unwrap_or("*"))
    }

    fn thrift(&mut self, thrift: &ThriftMatchSpec, spec: &MatchSpec) -> String {
        if !spec.methods.is_empty() {
            self.fault("has methods and thrift: a call has no HTTP method".to_owned());
        }
        for (what, name) in [("thrift service", &thrift.service), ("thrift method", &thrift.method)]
        {
            if let Some(name) = name {
                self.name(what, name, true);
            }
        }
        match (&thrift.service, &thrift.method) {
            (Some(service), method) => format!("/{service}/{}", method.as_deref().unwrap_or("*")),
            (None, Some(method)) => format!("/{{service}}/{method}"),
            // A prefix stands behind those that name something.
            (None, None) => String::from("/*"),
        }
    }

    /// A name is of letters, digits and `_`, and perhaps has parts.
    fn name(&mut self, what: &str, name: &str, may_have_dots: bool) {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let part = |part: &str| !part.is_empty() && part.bytes().all(known);
        if !(if may_have_dots { name.split('.').all(part) } else { part(name) }) {
            self.fault(format!("{what} `{name}` is no name"));
        }
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

//! Whole files: what they compile to, and every message word for word.

use std::net::SocketAddr;
use std::time::Duration;

use router::{BalanceKind, ClusterId, Query, ThriftDialect, ThriftProtocol, ThriftTransport};

use super::{Resolve, compile};
use crate::config::Config;
use crate::error::ConfigError;
use crate::snapshot::{Snapshot, Speaks};

/// Knows `two.test` (two IPv4 addresses and one IPv6) and `six.test`.
fn ask(name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let parse = |text: &&str| text.parse().map(|ip| SocketAddr::new(ip, port)).unwrap();
    match name {
        "two.test" => Ok(["10.0.0.2", "::2", "10.0.0.1"].iter().map(parse).collect()),
        "six.test" => Ok(["::6"].iter().map(parse).collect()),
        _ => Err(std::io::Error::other("name not known")),
    }
}

fn read(text: &str) -> Result<Snapshot, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut config = Config::parse("r.yaml", text, &mut errors);
    config.check_settings(&mut errors);
    let compiled = compile(&mut config, None, &mut Resolve::with(ask), &mut errors);
    ConfigError::sort(&mut errors);
    compiled.filter(|_| errors.is_empty()).map(|compiled| compiled.snapshot).ok_or(errors)
}

/// Messages without their snippets, one a line.
fn faults(text: &str) -> String {
    let errors = read(text).expect_err("a faulty file");
    let first_line = |error: &ConfigError| error.to_string().lines().next().unwrap().to_owned();
    errors.iter().map(first_line).collect::<Vec<_>>().join("\n")
}

const GOOD: &str = "
version: 1
settings:
  shards: 2
  idle_timeout: 1m
listeners:
  - name: edge
    address: 0.0.0.0:8080
    protocols: auto
  - address: unix:/tmp/r.sock
    protocols: [http1]
clusters:
  users:
    endpoints: [127.0.0.1:9001, {address: 'two.test:9002', weight: 3}, unix:/tmp/u.sock]
    protocol: http1
    balance: least_loaded
    connect_timeout: 250ms
    links_max: 7
  rest:
    endpoints:
      - six.test:80
routes:
  - id: users
    match: {host: api.example.com, path: /users/*, methods: [GET, POST]}
    cluster: users
    timeout: 5s
    body_bytes_max: 10MB
  - id: rest
    cluster: rest
    retry: false
";

#[test]
fn a_file_compiles() {
    let snapshot = read(GOOD).unwrap();
    assert_eq!((snapshot.generation, snapshot.settings.shards()), (1, Some(2)));
    let listeners: Vec<(&str, &str)> =
        snapshot.listeners.iter().map(|plan| (&*plan.name, &*plan.address)).collect();
    let socket = "unix:/tmp/r.sock";
    assert_eq!(listeners, [("edge", "0.0.0.0:8080"), (socket, socket)]);
    assert_eq!(snapshot.listeners[0].wire.idle_timeout, Duration::from_secs(60));

    let users = &snapshot.clusters[0];
    let endpoints: Vec<(&str, u32)> =
        users.endpoints.iter().map(|endpoint| (&*endpoint.address, endpoint.weight)).collect();
    assert_eq!(
        endpoints,
        [
            ("127.0.0.1:9001", 1),
            ("10.0.0.1:9002", 3),
            ("10.0.0.2:9002", 3),
            ("unix:/tmp/u.sock", 1),
        ]
    );
    assert_eq!((users.id, users.balance), (ClusterId(0), BalanceKind::LeastLoaded));
    assert_eq!((users.connect_timeout, users.links_max), (Duration::from_millis(250), 7));
    assert_eq!(users.first_byte_timeout, Duration::from_secs(60), "from the settings");
    assert_eq!(snapshot.clusters[1].endpoints[0].address, "[::6]:80");

    let query = Query {
        method: b"GET",
        host: b"api.example.com",
        path: b"/users/1",
        peer: None,
        query: b"",
        field: &|_| router::Field::Absent,
    };
    let routes = &snapshot.routes;
    let found = routes.find(&query).unwrap();
    let plan = routes.plan(found.plan).unwrap();
    assert_eq!((routes.name(found.route), plan.cluster), (Some("users"), ClusterId(0)));
    assert_eq!(
        (plan.timeout, plan.body_bytes_max),
        (Some(Duration::from_secs(5)), Some(10_000_000))
    );
    assert_eq!(found.captures.range(0), Some(7..8));
    let found = routes.find(&Query { host: b"x", ..query }).unwrap();
    let rest = routes.plan(found.plan).unwrap();
    assert_eq!((routes.name(found.route), rest.retry, rest.timeout), (Some("rest"), false, None));
    assert!(snapshot.warnings.is_empty());
}

/// A route may allow more than the setting, and has its own page for 413: the wire must not
/// judge first.
#[test]
fn how_long_a_body_may_be_is_for_routes_to_say() {
    let limits = |text: &str| {
        let snapshot = read(text).unwrap();
        let plan = |route| snapshot.routes.plan_of(route).and_then(|plan| plan.body_bytes_max);
        let routes: Vec<_> = snapshot.routes.ids().into_iter().map(plan).collect();
        assert_eq!(routes, [Some(10_000_000), None], "only where they say so");
        assert_eq!(snapshot.listeners[0].wire.body_bytes_max, None);
        snapshot.listeners[0].body_bytes_max
    };
    assert_eq!(limits(GOOD), None);
    let small = with("shards: 2", "body_bytes_max: 1MB");
    assert_eq!(limits(&small), Some(1_000_000));
    let own = small.replacen("protocols: auto", "body_bytes_max: 2MB", 1);
    assert_eq!(limits(&own), Some(2_000_000));
}

#[test]
fn five_lines_are_a_working_proxy() {
    let snapshot = read(
        "version: 1\nlisteners: [{address: '127.0.0.1:8080'}]\n\
         clusters: {app: {endpoints: ['127.0.0.1:9001']}}\nroutes:\n- {id: all, cluster: app}\n",
    );
    assert_eq!(snapshot.unwrap().clusters[0].balance, BalanceKind::RoundRobin);
}

#[test]
fn the_hash_is_of_the_meaning() {
    let hash = |text: &str| read(text).unwrap().hash;
    assert_eq!(hash(GOOD), hash(&GOOD.replace("1m\n", "60s  # a minute\n")));
    assert_ne!(hash(GOOD), hash(&GOOD.replace("/users/*", "/user/*")));
    assert_ne!(hash(GOOD), hash(&GOOD.replace("9001", "9000")));
    assert_ne!(hash(GOOD), hash(&GOOD.replace("shards: 2", "shards: 3")));
}

const FAULTY: &str = "\
version: 1
settings:
  shard: 4
  buf_bytes: 2MiB
  head-timeout: 3s
  request_id: on
  idle_timeout: 30
listners: []
listeners:
  - name: edge
    adress: 0.0.0.0:8080
    protocols: [http1, http3]
  - name: edge
    address: 0.0.0.0:80800
  - address: localhost:80
    protocols: {http: 1}
clusters:
  users:
    endpoints: [127.0.0.1:9001, 127.0.0.1:9001, http://a:1, {weight: x}]
    balance: least_load
    connect_timeout: 2d
    health: {}
  empty:
    endpoints: []
    links_max: 0
  bad: 7
routes:
  - id: users
    match: {host: '*', path: users, methods: [GET, get], rewrite: {}}
    cluster: user
    timeout: 5
  - id: users
    match: {path: /a}
    cluster: bad
  - match: {path: /a}
    cluster: no.such
    retry: yes
  - id: last
    match: {path: /a}
    cluster: users
";

/// Every fault of `FAULTY`, word for word.
const FAULTS: &str = "\
r.yaml:3:3: unknown setting `shard` (did you mean `shards`?)
r.yaml:4:14: buf-bytes: `2MiB` is out of range: 512B to 1MiB
r.yaml:5:3: unknown setting `head-timeout` (write it as `head_timeout`)
r.yaml:6:15: request-id: `on` is neither true nor false
r.yaml:7:17: idle-timeout: `30` has no unit: write 30ms, 30s or 30m
r.yaml:8:1: unknown key `listners` (did you mean `listeners`?)
r.yaml:11:5: unknown key `adress` (did you mean `address`?)
r.yaml:12:16: protocol `http3` is not supported by this build: it speaks http1, http2, thrift, tcp
r.yaml:14:14: address `0.0.0.0:80800` has a port `80800` that is not 0 to 65535
r.yaml:15:14: address `localhost:80` is a name: listen on an IP address, like 0.0.0.0:80 or \
    127.0.0.1:80
r.yaml:16:16: expected `auto`, a protocol or a list of protocols
r.yaml:19:33: endpoint `127.0.0.1:9001` is listed twice: give it a `weight` instead
r.yaml:19:49: endpoint `http://a:1` has a scheme: leave `http://` out
r.yaml:19:61: `address` is missing
r.yaml:19:70: expected a whole number, found `x`
r.yaml:20:14: `least_load` is not one of round_robin, least_loaded; did you mean `least_loaded`?
r.yaml:21:22: connect_timeout: `48h` is out of range: 1ms to 24h
r.yaml:22:5: `health` is not supported by this build
r.yaml:24:16: cluster `empty` has no endpoints
r.yaml:25:16: links_max: `0` is out of range: 1 to 1000000
r.yaml:26:8: expected a mapping, found `7`
r.yaml:29:19: route `users`: host `*` names nothing: leave it out to take any host, or write \
    *.example.com
r.yaml:29:30: route `users`: path `users` does not begin with `/`
r.yaml:29:52: route `users`: method `get` has lower-case letters: methods are case-sensitive, \
    write them as GET, POST
r.yaml:29:58: `rewrite` is not supported by this build
r.yaml:30:14: unknown cluster `user` (did you mean `users`?)
r.yaml:31:14: `5` has no unit: write 5ms, 5s or 5m
r.yaml:32:9: route id `users` is already used on line 28
r.yaml:35:5: `id` is missing
r.yaml:36:14: unknown cluster `no.such`
r.yaml:37:12: expected true or false, found `yes`
r.yaml:38:5: route `last`: can never match: what it takes is taken before by route `users` \
    (line 32)";

#[test]
fn faults_of_predicates_have_their_places() {
    let text = "version: 1\nlisteners: [{address: '127.0.0.1:8080'}]\n\
                clusters: {app: {endpoints: ['127.0.0.1:9001']}}\nroutes:\n\
                - id: all\n  cluster: app\n  priority: high\n  match:\n\
                \x20   headers: {X-A: {regex: '('}, X-B: {exact: a, prefix: b}, 'X C': c}\n\
                \x20   query: {q: [1]}\n\
                \x20   source: [10.0.0.0/8, 10.0.0.1/8]\n";
    let expected = "\
r.yaml:7:13: expected a whole number, found `high`
r.yaml:9:20: route `all`: header `x-a` is no regular expression: at byte 1: unclosed group
r.yaml:9:39: give exactly one of exact, prefix, regex, present
r.yaml:9:69: route `all`: header `x c` is no name of a field
r.yaml:10:16: expected a text, or one of {exact: ..}, {prefix: ..}, {regex: ..}, {present: ..}, \
    found sequence
r.yaml:11:26: route `all`: source `10.0.0.1/8` has bits set behind its prefix";
    assert_eq!(faults(text), expected);
}

#[test]
fn only_who_asks_for_something_is_believed_its_metadata() {
    let text = "version: 1\nlisteners:\n\
                - {address: '127.0.0.1:1', protocols: [tcp], cluster: tcp, trust_metadata: true}\n\
                - {address: '127.0.0.1:2', protocols: [thrift], trust_metadata: yes please}\n\
                - {address: '127.0.0.1:3', protocols: [http1, thrift], trust_metadata: false}\n\
                clusters:\n  app: {endpoints: ['127.0.0.1:9001']}\n\
                \x20 tcp: {endpoints: ['127.0.0.1:9002'], protocol: tcp}\n\
                routes: [{id: all, cluster: app}]\n";
    let expected = "\
r.yaml:3:76: `trust_metadata` is for listeners that take requests
r.yaml:4:65: expected true or false, found `yes please`";
    assert_eq!(faults(text), expected);
}

#[test]
fn faults_of_grpc_have_their_places() {
    let text = "version: 1\nlisteners:\n\
                - {address: '127.0.0.1:1', protocols: [tcp], cluster: tcp, grpc_health: {}}\n\
                - {address: '127.0.0.1:2', grpc_health: {services: [a.B, '']}}\n\
                - {address: '127.0.0.1:3', grpc_health: {services: [app], clusters: [app, ap]}}\n\
                clusters:\n  app: {endpoints: ['127.0.0.1:9001']}\n\
                \x20 h2: {endpoints: ['127.0.0.1:9003'], protocol: http2}\n\
                \x20 tcp: {endpoints: ['127.0.0.1:9002'], protocol: tcp}\nroutes:\n\
                - id: all\n  cluster: app\n  grpc_web:\n\
                \x20   allow_origins: ['*', 'https://a.b/', 'HTTPS://a.b', a.b]\n\
                \x20   allow_headers: ['x y']\n    expose_headers: ['']\n\
                \x20   message_bytes_max: 4GiB\n\x20   allow_credentials: true\n\
                - {id: any, match: {path: /x}, cluster: h2, grpc_web: {allow_credentials: true}}\n";
    let expected = "\
r.yaml:3:73: `grpc_health` is for listeners that take requests
r.yaml:4:52: a service's name has 1 to 1024 bytes
r.yaml:5:69: two services are called `app`
r.yaml:5:69: unknown cluster `ap` (did you mean `app`?)
r.yaml:14:5: cluster `app` has protocol http1, not http2
r.yaml:14:20: `*` is every origin: it stands alone
r.yaml:14:20: `https://a.b/` is no origin like https://example.com
r.yaml:14:20: `HTTPS://a.b` is no origin like https://example.com
r.yaml:14:20: `a.b` is no origin like https://example.com
r.yaml:15:20: `x y` is no name of a field
r.yaml:16:21: `` is no name of a field
r.yaml:17:24: a message has 1 to 4294967295 bytes
r.yaml:18:24: `allow_credentials` is for pages of origins that `allow_origins` names
r.yaml:19:75: `allow_credentials` is for pages of origins that `allow_origins` names";
    assert_eq!(faults(text), expected);
}

#[test]
fn all_errors_come_at_once_in_file_order() {
    assert_eq!(faults(FAULTY), FAULTS);
}

/// `GOOD` with one line replaced.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

#[test]
fn an_error_shows_its_line() {
    let errors = read(&with("    cluster: users", "    cluster: user")).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(
        errors[0].to_string(),
        "r.yaml:25:14: unknown cluster `user` (did you mean `users`?)\n \
         25 |     cluster: user\n    |              ^"
    );
}

#[test]
fn yaml_itself_is_strict() {
    for (text, expected) in [
        ("", "r.yaml:1:1: the file is empty"),
        ("# nothing\n", "r.yaml:1:1: the file is empty"),
        ("- a\n", "r.yaml:1:1: expected a mapping, found a list"),
        ("hello\n", "r.yaml:1:1: expected a mapping, found `hello`"),
        ("version: 1\na: [1\n", "r.yaml:3:1: not valid YAML: "),
        ("version: 1\nversion: 1\n", "r.yaml:2:1: duplicate key `version`, first on line 1"),
        ("version: 1\nsettings: !x {}\n", "r.yaml:2:11: tags (`!name`) are not supported"),
        ("version: 1\n---\nversion: 1\n", "r.yaml:2:1: a second document: "),
        ("version: 1\n? [a]\n: b\n", "r.yaml:2:3: a key must be text, not a list"),
        ("version: 1\na: &a [*a]\n", "r.yaml:2:8: an alias inside its own anchor"),
        ("version: 2\n", "r.yaml:1:10: version `2` is not known: this build reads version 1"),
        (
            "\u{feff}version: 2\n",
            "r.yaml:1:10: version `2` is not known: this build reads version 1",
        ),
        ("settings: {}\n", "r.yaml:1:1: `version: 1` is missing"),
        ("version: 1\nsettings: 3\n", "r.yaml:2:11: expected a mapping, found `3`"),
        ("version: 1\nsettings: {shards: }\n", "r.yaml:2:18: expected a value, found nothing"),
        ("version: 1\nroutes: {}\n", "r.yaml:2:9: expected a list, found a mapping"),
        ("version: 1\nprotocols: auto\n", "r.yaml:2:12: expected a mapping, found `auto`"),
        ("version: 1\n", "r.yaml:1:1: `listeners` is missing or empty: nothing can be served"),
    ] {
        let found = faults(text);
        assert!(found.lines().any(|line| line.starts_with(expected)), "{text:?}: {found}");
    }
}

#[test]
fn duplicate_keys_are_refused_at_every_level() {
    let text =
        with("    balance: least_loaded", "    balance: least_loaded\n    balance: round_robin");
    assert_eq!(faults(&text), "r.yaml:17:5: duplicate key `balance`, first on line 16");
    let text = with("  rest:\n    endpoints", "  users:\n    endpoints");
    assert!(faults(&text).starts_with("r.yaml:19:3: duplicate key `users`, first on line 13"));
}

#[test]
fn budgets_bound_what_a_file_can_ask_for() {
    let deep = |levels: usize| faults(&format!("version: 1\nsettings: {}", "[".repeat(levels)));
    assert_eq!(deep(40), "r.yaml:2:42: nested deeper than 32 levels");
    assert!(deep(100_000).contains("not valid YAML: recursion limit exceeded"));
    let mut bomb = "version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "));
    }
    assert!(faults(&bomb).contains("more than 4000000 values, aliases included"));
}

#[test]
fn anchors_work() {
    let text = with(
        "  rest:\n    endpoints:\n      - six.test:80",
        "  rest: &rest\n    endpoints: [six.test:80]\n  more: *rest",
    );
    let snapshot = read(&text).unwrap();
    assert_eq!(snapshot.clusters[2].endpoints, snapshot.clusters[1].endpoints);
    assert_eq!(*snapshot.warnings, ["r.yaml:21:3: cluster `more` is not used"]);
}

#[test]
fn addresses_say_what_is_wrong() {
    for (address, why) in [
        ("127.0.0.1", "has no port: write it as host:port"),
        (":8080", "has no host: write an IP address before the port, like 0.0.0.0:8080"),
        ("::1:8080", "is not an address: write IPv6 as [::1]:8080"),
        ("1.2.3:80", "is neither an IP address nor a host name"),
        ("a b:80", "is neither an IP address nor a host name"),
        ("h:http", "has a port `http` that is not 0 to 65535"),
        ("unix:r.sock", "is not unix: and an absolute path of at most 107 bytes"),
        ("no.test:80", "cannot be resolved: name not known"),
    ] {
        let text = with("six.test:80", &format!("'{address}'"));
        assert_eq!(faults(&text), format!("r.yaml:21:9: endpoint `{address}` {why}"));
    }
}

#[test]
fn listeners_are_distinct() {
    let text = with("unix:/tmp/r.sock", "0.0.0.0:8080\n    name: edge");
    assert_eq!(
        faults(&text),
        "r.yaml:10:14: `0.0.0.0:8080` is listened on twice\n\
         r.yaml:11:11: two listeners are called `edge`"
    );
}

#[test]
fn weights_of_zero_are_refused_when_none_is_left() {
    let text = with("- six.test:80", "- {address: six.test:80, weight: 0}");
    assert_eq!(faults(&text), "r.yaml:21:7: all endpoints of cluster `rest` have weight 0");
    let text = with("weight: 3", "weight: 65536");
    assert_eq!(faults(&text), "r.yaml:14:43: weight `65536` is out of range: 0 to 65535");
}

#[test]
fn settings_are_checked_against_each_other() {
    let text = with("shards: 2", "ring_entries: 16384");
    assert_eq!(faults(&text), "r.yaml:4:17: cq-entries (8192) is below ring-entries (16384)");
}

#[test]
fn thrift_is_spoken_on_listeners_and_to_clusters() {
    let listener = |protocols: &str| {
        let text = with("    protocols: auto", &format!("    protocols: {protocols}"));
        read(&text).unwrap().listeners[0].speaks
    };
    assert_eq!(listener("auto"), Speaks::Http, "nobody gets Thrift without asking for it");
    assert_eq!(listener("thrift"), Speaks::Thrift { http1: false, http2: false });
    assert_eq!(listener("[http1, thrift]"), Speaks::Thrift { http1: true, http2: false });
    assert_eq!(listener("[auto, thrift]"), Speaks::Thrift { http1: true, http2: true });
    let dialect = |thrift: &str| {
        let text = format!("    protocol: thrift{thrift}");
        read(&with("    protocol: http1", &text)).unwrap().clusters[0].clone()
    };
    let plain = dialect("");
    assert_eq!(plain.thrift, ThriftDialect::default());
    let compact = dialect("\n    thrift: {transport: theader, protocol: compact, calls_max: 64}");
    let (transport, protocol) = (ThriftTransport::THeader, Some(ThriftProtocol::Compact));
    assert_eq!(compact.thrift, ThriftDialect { transport, protocol, calls_max: 64 });
    assert_eq!(plain.thrift.calls_max, 1, "nobody is asked several things at once unawares");
    let same = plain.endpoints[0].identity == compact.endpoints[0].identity;
    assert!(!same, "links of one dialect serve no other");
}

#[test]
fn faults_of_thrift_have_their_places() {
    let cluster = |typed: &str| faults(&with("    protocol: http1", &format!("    {typed}")));
    assert_eq!(
        cluster("protocol: thrift\n    thrift: {transport: frame, protocol: json}"),
        "r.yaml:16:25: unknown thrift transport `frame` (did you mean `framed`?)\n\
         r.yaml:16:42: unknown thrift protocol `json` (possible here: binary, compact)"
    );
    assert_eq!(
        cluster("thrift: {transport: framed}"),
        "r.yaml:15:13: `thrift` is for clusters with protocol thrift: this one has http1"
    );
    assert_eq!(
        cluster("protocol: thrift\n    thrift: {tranport: framed}"),
        "r.yaml:16:14: unknown key `tranport` (did you mean `transport`?)"
    );
    for count in ["0", "1001", "70000"] {
        assert_eq!(
            cluster(&format!("protocol: thrift\n    thrift: {{calls_max: {count}}}")),
            format!("r.yaml:16:25: calls_max is {count}: give 1 to 1000")
        );
    }
    assert_eq!(
        cluster("protocol: thrift\n    proxy_protocol: v2\n    thrift: {calls_max: 2}"),
        "r.yaml:17:25: calls_max is of no use with proxy_protocol: a connection that begins with \
         a client's address serves one call"
    );
    let tcp = with("    protocols: auto", "    protocols: [thrift, tcp]");
    let alone = "r.yaml:9:16: `tcp` takes every connection: it stands alone\n\
                 r.yaml:9:16: a `tcp` listener needs a `cluster`";
    assert_eq!(faults(&tcp), alone);
}

#[test]
fn a_route_of_calls_leads_to_who_speaks_thrift() {
    let routed = |protocol: &str, matched: &str| {
        format!(
            "version: 1\n\
             listeners: [{{address: '127.0.0.1:1'}}]\n\
             clusters: {{c: {{protocol: {protocol}, endpoints: ['127.0.0.1:2']}}}}\n\
             routes: [{{id: r, cluster: c, match: {matched}}}]\n"
        )
    };
    let calls = "{thrift: {service: Orders}}";
    assert!(read(&routed("thrift", calls)).is_ok());
    assert!(read(&routed("thrift", "{path: '/*'}")).is_ok());
    let refused = faults(&routed("http2", calls));
    assert_eq!(refused, "r.yaml:4:27: cluster `c` has protocol http2, not thrift");
    let refused = faults(&routed("thrift", "{grpc: {service: Orders}}"));
    assert_eq!(refused, "r.yaml:4:27: cluster `c` has protocol thrift, not http1 or http2");
}

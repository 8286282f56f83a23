//! The table against a naive linear matcher, updates included, and the faults that it reports.

use proptest::prelude::*;

use crate::{
    BuildFault, Builder, Field, Match, MatchSpec, PlanId, Query, RouteId, RuleOrder, Table,
    ValueSpec, ValueSpecs,
};

mod naive;

use super::testing::config;
use naive::{Declared, Request};

fn find(table: &Table, request: &Request) -> Option<Match> {
    let field = |name: &[u8]| {
        let same = request.fields.iter().filter(|field| field.0.as_bytes() == name);
        Field::of(same.map(|field| field.1.as_bytes()))
    };
    table.find(&Query {
        method: request.method.as_bytes(),
        host: request.host.as_bytes(),
        path: request.path.as_bytes(),
        query: request.query.as_bytes(),
        peer: request.peer,
        field: &field,
    })
}

fn request(method: &str, host: &str, path: &str) -> Request {
    Request {
        method: method.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        query: String::new(),
        fields: Vec::new(),
        peer: None,
    }
}

fn spec(host: Option<&str>, path: Option<&str>, methods: &[&str]) -> MatchSpec {
    MatchSpec {
        host: host.map(str::to_owned),
        path: path.map(str::to_owned),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        ..MatchSpec::default()
    }
}

fn winner(table: &Table, method: &str, host: &str, path: &str) -> Option<u32> {
    find(table, &request(method, host, path)).map(|found| found.route.0)
}

fn build(specs: &[MatchSpec]) -> Table {
    let mut builder = Builder::new(7, RuleOrder::Specific);
    for spec in specs {
        builder.add(spec, 0, PlanId(3)).unwrap();
    }
    builder.finish(2).unwrap()
}

/// Without what is out of reach, which never wins in the naive matcher either.
fn reachable(rules: &[Declared], order: RuleOrder) -> (Vec<Declared>, Table) {
    let mut left = rules.to_vec();
    loop {
        let mut builder = Builder::new(7, order);
        let mut ids = Vec::new();
        for rule in &left {
            ids.push(rule.id);
            builder.add(&rule.spec, rule.priority, PlanId(rule.id)).unwrap();
        }
        match builder.finish(2) {
            Ok(table) => return (left, table),
            Err(errors) => {
                let only = |fault: &BuildFault| matches!(fault, BuildFault::Unreachable);
                assert!(errors.iter().all(|error| only(&error.fault)), "{errors:?}");
                let mut index = 0;
                left.retain(|_| {
                    index += 1;
                    !errors.iter().any(|error| error.route.0 == index - 1)
                });
            }
        }
    }
}

fn host_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 1..4)
        .prop_map(|labels| labels.join("."))
}

fn path_text() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["", "x", "y", "xy", "%2F", "zz"]);
    prop::collection::vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn pattern_text() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["x", "y", "xy", "{n}", "{m}", ""]);
    let segments = prop::collection::vec(segment, 0..5).prop_map(|segments| {
        let mut names = 0;
        let named = segments.into_iter().map(|segment| {
            names += 1;
            if segment.starts_with('{') { format!("{{n{names}}}") } else { segment.to_owned() }
        });
        format!("/{}", named.collect::<Vec<_>>().join("/"))
    });
    let regex = prop::sample::select(vec!["~^/x/[x-y]+$", "~^/[a-z]+$", "~^/x/y/[x-y]+$", "~x/y"]);
    prop_oneof![
        6 => segments.clone(),
        3 => segments.prop_map(|path| format!("{}/*", path.trim_end_matches('/'))),
        1 => regex.prop_map(str::to_owned),
    ]
}

fn value_spec() -> impl Strategy<Value = ValueSpec> {
    let text = prop::sample::select(vec!["1", "12", "2"]).prop_map(str::to_owned);
    prop_oneof![
        4 => text.clone().prop_map(ValueSpec::Exact),
        1 => text.clone().prop_map(ValueSpec::Prefix),
        1 => text.prop_map(ValueSpec::Regex),
        1 => any::<bool>().prop_map(ValueSpec::Present),
    ]
}

fn value_specs(names: &'static [&'static str]) -> impl Strategy<Value = ValueSpecs> {
    let name = prop::sample::select(names).prop_map(str::to_owned);
    prop_oneof![
        3 => Just(ValueSpecs::new()),
        1 => prop::collection::btree_map(name, value_spec(), 0..3),
    ]
}

fn any_spec() -> impl Strategy<Value = (MatchSpec, i32)> {
    let host = prop_oneof![
        1 => Just(None),
        4 => host_text().prop_map(Some),
        2 => host_text().prop_map(|host| Some(format!("*.{}", host.to_uppercase()))),
    ];
    let path = prop_oneof![1 => Just(None), 9 => pattern_text().prop_map(Some)];
    let methods = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(method_text().prop_map(str::to_owned), 1..3),
    ];
    let source = prop::sample::select(vec![vec![], vec![], vec!["10.0.0.0/8"], vec!["10.1.0.1"]]);
    let predicates = (
        value_specs(&["h1", "h2", "cookie"]),
        value_specs(&["q1", "q2"]),
        value_specs(&["c1"]),
        source,
    );
    let priority = prop::sample::select(vec![0, 0, 0, 0, 0, 5, -5]);
    (host, path, methods, predicates, priority).prop_map(
        |(host, path, methods, (headers, query, cookies, source), priority)| {
            let source = source.into_iter().map(str::to_owned).collect();
            let (grpc, thrift) = (None, None);
            (
                MatchSpec { host, path, grpc, thrift, methods, headers, query, cookies, source },
                priority,
            )
        },
    )
}

fn method_text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["GET", "POST", "PURGE", "BAN"])
}

fn any_request() -> impl Strategy<Value = Request> {
    let field = prop::sample::select(vec![
        ("h1", "1"),
        ("h1", "12"),
        ("h2", "2"),
        ("cookie", "c1=1"),
        ("cookie", "c2=1; c1=2"),
    ]);
    let field = field.prop_map(|(name, value)| (name.to_owned(), value.to_owned()));
    let query =
        prop::sample::select(vec!["", "q1=1", "q1=12&q2=2", "q1=1&q1=1", "q2", "q1=2&&q2="]);
    let peer = prop::sample::select(vec![None, Some("10.1.0.1"), Some("9.9.9.9"), Some("::1")]);
    let path = prop_oneof![9 => path_text(), 1 => Just("*".to_owned()), 1 => Just(String::new())];
    (method_text(), host_text(), path, query, prop::collection::vec(field, 0..3), peer).prop_map(
        |(method, host, path, query, fields, peer)| Request {
            method: method.to_owned(),
            host,
            path,
            query: query.to_owned(),
            fields,
            peer: peer.map(|peer| peer.parse().unwrap()),
        },
    )
}

fn declared(specs: Vec<(MatchSpec, i32)>) -> Vec<Declared> {
    let rule = |((spec, priority), id)| Declared { id, order: id, priority, spec };
    specs.into_iter().zip(0..).map(rule).collect()
}

fn orders() -> impl Strategy<Value = RuleOrder> {
    prop_oneof![3 => Just(RuleOrder::Specific), 1 => Just(RuleOrder::FirstMatch)]
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn agrees_with_the_naive_matcher(
        specs in prop::collection::vec(any_spec(), 0..40),
        asks in prop::collection::vec(any_request(), 24),
        order in orders(),
    ) {
        let all = declared(specs);
        let (rules, table) = reachable(&all, order);
        prop_assert_eq!(table.len(), rules.len());
        for ask in &asks {
            let found = find(&table, ask).map(|found| found.plan.0);
            prop_assert_eq!(found, naive::winner(&rules, order, ask), "{:?}", ask);
            prop_assert_eq!(found, naive::winner(&all, order, ask), "rightly refused: {:?}", ask);
        }
    }

    #[test]
    fn changes_agree_with_the_naive_matcher(
        specs in prop::collection::vec(any_spec(), 0..12),
        steps in prop::collection::vec((0_u32..90, any_spec(), any::<bool>()), 1..90),
        asks in prop::collection::vec(any_request(), 8),
        order in orders(),
        is_one_host in any::<bool>(),
    ) {
        let mut rules = declared(specs);
        let mut builder = Builder::new(7, order);
        for rule in &rules {
            builder.add(&rule.spec, rule.priority, PlanId(rule.id)).unwrap();
        }
        // Out of reach is no fault of a change here; the naive matcher knows it as well.
        let Ok(mut table) = builder.finish(1) else { return Ok(()) };
        let mut next_order = rules.len() as u32;
        for (id, (mut spec, priority), is_in) in steps {
            if is_one_host {
                spec.host = Some("a".to_owned());
            }
            let old = rules.iter().position(|rule| rule.id == id);
            if is_in {
                table = table.put(RouteId(id), &spec, priority, PlanId(id)).unwrap();
                let order = old.map_or(next_order, |old| rules[old].order);
                next_order = next_order.max(order + 1);
                let rule = Declared { id, order, priority, spec };
                match old {
                    Some(old) => rules[old] = rule,
                    None => rules.push(rule),
                }
            } else {
                table = table.without(RouteId(id));
                rules.retain(|rule| rule.id != id);
            }
            prop_assert_eq!(table.len(), rules.len());
        }
        for ask in &asks {
            let host = if is_one_host { "a".to_owned() } else { ask.host.clone() };
            let ask = Request { host, ..ask.clone() };
            let found = find(&table, &ask).map(|found| found.plan.0);
            prop_assert_eq!(found, naive::winner(&rules, order, &ask), "{:?}", ask);
        }
    }

    #[test]
    fn any_bytes_are_answered(
        host in prop::collection::vec(any::<u8>(), 0..40),
        path in prop::collection::vec(any::<u8>(), 0..40),
        query in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let named = spec(Some("*.a"), Some("/x/{y}/*"), &["GET"]);
        let table = build(&[named, spec(None, None, &["GET"])]);
        let (method, field) = (b"GET", &|_: &[u8]| Field::Absent);
        let ask = Query { method, host: &host, path: &path, query: &query, peer: None, field };
        prop_assert!(table.find(&ask).is_some());
    }
}

proptest! {
    // Each case makes a table of a hundred rules and more, many times.
    #![proptest_config(config(16))]

    /// One host, so that it has more rules than a block holds.
    #[test]
    fn a_large_host_agrees_with_the_naive_matcher(
        specs in prop::collection::vec(any_spec(), 100..200),
        asks in prop::collection::vec(any_request(), 24),
        order in orders(),
    ) {
        let host = || Some("a".to_owned());
        let one_host = |(spec, priority)| (MatchSpec { host: host(), ..spec }, priority);
        let all = declared(specs.into_iter().map(one_host).collect());
        let (rules, table) = reachable(&all, order);
        for ask in asks {
            let ask = Request { host: "a".to_owned(), ..ask };
            let found = find(&table, &ask).map(|found| found.plan.0);
            prop_assert_eq!(found, naive::winner(&rules, order, &ask), "{:?}", ask);
            prop_assert_eq!(found, naive::winner(&all, order, &ask), "out of reach: {:?}", ask);
        }
    }

    /// One path, so that its rules are found by a value.
    #[test]
    fn a_large_path_agrees_with_the_naive_matcher(
        specs in prop::collection::vec((any_spec(), 0_u32..90), 100..250),
        asks in prop::collection::vec((any_request(), 0_u32..90), 24),
    ) {
        let one_path = |((mut spec, priority), tenant): ((MatchSpec, i32), u32)| {
            (spec.host, spec.path) = (Some("a".to_owned()), Some("/x/{id}".to_owned()));
            if tenant < 80 {
                let value = ValueSpec::Exact(tenant.to_string());
                spec.headers.insert("tenant".to_owned(), value);
            }
            (spec, priority)
        };
        let all = declared(specs.into_iter().map(one_path).collect());
        let (rules, table) = reachable(&all, RuleOrder::Specific);
        for (mut ask, tenant) in asks {
            (ask.host, ask.path) = ("a".to_owned(), "/x/y".to_owned());
            ask.fields.push(("tenant".to_owned(), tenant.to_string()));
            let found = find(&table, &ask).map(|found| found.plan.0);
            prop_assert_eq!(found, naive::winner(&rules, RuleOrder::Specific, &ask), "{:?}", ask);
            prop_assert_eq!(found, naive::winner(&all, RuleOrder::Specific, &ask), "{:?}", ask);
        }
    }
}

#[test]
fn precedence_in_order() {
    let specs = [
        spec(None, None, &[]),
        spec(None, Some("/*"), &[]),
        spec(Some("*.example.com"), Some("/users/*"), &[]),
        spec(Some("*.api.example.com"), None, &[]),
        spec(Some("v1.api.example.com"), Some("/users/*"), &[]),
        spec(Some("v1.api.example.com"), Some("/users/me/*"), &[]),
        spec(Some("v1.api.example.com"), Some("/users/me"), &[]),
        spec(Some("v1.api.example.com"), Some("/users/me"), &["GET", "PUT"]),
        spec(Some("v1.api.example.com"), Some("/users/me"), &["PUT", "POST"]),
        spec(Some("v1.api.example.com"), Some("/users/{id}"), &[]),
        spec(Some("v1.api.example.com"), Some("/{any}/me"), &[]),
    ];
    let table = build(&specs);
    let host = "v1.api.example.com";
    assert_eq!(winner(&table, "GET", host, "/users/me"), Some(7), "named method first");
    assert_eq!(winner(&table, "PUT", host, "/users/me"), Some(7), "then the first declared");
    assert_eq!(winner(&table, "POST", host, "/users/me"), Some(8));
    assert_eq!(winner(&table, "PATCH", host, "/users/me"), Some(6));
    assert_eq!(winner(&table, "GET", host, "/users/me/x"), Some(5), "longer prefix");
    assert_eq!(winner(&table, "GET", host, "/users/you"), Some(9), "a name before a prefix");
    assert_eq!(winner(&table, "GET", host, "/users/"), Some(4), "a name takes no empty segment");
    assert_eq!(winner(&table, "GET", host, "/apps/me"), Some(10));
    assert_eq!(winner(&table, "GET", host, "/other"), Some(3), "falls back to the suffix");
    assert_eq!(winner(&table, "GET", "v2.api.example.com", "/users/1"), Some(3), "longer suffix");
    assert_eq!(winner(&table, "GET", "www.example.com", "/users/1"), Some(2));
    assert_eq!(winner(&table, "GET", "example.com", "/users/1"), Some(1), "not its own suffix");
    assert_eq!(winner(&table, "OPTIONS", "example.com", "*"), Some(0));
    assert_eq!(winner(&table, "GET", "", ""), Some(0));
}

#[test]
fn captures_are_ranges_of_the_path() {
    let table = build(&[spec(None, Some("/users/{id}/posts/{post}/*"), &[])]);
    let path = "/users/ab/posts/7/x/y";
    let found = find(&table, &request("GET", "h", path)).unwrap();
    let texts: Vec<&str> =
        (0..found.captures.len()).map(|at| &path[found.captures.range(at).unwrap()]).collect();
    assert_eq!(texts, ["ab", "7", "x/y"]);
    assert_eq!((found.route, found.plan), (RouteId(0), PlanId(3)));
}

#[test]
fn named_groups_of_a_regular_expression_are_captures() {
    let mut asking = spec(None, Some("~^/(?<kind>a|b)/(?<id>[0-9]+)$"), &[]);
    asking.headers.insert("h".to_owned(), ValueSpec::Exact("1".to_owned()));
    let table = build(&[asking, spec(None, Some("~/(?<id>[0-9]+)(?:/(?<rest>.*))?$"), &[])]);
    let captured = |path: &str, fields: &[(String, String)]| {
        let ask = Request { fields: fields.to_vec(), ..request("GET", "h", path) };
        let found = find(&table, &ask).unwrap();
        let text = |at: usize| found.captures.range(at).map(|range| path[range].to_owned());
        (found.route.0, (0..found.captures.len()).map(text).collect::<Vec<_>>())
    };
    let some = |text: &str| Some(text.to_owned());
    let field = ("h".to_owned(), "1".to_owned());
    assert_eq!(captured("/a/7", &[field]), (0, vec![some("a"), some("7")]));
    assert_eq!(captured("/a/7", &[]), (1, vec![some("7"), None]));
    assert_eq!(captured("/x/7/y/8/", &[]).1, [some("7"), some("y/8/")]);
}

#[test]
fn all_faults_of_a_rule_come_back() {
    let mut builder = Builder::new(1, RuleOrder::Specific);
    let mut bad = spec(Some("a:80"), Some("users"), &["get", "P T"]);
    bad.headers.insert("a b".to_owned(), ValueSpec::Exact("1".to_owned()));
    bad.query.insert("q".to_owned(), ValueSpec::Regex("(".to_owned()));
    bad.source = vec!["10.0.0.1/8".to_owned()];
    let faults = builder.add(&bad, 0, PlanId(0)).unwrap_err();
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let lower = "has lower-case letters: methods are case-sensitive, write them as GET, POST";
    assert_eq!(
        texts,
        [
            "host `a:80` has a port: routes match the name only, leave the port out".to_owned(),
            "path `users` does not begin with `/`".to_owned(),
            format!("method `get` {lower}"),
            "method `P T` is not a method name".to_owned(),
            "source `10.0.0.1/8` has bits set behind its prefix".to_owned(),
            "header `a b` is no name of a field".to_owned(),
            "query parameter `q` is no regular expression: at byte 1: unclosed group".to_owned(),
        ]
    );
    assert_eq!(
        builder.add(&spec(None, None, &[]), 0, PlanId(0)),
        Ok(RouteId(1)),
        "its id is taken"
    );
    assert_eq!(builder.finish(1).unwrap().len(), 1);
}

#[test]
fn patterns_that_mean_nothing_are_refused() {
    let refused = |host: Option<&str>, path: Option<&str>| {
        let mut builder = Builder::new(1, RuleOrder::Specific);
        builder.add(&spec(host, path, &[]), 0, PlanId(0)).unwrap_err()[0].to_string()
    };
    let deep = "/{a}".to_owned() + &"/x".repeat(32);
    for path in
        ["/a*", "/a/*/b", "/a?b", "/a b", "", "*", "/{}", "/{a", "/x{a}", "/{a}/{a}", "~(", &deep]
    {
        assert!(refused(None, Some(path)).starts_with("path `"), "{path}");
    }
    assert!(
        refused(None, Some("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/*")).ends_with("more than 8 parts")
    );
    for host in ["", "*", "*.", "a.*", "*a.b", "a..b", ".a", "a.", "a_b/c", "[::g]"] {
        assert!(refused(Some(host), None).starts_with("host `"), "{host}");
    }
    for host in ["[::1]", "a_b.c", "10.0.0.1", "*.c", "LOCALHOST"] {
        assert_eq!(build(&[spec(Some(host), None, &[])]).len(), 1, "{host}");
    }
}

#[test]
fn rules_out_of_reach_name_who_is_in_their_way() {
    let shadowed = |specs: &[(MatchSpec, i32)]| {
        let mut builder = Builder::new(1, RuleOrder::Specific);
        for (spec, priority) in specs {
            builder.add(spec, *priority, PlanId(0)).unwrap();
        }
        let errors = builder.finish(1).err().unwrap_or_default();
        errors
            .iter()
            .map(|error| (error.route.0, error.other.map(|other| other.0)))
            .collect::<Vec<_>>()
    };
    let path = |path: &str, methods: &[&str]| (spec(Some("a.b"), Some(path), methods), 0);
    assert_eq!(shadowed(&[path("/x", &["GET"]), path("/x", &["GET"])]), [(1, Some(0))]);
    assert_eq!(shadowed(&[path("/{a}", &[]), path("/{b}", &[])]), [(1, Some(0))], "names differ");
    let empty = [(path("/{a}/*", &[]).0, 1), path("//x", &[])];
    assert_eq!(shadowed(&empty), [], "a name takes no empty segment");
    let both = [path("/x", &["GET"]), path("/x", &["PUT"]), path("/x", &["PUT", "GET"])];
    assert_eq!(shadowed(&both), [(2, Some(0))], "together");
    assert_eq!(shadowed(&[path("/*", &[]), path("~^/x", &[])]), [(1, Some(0))], "regexes are last");
    let high = (spec(Some("a.b"), Some("/x/*"), &[]), 1);
    assert_eq!(shadowed(&[path("/x/{a}/y", &["GET"]), high.clone()]), [(0, Some(1))], "priority");
    assert_eq!(shadowed(&[path("/x", &[]), path("/x/", &[]), high]), [(1, Some(2))]);
    let mut asking = path("/x", &[]);
    asking.0.headers.insert("h".to_owned(), ValueSpec::Exact("1".to_owned()));
    assert_eq!(shadowed(&[path("/x", &[]), asking.clone()]), [], "asks for more, and comes first");
    assert_eq!(shadowed(&[asking.clone(), asking]), [(1, Some(0))]);
}

/// As many rules as make a host large, none in the way of `/x`.
fn crowd() -> Vec<(MatchSpec, i32)> {
    let path = |index| format!("/crowd/{index}");
    (0..80).map(|index| (spec(Some("a.b"), Some(&path(index)), &[]), 0)).collect()
}

#[test]
fn rules_of_a_large_host_are_out_of_reach_across_patterns() {
    let shadowed = |order, specs: &[(&str, i32)]| {
        let mut builder = Builder::new(1, order);
        let specs =
            specs.iter().map(|(path, priority)| (spec(Some("a.b"), Some(path), &[]), *priority));
        for (spec, priority) in specs.chain(crowd()) {
            builder.add(&spec, priority, PlanId(0)).unwrap();
        }
        let errors = builder.finish(1).err().unwrap_or_default();
        let pair = |error: &crate::BuildError| (error.route.0, error.other.map(|other| other.0));
        errors.iter().map(pair).collect::<Vec<_>>()
    };
    let specific = |specs: &[(&str, i32)]| shadowed(RuleOrder::Specific, specs);
    assert_eq!(specific(&[("/x/*", 1), ("/x/y", 0)]), [(1, Some(0))], "priority");
    assert_eq!(specific(&[("/x/*", 0), ("/x/y", 0)]), [], "the more specific one comes first");
    assert_eq!(specific(&[("/{a}/{b}/*", 1), ("/x/{c}/y/z", 0), ("/x/y", 0)]), [(1, Some(0))]);
    assert_eq!(specific(&[("/x/*", 0), ("~^/x/y/[0-9]", 0)]), [(1, Some(0))], "regexes are last");
    assert_eq!(specific(&[("/x/{a}", 0), ("/x/{b}", 0)]), [(1, Some(0))], "names differ");
    let first = |specs: &[(&str, i32)]| shadowed(RuleOrder::FirstMatch, specs);
    assert_eq!(first(&[("/x/*", 0), ("/x/y", 0)]), [(1, Some(0))]);
    assert_eq!(first(&[("/x/y", 0), ("/x/*", 0)]), []);
}

#[test]
fn a_change_out_of_reach_in_a_large_host_is_refused() {
    let specs: Vec<MatchSpec> = crowd().into_iter().map(|(spec, _)| spec).collect();
    let wide = build(&specs).with(RouteId(90), &spec(Some("a.b"), Some("/x/*"), &[]), 5, PlanId(0));
    let hidden =
        wide.unwrap().with(RouteId(91), &spec(Some("a.b"), Some("/x/y"), &[]), 0, PlanId(0));
    let errors = hidden.map(|_| ()).unwrap_err();
    assert_eq!((errors[0].route, errors[0].other), (RouteId(91), Some(RouteId(90))));
}

#[test]
fn a_change_that_hides_a_rule_is_refused_and_changes_nothing() {
    let table = build(&[spec(Some("a.b"), Some("/x"), &["GET"])]);
    let hiding = table.with(RouteId(7), &spec(Some("a.b"), Some("/*"), &[]), 5, PlanId(0));
    let errors = hiding.map(|_| ()).unwrap_err();
    assert_eq!((errors[0].route, errors[0].other), (RouteId(0), Some(RouteId(7))));
    let hidden = table.with(RouteId(7), &spec(Some("a.b"), Some("/x"), &["GET"]), 0, PlanId(0));
    assert_eq!(hidden.map(|_| ()).unwrap_err()[0].route, RouteId(7));
    let bad = table.with(RouteId(7), &spec(None, Some("~("), &[]), 0, PlanId(0));
    assert!(matches!(bad.map(|_| ()).unwrap_err()[0].fault, BuildFault::Path(..)));
    assert_eq!(winner(&table, "GET", "a.b", "/x"), Some(0));
    let moved = table.with(RouteId(0), &spec(Some("*.b"), Some("/y"), &[]), 0, PlanId(0)).unwrap();
    assert_eq!(winner(&moved, "GET", "a.b", "/x"), None);
    assert_eq!(winner(&moved, "GET", "a.b", "/y"), Some(0));
    assert_eq!((moved.without(RouteId(0)).len(), moved.without(RouteId(9)).len()), (0, 1));
}

#[test]
fn an_explanation_names_the_winner_and_what_others_lack() {
    let mut tenant = spec(Some("a.b"), Some("/x/{id}"), &[]);
    tenant.headers.insert("x-tenant".to_owned(), ValueSpec::Exact("acme".to_owned()));
    let table = build(&[
        spec(Some("a.b"), Some("/x/{id}"), &["GET"]),
        spec(Some("a.b"), Some("/x/*"), &[]),
        tenant,
        spec(Some("a.b"), Some("/x/7"), &["PUT"]),
        spec(None, None, &[]),
        spec(Some("a.b"), Some("/x/7/z"), &[]),
    ]);
    let mut ask = request("GET", "a.b", "/x/7");
    ask.fields.push(("x-tenant".to_owned(), "other".to_owned()));
    let field = |name: &[u8]| {
        let same = ask.fields.iter().filter(|field| field.0.as_bytes() == name);
        Field::of(same.map(|field| field.1.as_bytes()))
    };
    let (method, host, path) = (&b"GET"[..], &b"a.b"[..], &b"/x/7"[..]);
    let query = Query { method, host, path, query: b"", peer: None, field: &field };
    let explained = table.explain(&query);
    assert_eq!(explained.winner, table.find(&query));
    assert_eq!(explained.winner.map(|found| found.route), Some(RouteId(0)));
    let others: Vec<(u32, &str)> =
        explained.others.iter().map(|other| (other.route.0, &*other.why)).collect();
    assert_eq!(
        others,
        [
            (1, "takes it as well, but the winner's kind of path comes first"),
            (4, "takes it as well, but the winner's host is more specific"),
            (2, "it asks for header `x-tenant` = `acme`; the request has `other`"),
            (3, "it takes only PUT"),
            (5, "its path is /x/7/z"),
        ]
    );
    let text = table.describe(RouteId(2)).unwrap();
    assert_eq!((&*text.host, &*text.path), ("a.b", "/x/{id}"));
    assert_eq!(text.predicates, ["header `x-tenant` = `acme`"]);
}

#[test]
fn hostile_requests_cost_what_the_rules_cost() {
    let table = build(&[spec(Some("*.a"), Some("/x/x/x/*"), &[]), spec(None, Some("/*"), &[])]);
    let path = "/x".repeat(4_000);
    let host = "a.".repeat(126) + "a";
    assert_eq!(winner(&table, "GET", &host, &path), Some(0));
    assert_eq!(winner(&table, "GET", "b", &path), Some(1));
}

#[test]
fn a_grpc_service_is_a_path() {
    let grpc = |service: &str, method: Option<&str>| MatchSpec {
        grpc: Some(crate::GrpcMatchSpec {
            service: service.to_owned(),
            method: method.map(str::to_owned),
        }),
        ..MatchSpec::default()
    };
    let table = build(&[grpc("shop.v1.Orders", None), grpc("shop.v1.Orders", Some("Get"))]);
    assert_eq!(winner(&table, "POST", "h", "/shop.v1.Orders/Get"), Some(1));
    assert_eq!(winner(&table, "POST", "h", "/shop.v1.Orders/Put"), Some(0));
    assert_eq!(winner(&table, "POST", "h", "/shop.v1.Order/Get"), None);
    let both = MatchSpec { path: Some("/".to_owned()), ..grpc("shop..Orders", Some("")) };
    let mut builder = Builder::new(1, RuleOrder::Specific);
    let faults = builder.add(&both, 0, PlanId(0)).unwrap_err();
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "has a path and grpc: give one of them",
            "grpc service `shop..Orders` is no name",
            "grpc method `` is no name",
        ]
    );
}

#[test]
fn thrift_calls_are_found_by_service_and_method() {
    let thrift = |service: Option<&str>, method: Option<&str>| MatchSpec {
        thrift: Some(crate::ThriftMatchSpec {
            service: service.map(str::to_owned),
            method: method.map(str::to_owned),
        }),
        ..MatchSpec::default()
    };
    let table = build(&[
        thrift(Some("shop.Orders"), None),
        thrift(Some("shop.Orders"), Some("get")),
        thrift(None, Some("ping")),
        thrift(None, None),
    ]);
    assert_eq!(winner(&table, "CALL", "h", "/shop.Orders/get"), Some(1));
    assert_eq!(winner(&table, "ONEWAY", "h", "/shop.Orders/put"), Some(0));
    assert_eq!(winner(&table, "CALL", "h", "/-/ping"), Some(2), "no service is named");
    assert_eq!(winner(&table, "CALL", "h", "/-/pong"), Some(3), "any call");
    assert_eq!(winner(&table, "GET", "h", "/shop.Orders/get"), None, "not for HTTP");
    let mut wrong = thrift(Some("a-b"), None);
    (wrong.path, wrong.methods) = (Some("/".to_owned()), vec!["GET".to_owned()]);
    let texts = |spec: &MatchSpec| -> Vec<String> {
        let faults = Builder::new(1, RuleOrder::Specific).add(spec, 0, PlanId(0)).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        texts(&wrong),
        [
            "has a path and thrift: give one of them",
            "has methods and thrift: a call has no HTTP method",
            "thrift service `a-b` is no name",
        ]
    );
}

#[test]
fn an_empty_table_finds_nothing() {
    let table = Table::empty(1, RuleOrder::Specific);
    assert!(table.is_empty());
    assert_eq!(winner(&table, "GET", "h", "/"), None);
}

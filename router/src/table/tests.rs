//! The table against a naive linear matcher, and the faults `build` reports.

use proptest::prelude::*;

use crate::{BuildFault, Match, MatchSpec, Query, RouteId, RouteSpec, Table};

fn route(id: &str, host: Option<&str>, path: Option<&str>, methods: &[&str]) -> RouteSpec {
    RouteSpec {
        id: id.to_owned(),
        r#match: MatchSpec {
            host: host.map(str::to_owned),
            path: path.map(str::to_owned),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        },
        cluster: "c".to_owned(),
        ..RouteSpec::default()
    }
}

fn find(table: &Table, method: &str, host: &str, path: &[u8]) -> Option<Match> {
    let query = Query {
        method: method.as_bytes(),
        host: host.as_bytes(),
        path,
        peer: None,
        field: &|_| None,
    };
    table.find(&query)
}

fn winner(table: &Table, method: &str, host: &str, path: &str) -> Option<u32> {
    find(table, method, host, path.as_bytes()).map(|found| found.route.0)
}

/// The specification: filter, then take the least key. Shares no code with the table.
fn naive(specs: &[RouteSpec], method: &str, host: &str, path: &str) -> Option<u32> {
    let rank = |(index, spec): (usize, &RouteSpec)| {
        let wanted = &spec.r#match;
        let host_rank = match wanted.host.as_deref().map(str::to_ascii_lowercase) {
            None => (2, 0),
            Some(want) => match want.strip_prefix('*') {
                None if want == host => (0, 0),
                Some(end) if host.ends_with(end) && host.len() > end.len() => {
                    (1, -(end.len() as i64))
                }
                _ => return None,
            },
        };
        let path_rank = match wanted.path.as_deref() {
            None => (2, 0),
            Some(want) => match want.strip_suffix('*') {
                None if want == path => (0, 0),
                Some(start) if path.starts_with(start) => (1, -(start.len() as i64)),
                _ => return None,
            },
        };
        let any = wanted.methods.is_empty();
        (any || wanted.methods.iter().any(|want| want == method))
            .then_some((host_rank, path_rank, any, index))
    };
    specs.iter().enumerate().filter_map(rank).min().map(|(_, _, _, index)| index as u32)
}

/// `specs` without those `build` refuses as unreachable; such a route never wins in `naive` either.
fn reachable(mut specs: Vec<RouteSpec>) -> (Vec<RouteSpec>, Table) {
    match Table::build(&specs) {
        Ok(table) => (specs, table),
        Err(errors) => {
            let refused = |index| errors.iter().any(|error| error.index == index);
            let unreachable = |fault: &BuildFault| matches!(fault, BuildFault::Unreachable { .. });
            assert!(errors.iter().all(|error| unreachable(&error.fault)), "{errors:?}");
            let mut index = 0..;
            specs.retain(|_| !refused(index.next().unwrap_or(usize::MAX)));
            let table = Table::build(&specs).expect("only refused routes are gone");
            (specs, table)
        }
    }
}

fn host_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 1..4)
        .prop_map(|labels| labels.join("."))
}

fn path_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["", "x", "y", "xy", "%2F"]), 0..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

fn method_text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["GET", "POST", "PURGE", "BAN"])
}

fn any_route() -> impl Strategy<Value = RouteSpec> {
    let host = prop_oneof![
        Just(None),
        host_text().prop_map(Some),
        host_text().prop_map(|host| Some(format!("*.{}", host.to_uppercase()))),
    ];
    let path = prop_oneof![
        Just(None),
        path_text().prop_map(Some),
        path_text().prop_map(|path| Some(format!("{}/*", path.trim_end_matches('/')))),
    ];
    let methods = prop::collection::vec(method_text(), 0..3);
    (host, path, methods)
        .prop_map(|(host, path, methods)| route("r", host.as_deref(), path.as_deref(), &methods))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_naive_matcher(
        specs in prop::collection::vec(any_route(), 0..24),
        asks in prop::collection::vec((method_text(), host_text(), path_text()), 24),
    ) {
        let all = specs.clone();
        let (specs, table) = reachable(specs);
        prop_assert_eq!(table.len(), specs.len());
        for (method, host, path) in asks {
            let found = winner(&table, method, &host, &path);
            let expected = naive(&specs, method, &host, &path);
            prop_assert_eq!(found, expected, "{} {}{}", method, host, path);
            // What was refused as unreachable changes no answer.
            let of_all = naive(&all, method, &host, &path).map(|index| all[index as usize].clone());
            prop_assert_eq!(found.map(|index| specs[index as usize].clone()), of_all);
        }
    }

    #[test]
    fn any_bytes_are_answered(
        host in prop::collection::vec(any::<u8>(), 0..40),
        path in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let table = Table::build(&[route("a", Some("*.a"), Some("/x/*"), &["GET"])]).unwrap();
        let (method, field) = (b"GET", &|_: &[u8]| None);
        let _ = table.find(&Query { method, host: &host, path: &path, peer: None, field });
    }
}

#[test]
fn precedence_in_order() {
    let specs = [
        route("0", None, None, &[]),
        route("1", None, Some("/*"), &[]),
        route("2", Some("*.example.com"), Some("/users/*"), &[]),
        route("3", Some("*.api.example.com"), None, &[]),
        route("4", Some("v1.api.example.com"), Some("/users/*"), &[]),
        route("5", Some("v1.api.example.com"), Some("/users/me/*"), &[]),
        route("6", Some("v1.api.example.com"), Some("/users/me"), &[]),
        route("7", Some("v1.api.example.com"), Some("/users/me"), &["GET", "PUT"]),
        route("8", Some("v1.api.example.com"), Some("/users/me"), &["PUT", "POST"]),
    ];
    let table = Table::build(&specs).unwrap();
    let host = "v1.api.example.com";
    assert_eq!(winner(&table, "GET", host, "/users/me"), Some(7), "named method first");
    assert_eq!(winner(&table, "PUT", host, "/users/me"), Some(7), "then the first declared");
    assert_eq!(winner(&table, "POST", host, "/users/me"), Some(8));
    assert_eq!(winner(&table, "PATCH", host, "/users/me"), Some(6));
    assert_eq!(winner(&table, "GET", host, "/users/me/x"), Some(5), "longer prefix");
    assert_eq!(winner(&table, "GET", host, "/users/you"), Some(4));
    assert_eq!(winner(&table, "GET", host, "/other"), Some(3), "falls back to the suffix");
    assert_eq!(winner(&table, "GET", "v2.api.example.com", "/users/1"), Some(3), "longer suffix");
    assert_eq!(winner(&table, "GET", "www.example.com", "/users/1"), Some(2));
    assert_eq!(winner(&table, "GET", "example.com", "/users/1"), Some(1), "not its own suffix");
    assert_eq!(winner(&table, "OPTIONS", "example.com", "*"), Some(0));
    assert_eq!(winner(&table, "GET", "", ""), Some(0));
}

#[test]
fn a_prefix_needs_its_slash_and_captures_the_rest() {
    let table = Table::build(&[route("a", None, Some("/users/*"), &[])]).unwrap();
    assert_eq!(winner(&table, "GET", "h", "/users"), None);
    assert_eq!(winner(&table, "GET", "h", "/usersx"), None);
    let found = find(&table, "GET", "h", b"/users/1/2").unwrap();
    assert_eq!(found.route, RouteId(0));
    assert_eq!(found.captures.range(0), Some(7..10));
    assert_eq!(find(&table, "GET", "h", b"/users/").unwrap().captures.range(0), Some(7..7));
}

#[test]
fn an_empty_table_finds_nothing() {
    let table = Table::build(&[]).unwrap();
    assert!(table.is_empty());
    assert_eq!(winner(&table, "GET", "h", "/"), None);
}

#[test]
fn all_faults_come_back_with_their_places() {
    let specs = [
        route("first", Some("A.example"), Some("/x"), &["GET"]),
        route("bad", Some("a:80"), Some("users"), &["get", "P T"]),
        route("second", Some("a.EXAMPLE"), Some("/x"), &["GET"]),
    ];
    let errors = Table::build(&specs).unwrap_err();
    let text: Vec<(usize, Option<usize>, String)> =
        errors.iter().map(|error| (error.index, error.other, error.to_string())).collect();
    let lower = "has lower-case letters: methods are case-sensitive, write them as GET, POST";
    assert_eq!(
        text,
        [
            (
                1,
                None,
                "host `a:80` has a port: routes match the name only, leave the port out".to_owned()
            ),
            (1, None, "path `users` does not begin with `/`".to_owned()),
            (1, None, format!("method `get` {lower}")),
            (1, None, "method `P T` is not a method name".to_owned()),
            (
                2,
                Some(0),
                "can never match: route `first` takes the same host, path and methods".to_owned()
            ),
        ]
    );
}

#[test]
fn what_this_build_does_not_know_is_refused() {
    let refused = |host: Option<&str>, path: Option<&str>| {
        Table::build(&[route("r", host, path, &[])]).unwrap_err()[0].to_string()
    };
    assert!(refused(None, Some("/a/{id}")).contains("not supported by this build"));
    assert!(refused(None, Some("~^/a")).contains("not supported by this build"));
    for path in ["/a*", "/a/*/b", "/a?b", "/a b", "", "*"] {
        assert!(refused(None, Some(path)).starts_with("path `"), "{path}");
    }
    for host in ["", "*", "*.", "a.*", "*a.b", "a..b", ".a", "a.", "a_b/c", "[::g]"] {
        assert!(refused(Some(host), None).starts_with("host `"), "{host}");
    }
    for host in ["[::1]", "a_b.c", "10.0.0.1", "*.c", "LOCALHOST"] {
        assert!(Table::build(&[route("r", Some(host), None, &[])]).is_ok(), "{host}");
    }
}

#[test]
fn hostile_requests_cost_what_the_rules_cost() {
    let table = Table::build(&[
        route("deep", Some("*.a"), Some("/x/x/x/*"), &[]),
        route("any", None, Some("/*"), &[]),
    ])
    .unwrap();
    let path = "/x".repeat(100_000);
    let host = "a.".repeat(100_000) + "a";
    assert_eq!(winner(&table, "GET", &host, &path), Some(0));
    assert_eq!(winner(&table, "GET", "b", &path), Some(1));
}

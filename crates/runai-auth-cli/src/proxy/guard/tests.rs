use http::{Request, Version, request};

use super::{Filter, Guard, HostRule};
use crate::{
    flags::RuleArgs,
    proxy::{key::Key, path::EndpointVersion},
};

fn rules() -> RuleArgs {
    use clap::Parser;

    use crate::flags::{Arguments, Command};

    let line = ["runai-auth", "proxy"];
    match Arguments::parse_from(line).command {
        Command::Proxy(args) => args.rules,
        other => panic!("{other:?}"),
    }
}

fn guard_with(key: Option<&str>, change: impl FnOnce(&mut RuleArgs)) -> Guard {
    let mut rules = rules();
    change(&mut rules);
    let hosts = ["127.0.0.1", "localhost", "[::1]"];
    let mut hosts: Vec<_> = hosts
        .iter()
        .map(|name| HostRule::new(*name, Some(8080)))
        .collect();
    hosts.push(HostRule::new("proxy.example", None));
    let filter = Filter::new(&rules).unwrap();
    Guard::new(hosts, false, key.map(Key::fixed), filter)
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(uri);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "127.0.0.1:8080");
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with('-')) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn status(guard: &Guard, head: &request::Parts) -> u16 {
    match guard.admit(head) {
        Ok(_) => 200,
        Err(refusal) => refusal.status.as_u16(),
    }
}

#[test]
fn only_the_proxys_own_hosts_are_accepted() {
    let guard = guard_with(None, |_| {});
    for (host, expected) in [
        ("127.0.0.1:8080", 200),
        ("localhost:8080", 200),
        ("LOCALHOST:8080", 200),
        ("[::1]:8080", 200),
        ("proxy.example", 200),
        ("proxy.example:1234", 200),
        ("127.0.0.1", 421),
        ("127.0.0.1:8081", 421),
        ("localhost", 421),
        ("localhost.:8080", 421),
        ("evil.example:8080", 421),
        ("127.0.0.1:8080@evil.example", 421),
        ("127.0.0.1:8080 evil.example", 421),
        ("127.0.0.1:08080x", 421),
        ("127.0.0.1.evil.example:8080", 421),
        ("[::1]x:8080", 421),
        ("", 421),
        (":8080", 421),
    ] {
        let head = request("GET", "/api", &[("host", host)]);
        assert_eq!(status(&guard, &head), expected, "{host}");
    }
    let mut head = request("GET", "/api", &[]);
    head.headers.remove("host");
    assert_eq!(status(&guard, &head), 400, "no host");
    let two = [("host", "127.0.0.1:8080"), ("host", "localhost:8080")];
    assert_eq!(status(&guard, &request("GET", "/api", &two)), 400);
}

#[test]
fn http2_names_its_host_in_the_uri() {
    let guard = guard_with(None, |_| {});
    let uri = "http://localhost:8080/api";
    let mut head = request("GET", uri, &[]);
    head.version = Version::HTTP_2;
    assert_eq!(status(&guard, &head), 400, "two hosts");
    head.headers.remove("host");
    assert_eq!(status(&guard, &head), 200);
    head.uri = "http://evil.example/api".parse().unwrap();
    assert_eq!(status(&guard, &head), 421);
}

#[test]
fn forms_for_forward_proxies_are_refused() {
    let guard = guard_with(None, |_| {});
    let head = request("GET", "http://127.0.0.1:8080/api", &[]);
    assert_eq!(status(&guard, &head), 400);
    let head = request("CONNECT", "acme.run.ai:443", &[]);
    assert_eq!(status(&guard, &head), 405);
    assert_eq!(status(&guard, &request("OPTIONS", "*", &[])), 400);
    assert_eq!(status(&guard, &request("TRACE", "/api", &[])), 405);
}

#[test]
fn pages_of_other_origins_are_refused() {
    let guard = guard_with(None, |_| {});
    for (name, value, expected) in [
        ("origin", "http://127.0.0.1:8080", 200),
        ("origin", "http://127.0.0.1:3000", 403),
        ("origin", "http://localhost:8080", 403),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "", 403),
        ("origin", "file://127.0.0.1:8080", 403),
        ("sec-fetch-site", "same-origin", 200),
        ("sec-fetch-site", "none", 200),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "else", 403),
    ] {
        let head = request("GET", "/api", &[(name, value)]);
        assert_eq!(status(&guard, &head), expected, "{name}: {value}");
    }
}

#[test]
fn the_key_is_accepted_in_three_places() {
    let guard = guard_with(Some("k3y-of-the-proxy"), |_| {});
    for (uri, headers, expected) in [
        ("/api", vec![], 403),
        (
            "/api",
            vec![("authorization", "Bearer k3y-of-the-proxy")],
            200,
        ),
        (
            "/api",
            vec![("authorization", "bearer k3y-of-the-proxy")],
            200,
        ),
        (
            "/api",
            vec![("authorization", "Basic k3y-of-the-proxy")],
            403,
        ),
        (
            "/api",
            vec![("authorization", "Bearer k3y-of-the-prox")],
            403,
        ),
        ("/api", vec![("x-runai-auth-key", "k3y-of-the-proxy")], 200),
        ("/api", vec![("x-runai-auth-key", "wrong")], 403),
        ("/k3y-of-the-proxy/api", vec![], 200),
        ("/k3y-of-the-proxy", vec![], 200),
        (
            "/k3y-of-the-proxy/api",
            vec![("authorization", "Bearer placeholder")],
            200,
        ),
        ("/wrong/api", vec![], 403),
        ("/api/k3y-of-the-proxy", vec![], 403),
        ("/api/v1/token", vec![], 403),
    ] {
        let head = request("GET", uri, &headers);
        assert_eq!(status(&guard, &head), expected, "{uri} {headers:?}");
    }
    let head = request("GET", "/k3y-of-the-proxy/api", &[]);
    assert_eq!(guard.admit(&head).unwrap().key_length, 17);
}

#[test]
fn token_requests_get_a_placeholder_or_404() {
    let guard = guard_with(None, |rules| rules.read_only = true);
    for (uri, version) in [
        ("/api/v1/token", EndpointVersion::V1),
        ("/API/v2/t%6fken/", EndpointVersion::V2),
    ] {
        let admitted = guard.admit(&request("POST", uri, &[])).unwrap();
        assert_eq!(admitted.placeholder, Some(version), "{uri}");
        assert_eq!(status(&guard, &request("GET", uri, &[])), 405);
    }
    let uri = "/auth/realms/runai/protocol/openid-connect/token";
    assert_eq!(status(&guard, &request("POST", uri, &[])), 404);
}

#[test]
fn rules_for_methods_and_paths_hold() {
    let guard = guard_with(None, |rules| {
        rules.allow_path = vec!["/api/v1".into()];
        rules.deny_path = vec!["/api/*/users".into()];
        rules.methods = vec!["get".into(), "POST".into()];
    });
    for (method, uri, expected) in [
        ("GET", "/api/v1/clusters", 200),
        ("POST", "/api/v1/clusters", 200),
        ("DELETE", "/api/v1/clusters", 405),
        ("GET", "/api/v2/clusters", 403),
        ("GET", "/api/v1/users", 403),
        ("GET", "/api/v1/us%65rs/1", 403),
        ("GET", "/api/v1/Users", 403),
        ("GET", "/api/v1/../v1/users", 400),
    ] {
        let head = request(method, uri, &[]);
        assert_eq!(status(&guard, &head), expected, "{method} {uri}");
    }
    let guard = guard_with(None, |rules| rules.read_only = true);
    for (method, expected) in [("GET", 200), ("HEAD", 200), ("OPTIONS", 200), ("POST", 405)] {
        assert_eq!(status(&guard, &request(method, "/api", &[])), expected);
    }
}

#[test]
fn wrong_rules_are_reported() {
    let reported = |change: fn(&mut RuleArgs)| {
        let mut rules = rules();
        change(&mut rules);
        Filter::new(&rules).unwrap_err().error().to_owned()
    };
    let error = reported(|rules| rules.allow_path = vec!["api".into()]);
    assert!(error.contains("\"api\""), "{error}");
    let error = reported(|rules| rules.methods = vec!["GE T".into()]);
    assert!(error.contains("\"GE T\""), "{error}");
    for text in ["", "a/b", "a:b", "a:70000", "*.example"] {
        assert!(HostRule::parse(text).is_err(), "{text}");
    }
    assert!(HostRule::parse("proxy.example:80").is_ok());
}

#[test]
fn ambiguous_requests_are_refused() {
    let guard = guard_with(None, |_| {});
    let with = |headers: &[(&str, &str)]| status(&guard, &request("POST", "/api", headers));
    let coding = |coding| with(&[("transfer-encoding", coding)]);
    assert_eq!(coding("chunked"), 200);
    assert_eq!(coding(" Chunked "), 200);
    for text in ["gzip, chunked", "chunked, chunked", "identity", ""] {
        assert_eq!(coding(text), 501, "{text}");
    }
    let twice = [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "chunked"),
    ];
    assert_eq!(with(&twice), 501);
    for name in [
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    ] {
        assert_eq!(with(&[(name, "DELETE")]), 400, "{name}");
    }
}

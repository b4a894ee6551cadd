use super::*;

fn origins(allowed: &[&str]) -> Origins {
    let mut origins = Origins::default();
    for text in allowed {
        origins.allow(text).unwrap();
    }
    origins
}

fn route(origins: &Origins, uri: &str) -> Result<Route, Kind> {
    origins
        .route(&uri.parse().unwrap())
        .map_err(|error| error.kind().clone())
}

#[test]
fn f06_an_origin_is_compared_whole_and_normalised() {
    let acme = origins(&["https://API.acme.example./api/v1/", "https://[::1]:8443"]);
    for same in [
        "https://api.acme.example/x",
        "https://api.acme.example:443/",
        "https://api.acme.example:/",
        "https://API.ACME.example./?q",
        "HTTPS://api.acme.example",
        "https://user:pw@api.acme.example/",
        "https://[::1]:8443/",
    ] {
        assert!(matches!(route(&acme, same), Ok(Route::Stamp)), "{same}");
    }
    for other in [
        "https://api.acme.example.evil.example/",
        "https://api.acme.example@evil.example/",
        "https://evil.example/api.acme.example",
        "https://api.acme.example:8443/",
        "https://xapi.acme.example/",
        "https://acme.example/",
        "https://[::1]/",
    ] {
        let kind = route(&acme, other).unwrap_err();
        assert!(
            matches!(kind, Kind::OriginNotAllowed(_)),
            "{other}: {kind:?}"
        );
    }
}

#[test]
fn f05_http_is_refused_except_to_loopback_or_if_configured() {
    let mut origins = Origins::default();
    let error = origins
        .allow("http://acme.example")
        .unwrap_err()
        .to_string();
    assert!(error.contains("http://acme.example without TLS"), "{error}");
    for loopback in [
        "http://127.0.0.1:80",
        "http://localhost",
        "http://[::1]:1",
        "http://LOCALHOST:8080",
    ] {
        origins.allow(loopback).unwrap();
    }
    origins.allow("https://acme.example").unwrap();
    let kind = route(&origins, "http://acme.example/").unwrap_err();
    assert_eq!(kind, Kind::Insecure("http://acme.example".into()));
    origins.allow_origin(Origin::parse("http://acme.example").unwrap());
    assert!(matches!(
        route(&origins, "http://acme.example/"),
        Ok(Route::Stamp)
    ));
    for outside in [
        "http://a.localhost",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
    ] {
        assert!(origins.allow(outside).is_err(), "{outside}");
    }
}

#[test]
fn a_request_without_an_origin_needs_an_assumed_one() {
    let mut origins = origins(&["https://acme.example"]);
    assert_eq!(route(&origins, "/path").unwrap_err(), Kind::NoOrigin);
    origins.assume("https://other.example").unwrap();
    assert!(matches!(
        route(&origins, "/path"),
        Err(Kind::OriginNotAllowed(_))
    ));
    origins.assume("https://acme.example").unwrap();
    assert!(matches!(route(&origins, "/path"), Ok(Route::Stamp)));
}

#[test]
fn other_origins_pass_without_a_token_if_configured() {
    let mut origins = origins(&["https://acme.example"]);
    origins.pass_others();
    assert!(matches!(
        route(&origins, "https://bucket.example/"),
        Ok(Route::Pass)
    ));
    assert!(matches!(
        route(&origins, "https://acme.example/"),
        Ok(Route::Stamp)
    ));
    assert_eq!(route(&origins, "/path").unwrap_err(), Kind::NoOrigin);
}

#[test]
fn l15_a_pattern_stands_for_exactly_one_label() {
    let acme = origins(&["https://*.Acme.run.ai.", "https://*.eu.example:8443"]);
    for covered in [
        "https://one.acme.run.ai/x",
        "https://ONE.acme.run.ai.:443/",
        "wss://one.acme.run.ai/",
        "https://xn--bro-hoa.acme.run.ai/",
        "https://one.eu.example:8443/",
    ] {
        assert!(
            matches!(route(&acme, covered), Ok(Route::Stamp)),
            "{covered}"
        );
    }
    for other in [
        "https://acme.run.ai/",
        "https://two.one.acme.run.ai/",
        "https://oneacme.run.ai/",
        "https://.acme.run.ai/",
        "https://one.acme.run.ai:8443/",
        "https://one.acme.run.ai.evil.example/",
        "https://evil.example/one.acme.run.ai",
        "https://a!b.acme.run.ai/",
        "https://*.acme.run.ai/",
        "https://one.eu.example/",
    ] {
        let kind = route(&acme, other).unwrap_err();
        assert!(
            matches!(kind, Kind::OriginNotAllowed(_)),
            "{other}: {kind:?}"
        );
    }
    let kind = route(&acme, "http://one.acme.run.ai/").unwrap_err();
    assert_eq!(kind, Kind::Insecure("http://one.acme.run.ai".into()));
    assert!(route(&acme, "http://one.acme.run.ai:443/").is_err());
    assert_eq!(
        format!("{:?}", acme.allowed),
        "[https://*.acme.run.ai, https://*.eu.example:8443]"
    );
}

#[test]
fn l15_a_pattern_that_is_too_broad_or_never_matches_is_an_error() {
    let mut origins = Origins::default();
    let mut text = |pattern| origins.allow(pattern).unwrap_err().to_string();
    for broad in [
        "https://*.com",
        "https://*.com.",
        "https://*.co.uk",
        "https://*.COM.au:8443",
        "https://*.github.io",
        "https://*.localhost",
        "https://*.127.0.0.1",
        "https://*.1",
    ] {
        let text = text(broad);
        let refused = ["many owners", "is not an origin"];
        assert!(refused.iter().any(|it| text.contains(it)), "{text}");
        assert!(text.contains('*'), "{text}");
    }
    for odd in [
        "https://*",
        "https://*:443",
        "*.acme.example",
        "https://*.*.acme.example",
        "https://a.*.acme.example",
        "https://*a.acme.example",
        "https://a*.acme.example",
        "https://acme.example.*",
        "https://**.acme.example",
    ] {
        assert!(text(odd).contains("whole first label"), "{odd}");
    }
    assert!(text("https://*.").contains("is not an origin"));
    assert!(text("http://*.acme.example").contains("http://*.acme.example without TLS"));
    assert!(text("https://u:s3cr3t@*.acme.example").contains("leave them out"));
    origins.allow_insecure("http://*.acme.example").unwrap();
    let insecure = route(&origins, "http://one.acme.example/");
    assert!(matches!(insecure, Ok(Route::Stamp)));
    assert!(Origins::default().assume("https://*.acme.example").is_err());
}

#[test]
fn l15_an_assumed_origin_may_be_allowed_by_a_pattern() {
    let mut origins = origins(&["https://*.acme.example"]);
    origins.assume("https://one.acme.example").unwrap();
    assert!(matches!(route(&origins, "/path"), Ok(Route::Stamp)));
    origins.assume("https://acme.example").unwrap();
    assert!(route(&origins, "/path").is_err());
}

#[test]
fn l16_an_address_is_the_same_origin_however_it_is_written() {
    let here = origins(&["http://[0:0:0:0:0:0:0:1]:8080", "http://127.0.0.1:81"]);
    for same in [
        "http://[::1]:8080/",
        "http://[0::0:1]:8080/",
        "ws://[::1]:8080/",
        "http://127.1:81/",
        "http://0x7f000001:81/",
        "http://127.0.0.1.:81/",
    ] {
        assert!(matches!(route(&here, same), Ok(Route::Stamp)), "{same}");
    }
    for other in [
        "http://[::2]:8080/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]:81/",
        "http://127.0.0.2:81/",
        "http://0177.0.0.2:81/",
        "http://127.0.0.256:81/",
        "https://127.0.0.1:81/",
    ] {
        assert!(route(&here, other).is_err(), "{other}");
    }
}

#[test]
fn l17_the_scheme_of_a_websocket_is_that_of_its_handshake() {
    let acme = origins(&["https://acme.example"]);
    assert!(matches!(
        route(&acme, "wss://acme.example/"),
        Ok(Route::Stamp)
    ));
    assert_eq!(
        route(&acme, "ws://acme.example/").unwrap_err(),
        Kind::Insecure("http://acme.example".into())
    );
    let socket = origins(&["wss://acme.example:8443"]);
    assert!(matches!(
        route(&socket, "https://acme.example:8443/"),
        Ok(Route::Stamp)
    ));
}

#[test]
fn l17_another_scheme_is_another_origin() {
    let mut acme = origins(&["https://acme.example"]);
    acme.assume("https://acme.example").unwrap();
    for (other, named) in [
        ("ftp://acme.example/x", "ftp://acme.example"),
        ("unix://2f746d70/x", "unix://2f746d70"),
        ("ftp://user:pw@acme.example/x", "ftp://acme.example"),
        ("https://acme.example:99999/x", "https://acme.example:99999"),
    ] {
        assert_eq!(
            route(&acme, other).unwrap_err(),
            Kind::OriginNotAllowed(named.into())
        );
    }
    acme.pass_others();
    for passes in ["ftp://acme.example/x", "unix://2f746d70/x"] {
        assert!(matches!(route(&acme, passes), Ok(Route::Pass)), "{passes}");
    }
    assert!(route(&acme, "https://acme.example:99999/x").is_err());
}

#[test]
fn the_scheme_of_an_origin_counts() {
    let https = origins(&["https://acme.example:8443"]);
    assert!(route(&https, "http://acme.example:8443/").is_err());
    // Written otherwise, so that the fast path does not decide.
    assert!(route(&https, "http://ACME.example:8443/").is_err());
    assert!(matches!(
        route(&https, "https://ACME.example:8443/"),
        Ok(Route::Stamp)
    ));
}

#[test]
fn l25_a_host_header_names_what_the_uri_names() {
    let mut acme = origins(&["https://acme.example", "https://[::1]:8443"]);
    acme.assume("https://acme.example").unwrap();
    let check = |uri: &str, hosts: &[&str]| {
        let hosts = hosts.iter().map(|it| (HOST, it.parse().unwrap()));
        acme.check_host(&uri.parse().unwrap(), &HeaderMap::from_iter(hosts))
    };
    for (uri, host) in [
        ("https://acme.example/x", "acme.example"),
        ("https://acme.example/x", "ACME.example.:443"),
        ("https://acme.example:443/x", "acme.example"),
        ("/x", "acme.example"),
        ("https://[::1]:8443/", "[0:0:0:0:0:0:0:1]:8443"),
    ] {
        assert!(check(uri, &[host]).is_ok(), "{host}");
    }
    assert!(check("https://acme.example/", &[]).is_ok());
    for (uri, host) in [
        ("https://acme.example/x", "evil.example"),
        ("https://acme.example/x", "acme.example:8443"),
        ("https://acme.example/x", "acme.example:80"),
        ("https://acme.example/x", "acme.example:99999"),
        ("https://acme.example/x", "me@acme.example"),
        ("https://acme.example/x", "acme.example, evil.example"),
        ("https://acme.example/x", "acme.example/"),
        ("https://acme.example/x", ""),
        ("/x", "other.example"),
        ("https://[::1]:8443/", "[::2]:8443"),
    ] {
        let error = check(uri, &[host]).unwrap_err();
        assert!(matches!(error.kind(), Kind::HostMismatch(_)), "{host}");
    }
    assert!(check("https://acme.example/", &["acme.example", "acme.example"]).is_err());
}

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
fn f06_an_invalid_origin_is_an_error_that_says_what_to_write() {
    let text = |origin| Origin::parse(origin).unwrap_err().to_string();
    assert!(text("https://b\u{fc}ro.example").contains("punycode"));
    assert!(text("https://user:pw@acme.example").contains("leave them out"));
    assert!(!text("https://user:pw@acme.example").contains("pw"));
    for none in [
        "",
        "acme.example",
        "/path",
        "ftp://acme.example",
        "https://",
        "https://:443",
        "https://acme.example:port",
        "https://acme.example:99999",
        "https://acme.example:+443",
        "https://acme.example:acme.example",
        "https://[::1]evil.example:8443",
    ] {
        assert!(text(none).contains("is not an origin"), "{none}");
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

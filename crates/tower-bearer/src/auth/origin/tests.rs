use super::*;

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
fn l17_another_scheme_is_told_from_none() {
    for other in [
        "ftp://acme.example",
        "unix:///run/socket",
        "UNIX://socket/x",
        "git+ssh://a",
    ] {
        let text = Origin::parse(other).unwrap_err().to_string();
        assert!(text.contains("its scheme must be https"), "{text}");
    }
    let same = |a: &str, b: &str| assert_eq!(Origin::parse(a).unwrap(), Origin::parse(b).unwrap());
    same("wss://acme.example", "https://acme.example:443");
    same("WSS://acme.example:8443/x", "https://acme.example:8443");
    same("ws://acme.example", "http://acme.example:80");
    assert!(Origin::parse("wss://acme.example").unwrap().is_safe());
    assert!(!Origin::parse("ws://acme.example").unwrap().is_safe());
    assert!(Origin::parse("ws://127.0.0.1:1").unwrap().is_safe());
}

#[cfg(feature = "oauth2")]
#[test]
fn l17_a_websocket_is_no_endpoint() {
    for websocket in ["wss://acme.example", "ws://127.0.0.1", "WSS://acme.example"] {
        assert!(Origin::parse_http(websocket).is_err(), "{websocket}");
    }
    assert!(Origin::parse_http("https://acme.example").is_ok());
}

#[test]
fn g48_an_address_is_one_however_it_is_written() {
    for (written, shown) in [
        ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
        ("http://0x7f.1", "http://127.0.0.1"),
        ("http://2130706433:80/", "http://127.0.0.1"),
        ("https://[2001:DB8:0::1]:443", "https://[2001:db8::1]"),
    ] {
        assert_eq!(Origin::parse(written).unwrap().to_string(), shown);
    }
    for none in [
        "http://[fe80::1%25eth0]",
        "https://256.256.256.256",
        "https://acme.example:0",
        "https://acme..example",
        "https://a%63me.example",
        "https://.",
        "https://ac,me.example",
    ] {
        let text = Origin::parse(none).unwrap_err().to_string();
        assert!(text.contains("is not an origin"), "{text}");
    }
}

//! Hosts in their canonical form, so that two ways to write the same host are equal (WHATWG URL, "host parsing").

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The most characters of a name, and of one of its labels (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// Returns a host in its canonical form: a name in lower case and without its trailing dot, or an address as it is
/// usually written. `None` if the text can be neither.
///
/// It allocates only if the text is not canonical already, or is an address.
pub(super) fn canonical(host: &str) -> Option<Cow<'_, str>> {
    if let Some(rest) = host.strip_prefix('[') {
        // A zone (`%eth0`) is part of no URL: it means something on one machine only (RFC 6874 was withdrawn).
        let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]").into());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if is_number(last_label(name)) {
        return ipv4(name).map(|address| address.to_string().into());
    }
    if name.len() > NAME_MAX || !name.split('.').all(is_label) {
        return None;
    }
    Some(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    })
}

/// Returns true if a canonical host is this machine: an address, or `localhost` itself. A resolver may lead other
/// names below it anywhere.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>().map(|address| address.to_canonical());
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Returns true if a canonical host is an address, not a name.
fn is_address(host: &str) -> bool {
    host.starts_with('[') || is_number(last_label(host))
}

/// Returns true if the names with one more label than `host` belong to many owners, or to none.
///
/// There is no complete rule for that but the public suffix list, which is larger than this crate and changes each
/// day. So a name of one label is refused, and of two labels those that are usual below a country (`co.uk`) or are
/// well known for handing out names.
pub(super) fn is_shared(host: &str) -> bool {
    if is_address(host) {
        return true;
    }
    if SHARED.contains(&host) {
        return true;
    }
    match host.split_once('.') {
        None => true,
        Some((category, country)) => country.len() == 2 && CATEGORIES.contains(&category),
    }
}

/// The labels below which countries hand out names.
const CATEGORIES: &[&str] = &[
    "ac", "asso", "biz", "co", "com", "edu", "firm", "gen", "go", "gob", "gouv", "gov", "govt",
    "id", "ind", "inf", "info", "lg", "ltd", "me", "mil", "muni", "name", "ne", "net", "nhs",
    "nom", "or", "org", "oz", "plc", "police", "press", "pro", "sch", "school", "store", "tm",
    "web",
];

/// Well-known names below which anybody gets one of their own.
const SHARED: &[&str] = &[
    "amazonaws.com",
    "appspot.com",
    "azure-api.net",
    "azurecontainerapps.io",
    "azureedge.net",
    "azurefd.net",
    "azurewebsites.net",
    "blogspot.com",
    "cloudapp.net",
    "cloudfront.net",
    "cloudfunctions.net",
    "core.windows.net",
    "blob.core.windows.net",
    "dyndns.org",
    "elasticbeanstalk.com",
    "execute-api.amazonaws.com",
    "firebaseapp.com",
    "fly.dev",
    "github.io",
    "githubusercontent.com",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "ngrok.app",
    "ngrok.io",
    "nip.io",
    "onrender.com",
    "pages.dev",
    "run.app",
    "s3.amazonaws.com",
    "sslip.io",
    "trafficmanager.net",
    "vercel.app",
    "web.app",
    "workers.dev",
];

/// Returns true if the text can be one label of a name.
pub(super) fn is_label(label: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty() && label.len() <= LABEL_MAX && label.bytes().all(is_usual)
}

fn last_label(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Returns true if a last label makes its host an IPv4 address, or nothing at all.
fn is_number(label: &str) -> bool {
    let is_decimal = !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit());
    is_decimal || hex_digits(label).is_some_and(|it| it.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn hex_digits(part: &str) -> Option<&str> {
    part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"))
}

/// Reads an IPv4 address in any of the ways that resolvers accept: `127.1`, `0x7f.1`, `017700000001`, `2130706433`.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let (last, firsts) = parts.split_last()?;
    if firsts.len() > 3 {
        return None;
    }
    let mut address: u64 = 0;
    for first in firsts {
        address = address << 8 | ipv4_part(first).filter(|part| *part < 256)?;
    }
    // The last part fills all bytes that are left.
    let bits = 8 * (4 - firsts.len());
    let last = ipv4_part(last).filter(|part| *part < 1 << bits)?;
    u32::try_from(address << bits | last).ok().map(Into::into)
}

fn ipv4_part(part: &str) -> Option<u64> {
    let (digits, radix) = match (hex_digits(part), part.strip_prefix('0')) {
        (Some(""), _) => ("0", 16),
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (part, 10),
    };
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_plain
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l16_addresses_have_one_form() {
        for (written, canon) in [
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[2001:DB8::0:1]", "[2001:db8::1]"),
            ("[::ffff:7f00:1]", "[::ffff:127.0.0.1]"),
            ("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0X7F.0.0.0x1", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0x", "0.0.0.0"),
            ("1.2.65535", "1.2.255.255"),
            ("API.Acme.Example.", "api.acme.example"),
            ("xn--BRO-hoa.example", "xn--bro-hoa.example"),
            ("1.example", "1.example"),
            ("0x7f.example", "0x7f.example"),
        ] {
            assert_eq!(canonical(written).as_deref(), Some(canon), "{written}");
            assert_eq!(canonical(canon).as_deref(), Some(canon), "{canon}");
        }
    }

    #[test]
    fn l16_what_can_be_no_host_has_no_form() {
        let long = "a".repeat(64);
        let longer = ["a"; 128].join(".");
        for none in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a.b..",
            "[]",
            "[::1",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "[::1]x",
            "256.0.0.1",
            "1.2.3.4.5",
            "1.2.65536",
            "4294967296",
            "99999999999999999999999",
            "08.0.0.1",
            "a.0x7g.1",
            "a.1",
            "1..1",
            "+1",
            "*.example",
            "a%2eb",
            "b\u{fc}ro.example",
            "a b",
            &long,
            &longer,
        ] {
            assert_eq!(canonical(none), None, "{none}");
        }
    }

    #[test]
    fn l16_this_machine_is_told_from_others() {
        for here in [
            "localhost",
            "127.0.0.1",
            "127.8.9.10",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "a.localhost",
            "128.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::ffff:10.0.0.1]",
            "localhost.example",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn l15_shared_names_are_known() {
        for shared in [
            "com",
            "localhost",
            "co.uk",
            "com.au",
            "or.jp",
            "github.io",
            "127.0.0.1",
            "[::1]",
        ] {
            assert!(is_shared(shared), "{shared}");
        }
        for own in [
            "acme.run.ai",
            "run.ai",
            "acme.example",
            "acme.co.uk",
            "co.example",
        ] {
            assert!(!is_shared(own), "{own}");
        }
    }
}

use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use proptest::prelude::*;

use super::{Complaint, Part, Parts, complaint, slow};

fn of(lines: &[&str]) -> Complaint {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
    }
    complaint(&headers)
}

#[test]
fn d10_an_error_that_another_token_would_not_help_is_not_about_the_token() {
    for lines in [
        &[r#"Bearer error="insufficient_scope""#][..],
        &[r#"Bearer realm="x", error="insufficient_scope", scope="a b""#],
        &[r#"Bearer error="invalid_request""#],
        &[r#"Basic realm="x""#, r#"Bearer error="insufficient_scope""#],
        &["Bearer realm=x", "error=insufficient_scope"],
        &["Bearer error=\"\""],
    ] {
        assert_eq!(of(lines), Complaint::Other, "{lines:?}");
    }
}

#[test]
fn d11_d12_without_a_bearer_error_the_token_is_meant() {
    for lines in [
        &[][..],
        &["Basic realm=\"x\""],
        &["Negotiate"],
        &["Negotiate YWJj/+==", "NTLM"],
        &[r#"Basic realm="x", error="insufficient_scope""#],
        &["Bearer"],
        &[r#"Bearer realm="x""#],
        &[r#"Bearer error="invalid_token""#],
        &[
            r#"Bearer error="insufficient_scope""#,
            r#"Bearer error="invalid_token""#,
        ],
    ] {
        assert_eq!(of(lines), Complaint::Token, "{lines:?}");
    }
}

#[test]
fn d13_odd_challenges_are_read_as_far_as_they_go() {
    let other = [
        r#"bEaReR ErRoR="insufficient_scope""#,
        r#"BEARER realm="a, Bearer error=\"invalid_token\"", error="insufficient_scope""#,
        r#"Basic realm="x, y", Bearer error=insufficient_scope"#,
        r#"Negotiate YWJj==, Bearer error = "insufficient_scope""#,
        "Bearer\trealm=\"x\"\t,\terror=\"insufficient_scope\"",
        r#"Bearer realm="x" error="insufficient_scope""#,
        r#"Bearer realm=https://x/y?a=b error=insufficient_scope"#,
        r#",, Bearer ,error="insufficient\_scope",,"#,
        r#"Bearer error="insufficient_scope", error_description="a \"quoted\", one""#,
        "Bearer error_description=The token expired, error=insufficient_scope",
        r#"Bearer error="insufficient_scope", realm="without an end"#,
    ];
    for line in other {
        assert_eq!(of(&[line]), Complaint::Other, "{line}");
    }
    let token = [
        r#"Bearer error="INVALID_TOKEN""#,
        r#"Bearer error=invalid_token error_description="The token expired""#,
        r#"Bearer realm="error=insufficient_scope""#,
        r#"Bearer realm="a, error=insufficient_scope, b""#,
        r#"Bearer error_description="insufficient_scope""#,
        r#"Bearer xerror="insufficient_scope""#,
        r#"Bearer realm="without an end, error="insufficient_scope"#,
        r#"Bearer realm="x", Basic realm="y", error="insufficient_scope""#,
        r#"Bearer realm="x", @@@ a=b, error="insufficient_scope""#,
        r#"Bearer realm="x", D"PoP" a=b, error="insufficient_scope""#,
        "\"",
        "=",
        "Bearer =",
    ];
    for line in token {
        assert_eq!(of(&[line]), Complaint::Token, "{line}");
    }
}

#[test]
fn d13_the_values_are_read_without_their_quotes_and_backslashes() {
    let line = br#"Digest realm="a \"b\" \\c", nonce=x/y==, token, Negotiate YQ=="#;
    let read: Vec<_> = Parts::new(line)
        .map(|part| match part {
            Part::Scheme(name) => String::from_utf8_lossy(name).into_owned(),
            Part::Parameter { name, value } => format!(
                "{}={}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(&value.bytes().collect::<Vec<_>>())
            ),
            Part::Unknown => "?".into(),
        })
        .collect();
    let expected = [
        "Digest",
        r#"realm=a "b" \c"#,
        "nonce=x/y==",
        "token",
        "Negotiate",
    ];
    assert_eq!(read, expected);
}

#[test]
fn d13_a_stray_quote_in_a_value_hides_no_comma_before_it() {
    // Found by the fuzz target.
    let line = b"#= -=\xd1\"\0]\0#=\t -=\t \xf4 \t";
    assert_eq!(read(line), slow::parse(line));
}

/// What is read of a line, in the slow parser's words.
fn read(line: &[u8]) -> Vec<slow::Part> {
    Parts::new(line)
        .map(|part| match part {
            Part::Scheme(name) => slow::Part::Scheme(name.to_vec()),
            Part::Parameter { name, value } => {
                slow::Part::Parameter(name.to_vec(), value.bytes().collect())
            }
            Part::Unknown => slow::Part::Unknown,
        })
        .collect()
}

/// Lines that are nearly challenges.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 14] = [
        b"Bearer",
        b"Basic",
        b"error",
        b"invalid_token",
        b"insufficient_scope",
        b"YQ==",
        b"a/b",
        b"=",
        b",",
        b"\"",
        b"\\",
        b" ",
        b"\t",
        b"\xe9",
    ];
    let piece = prop::sample::select(pieces.to_vec());
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn d13_it_reads_what_a_slow_and_obvious_parser_reads(line in lines()) {
        prop_assert_eq!(read(&line), slow::parse(&line));
    }

    #[test]
    fn d13_it_reads_any_bytes(line in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(read(&line), slow::parse(&line));
    }
}

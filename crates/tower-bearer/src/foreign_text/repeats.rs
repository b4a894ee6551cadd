//! Whether a text repeats a secret.

use std::collections::HashSet;

/// From so many letters and digits on, a part of a secret counts if a digit is among them.
const PART: usize = 8;

/// Without a digit a part may be plain words: `client secret`, for example.
const PART_OF_WORDS: usize = 16;

/// Returns true if a text repeats the secret, or a good part of it, however it is written.
pub(super) fn repeats(text: &str, secret: &str) -> bool {
    if secret.is_empty() {
        return false;
    }
    let decoded = decoded(text);
    if text.contains(secret) || decoded.contains(secret) {
        return true;
    }
    let (written, known) = (bare(&decoded), bare(secret));
    let backwards: Vec<char> = known.iter().rev().copied().collect();
    shares_a_part(&written, &known)
        || shares_a_part(&written, &backwards)
        || shares_an_encoding(&bare(text), &hex(secret), 2 * PART)
        || (0..3).any(|skipped| {
            // Each byte of base64 depends on its place among three.
            let code = base64(secret.as_bytes().get(skipped..).unwrap_or_default());
            shares_an_encoding(&of_base64(text), &code, PART + PART / 2)
        })
}

/// The letters and digits of a text, in lower case.
fn bare(text: &str) -> Vec<char> {
    let kept = text.chars().filter(|c| c.is_alphanumeric());
    kept.flat_map(char::to_lowercase).collect()
}

/// The characters of a text that base64 may have, of either alphabet.
fn of_base64(text: &str) -> Vec<char> {
    let one_alphabet = text.chars().map(|c| match c {
        '-' => '+',
        '_' => '/',
        c => c,
    });
    one_alphabet
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/'))
        .collect()
}

fn shares_a_part(written: &[char], known: &[char]) -> bool {
    // The others were looked for as they are.
    const SHORTEST: usize = 3;
    if known.len() < SHORTEST {
        return false;
    }
    let whole = known.len().min(PART_OF_WORDS);
    let is_random = |part: &&[char]| part.iter().any(char::is_ascii_digit);
    let parts: HashSet<&[char]> = known.windows(PART).filter(is_random).collect();
    let longer: HashSet<&[char]> = known.windows(whole).collect();
    written.windows(PART).any(|part| parts.contains(part))
        || written.windows(whole).any(|part| longer.contains(part))
}

fn shares_an_encoding(written: &[char], code: &[char], part: usize) -> bool {
    let parts: HashSet<&[char]> = code.windows(part).collect();
    written.windows(part).any(|it| parts.contains(it))
}

fn hex(secret: &str) -> Vec<char> {
    secret
        .bytes()
        .flat_map(|byte| format!("{byte:02x}").chars().collect::<Vec<_>>())
        .collect()
}

/// The base64 of whole groups of three bytes. The rest depends on what comes after it.
fn base64(bytes: &[u8]) -> Vec<char> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).flat_map(|group| {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(bits >> shift) as usize % 64]))
    });
    groups.collect()
}

/// A text without the escapes of JSON, URLs, forms and HTML, which may be several layers deep.
fn decoded(text: &str) -> String {
    const DEEPEST: usize = 4;
    let mut text = text.to_owned();
    for _ in 0..DEEPEST {
        let next = decoded_once(&text);
        if next == text {
            break;
        }
        text = next;
    }
    text
}

fn decoded_once(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escape = match first {
            '%' => number(rest, 1, 2, 16),
            '\\' if rest[1..].starts_with('u') => number(rest, 2, 4, 16),
            '\\' if rest[1..].starts_with('x') => number(rest, 2, 2, 16),
            '&' if rest[1..].starts_with("#x") || rest[1..].starts_with("#X") => {
                entity(rest, 3, 16)
            }
            '&' if rest[1..].starts_with('#') => entity(rest, 2, 10),
            _ => None,
        };
        let taken = match (escape, first) {
            // A byte of UTF-8; the other escapes are characters.
            (Some((code, len)), '%') => {
                bytes.push(code as u8);
                len
            }
            (Some((code, len)), _) => {
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                bytes.extend(c.to_string().bytes());
                len
            }
            // Any other escape of JSON hides one character.
            (None, '\\') => 1,
            (None, first) => {
                bytes.extend(first.to_string().bytes());
                first.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The number in `digits` digits behind `start`, and the length of the escape.
fn number(text: &str, start: usize, digits: usize, radix: u32) -> Option<(u32, usize)> {
    let end = start + digits;
    let code = u32::from_str_radix(text.get(start..end)?, radix).ok()?;
    Some((code, end))
}

/// The number of an HTML entity whose digits begin at `start`.
fn entity(text: &str, start: usize, radix: u32) -> Option<(u32, usize)> {
    let len = text[start..]
        .find(';')
        .filter(|len| (1..=7).contains(len))?;
    let (code, end) = number(text, start, len, radix)?;
    Some((code, end + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "S3CR3T-client-secret";

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        for text in [
            "you sent S3CR3T-client-secret",
            "you sent s3cr3t-CLIENT-secret",
            "%53%33%43%52%33%54%2Dclient%2Dsecret",
            "%2553%2533%2543%2552%2533%2554-client",
            r"S3CR3T\u002dclient\u002dsecret",
            r"\u005333CR3 and S3CR3T\\u002dclient",
            "&#x53;&#51;CR3T-client-secret",
            "S 3 C R 3 T c l i e n t",
            "S\u{200b}3\u{200b}C\u{200b}R\u{200b}3T-client",
            "S3CR3T-clie",
            "…R3T-clien…",
            "terces-tneilc-T3RC3S",
            "UzNDUjNULWNsaWVudC1zZWNyZXQ=",
            "basic YTpTM0NSM1QtY2xpZW50LXNlY3JldA==",
            "xx UzNDUjNULWNsaWVudC1zZWNyZXQ",
            "5333435233542d636c69656e742d736563726574",
        ] {
            assert!(repeats(text, SECRET), "{text}");
        }
    }

    #[test]
    fn what_is_no_part_of_a_secret_is_shown() {
        for text in [
            "",
            "Invalid client credentials",
            "invalid client secret",
            "the client `ci-bot` is unknown (401)",
            "S3CR3T",
        ] {
            assert!(!repeats(text, SECRET), "{text}");
        }
        assert!(!repeats("anything", "") && !repeats("a word", "a-b"));
        assert!(repeats("it is a-b", "a-b"));
    }

    #[test]
    fn a_secret_of_few_letters_is_found_in_its_escapes() {
        for (secret, text) in [
            ("p@-$w-0r!d#", "p%40-%24w-0r%21d%23"),
            ("a\"b\\c/d+e%f", r#"{"s":"a\"b\\c\/d+e%f"}"#),
            ("a\"b\\c/d+e%f", "a%22b%5Cc%2Fd%2Be%25f"),
            ("\u{43f}\u{430}\u{440}", "%D0%BF%D0%B0%D1%80"),
            ("\u{43f}\u{430}\u{440}", r"\u043f\u0430\u0440"),
            (
                "S3CR3T\"q\\uote/+\u{e9}",
                r#"{"AppSecret":"S3CR3T\"q\\uote/+\u00e9"}"#,
            ),
        ] {
            assert!(repeats(text, secret), "{secret}: {text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_and_secret_are_compared_without_a_panic(text in any::<String>(), secret in any::<String>()) {
            let _either = repeats(&text, &secret);
            let repeated = [text, secret.clone()].concat();
            prop_assert!(secret.is_empty() || repeats(&repeated, &secret));
        }
    }
}

//! Text that somebody else wrote.

use std::{borrow::Cow, fmt};

/// Text that somebody else wrote: a server, a plugin, a file. It is safe to show.
///
/// `Display` and `Debug` put it between double quotes, on one line, with everything escaped that would
/// move the cursor, hide something or end the quotes, and cut it after
/// [`MAX_CHARS`](Self::MAX_CHARS) characters. So a reader always sees whose words they are, and nobody
/// can write a line of ours.
///
/// ```
/// use tower_bearer::ForeignText;
///
/// let said = ForeignText::new("Invalid client\nhint: run \u{1b}[31mthis");
/// assert_eq!(said.to_string(), r#""Invalid client\nhint: run \u{1b}[31mthis""#);
///
/// let said = ForeignText::without_secrets("no such client: s3cr3t", ["s3cr3t"]);
/// assert_eq!(said.to_string(), "(text that repeats a secret)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ForeignText {
    /// As it is shown, quotes and all.
    shown: String,
}

impl ForeignText {
    /// The most that is shown, in characters of the original.
    pub const MAX_CHARS: usize = 200;

    /// Makes a text safe to show.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut shown = String::with_capacity(text.len().min(Self::MAX_CHARS) + 2);
        shown.push('"');
        for c in text.chars().take(Self::MAX_CHARS) {
            match c {
                '"' | '\\' => shown.extend(['\\', c]),
                c => escape(c, &mut shown),
            }
        }
        if text.chars().nth(Self::MAX_CHARS).is_some() {
            shown.push('…');
        }
        shown.push('"');
        Self { shown }
    }

    /// Makes bytes safe to show; what is not UTF-8 in them is replaced.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::new(&String::from_utf8_lossy(bytes))
    }

    /// Makes a text safe to show that may repeat one of these secrets. If it does, none of it is shown.
    ///
    /// A secret is recognized in its escapes for JSON, URLs and forms too.
    #[must_use]
    pub fn without_secrets<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let repeats = secrets.into_iter().any(|secret| repeats(text, secret));
        match repeats {
            true => Self {
                shown: "(text that repeats a secret)".into(),
            },
            false => Self::new(text),
        }
    }
}

/// Escapes what would break the line, move the cursor or hide something.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        escape(c, &mut escaped);
    }
    Cow::Owned(escaped)
}

fn escape(c: char, to: &mut String) {
    match c {
        '\n' | '\r' | '\t' => to.extend(c.escape_default()),
        c if is_plain(c) => to.push(c),
        c => to.extend(c.escape_unicode()),
    }
}

/// Returns true if a text holds the secret, as it is or escaped. Escapes leave letters and digits as
/// they are, so the longest run of those is what is looked for.
fn repeats(text: &str, secret: &str) -> bool {
    let runs = secret.split(|c: char| !c.is_ascii_alphanumeric());
    let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
    match longest.len() {
        // Too little to tell; any word might hold it.
        0..=2 => !secret.is_empty() && text.contains(secret),
        _ => text.contains(longest),
    }
}

/// Returns true if a character shows as itself and moves no other. The others are controls, and the
/// characters of Unicode's category Cf and its separators that are invisible or change the direction.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

impl fmt::Display for ForeignText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for ForeignText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_is_found_however_it_is_escaped() {
        let secret = "S3CR3T\"q\\uote/+\u{e9}";
        for text in [
            secret,
            r#"{"AppSecret":"S3CR3T\"q\\uote/+\u00e9"}"#,
            "http://elsewhere.example/?s=S3CR3T%22q%5Cuote%2F%2B%C3%A9",
            "s=S3CR3T%22q%5cuote%2f%2b%c3%a9",
        ] {
            assert!(repeats(text, secret), "{text}");
        }
        assert!(!repeats("Invalid client credentials", secret));
        assert!(!repeats("anything", "") && !repeats("a word", "a-b"));
        assert!(repeats("it is a-b", "a-b"));
    }

    #[test]
    fn p01_text_stays_between_its_quotes_and_ends() {
        let shown = ForeignText::new(&format!("a\n\"b\\{}", "c".repeat(300))).to_string();
        assert!(shown.starts_with(r#""a\n\"b\\ccc"#), "{shown}");
        assert!(shown.ends_with("c…\""), "{shown}");
        assert_eq!(
            ForeignText::from_bytes(b"a\xff\x1b[2J").to_string(),
            "\"a\u{fffd}\\u{1b}[2J\""
        );
    }

    proptest! {
        #[test]
        fn p01_no_text_leaves_its_line_or_its_quotes(text in any::<String>()) {
            let shown = ForeignText::new(&text).to_string();
            let inside = shown.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
            let inside = inside.expect("it is between quotes");
            prop_assert!(shown.chars().all(is_plain));
            // Each quote inside is behind an odd number of backslashes.
            let unescaped = inside.replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!unescaped.contains('"'));
            prop_assert!(inside.chars().count() <= ForeignText::MAX_CHARS * 10 + 1);
        }
    }
}

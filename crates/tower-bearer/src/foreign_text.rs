//! Text that somebody else wrote.

mod repeats;

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
        for (at, c) in text.chars().take(Self::MAX_CHARS).enumerate() {
            match c {
                // It would attach to our quote.
                c if at == 0 && is_combining(c) => shown.extend(c.escape_unicode()),
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
    /// A part of a secret counts too, from eight letters and digits on, and so do its escapes for JSON,
    /// URLs, forms and HTML, its base64 and hex, another case, and characters put between.
    #[must_use]
    pub fn without_secrets<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let end = text.char_indices().nth(Self::MAX_CHARS);
        let shown = &text[..end.map_or(text.len(), |(at, _)| at)];
        let repeats = secrets
            .into_iter()
            .any(|secret| repeats::repeats(shown, secret));
        match repeats {
            true => Self {
                shown: "(text that repeats a secret)".into(),
            },
            false => Self::new(text),
        }
    }

    /// Escapes what would break the line, move the cursor or hide something, and adds no quotes: for a text
    /// of yours that has a foreign name in it, a path for example.
    #[must_use]
    pub fn escape(text: &str) -> Cow<'_, str> {
        escaped(text)
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

/// Returns true if a character shows as itself and moves no other. The others are controls, and the
/// characters of Unicode's category Cf and its separators that are invisible or change the direction.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns true if a character of the blocks of combining marks attaches to the one before it.
fn is_combining(c: char) -> bool {
    matches!(
        c,
        '\u{300}'..='\u{36f}'
            | '\u{483}'..='\u{489}'
            | '\u{591}'..='\u{5c7}'
            | '\u{610}'..='\u{61a}'
            | '\u{64b}'..='\u{65f}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}'
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
    fn p01_text_stays_between_its_quotes_and_ends() {
        let shown = ForeignText::new(&format!("a\n\"b\\{}", "c".repeat(300))).to_string();
        assert!(shown.starts_with(r#""a\n\"b\\ccc"#), "{shown}");
        assert!(shown.ends_with("c…\""), "{shown}");
        assert_eq!(
            ForeignText::from_bytes(b"a\xff\x1b[2J").to_string(),
            "\"a\u{fffd}\\u{1b}[2J\""
        );
        // A mark would attach to the quote.
        assert_eq!(ForeignText::new("\u{301}a").to_string(), "\"\\u{301}a\"");
        assert_eq!(ForeignText::escape("a\u{202e}/b\n"), "a\\u{202e}/b\\n");
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

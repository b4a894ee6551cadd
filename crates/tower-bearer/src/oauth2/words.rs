//! The server's own words in errors: on one line, not endless, and never a secret.

use super::secret::SecretText;

/// The most that is shown of the server's own words, in characters.
const SHOWN: usize = 200;

/// A text of the server's as it may be shown.
pub(crate) fn clean(text: &str, secrets: &[SecretText]) -> String {
    if secrets
        .iter()
        .any(|secret| repeats(text, secret.expose_secret()))
    {
        return "words that repeat the secret".into();
    }
    let mut clean: String = text
        .chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .take(SHOWN)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        clean.push('…');
    }
    clean
}

/// Whether a text holds the secret, as it is or escaped for JSON, a URL or a form. Escapes leave letters
/// and digits as they are, so the longest run of those is what is looked for.
fn repeats(text: &str, secret: &str) -> bool {
    let runs = secret.split(|c: char| !c.is_ascii_alphanumeric());
    let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
    match longest.len() {
        // Too little to tell; any word might hold it.
        0..=2 => !secret.is_empty() && text.contains(secret),
        _ => text.contains(longest),
    }
}

/// Whether a character shows as itself and moves no other.
fn is_printable(c: char) -> bool {
    let moves =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !moves
}

#[cfg(test)]
mod tests {
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
    fn words_stay_on_one_line_and_end() {
        let shown = clean(&format!("a\nb\u{202e}{}", "c".repeat(300)), &[]);
        assert!(
            shown.starts_with("a b c") && shown.ends_with("c…"),
            "{shown}"
        );
        assert_eq!(shown.chars().count(), SHOWN + 1);
        let shown = clean("no s3cr3t here", &["other1".into(), "s3cr3t".into()]);
        assert_eq!(shown, "words that repeat the secret");
    }
}

//! Escapes what would break a line, move the cursor or hide something, in lines whose parts others wrote.

use std::{borrow::Cow, fmt::Write as _};

use runai_auth::tower_bearer::ForeignText;
use serde_json::Value;

/// Escapes a line of text.
pub(crate) fn text(line: &str) -> Cow<'_, str> {
    escaped(line, |c, to| match c {
        '\n' | '\r' | '\t' => to.extend(c.escape_default()),
        c => to.extend(c.escape_unicode()),
    })
}

/// Escapes a line of JSON, which stays the same JSON: only its strings can hold such characters.
pub(crate) fn json(line: &str) -> Cow<'_, str> {
    escaped(line, |c, to| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a `String` cannot fail.
            let _written = write!(to, "\\u{unit:04x}");
        }
    })
}

/// Writes a value on one line.
pub(crate) fn json_line(value: &Value) -> String {
    json(&value.to_string()).into_owned()
}

fn escaped(line: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if line.chars().all(is_plain) {
        return Cow::Borrowed(line);
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        match is_plain(c) {
            true => escaped.push(c),
            false => escape(c, &mut escaped),
        }
    }
    Cow::Owned(escaped)
}

/// Returns true if a character shows as itself and moves no other.
fn is_plain(c: char) -> bool {
    match c.is_ascii() {
        true => !c.is_ascii_control(),
        // The library knows the list.
        false => {
            let shown = ForeignText::new(c.encode_utf8(&mut [0; 4])).to_string();
            !shown.contains('\\')
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn p01_lines_of_text_and_of_json_show_all_that_they_hold() {
        let hostile = "é\n\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{e0041}\\";
        assert_eq!(
            text(hostile),
            "é\\n\\u{1b}[31m\\u{7f}\\u{9b}\\u{202e}\\u{e0041}\\"
        );
        let value = json!({ hostile: hostile });
        let line = json_line(&value);
        assert!(line.chars().all(is_plain), "{line}");
        assert!(line.contains(r"\u202e\udb40\udc41\\"), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}

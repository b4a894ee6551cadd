//! An error with all that caused it, on one line.

use std::{borrow::Cow, error::Error, fmt};

use crate::foreign_text::{self, ForeignText};

/// Writes an error with all its causes on one line, each once.
///
/// The errors of this crate write themselves so with `{:#}`; this does it for any error, a
/// [`BoxError`](crate::BoxError) that came through the layer, for example.
///
/// ```
/// use tower_bearer::{BoxError, Report};
///
/// fn log(error: &BoxError) {
///     eprintln!("call failed: {}", Report::new(&**error));
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Report<'a>(&'a (dyn Error + 'static));

impl<'a> Report<'a> {
    /// A report of `error`.
    #[must_use]
    pub fn new(error: &'a (dyn Error + 'static)) -> Self {
        Self(error)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = one_line(self.0);
        f.write_str(&written)?;
        let mut between = "; caused by: ";
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = one_line(cause);
            // Many errors repeat their cause's text in their own, also as foreign text.
            let quoted = ForeignText::new(&cause.to_string()).to_string();
            let quoted = quoted.trim_matches(['"', '…']);
            if !written.contains(&text) && !written.contains(quoted) {
                write!(f, "{between}{text}")?;
                between = ": ";
                written.push_str(&text);
            }
            next = cause.source();
        }
        Ok(())
    }
}

/// The most that is shown of one error, in characters. It leaves room for a long one of ours, whose foreign
/// texts are cut already.
const MAX_CHARS: usize = 2000;

/// The text of one error. Other people's errors may break lines, and may be endless.
fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    if let Some((end, _)) = text.char_indices().nth(MAX_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    match foreign_text::escaped(&text) {
        Cow::Owned(escaped) => escaped,
        Cow::Borrowed(_) => text,
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{BoxError, SourceError};

    #[test]
    fn p01_a_cause_without_end_is_cut() {
        let cause: BoxError = "x".repeat(10_000).into();
        let error = SourceError::transient("it failed").with_source(cause);
        let shown = Report::new(&error).to_string();
        assert!(shown.ends_with("x…") && shown.len() < 2100, "{shown}");
    }

    #[test]
    fn p02_each_cause_is_written_once_and_on_one_line() {
        let deepest: BoxError = "os error\n104".into();
        let repeats = SourceError::transient("it ended: os error\n104").with_source(deepest);
        let middle = SourceError::malformed("connection").with_source(repeats);
        let top = SourceError::transient("the exchange failed").with_source(middle);
        assert_eq!(
            Report::new(&top).to_string(),
            "the exchange failed; caused by: connection: it ended: os error\\n104"
        );
    }
}

//! The values of flags that clap has no parser for.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use jiff::{Span, SpanRelativeTo};

/// Reads a time like `90s`, `10m`, `1h30m` or `500ms`. A bare number is in seconds, and a day has 24 hours.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "expected for example 90s, 10m or 1h30m".to_owned())
}

/// Reads a path, which may be empty: scripts set variables to nothing to unset them.
pub(super) fn path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("90", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("2 minutes", 120_000),
            ("500ms", 500),
            ("1s500ms", 1_500),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in [
            "",
            "m",
            "10x",
            "-1s",
            "1s ago",
            "10m5",
            "1 year",
            "99999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

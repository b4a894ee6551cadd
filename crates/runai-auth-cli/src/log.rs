//! Log lines, on the standard error: the standard output carries results only.

use std::{borrow::Cow, env, fmt};

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, layer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{
    escape,
    failure::Failure,
    flags::{LogArgs, LogFormat},
};

const VERBOSE: &str = "RUNAI_AUTH_VERBOSE";

/// The crates whose lines `--verbose` shows. Those of others may hold what a server sent, as it is.
const OURS: [&str; 2] = ["runai_auth", "tower_bearer"];

/// Starts logging. A service also logs the library's warnings, because it keeps running after an error.
pub(crate) fn start(args: &LogArgs, is_service: bool) -> Result<(), Failure> {
    let verbosity = match (args.verbose, env::var(VERBOSE)) {
        (0, Ok(text)) if !text.is_empty() => text.parse().map_err(|_| {
            Failure::usage(
                format!("{VERBOSE} is not a number from 0 to 255"),
                "Set it to 0, 1, 2 or 3, or unset it",
            )
        })?,
        (flags, _) => flags,
    };
    let level = match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let mut wanted = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(OURS.map(|target| (target, level)));
    if verbosity == 0 && !is_service {
        // The command prints its error itself, and would tell it twice.
        wanted = wanted.with_target("tower_bearer", LevelFilter::OFF);
    }
    let lines = layer().with_writer(std::io::stderr).with_ansi(false);
    let registry = tracing_subscriber::registry();
    match args.log_format {
        LogFormat::Text => {
            let lines = lines.map_event_format(|format| OneLine {
                format,
                escape: escape::text,
            });
            registry.with(lines.with_filter(wanted)).init();
        }
        LogFormat::Json => {
            let lines = lines.json().map_event_format(|format| OneLine {
                format,
                escape: escape::json,
            });
            registry.with(lines.with_filter(wanted)).init();
        }
    }
    Ok(())
}

/// Writes each event on one line, whatever its fields hold.
struct OneLine<F> {
    format: F,
    escape: fn(&str) -> Cow<'_, str>,
}

impl<S, N, F> FormatEvent<S, N> for OneLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        writeln!(writer, "{}", (self.escape)(line))
    }
}

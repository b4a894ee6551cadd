//! Log lines, on the standard error: the standard output carries results only.

use std::env;

use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    failure::Failure,
    flags::{LogArgs, LogFormat},
};

const VERBOSE: &str = "RUNAI_AUTH_VERBOSE";

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
    let mut wanted = Targets::new().with_default(level);
    if verbosity == 0 && !is_service {
        // The command prints its error itself, and would tell it twice.
        wanted = wanted.with_target("tower_bearer", LevelFilter::OFF);
    }
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let registry = tracing_subscriber::registry();
    match args.log_format {
        LogFormat::Text => registry.with(lines.with_filter(wanted)).init(),
        LogFormat::Json => registry.with(lines.json().with_filter(wanted)).init(),
    }
    Ok(())
}

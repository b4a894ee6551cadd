//! Log lines, to the standard error: the standard output is for what was asked for.

use std::env;

use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    args::{LogArgs, LogFormat},
    failure::Failure,
};

const VERBOSE: &str = "RUNAI_AUTH_VERBOSE";

/// Starts to log; a service goes on after an error, so it logs that too.
pub(crate) fn start(args: &LogArgs, is_service: bool) -> Result<(), Failure> {
    let told = match (args.verbose, env::var(VERBOSE)) {
        (0, Ok(text)) if !text.is_empty() => text.parse().map_err(|_| {
            Failure::usage(
                format!("{VERBOSE} is no number"),
                "Set it to 0, 1, 2 or 3, or unset it",
            )
        })?,
        (told, _) => told,
    };
    let level = match told {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let mut wanted = Targets::new().with_default(level);
    if told == 0 && !is_service {
        // A command that ends with an error says it itself.
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

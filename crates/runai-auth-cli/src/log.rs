//! Log lines, to the standard error: the standard output is for what was asked for.

use std::env;

use tracing_subscriber::filter::LevelFilter;

use crate::{
    args::{LogArgs, LogFormat},
    failure::Failure,
};

const VERBOSE: &str = "RUNAI_AUTH_VERBOSE";

pub(crate) fn start(args: &LogArgs) -> Result<(), Failure> {
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
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    match args.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

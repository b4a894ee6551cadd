//! The standard output.

use std::io::{self, Write as _};

use serde_json::Value;

use crate::{
    escape,
    failure::{Failure, OTHER},
};

/// Prints a line. It is not an error if the reader has closed its end.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            OTHER,
            format!("cannot write to the standard output: {error}"),
            "",
        )),
        _ => Ok(()),
    }
}

/// Prints a value as a line of JSON, with everything escaped that a terminal would act on.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(&escape::json_line(value))
}

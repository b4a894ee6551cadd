//! The standard output.

use std::io::{self, Write as _};

use crate::failure::{Failure, OTHER};

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

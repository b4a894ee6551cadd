//! What is counted exactly, each count in a process of its own.

use std::{collections::HashMap, path::Path, process::Command};

/// What a command prints on stdout and stderr.
///
/// # Errors
///
/// If it cannot be run or fails, with its last line.
pub fn output(command: &mut Command) -> Result<(String, String), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|it| format!("{program}: {it}"))?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok((text(&output.stdout), text(&output.stderr))),
        false => {
            let stderr = text(&output.stderr);
            let last = stderr.lines().last().unwrap_or_default();
            Err(format!("{program} ended with {}: {last}", output.status))
        }
    }
}

/// The instructions of one request through a stack, by callgrind: those of many less those of few, so that
/// the start is left out.
///
/// # Errors
///
/// If there is no valgrind, or the program fails.
pub fn instructions(program: &Path, stack: &str) -> Result<f64, String> {
    const FEW: u64 = 1_000;
    const MANY: u64 = 11_000;
    let few = collected(program, stack, FEW)?;
    let many = collected(program, stack, MANY)?;
    Ok((many - few) as f64 / (MANY - FEW) as f64)
}

fn collected(program: &Path, stack: &str, requests: u64) -> Result<u64, String> {
    let (_, stderr) = output(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args([stack, &requests.to_string()]),
    )?;
    parse_collected(&stderr).ok_or_else(|| "callgrind printed no count".into())
}

/// The count in a line like `==7== Collected : 123456`.
fn parse_collected(stderr: &str) -> Option<u64> {
    let line = stderr.lines().find(|line| line.contains("Collected : "))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What the program `allocations` counted.
#[derive(Debug)]
pub struct Allocations(HashMap<String, f64>);

impl Allocations {
    /// Runs it; uploads are of so many MiB.
    ///
    /// # Errors
    ///
    /// If it cannot be run or fails.
    pub fn count(program: &Path, mebibytes: usize) -> Result<Self, String> {
        let (stdout, _) = output(Command::new(program).arg(mebibytes.to_string()))?;
        Ok(Self::parse(&stdout))
    }

    fn parse(stdout: &str) -> Self {
        let lines =
            stdout
                .lines()
                .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                    ["allocations", stack, count, _bytes] => Some((stack, count)),
                    [name, value] => Some((name, value)),
                    _ => None,
                });
        let counts = lines.map(|(name, value)| (name.into(), value.parse().unwrap_or(f64::NAN)));
        Self(counts.collect())
    }

    /// The allocations of a request through a stack; NaN if none were counted.
    #[must_use]
    pub fn of(&self, stack: &str) -> f64 {
        self.0.get(stack).copied().unwrap_or(f64::NAN)
    }

    /// The allocations of wrapping a service.
    #[must_use]
    pub fn layer(&self) -> f64 {
        self.of("layer")
    }

    /// The bytes that a request holds while it waits, beyond its own.
    #[must_use]
    pub fn waiting(&self) -> f64 {
        self.of("waiting")
    }

    /// The MiB that live at most during an upload.
    #[must_use]
    pub fn peak_mib(&self) -> f64 {
        self.of("peak") / 1024.0 / 1024.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrind_says_what_it_collected() {
        let stderr = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(parse_collected(stderr), Some(123_456));
        assert_eq!(parse_collected("valgrind: no"), None);
    }

    #[test]
    fn allocations_are_told_line_by_line() {
        let counts = Allocations::parse("allocations bare 2.00 900\nwaiting 440\npeak 1048576\n");
        assert_eq!(counts.of("bare"), 2.0);
        assert_eq!(counts.waiting(), 440.0);
        assert_eq!(counts.peak_mib(), 1.0);
        assert!(counts.of("static").is_nan());
    }
}

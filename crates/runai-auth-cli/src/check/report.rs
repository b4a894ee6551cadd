//! The report, step by step, for people and for programs.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    failure::{Failure, one_line},
    flags::CheckOutput,
    print,
};

#[derive(Debug, Default)]
pub(super) struct Report {
    steps: Vec<Step>,
    /// The step that began last.
    current: &'static str,
}

/// The place of a step without its detail.
#[derive(Debug)]
pub(super) struct Later(usize);

#[derive(Debug)]
struct Step {
    name: &'static str,
    status: Status,
    detail: String,
    hint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Skipped,
    Failed,
}

impl Report {
    pub(super) fn begin(&mut self, name: &'static str) {
        self.current = name;
    }

    pub(super) fn ok(&mut self, detail: impl Into<String>) {
        self.end(Status::Ok, detail.into(), String::new());
    }

    pub(super) fn skipped(&mut self, why: impl Into<String>) {
        self.end(Status::Skipped, why.into(), String::new());
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        let (error, hint) = (failure.error().to_owned(), failure.hint().to_owned());
        self.end(Status::Failed, error, hint);
    }

    /// Adds a step that went well, whose detail [`fill`](Self::fill) adds later.
    pub(super) fn ok_later(&mut self) -> Later {
        self.ok("");
        Later(self.steps.len() - 1)
    }

    pub(super) fn fill(&mut self, Later(place): Later, detail: impl Into<String>) {
        self.steps[place].detail = one_line(detail.into());
    }

    fn end(&mut self, status: Status, detail: String, hint: String) {
        self.steps.push(Step {
            name: self.current,
            status,
            detail: one_line(detail),
            hint,
        });
    }

    pub(super) fn print(&self, output: CheckOutput) -> Result<(), Failure> {
        match output {
            CheckOutput::Json => print::json(&self.json()),
            CheckOutput::Text => print::line(&self.text(io::stdout().is_terminal())),
        }
    }

    fn json(&self) -> Value {
        let steps: Vec<_> = self
            .steps
            .iter()
            .map(|step| {
                let status = match step.status {
                    Status::Ok => "ok",
                    Status::Skipped => "skipped",
                    Status::Failed => "failed",
                };
                let mut json = json!({"step": step.name, "status": status, "detail": step.detail});
                if !step.hint.is_empty() {
                    json["hint"] = step.hint.as_str().into();
                }
                json
            })
            .collect();
        let ok = self.steps.iter().all(|step| step.status != Status::Failed);
        json!({"ok": ok, "steps": steps})
    }

    fn text(&self, colours: bool) -> String {
        let lines = self.steps.iter().map(|step| {
            let (sign, colour) = match step.status {
                Status::Ok => ("✓", "32"),
                Status::Skipped => ("-", "2"),
                Status::Failed => ("✗", "31"),
            };
            let sign = match colours {
                true => format!("\x1b[{colour}m{sign}\x1b[0m"),
                false => sign.to_owned(),
            };
            let line = format!("{sign} {:<12} {}", step.name, step.detail);
            match step.hint.is_empty() {
                true => line,
                false => format!("{line}\n  hint: {}", step.hint),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Writes a time as people say it: `23 h 59 min`, `4 min`, `12 s`.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_readable_and_has_colours_on_a_terminal_only() {
        let mut report = Report::default();
        report.begin("url");
        report.ok("https://acme.run.ai");
        report.begin("dns");
        report.skipped("the URL has an address");
        report.begin("connection");
        report.failed(Failure::usage("nothing listens", "Check the port"));
        assert_eq!(
            report.text(false),
            "✓ url          https://acme.run.ai\n\
             - dns          the URL has an address\n\
             ✗ connection   nothing listens\n  hint: Check the port"
        );
        assert!(report.text(true).contains("\x1b[31m✗\x1b[0m"));
        let json = report.json();
        assert_eq!(json["ok"], false);
        assert_eq!(json["steps"][2]["hint"], "Check the port");
    }

    #[test]
    fn times_are_written_as_people_say_them() {
        for (seconds, said) in [
            (12, "12 s"),
            (240, "4 min"),
            (3600, "1 h"),
            (86_399, "23 h 59 min"),
        ] {
            assert_eq!(time(Duration::from_secs(seconds)), said);
        }
    }
}

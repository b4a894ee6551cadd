//! What is counted exactly, in processes of their own: instructions by callgrind, allocations, the memory
//! of a request that waits, and crates.

use std::{path::PathBuf, process::Command};

use benches::counted::{self, Allocations, output};

use crate::report::{Report, Value};

/// A program that was built beside this one.
fn beside(name: &str) -> Result<PathBuf, String> {
    let path = std::env::current_exe().map_err(|it| it.to_string())?;
    let path = path.with_file_name(name);
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("{name} was not built")),
    }
}

pub fn instructions(report: &mut Report) {
    let counted = |stack| counted::instructions(&beside("instructions")?, stack);
    let all = || -> Result<[f64; 5], String> {
        Ok([
            counted("bare")?,
            counted("static")?,
            counted("ours")?,
            counted("floor")?,
            counted("ours_retry")?,
        ])
    };
    match all() {
        Ok([bare, fixed, ours, floor, retry]) => {
            report.note(format!(
                "Instructions a request: {bare:.1} bare, {fixed:.1} static, {ours:.1} ours; {floor:.1} for a retry by hand, {retry:.1} with ours."
            ));
            let net = (ours - bare) / (fixed - bare);
            report.put("stamp_only_net_instructions_vs_static", Value::Number(net));
        }
        Err(why) => report.put("stamp_only_net_instructions_vs_static", Value::Skipped(why)),
    }
}

pub fn allocations(report: &mut Report, mebibytes: usize) {
    let counts = beside("allocations").and_then(|program| Allocations::count(&program, mebibytes));
    let counts = match counts {
        Ok(counts) => counts,
        Err(why) => {
            for metric in [
                "stamp_only_extra_allocs",
                "stamp_retry_extra_allocs",
                "stamp_retry_client_extra_allocs",
                "waiting_bytes_per_request",
                "upload_1gib_peak_live_mib",
            ] {
                report.put(metric, Value::Skipped(why.clone()));
            }
            return;
        }
    };
    let of = |stack| counts.of(stack);
    report.note(format!(
        "Allocations a request: {} bare, {} static, {} ours; {} for a retry by hand, {} with ours ({} and {} with a hyper-util client inside).",
        of("bare"), of("static"), of("ours"), of("floor"), of("ours_retry"), of("floor_client"), of("ours_retry_client"),
    ));
    for (metric, ours, floor) in [
        ("stamp_only_extra_allocs", "ours", "static"),
        ("stamp_retry_extra_allocs", "ours_retry", "floor"),
        (
            "stamp_retry_client_extra_allocs",
            "ours_retry_client",
            "floor_client",
        ),
    ] {
        report.put(metric, Value::Number(of(ours) - of(floor)));
    }
    report.put("waiting_bytes_per_request", Value::Number(counts.waiting()));
    report.put(
        "upload_1gib_peak_live_mib",
        Value::Number(counts.peak_mib()),
    );
}

/// The crates that a crate needs in its default form, itself not counted.
pub fn dependencies(report: &mut Report) {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for (metric, package) in [
        ("engine_dependencies", "tower-bearer"),
        ("runai_auth_dependencies", "runai-auth"),
    ] {
        let value = match crates(&here.join("../Cargo.toml"), package) {
            Ok(count) => Value::Number(count as f64),
            Err(why) => Value::Skipped(why),
        };
        report.put(metric, value);
    }
}

fn crates(manifest: &std::path::Path, package: &str) -> Result<usize, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let (tree, _) = output(
        Command::new(cargo)
            .args([
                "tree",
                "--offline",
                "--locked",
                "-e",
                "normal",
                "--prefix",
                "none",
            ])
            .args(["-p", package, "--manifest-path"])
            .arg(manifest),
    )?;
    Ok(distinct(&tree).saturating_sub(1))
}

/// Crates in a tree without prefixes; ` (*)` marks those that were there before.
fn distinct(tree: &str) -> usize {
    let mut names: Vec<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once() {
        assert_eq!(
            distinct("a v1.0.0\nb v1.0.0\nc v1.0.0\nb v1.0.0 (*)\n\n"),
            3
        );
    }
}

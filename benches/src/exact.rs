//! What is counted exactly, in processes of their own: instructions by callgrind, allocations, the memory
//! of a request that waits, and crates.

use std::{collections::HashMap, path::PathBuf, process::Command};

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

fn output(command: &mut Command) -> Result<(String, String), String> {
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

pub fn instructions(report: &mut Report) {
    let counted = |name| per_request(name).map_err(|why| format!("callgrind: {why}"));
    let all = || -> Result<[f64; 3], String> {
        Ok([counted("bare")?, counted("static")?, counted("ours")?])
    };
    match all() {
        Ok([bare, fixed, ours]) => {
            report.note(format!(
                "Instructions a request: {bare:.1} bare, {fixed:.1} static, {ours:.1} ours."
            ));
            let net = (ours - bare) / (fixed - bare);
            report.put("stamp_only_net_instructions_vs_static", Value::Number(net));
        }
        Err(why) => report.put("stamp_only_net_instructions_vs_static", Value::Skipped(why)),
    }
}

/// The instructions of one request: those of many less those of few, so that the start is left out.
fn per_request(stack: &str) -> Result<f64, String> {
    const FEW: u64 = 1_000;
    const MANY: u64 = 11_000;
    let few = collected(stack, FEW)?;
    let many = collected(stack, MANY)?;
    Ok((many - few) as f64 / (MANY - FEW) as f64)
}

fn collected(stack: &str, requests: u64) -> Result<u64, String> {
    let program = beside("instructions")?;
    let (_, stderr) = output(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args([stack, &requests.to_string()]),
    )?;
    parse_collected(&stderr).ok_or_else(|| "it printed no count".into())
}

/// The count in a line like `==7== Collected : 123456`.
fn parse_collected(stderr: &str) -> Option<u64> {
    let line = stderr.lines().find(|line| line.contains("Collected : "))?;
    line.rsplit(' ').next()?.parse().ok()
}

pub fn allocations(report: &mut Report, mebibytes: usize) {
    let mut of = HashMap::new();
    let mut single = HashMap::new();
    let printed = beside("allocations")
        .and_then(|program| output(Command::new(program).arg(mebibytes.to_string())));
    let printed = match printed {
        Ok((stdout, _)) => stdout,
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
    for line in printed.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["allocations", name, count, _bytes] => {
                of.insert(name, count.parse::<f64>().unwrap_or(f64::NAN));
            }
            [name, value] => {
                single.insert(name, value.parse::<f64>().unwrap_or(f64::NAN));
            }
            _ => {}
        }
    }
    let of = |name| of.get(name).copied().unwrap_or(f64::NAN);
    let single = |name| single.get(name).copied().unwrap_or(f64::NAN);
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
    report.put(
        "waiting_bytes_per_request",
        Value::Number(single("waiting")),
    );
    let mib = single("peak") / 1024.0 / 1024.0;
    report.put("upload_1gib_peak_live_mib", Value::Number(mib));
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
    fn callgrind_says_what_it_collected() {
        let stderr = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(parse_collected(stderr), Some(123_456));
        assert_eq!(parse_collected("valgrind: no"), None);
    }

    #[test]
    fn a_crate_counts_once() {
        assert_eq!(
            distinct("a v1.0.0\nb v1.0.0\nc v1.0.0\nb v1.0.0 (*)\n\n"),
            3
        );
    }
}

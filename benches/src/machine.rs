//! What was measured on, and which versions.

/// The processor, the cores and the time.
pub fn describe() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    format!("{model}, {cores} cores, load {load} before the run")
}

/// The version of a package that this one uses, by the lock file. Where there are several, that is named
/// in the list of what it depends on.
pub fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let named = |name: &str| {
        let found = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
        found.map(|(_, after)| after)
    };
    let own = named(env!("CARGO_PKG_NAME"))?.split("[[package]]").next()?;
    match own.split_once(&format!("\"{package} ")) {
        Some((_, version)) => version.split('"').next(),
        None => named(package)?.split('"').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = include_str!("../Cargo.lock");
        assert!(version(lock, "tower-http").is_some_and(|it| it.starts_with("0.7.")));
        assert_eq!(version(lock, "no-such-crate"), None);
    }
}

//! Rules of the sources that no compiler checks.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The Rust files below a folder, without what is built.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    found
}

/// A test that wants a file to be absent, or a place to write, takes a path in a folder of its own: any other
/// path may exist on somebody's machine, or be another test's.
#[test]
fn p07_tests_own_their_paths() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // In pieces, because this file is looked through too.
    let foreign = [
        "nonexistent",
        "non-existent",
        "no/such",
        "no-such",
        "does-not-exist",
        "does/not/exist",
        "missing",
        "nowhere/",
        "tmp/",
        "tmp\"",
    ]
    .map(|name| format!("/{name}"));
    // What is not a test may use the machine's folder for temporary files, if it cleans up.
    let programs = ["crates/runai-fake/src/main.rs", "examples/daemon/story.rs"];
    let shared_folder = format!("{}::temp_dir(", "env");

    let (mut looked_at, mut found) = (0, Vec::new());
    for folder in ["crates", "examples", "tests"] {
        for path in sources(&root.join(folder)) {
            looked_at += 1;
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            for (number, line) in (1..).zip(text.lines()) {
                // A path begins a literal, or follows what introduces it: `unix:/…`, `file=/…`.
                let begins = |path: &String| {
                    let before = line
                        .find(path.as_str())
                        .map(|at| line[..at].chars().next_back());
                    before.flatten().is_some_and(|it| "\":=".contains(it))
                };
                let shared = line.contains(&shared_folder) && !programs.contains(&name);
                if shared || foreign.iter().any(begins) {
                    found.push(format!("{name}:{number}: {}", line.trim()));
                }
            }
        }
    }
    assert!(looked_at > 100, "only {looked_at} files were found");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

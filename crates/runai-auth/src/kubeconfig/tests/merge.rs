//! Which files count, and what of them.

use std::{collections::BTreeMap, ffi::OsString, fmt::Write, path::Path, process::Command};

use serde_json::{Value, json};

use super::{Folder, load_text, message};
use crate::kubeconfig::{Kubeconfig, file::Entry, load, paths};

fn variables(pairs: &[(&'static str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<> {
    let pairs: BTreeMap<_, _> = pairs
        .iter()
        .map(|(name, value)| (*name, OsString::from(value)))
        .collect();
    move |name| pairs.get(name).cloned()
}

#[cfg(unix)]
#[test]
fn the_list_comes_before_the_home_folder() {
    let both = [("KUBECONFIG", "/a::/b:"), ("HOME", "/home/me")];
    let list = paths(&variables(&both));
    assert_eq!(list, [Path::new("/a"), Path::new("/b")]);

    let empty = [("KUBECONFIG", ""), ("HOME", "/home/me")];
    let home = paths(&variables(&empty));
    assert_eq!(home, [Path::new("/home/me/.kube/config")]);

    assert!(paths(&variables(&[("HOME", "")])).is_empty());
    assert!(paths(&variables(&[])).is_empty());
}

#[test]
fn files_that_are_not_there_are_passed_over() {
    let folder = Folder::new();
    let missing = folder.join("missing");
    let nothing = load(std::slice::from_ref(&missing)).unwrap();
    assert!(nothing.is_empty());
    let error = message(nothing.user(None));
    assert!(error.contains("no kubeconfig was found"), "{error}");
    assert!(error.contains(missing.to_str().unwrap()), "{error}");

    let there = folder.file("config", "");
    assert!(!load(&[missing, there]).unwrap().is_empty());
}

#[test]
fn nothing_is_empty() {
    for text in [
        "",
        "# only this\n",
        "---\n",
        "null",
        "{}",
        "users: null\ncontexts:\n",
    ] {
        let config = load_text(text).unwrap();
        assert!(
            config.users.is_empty() && config.contexts.is_empty(),
            "{text:?}"
        );
        assert!(!config.is_empty(), "{text:?}");
    }
}

#[test]
fn a_wrong_shape_is_named_and_its_value_is_not() {
    for (text, expected) in [
        ("users: [}", "not valid YAML at line 1"),
        ("- SECRET", "not a mapping"),
        ("SECRET", "not a mapping"),
        ("users: SECRET", "users is not a list"),
        ("users: [SECRET]", "users[0] is not a mapping"),
        ("users: [{name: [SECRET]}]", "users[0].name is not a text"),
        (
            "users: [{user: [SECRET]}]",
            "users[0].user is not a mapping",
        ),
        ("current-context: true", "current-context is not a text"),
        ("? [SECRET]\n: 1", "a key that is not a text at line 1"),
        ("users: [{name: a}, {name: a}]", "users has \"a\" twice"),
        ("users: *SECRET", "not valid YAML at line 1"),
    ] {
        let folder = Folder::new();
        let file = folder.file("config", text);
        let error = message(load(std::slice::from_ref(&file)));
        assert_eq!(error, format!("{}: {expected}", file.display()));
    }
    let folder = Folder::new();
    let file = folder.join("config");
    std::fs::write(&file, b"users: \xff").unwrap();
    assert!(message(load(&[file])).ends_with(" is not UTF-8 text"));
    assert!(message(load(&[folder.to_owned()])).ends_with("is a directory, not a regular file"));
}

#[test]
fn bombs_do_not_go_off() {
    let mut lists = "a0: &a0 [x, x]\n".to_owned();
    let mut keys = "a0: &a0 {x: x}\n".to_owned();
    for level in 1..40 {
        let below = level - 1;
        writeln!(lists, "a{level}: &a{level} [*a{below}, *a{below}]").unwrap();
        writeln!(keys, "a{level}: &a{level} {{? [*a{below}, *a{below}] : x}}").unwrap();
    }
    assert!(message(load_text(&lists)).contains("not valid YAML"));
    assert!(message(load_text(&keys)).contains("a key that is not a text"));

    // One text, many times.
    let text = format!(
        "a: &a {}\nb: [{}x]",
        "x".repeat(500_000),
        "*a, ".repeat(100)
    );
    assert!(message(load_text(&text)).contains("not valid YAML"));
    // Far more than the stack would hold.
    for deep in [
        "[".repeat(200_000),
        "- ".repeat(200_000),
        "{a: ".repeat(200_000),
    ] {
        let error = message(load_text(&deep));
        // The scanner has a limit of its own, and looks ahead.
        let refused = error.contains("nested too deeply") || error.contains("not valid YAML");
        assert!(refused, "{error}");
    }
    let deep = format!("{}x{}", "[".repeat(65), "]".repeat(65));
    assert!(message(load_text(&deep)).contains("nested too deeply at line 1"));
    let large = format!("a: {}", "x".repeat(1024 * 1024));
    assert!(message(load_text(&large)).contains("larger than 1 MiB"));
}

#[test]
fn anchors_are_read_as_kubectl_reads_them() {
    let text = "users: [{name: a, user: &me {token: x}}, {name: b, user: *me}]";
    let users = load_text(text).unwrap().users;
    assert_eq!(users["b"].value, json!({ "token": "x" }));
}

#[test]
fn json_with_tabs_and_names_that_are_numbers() {
    let text =
        "{\n\t\"users\": [\n\t\t{\"name\": 123, \"user\": {\"token\": \"a\\u003db\"}}\n\t]\n}\n";
    let users = load_text(text).unwrap().users;
    assert_eq!(users["123"].value, json!({ "token": "a=b" }));
    let text =
        "contexts: [{name: 007, context: {user: 123}}]\nusers: [{name: '123', user: {token: 1}}]";
    assert_eq!(
        load_text(text).unwrap().user(Some("007")).unwrap().name,
        "123"
    );
}

/// Lists of files, from the first to the last.
const LISTS: [&[&str]; 6] = [
    &[
        "current-context: ''\nusers: [{name: a, user: {token: one}}]",
        "current-context: second\nusers: [{name: a, user: {username: two}}, {name: b, user: {token: b}}]",
        "current-context: third\ncontexts: [{name: third, context: {user: a, cluster: c}}]",
    ],
    &[
        "contexts: [{name: c, context: {user: first}}]\nclusters: [{name: k, cluster: {server: 'https://one'}}]",
        "",
        "contexts: [{name: c, context: {user: second, cluster: k, namespace: ns}}]\n\
         clusters: [{name: k, cluster: {server: 'https://two', insecure-skip-tls-verify: true}}]",
    ],
    &[
        "users: [{name: a, user: {auth-provider: {name: oidc, config: {client-id: x, id-token: one}}}}]",
        "users: [{name: a, user: {auth-provider: {name: oidc, config: {idp-issuer-url: 'https://i', id-token: two}}}}]",
    ],
    &["{\"users\": [{\"name\": \"json\", \"user\": {\"token\": \"a\\u003db\"}}]}"],
    &[
        "users:\n- name: a\n  user:\n    token: >-\n      folded\n      text\ncontexts: ~\nclusters:\n# end\n---\nusers: [}",
    ],
    &[
        "current-context: '12'\nusers: [{name: a, user: &it {token: x}}, {name: '123', user: *it}]\n\
       contexts: [{name: '12', context: {user: '123'}}]",
    ],
];

/// The files of a list, the second one not there.
fn files(folder: &Folder, list: &[&str]) -> Vec<std::path::PathBuf> {
    let mut files = vec![];
    for (index, text) in list.iter().enumerate() {
        files.push(folder.file(&format!("{index}.yaml"), text));
        files.push(folder.join("missing"));
    }
    files
}

#[test]
fn the_first_file_wins_entry_by_entry() {
    let folder = Folder::new();
    let config = load(&files(&folder, LISTS[0])).unwrap();
    assert_eq!(config.current.as_deref(), Some("second"));
    assert_eq!(config.users["a"].value, json!({ "token": "one" }));
    assert_eq!(config.users["b"].value, json!({ "token": "b" }));
    assert_eq!(config.users["a"].file, folder.join("0.yaml"));
    assert_eq!(config.users["b"].file, folder.join("1.yaml"));
    assert_eq!(config.contexts["third"].file, folder.join("2.yaml"));

    let config = load(&files(&folder, LISTS[1])).unwrap();
    assert_eq!(config.contexts["c"].value, json!({ "user": "first" }));
}

#[test]
fn kubectl_merges_the_same() {
    for list in LISTS {
        let folder = Folder::new();
        let files = files(&folder, list);
        let view = Command::new("kubectl")
            .args(["config", "view", "--merge", "--raw", "-o", "json"])
            .env("KUBECONFIG", std::env::join_paths(&files).unwrap())
            .env("HOME", &*folder)
            .output();
        let Ok(view) = view else {
            println!("skipped: there is no kubectl");
            return;
        };
        assert!(
            view.status.success(),
            "{list:?}: {}",
            String::from_utf8_lossy(&view.stderr)
        );
        let theirs = serde_json::from_slice(&view.stdout).unwrap();
        assert_eq!(
            comparable(&theirs),
            ours(&load(&files).unwrap()),
            "{list:?}"
        );
    }
}

/// What is compared of kubectl's view: lists by name, and members that are set.
fn comparable(view: &Value) -> Value {
    let entries = |list: &str, kind: &str| {
        let items = view[list].as_array().into_iter().flatten();
        let entry = |item: &Value| {
            (
                item["name"].as_str().unwrap().to_owned(),
                item[kind].clone(),
            )
        };
        without_empty(&items.map(entry).collect::<serde_json::Map<_, _>>().into())
    };
    json!({
        "current-context": view["current-context"],
        "contexts": entries("contexts", "context"),
        "users": entries("users", "user"),
        "clusters": entries("clusters", "cluster"),
    })
}

fn ours(config: &Kubeconfig) -> Value {
    let entries = |entries: &BTreeMap<String, Entry>| {
        let entries = entries
            .iter()
            .map(|(name, entry)| (name.clone(), entry.value.clone()));
        without_empty(&entries.collect::<serde_json::Map<_, _>>().into())
    };
    json!({
        "current-context": config.current.as_deref().unwrap_or_default(),
        "contexts": entries(&config.contexts),
        "users": entries(&config.users),
        "clusters": entries(&config.clusters),
    })
}

/// kubectl writes some members even if they are empty.
fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| **value != json!(""))
            .map(|(key, value)| (key.clone(), without_empty(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

//! Each folder in `test-data/discovery` is a machine: its environment, its files, and the expected result.

// The paths in the data are Unix's.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    error::Error as _,
    ffi::OsString,
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use serde::Deserialize;
use tempfile::TempDir;
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

use super::{
    discover::{credentials, url},
    machine::{MOUNTED, Machine},
};
use crate::{auth::Auth, control_plane::ControlPlane, credentials::Credentials, error::SetupError};

/// Every secret in the data contains this, so no output may.
const SECRET: &str = "s3cr3t";

/// Stands for the folder of a case's files.
const FS: &str = "$FS";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// The control plane's URL; if it is missing, the URL is discovered.
    url: Option<String>,
    /// The URL that must be discovered.
    control_plane: Option<String>,
    chosen: Option<String>,
    who: Option<String>,
    #[serde(default)]
    error: Vec<String>,
    #[serde(default)]
    not: Vec<String>,
}

struct Case {
    folder: TempDir,
    env: BTreeMap<String, String>,
    expected: Expected,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test-data/discovery")
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

impl Case {
    /// Reads a case, and copies its files for this test.
    fn new(name: &str, purpose: &str) -> Self {
        let folder = data().join(name);
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap().file_name();
            let known = ["env.json", "expected.json", "fs"];
            assert!(known.iter().any(|it| entry == **it), "{name}: {entry:?}");
        }
        let scratch = TempDir::with_prefix(format!("{purpose}-{name}-")).unwrap();
        let root = scratch.path().to_str().unwrap().to_owned();
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path);
            text.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
                .replace(FS, &root)
        };
        for (path, _) in tree(&folder.join("fs")) {
            let copy = path.strip_prefix(folder.join("fs")).unwrap();
            if copy.ends_with(".gitkeep") {
                fs::create_dir_all(scratch.path().join(copy).parent().unwrap()).unwrap();
                continue;
            }
            write(&scratch.path().join(copy), &read(path.clone()));
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(scratch.path().join(copy), private).unwrap();
        }
        let wrong = |error| -> Expected { panic!("{name}: {error}") };
        Self {
            env: serde_json::from_str(&read(folder.join("env.json"))).unwrap(),
            expected: serde_json::from_str(&read(folder.join("expected.json")))
                .unwrap_or_else(wrong),
            folder: scratch,
        }
    }

    fn on_machine<T>(&self, look: impl FnOnce(&Machine<'_>) -> T) -> T {
        let mounted = self.folder.path().join(MOUNTED.trim_start_matches('/'));
        look(&Machine {
            lookup: &|name| self.env.get(name).map(OsString::from),
            mounted: &mounted,
        })
    }

    /// Does what `Credentials::discover` does if the case has a URL, else what `Auth::discover` does.
    /// Returns the result and the log.
    fn discover(&self) -> (Result<(ControlPlane, Credentials), SetupError>, Vec<Line>) {
        let discover = |machine: &Machine<'_>| {
            let url = match &self.expected.url {
                Some(url) => {
                    assert_eq!(self.expected.control_plane, None, "it is not looked for");
                    url.clone()
                }
                None => {
                    let url = url(machine)?;
                    assert_eq!(Some(&url), self.expected.control_plane.as_ref());
                    url
                }
            };
            let control_plane = ControlPlane::new(&url)?;
            let credentials = credentials(machine, &control_plane)?;
            Ok((control_plane, credentials))
        };
        Log::of(|| self.on_machine(discover))
    }

    fn authenticated(&self) -> Auth {
        let (control_plane, credentials) = self.discover().0.unwrap();
        control_plane.authenticate(credentials)
    }
}

/// All files below a folder.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(tree(&path)),
            false => {
                files.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Collects all events and the fields of spans.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

#[derive(Clone, Debug)]
struct Line {
    level: Level,
    fields: BTreeMap<&'static str, String>,
}

impl Log {
    /// Returns what this thread logs while `run` runs.
    fn of<T>(run: impl FnOnce() -> T) -> (T, Vec<Line>) {
        let (log, _guard) = Self::start();
        let result = run();
        (result, log.lines())
    }

    /// Collects what this thread logs until the guard is dropped.
    fn start() -> (Self, DefaultGuard) {
        // With a single subscriber, tracing caches for all threads whether the first thread to reach an
        // event wants it. So there are always two.
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| Dispatch::new(Self::default()));
        let log = Self::default();
        (log.clone(), tracing::subscriber::set_default(log))
    }

    fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }

    fn push(&self, level: Level, record: impl FnOnce(&mut Line)) {
        let fields = BTreeMap::new();
        let mut line = Line { level, fields };
        record(&mut line);
        self.0.lock().unwrap().push(line);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.push(Level::TRACE, |line| span.record(line));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        self.push(Level::TRACE, |line| values.record(line));
    }

    fn event(&self, event: &Event<'_>) {
        self.push(*event.metadata().level(), |line| event.record(line));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn at(level: Level, lines: &[Line]) -> Vec<BTreeMap<&'static str, String>> {
    let lines = lines.iter().filter(|line| line.level == level);
    lines.map(|line| line.fields.clone()).collect()
}

/// An error with its whole chain.
fn chain(error: &SetupError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(source) = next {
        text += &format!(" {source} {source:?}");
        next = source.source();
    }
    text
}

fn check(name: &str) {
    let case = Case::new(name, "discovery");
    let before = tree(case.folder.path());
    let (found, lines) = case.discover();
    let logged = format!("{lines:?}");
    assert!(!logged.contains(SECRET), "{name}: {logged}");
    assert!(at(Level::WARN, &lines).is_empty(), "{name}: {logged}");
    let infos = at(Level::INFO, &lines);
    let expected = &case.expected;
    match found {
        Ok((_, credentials)) => {
            let shown = format!("{credentials:?}");
            assert!(!shown.contains(SECRET), "{name}: {shown}");
            assert_eq!(infos.len(), 1, "{name}: {logged}");
            let said = |field| infos[0].get(field);
            assert_eq!(said("place"), expected.chosen.as_ref(), "{name}");
            assert_eq!(said("who"), expected.who.as_ref(), "{name}");
            assert!(expected.error.is_empty(), "{name} has an error too");
        }
        Err(error) => {
            let chosen = (&expected.chosen, &expected.who);
            assert_eq!(chosen, (&None, &None), "{name}: {error}");
            assert!(!expected.error.is_empty(), "{name}: {error}");
            assert!(infos.is_empty(), "{name}: {logged}");
            let message = error.to_string();
            for says in &expected.error {
                assert!(message.contains(says), "{name}: {message}\nlacks {says}");
            }
            for not in &expected.not {
                assert!(!message.contains(not), "{name}: {message}\nhas {not}");
            }
            assert!(!chain(&error).contains(SECRET), "{name}: {error:?}");
        }
    }
    // No program left a file, and nothing was written.
    assert_eq!(tree(case.folder.path()), before, "{name}");
}

#[test]
fn every_machine_in_the_data_is_as_expected() {
    let entries = fs::read_dir(data()).unwrap();
    let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() >= 34, "{} cases", names.len());
    for name in names {
        check(name.to_str().unwrap());
    }
}

#[test]
fn discovery_logs_its_choice_once_and_why_it_skipped_the_other_places() {
    let case = Case::new("kubeconfig", "log");
    let (found, lines) = case.discover();
    assert!(found.is_ok());
    let infos = at(Level::INFO, &lines);
    let [info] = infos.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(info["place"], "the kubeconfig");
    assert_eq!(info["who"], "the kubeconfig's context \"runai\"");
    assert_eq!(info["control_plane"], "https://acme.run.ai");
    let passed: Vec<_> = at(Level::DEBUG, &lines)
        .into_iter()
        .map(|line| (line["place"].clone(), line["why"].clone()))
        .collect();
    let passed: Vec<_> = passed.iter().map(|(a, b)| (&**a, &**b)).collect();
    let [environment, files, cli] = passed.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(environment.0, "the environment");
    assert!(environment.1.contains("RUNAI_CLIENT_ID"), "{passed:?}");
    assert_eq!(files.0, "mounted files");
    assert!(files.1.contains("RUNAI_CREDENTIALS"), "{passed:?}");
    assert_eq!(cli.0, "the Run:ai CLI's login");
    assert!(cli.1.contains("authentication.json"), "{passed:?}");
    assert!(!format!("{lines:?}").contains(SECRET), "{lines:?}");
}

/// Others may read the command line's configuration, because it holds no secret.
#[test]
fn only_a_file_with_a_secret_must_be_private() {
    let case = Case::new("cli", "open");
    for (name, warnings) in [("config", 0), ("authentication", 1)] {
        let path = case.folder.path().join(format!("home/.runai/{name}.json"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let (found, lines) = case.discover();
        assert!(found.is_ok());
        assert_eq!(at(Level::WARN, &lines).len(), warnings, "{name}: {lines:?}");
    }
}

#[tokio::test]
async fn an_expired_login_is_chosen_and_its_fetch_says_what_to_do() {
    let case = Case::new("cli-ended-token", "ended");
    let auth = case.authenticated();
    let shown = format!("{:?}", auth.cache().token().await.unwrap_err());
    assert!(shown.contains("run `runai login`"), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
}

/// A kubeconfig changes while the program runs, with every `kubectl config use-context`.
#[tokio::test]
async fn discovery_of_a_kubeconfig_does_not_allow_another_login_there_later() {
    for (later, says) in [
        ("kubeconfig-exec-only", "another kind of login"),
        ("kubeconfig-token-only", "another kind of login"),
        ("kubeconfig-other-issuer", "https://other.run.ai"),
    ] {
        let (case, later) = (Case::new("kubeconfig", later), Case::new(later, "later"));
        let auth = case.authenticated();
        let text = std::fs::read_to_string(later.folder.path().join("home/.kube/config")).unwrap();
        write(&case.folder.path().join("home/.kube/config"), &text);
        let error = auth.cache().token().await.unwrap_err();
        let shown = format!("{error:?}");
        assert!(shown.contains(says), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
        let ran = later.folder.path().join("program-was-run");
        assert!(!ran.exists(), "the program was run");
    }
}

#[tokio::test]
async fn the_discovered_context_stays_when_another_becomes_current() {
    let case = Case::new("kubeconfig", "switched");
    let auth = case.authenticated();
    let text = std::fs::read_to_string(case.folder.path().join("home/.kube/config")).unwrap();
    let text = text.replace("current-context: runai", "current-context: other");
    write(&case.folder.path().join("home/.kube/config"), &text);
    let token = auth.cache().token().await.unwrap();
    assert_eq!(token.expose_secret(), "s3cr3t-id-token");
}

#[tokio::test]
async fn credentials_discovered_for_one_control_plane_are_not_for_another() {
    for name in ["cli", "kubeconfig"] {
        let case = Case::new(name, "other-plane");
        let (_, credentials) = case.discover().0.unwrap();
        let other = ControlPlane::new("https://other.run.ai").unwrap();
        let auth = other.authenticate(credentials);
        let shown = format!("{:?}", auth.cache().token().await.unwrap_err());
        assert!(shown.contains("for https://other.run.ai"), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_warns_once_that_others_may_read_a_kubeconfig() {
    let case = Case::new("kubeconfig", "open");
    let auth = case.authenticated();
    let path = case.folder.path().join("home/.kube/config");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (log, _guard) = Log::start();
    auth.cache().token().await.unwrap();
    let warnings = at(Level::WARN, &log.lines());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

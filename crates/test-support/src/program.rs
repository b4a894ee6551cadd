//! Running a built program.

use std::{
    env,
    ffi::OsStr,
    path::Path,
    process::{ExitStatus, Stdio},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
};

use crate::{scratch::Scratch, wait::within};

/// A program to run, with its arguments and variables.
///
/// Of the environment it has where programs are (`PATH`), and a home of its own, which is its place for
/// temporary files too; its standard input is empty. It is killed on drop.
#[derive(Debug)]
pub struct Program {
    command: Command,
    input: Option<String>,
    home: Scratch,
}

impl Program {
    /// The program at a path: `env!("CARGO_BIN_EXE_…")`.
    #[must_use]
    pub fn at(path: impl AsRef<OsStr>) -> Self {
        let home = Scratch::new();
        let mut command = Command::new(path);
        command.env_clear();
        // On Windows nothing that uses sockets runs without the second.
        for name in ["PATH", "SYSTEMROOT"] {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", home.root())
            .env("TMPDIR", home.root())
            .kill_on_drop(true);
        Self {
            command,
            input: None,
            home,
        }
    }

    /// An example of the package that this test is of.
    #[must_use]
    pub fn example(name: &str) -> Self {
        let test = env::current_exe().expect("a test has a path");
        // The test is in `deps`; the examples are beside that folder.
        let above = test.parent().and_then(Path::parent);
        let examples = above.expect("a test is in a folder").join("examples");
        Self::at(examples.join(format!("{name}{}", env::consts::EXE_SUFFIX)))
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn var(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable away again.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets the variables that name a control plane, and an application with its secret.
    #[must_use]
    pub fn application(self, url: &str, id: &str, secret: &str) -> Self {
        self.var("RUNAI_BASE_URL", url)
            .var("RUNAI_CLIENT_ID", id)
            .var("RUNAI_CLIENT_SECRET", secret)
    }

    /// Sets what the program reads from its standard input.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// Starts the program.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    #[must_use]
    pub fn start(mut self) -> Running {
        let mut child = self
            .command
            .stdin(match self.input {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} does not start: {error}", self.command));
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), self.input) {
            tokio::spawn(async move {
                // A program may end without reading its input; what it then says is for the test to judge.
                let _written = stdin.write_all(text.as_bytes()).await;
            });
        }
        let mut stderr = child.stderr.take().expect("it is piped");
        Running {
            stdout: BufReader::new(child.stdout.take().expect("it is piped")),
            // Read from the start, because a full pipe would stop the program.
            stderr: tokio::spawn(async move {
                let mut text = Vec::new();
                let read = stderr.read_to_end(&mut text).await;
                read.expect("its standard error can be read");
                String::from_utf8_lossy(&text).into_owned()
            }),
            child,
            printed: String::new(),
            _home: self.home,
        }
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started, or does not end within [`LIMIT`](crate::LIMIT).
    pub async fn end(self) -> Ended {
        self.start().end().await
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: JoinHandle<String>,
    printed: String,
    _home: Scratch,
}

impl Running {
    /// The next line that it prints, without its end; an empty text if there is none.
    pub async fn line(&mut self) -> String {
        let begin = self.printed.len();
        let read = within(self.stdout.read_line(&mut self.printed)).await;
        read.expect("it prints text");
        self.printed[begin..].trim_end().to_owned()
    }

    /// The next line that it prints, which is JSON.
    ///
    /// # Panics
    ///
    /// Panics if it is not, or if the program ends without one.
    pub async fn json(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Sends it a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = self.child.id().expect("it was not waited for");
        let id = i32::try_from(id)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("it is a number of a process"), signal)
            .expect("the process is ours");
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        let ended = self.child.try_wait().expect("it is our child");
        ended.is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// Panics if it does not end within [`LIMIT`](crate::LIMIT).
    pub async fn end(mut self) -> Ended {
        let read = within(self.stdout.read_to_string(&mut self.printed)).await;
        read.expect("it prints text");
        Ended {
            status: within(self.child.wait()).await.expect("it is our child"),
            stdout: self.printed,
            stderr: within(self.stderr).await.expect("it was read"),
        }
    }
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it printed.
    pub stdout: String,
    /// All that it wrote to its standard error.
    pub stderr: String,
}

impl Ended {
    /// The exit code.
    ///
    /// # Panics
    ///
    /// Panics if a signal ended the program.
    #[must_use]
    pub fn code(&self) -> i32 {
        let code = self.status.code();
        code.unwrap_or_else(|| panic!("it has no exit code: {self:?}"))
    }

    /// What it printed.
    ///
    /// # Panics
    ///
    /// Panics if it failed.
    #[must_use]
    pub fn success(&self) -> &str {
        let (status, stdout, stderr) = (self.status, &self.stdout, &self.stderr);
        assert!(status.success(), "{status}\n{stdout}\n{stderr}");
        stdout
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::Signal;

    use super::*;
    use crate::wait::wait_for;

    fn shell(script: &str) -> Program {
        Program::at("sh").args(&["-c", script])
    }

    #[tokio::test]
    async fn its_environment_is_what_the_test_says() {
        let program = shell("env").application("http://x", "id", "secret");
        let home = format!("HOME={}", program.home.root().display());
        let program = program.var("MINE", "1").without("RUNAI_CLIENT_ID");
        let ended = program.end().await;
        let mut names: Vec<_> = ended
            .success()
            .lines()
            .map(|line| line.split_once('=').unwrap().0)
            // The shell's own.
            .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
            .collect();
        names.sort_unstable();
        let expected = [
            "HOME",
            "MINE",
            "PATH",
            "RUNAI_BASE_URL",
            "RUNAI_CLIENT_SECRET",
            "TMPDIR",
        ];
        assert_eq!(names, expected);
        assert!(
            ended.stdout.lines().any(|line| line == home),
            "{}",
            ended.stdout
        );
    }

    #[tokio::test]
    async fn what_it_writes_and_how_it_ends_is_kept() {
        // More than a pipe takes, to the stream that is read second.
        let script = "read word; head -c 200000 /dev/zero >&2; echo one; echo $word; exit 7";
        let mut running = shell(script).input("two\n").start();
        assert_eq!(running.line().await, "one");
        let ended = running.end().await;
        assert_eq!((ended.code(), ended.stdout.as_str()), (7, "one\ntwo\n"));
        assert_eq!(ended.stderr.len(), 200_000);
    }

    #[tokio::test]
    async fn a_signal_reaches_it() {
        let mut running =
            shell("trap 'exit 9' TERM; echo {}; while :; do sleep 0.01; done").start();
        assert_eq!(running.json().await, serde_json::json!({}));
        assert!(running.runs());
        running.signal(Signal::TERM);
        assert_eq!(running.end().await.code(), 9);
    }

    #[tokio::test]
    async fn it_is_killed_on_drop() {
        let scratch = Scratch::new();
        let (alive, pid) = (scratch.path("alive"), scratch.name("pid"));
        let script = format!(
            "echo $$ >{pid}; while :; do touch {}; sleep 0.01; done",
            alive.display()
        );
        let running = shell(&script).start();
        wait_for("the program runs", async || alive.exists()).await;
        drop(running);
        let id: i32 = scratch.read("pid").trim().parse().unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        wait_for("the program has ended", async || {
            rustix::process::test_kill_process(id).is_err()
        })
        .await;
    }
}

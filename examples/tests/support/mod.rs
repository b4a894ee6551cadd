//! Runs an example's program as a user runs it.

use std::{
    env,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A program under way. It is killed with the test.
pub(crate) struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
    told: String,
}

pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    /// Starts an example with these arguments and, of the `RUNAI_` variables, these.
    pub(crate) fn start(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let test = env::current_exe().unwrap();
        // The test is in `deps`; the examples are beside that folder.
        let examples = test.parent().unwrap().parent().unwrap().join("examples");
        let mut command = Command::new(examples.join(format!("{name}{}", env::consts::EXE_SUFFIX)));
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("RUNAI_") {
                command.env_remove(variable);
            }
        }
        let mut child = command
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            stdout: BufReader::new(child.stdout.take().unwrap()),
            stderr: child.stderr.take().unwrap(),
            child,
            told: String::new(),
        }
    }

    /// The next line that it prints.
    #[allow(dead_code, reason = "each test has its own copy of this file")]
    pub(crate) async fn line(&mut self) -> String {
        let begin = self.told.len();
        timeout(LIMIT, self.stdout.read_line(&mut self.told))
            .await
            .unwrap()
            .unwrap();
        self.told[begin..].trim_end().to_owned()
    }

    /// Sends it a signal: `INT`, as Ctrl-C does.
    #[allow(dead_code, reason = "each test has its own copy of this file")]
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().unwrap();
        let sent = std::process::Command::new("sh")
            .args(["-c", &format!("kill -{name} {id}")])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Output {
        let mut stderr = String::new();
        let ended = timeout(LIMIT, async {
            // Both are read at once, so that neither pipe fills up and stops it.
            let (out, err) = tokio::join!(
                self.stdout.read_to_string(&mut self.told),
                self.stderr.read_to_string(&mut stderr),
            );
            out.unwrap();
            err.unwrap();
            self.child.wait().await.unwrap()
        });
        let status = ended.await;
        let status = status.unwrap_or_else(|_| panic!("it does not end: {}", self.told));
        Output {
            status,
            stdout: self.told,
            stderr,
        }
    }
}

impl Output {
    /// What it printed, if it ended well.
    pub(crate) fn success(&self) -> &str {
        let Self {
            status,
            stdout,
            stderr,
        } = self;
        assert!(status.success(), "{status}\n{stdout}\n{stderr}");
        stdout
    }
}

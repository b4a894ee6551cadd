//! The program, run in an environment of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use runai_fake::{Builder, RunaiFake};
use tokio::io::AsyncWriteExt;

pub(crate) const ID: &str = "ci-bot";
pub(crate) const SECRET: &str = "s3cr3t-of-the-cli";

/// A folder of a test's own, which is its home too.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("runai-auth-cli-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Files with secrets, as their owners keep them.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program with its arguments and variables.
pub(crate) struct Program {
    command: tokio::process::Command,
    input: Option<String>,
    _home: Folder,
}

impl Program {
    pub(crate) fn new(args: &[&str]) -> Self {
        let home = Folder::new();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_runai-auth"));
        command
            .args(args)
            .env_clear()
            .env("HOME", home.root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self {
            command,
            input: None,
            _home: home,
        }
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The control plane's URL and the test's application.
    pub(crate) fn client(self, url: &str) -> Self {
        self.var("RUNAI_BASE_URL", url)
            .var("RUNAI_CLIENT_ID", ID)
            .var("RUNAI_CLIENT_SECRET", SECRET)
    }

    pub(crate) fn input(mut self, text: &str) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(text.to_owned());
        self
    }

    pub(crate) async fn end(mut self) -> Ended {
        let mut child = self.command.spawn().unwrap();
        if let Some(input) = self.input {
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(input.as_bytes()).await.unwrap();
        }
        let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output());
        let ended = ended.await.unwrap().unwrap();
        Ended {
            code: ended.status.code().unwrap(),
            stdout: String::from_utf8(ended.stdout).unwrap(),
            stderr: String::from_utf8(ended.stderr).unwrap(),
        }
    }
}

pub(crate) fn builder() -> Builder {
    RunaiFake::builder().application(ID, SECRET)
}

pub(crate) async fn fake() -> RunaiFake {
    builder().start().await.unwrap()
}

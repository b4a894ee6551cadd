//! Programs whose output is a secret.

use std::{error, ffi::OsString, fmt, io, process::Stdio};

use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

/// The most that is read of a program's output: 1 MiB.
const OUTPUT_CAP: u64 = 1024 * 1024;

/// A program and its arguments. Only the program is ever named, since arguments may be secret.
#[derive(Clone)]
pub(crate) struct Command {
    program: OsString,
    args: Vec<OsString>,
}

impl Command {
    pub(crate) fn new<I, A>(program: impl Into<OsString>, args: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
        }
    }

    /// Runs it, and takes what it prints. It has no input, its standard error is ours, and it is killed
    /// when this is dropped.
    pub(crate) async fn output(&self) -> Result<Zeroizing<String>, CommandError> {
        let failed = |what: &str, source| CommandError {
            message: format!("{self} {what}"),
            source,
        };
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed("is not installed, or not on PATH", None),
            _ => failed("cannot be run", Some(error)),
        })?;
        let mut read = Zeroizing::new(Vec::with_capacity(16 * 1024));
        if let Some(stdout) = child.stdout.take() {
            let mut capped = stdout.take(OUTPUT_CAP + 1);
            let all = capped.read_to_end(&mut read).await;
            all.map_err(|error| failed("cannot be read from", Some(error)))?;
        }
        if read.len() as u64 > OUTPUT_CAP {
            return Err(failed("printed more than 1 MiB", None));
        }
        let status = child.wait().await;
        let status = status.map_err(|error| failed("cannot be waited for", Some(error)))?;
        if !status.success() {
            return Err(failed(&format!("failed ({status})"), None));
        }
        let text = std::str::from_utf8(&read)
            .map_err(|_| failed("printed something that is no UTF-8 text", None))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the program `{}`", self.program.to_string_lossy())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a program gave nothing.
#[derive(Debug)]
pub(crate) struct CommandError {
    message: String,
    source: Option<io::Error>,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for CommandError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    async fn failure(program: &str, args: &[&str]) -> String {
        let args = args.iter().copied();
        Command::new(program, args)
            .output()
            .await
            .expect_err(program)
            .to_string()
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_without_the_output_or_the_arguments() {
        assert_eq!(
            failure("no-such-program", &[]).await,
            "the program `no-such-program` is not installed, or not on PATH"
        );
        assert_eq!(
            failure("sh", &["-c", "echo s3cr3t; exit 3"]).await,
            "the program `sh` failed (exit status: 3)"
        );
        assert_eq!(
            failure("printf", &["\\377"]).await,
            "the program `printf` printed something that is no UTF-8 text"
        );
        let endless = failure("sh", &["-c", "while :; do echo s3cr3ts3cr3ts3cr3t; done"]).await;
        assert_eq!(endless, "the program `sh` printed more than 1 MiB");
    }
}

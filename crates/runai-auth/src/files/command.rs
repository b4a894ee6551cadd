//! Running a program whose output is a secret.

use std::{
    error,
    ffi::{OsStr, OsString},
    fmt,
    future::{Future, poll_fn},
    io::{self, IsTerminal as _},
    path::Path,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Child,
    time::timeout,
};
use tower_bearer::ForeignText;
use zeroize::Zeroizing;

use super::buffer;

/// The most that is read of a program's output: 1 MiB.
const OUTPUT_CAP: usize = 1024 * 1024;

/// How much of what a program writes to its standard error is kept: its end, 4 KiB.
const SAID_CAP: usize = 4 * 1024;

/// How long a program may run where its caller sets no time of its own. A fetch does: 10 s, unless its
/// cache is told otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// How long the standard error is read after the program has ended. Somebody else may still hold it open: a
/// daemon that the program started.
const AFTER_END: Duration = Duration::from_millis(100);

/// A program, its arguments, and the variables that it gets beside ours. Errors and `Debug` name the program
/// alone, since the others may be secret.
#[derive(Clone)]
pub(crate) struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    /// Variables whose values are no secrets.
    open_env: Vec<(OsString, OsString)>,
    time_limit: Duration,
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
            env: Vec::new(),
            open_env: Vec::new(),
            time_limit: TIME_LIMIT,
        }
    }

    /// Sets a variable for the program. The last value of a name counts.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.env.push((name, value));
        self
    }

    /// Sets a variable whose value is no secret: the program's errors may repeat it.
    pub(crate) fn open_env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.open_env.push((name, value));
        self
    }

    #[cfg(test)]
    fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Runs it, and returns what it prints. Its standard input is empty. Dropping the future kills it.
    pub(crate) async fn output(&self) -> Result<Zeroizing<String>, CommandError> {
        let (mut said, mut output) = (Vec::new(), Zeroizing::new(Vec::with_capacity(16 * 1024)));
        let mut child = self.start()?;
        let stderr = child.stderr.take();
        let ran = {
            let mut listening = pin!(keep_end(stderr, &mut said, self.echo()));
            let mut running = pin!(timeout(self.time_limit, run(&mut child, &mut output)));
            let mut still_open = true;
            // Both are read at once: a full pipe would stop the program.
            let ran = poll_fn(|cx| {
                still_open = still_open && listening.as_mut().poll(cx).is_pending();
                running.as_mut().poll(cx)
            })
            .await;
            if still_open && matches!(ran, Ok(Ok(_))) {
                let _end = timeout(AFTER_END, listening).await;
            }
            ran
        };
        let problem = match ran {
            Ok(Ok(status)) if status.success() => {
                return buffer::into_text(output).ok_or_else(|| self.error(Problem::NotText, None));
            }
            Ok(Ok(status)) => Problem::Failed(status),
            Ok(Err(problem)) => problem,
            Err(_) => Problem::TimeOut(self.time_limit),
        };
        Err(self.error(problem, self.quoted(&said, &output)))
    }

    fn start(&self) -> Result<Child, CommandError> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.args)
            .envs(
                self.env
                    .iter()
                    .chain(&self.open_env)
                    .map(|(name, value)| (name, value)),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().map_err(|error| {
            let is_path = Path::new(&self.program).components().count() > 1;
            self.error(
                match error.kind() {
                    io::ErrorKind::NotFound if is_path => Problem::NotThere,
                    io::ErrorKind::NotFound => Problem::NotInstalled,
                    _ => Problem::NotStarted(error),
                },
                None,
            )
        })
    }

    fn error(&self, problem: Problem, said: Option<ForeignText>) -> CommandError {
        CommandError {
            command: self.to_string(),
            problem,
            said,
        }
    }
}

/// Reads what the program prints, and waits until it ends.
async fn run(child: &mut Child, output: &mut Zeroizing<Vec<u8>>) -> Result<ExitStatus, Problem> {
    if let Some(mut stdout) = child.stdout.take() {
        loop {
            buffer::make_room(output);
            let read = stdout.read_buf(&mut **output).await;
            match read.map_err(Problem::Unwatched)? {
                0 => break,
                _ if output.len() > OUTPUT_CAP => return Err(Problem::TooMuch),
                _ => {}
            }
        }
    }
    child.wait().await.map_err(Problem::Unwatched)
}

/// Reads to the end, and keeps the last of it. A person at a terminal sees each line at once: it may tell them
/// where to log in.
async fn keep_end(
    stream: Option<impl AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
    mut echo: Option<Echo<io::Stderr>>,
) {
    let Some(mut stream) = stream else { return };
    // A stream that breaks off has said what it had to say.
    while let Ok(read @ 1..) = stream.read_buf(kept).await {
        if let Some(echo) = &mut echo {
            echo.take(&kept[kept.len() - read..]);
        }
        if kept.len() > 2 * SAID_CAP {
            kept.drain(..kept.len() - SAID_CAP);
        }
    }
}

/// Shows a person what a program says, line by line: quoted, so that it can neither move the cursor nor pass
/// for a line of ours, and after the program's name.
struct Echo<W: io::Write> {
    to: W,
    program: String,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The line that was shown last. It is not shown again at once.
    last: String,
}

/// The most that is shown of one line, in characters. A URL to log in at may be long.
const LINE_CAP: usize = 4000;

impl<W: io::Write> Echo<W> {
    fn take(&mut self, said: &[u8]) {
        for piece in said.split_inclusive(|byte| b"\r\n".contains(byte)) {
            // A line without end is shown in parts.
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") || self.line.len() > LINE_CAP {
                self.show();
            }
        }
    }

    fn show(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if text.is_empty() || self.last == text {
            return;
        }
        self.last = text.to_owned();
        let line = format!("{}: {}\n", self.program, quoted_line(text));
        // Nobody can be told that the terminal has gone.
        let _shown = self.to.write_all(line.as_bytes());
    }
}

impl<W: io::Write> Drop for Echo<W> {
    fn drop(&mut self) {
        self.show();
    }
}

/// Quotes a line of any length up to the cap.
fn quoted_line(text: &str) -> String {
    let chars: Vec<char> = text.chars().take(LINE_CAP).collect();
    let pieces = chars.chunks(ForeignText::MAX_CHARS).map(|piece| {
        let shown = ForeignText::new(&piece.iter().collect::<String>()).to_string();
        shown[1..shown.len() - 1].to_owned()
    });
    format!("\"{}\"", pieces.collect::<String>())
}

/// The least length of a run of letters and digits that counts as a secret.
const MIN_RUN: usize = 6;

/// The most runs that are looked for. A program that printed or was given more has said too much to show.
const MAX_RUNS: usize = 1000;

impl Command {
    /// Shows what the program says, if a person sees our standard error.
    fn echo(&self) -> Option<Echo<io::Stderr>> {
        let stderr = io::stderr();
        stderr.is_terminal().then(|| Echo {
            to: stderr,
            program: self.to_string(),
            line: Vec::new(),
            last: String::new(),
        })
    }

    /// Returns the end of the program's words, unless they repeat something that it printed or was given: some
    /// programs do, as a whole or in part.
    fn quoted(&self, said: &[u8], output: &[u8]) -> Option<ForeignText> {
        let said = String::from_utf8_lossy(said);
        let words: Vec<_> = said.split_whitespace().collect();
        let said = Zeroizing::new(words.join(" "));
        if said.is_empty() {
            return None;
        }
        let hidden = said.chars().count().saturating_sub(ForeignText::MAX_CHARS);
        let end: Zeroizing<String> = said.chars().skip(hidden).collect::<String>().into();
        let printed = Zeroizing::new(String::from_utf8_lossy(output).into_owned());
        let lines = printed.lines().map(str::trim);
        let mut secrets: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        secrets.extend(long_runs(&printed));
        for text in self.args.iter().filter_map(|it| it.to_str()) {
            secrets.extend(long_runs(text));
        }
        for text in self.env.iter().filter_map(|(_, value)| value.to_str()) {
            let before = secrets.len();
            secrets.extend(long_runs(text));
            if secrets.len() == before && text.len() >= MIN_RUN {
                secrets.push(text);
            }
        }
        // What is cut off may hold the beginning of the secret whose end is shown.
        let is_clean = secrets.len() <= MAX_RUNS
            && ForeignText::without_secrets(&said, secrets.iter().copied())
                == ForeignText::new(&said);
        Some(match is_clean {
            true => ForeignText::without_secrets(&end, secrets),
            false => ForeignText::without_secrets(&end, [&**end]),
        })
    }
}

/// What may be a secret in a text, or a part of one.
fn long_runs(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    runs.filter(|run| run.len() >= MIN_RUN)
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.to_string_lossy();
        // A kubeconfig may name it.
        match program
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'`')
        {
            true => write!(f, "the program `{program}`"),
            false => write!(f, "the program {}", ForeignText::new(&program)),
        }
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
    command: String,
    problem: Problem,
    /// The end of what it wrote to its standard error.
    said: Option<ForeignText>,
}

#[derive(Debug)]
enum Problem {
    NotInstalled,
    NotThere,
    NotStarted(io::Error),
    Unwatched(io::Error),
    TooMuch,
    TimeOut(Duration),
    Failed(ExitStatus),
    NotText,
}

impl CommandError {
    /// Whether there is no such program.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.problem, Problem::NotInstalled | Problem::NotThere)
    }

    /// What happened, without the program's name: "failed (exit status: 3)".
    pub(crate) fn what(&self) -> String {
        let what = match &self.problem {
            Problem::NotInstalled => "is not installed, or not on PATH".into(),
            Problem::NotThere => "does not exist".into(),
            Problem::NotStarted(error) => format!("cannot be started ({error})"),
            Problem::Unwatched(error) => format!("cannot be read from ({error})"),
            Problem::TooMuch => format!("printed more than {} MiB", OUTPUT_CAP / (1024 * 1024)),
            Problem::TimeOut(limit) => format!("did not end within {limit:?}"),
            Problem::Failed(status) => format!("failed ({status})"),
            Problem::NotText => "printed something that is not UTF-8 text".into(),
        };
        match &self.said {
            Some(said) => format!("{what} and said {said}"),
            None => what,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.command, self.what())
    }
}

impl error::Error for CommandError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.problem {
            Problem::NotStarted(error) | Problem::Unwatched(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        Command::new("sh", ["-c", script])
    }

    async fn failure(command: Command) -> String {
        command.output().await.expect_err("no output").to_string()
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_without_the_output_or_the_arguments() {
        assert_eq!(
            failure(Command::new("no-such-program", [""; 0])).await,
            "the program `no-such-program` is not installed, or not on PATH"
        );
        assert_eq!(
            failure(Command::new("./no-such-program", [""; 0])).await,
            "the program `./no-such-program` does not exist"
        );
        assert_eq!(
            failure(sh("echo s3cr3t; exit 3")).await,
            "the program `sh` failed (exit status: 3)"
        );
        assert_eq!(
            failure(Command::new("printf", ["\\377"])).await,
            "the program `printf` printed something that is not UTF-8 text"
        );
        assert_eq!(
            failure(sh("while :; do echo s3cr3ts3cr3ts3cr3t; done")).await,
            "the program `sh` printed more than 1 MiB"
        );
    }

    #[tokio::test]
    async fn the_end_of_its_standard_error_is_shown_on_one_line_and_never_the_secret() {
        assert_eq!(
            failure(sh("echo 'not log''ged\n\u{202e}in\x1b[31m' >&2; exit 1")).await,
            "the program `sh` failed (exit status: 1) and said \"not logged \\u{202e}in\\u{1b}[31m\""
        );
        // More than a pipe takes, so that the program would wait for a reader.
        let much = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo 'some words that are said' >&2; done; \
                    echo the end >&2; exit 1";
        let error = failure(sh(much)).await;
        assert!(error.ends_with("that are said the end\""), "{error}");
        assert!(error.len() < 300, "{error}");
        let traced = failure(sh("echo s3cr3t; echo '+ echo s3cr3t' >&2; exit 1")).await;
        assert_eq!(
            traced,
            "the program `sh` failed (exit status: 1) and said (text that repeats a secret)"
        );
        let output = sh("echo noise >&2; echo s3cr3t").output().await.unwrap();
        assert_eq!(*output, "s3cr3t\n");
    }

    #[tokio::test]
    async fn p01_its_standard_error_repeats_nothing_that_it_printed_or_was_given() {
        let hidden =
            "the program `sh` failed (exit status: 1) and said (text that repeats a secret)";
        // As a whole, in part, and with other words around it.
        for script in [
            "echo 'tok.s3cr3tABC.sig'; echo \"bad: s3cr3tABC\" >&2; exit 1",
            "echo '{\"token\":\"s3cr3tABC\"}'; echo \"bad token=s3cr3tABC!\" >&2; exit 1",
            "echo \"cannot use $GIVEN\" >&2; exit 1",
            "echo \"cannot use ${GIVEN#pre-}\" >&2; exit 1",
        ] {
            let error = failure(sh(script).env("GIVEN", "pre-gIv3nS3cr3t/x")).await;
            assert_eq!(error, hidden, "{script}");
        }
        let given = Command::new(
            "sh",
            ["-c", "echo \"no $1\" >&2; exit 1", "sh", "aRgS3cr3t"],
        );
        assert_eq!(failure(given).await, hidden);
        // What is no secret may be repeated.
        let open = sh("echo \"no $OPEN\" >&2; exit 1").open_env("OPEN", "publicValue");
        assert_eq!(
            failure(open).await,
            "the program `sh` failed (exit status: 1) and said \"no publicValue\""
        );
    }

    #[test]
    fn p01_a_person_sees_each_line_quoted_and_after_the_programs_name() {
        let mut shown = Vec::new();
        let mut echo = Echo {
            to: &mut shown,
            program: "the program `x`".into(),
            line: Vec::new(),
            last: String::new(),
        };
        let url = format!("https://idp.example/{}", "x".repeat(500));
        for piece in [
            "open ",
            &url,
            "\nok\rok\n",
            "\x1b[2Jhint: run \"y\"",
            "\nerror: z",
        ] {
            echo.take(piece.as_bytes());
        }
        drop(echo);
        assert_eq!(
            String::from_utf8(shown).unwrap(),
            format!(
                "the program `x`: \"open {url}\"\nthe program `x`: \"ok\"\n\
                 the program `x`: \"\\u{{1b}}[2Jhint: run \\\"y\\\"\"\n\
                 the program `x`: \"error: z\"\n"
            )
        );
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_and_its_words_are_shown() {
        let waiting = sh("echo 'open this page' >&2; exec sleep 600");
        let ended = failure(waiting.time_limit(Duration::from_millis(500)));
        assert_eq!(
            timeout(Duration::from_secs(10), ended).await.unwrap(),
            "the program `sh` did not end within 500ms and said \"open this page\""
        );
    }

    #[tokio::test]
    async fn a_daemon_that_holds_the_standard_error_open_does_not_matter() {
        let leaving = sh("sleep 20 >/dev/null & echo s3cr3t");
        let output = timeout(Duration::from_secs(10), leaving.output()).await;
        assert_eq!(*output.unwrap().unwrap(), "s3cr3t\n");
    }

    #[tokio::test]
    async fn variables_are_set_beside_ours() {
        let command = sh("printf '%s %s' \"$OURS\" \"${PATH:+path}\"");
        let output = command.env("OURS", "one").env("OURS", "two").output().await;
        assert_eq!(*output.unwrap(), "two path");
    }
}

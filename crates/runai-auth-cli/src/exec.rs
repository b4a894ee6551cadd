//! `runai-auth exec`: runs a command with its own proxy, which adds the token.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    net::{Ipv4Addr, SocketAddr},
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::process::{Child, Command};
use tracing::debug;

use crate::{
    connect,
    failure::{Failure, OTHER},
    flags::ExecArgs,
    proxy::{Address, Filter, Key, Server, Setup, Signal, Signals},
};

/// The id and the secret that the command finds. They give no access.
const PLACEHOLDER: &str = "placeholder";

pub(crate) async fn run(args: &ExecArgs) -> Result<ExitCode, Failure> {
    // First, so that no signal ends the proxy before the command.
    let mut signals = Signals::listen_for_command()?;
    let key = random_key()?;
    let setup = Setup {
        listen: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        admin: None,
        health: None,
        key: Some(Key::fixed(&key)),
        allow_host: Vec::new(),
        metrics: None,
        filter: Filter::new(&args.rules)?,
        rules: &args.rules,
        // The proxy ends with the command.
        grace: Duration::ZERO,
    };
    let auth = connect::auth(&args.connect)?;
    let server = tokio::select! {
        started = Server::start(auth, setup) => started?,
        signal = signals.ending() => return Ok(signal.code()),
    };
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::usage("no command is given", "Write it after `--`"));
    };
    let mut command = Command::new(program);
    command.args(rest);
    let url = format!("{}/{key}", server.url());
    for (name, value) in changes(env::vars_os(), &url) {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut child = command.spawn().map_err(|error| not_run(program, &error))?;
    loop {
        tokio::select! {
            ended = child.wait() => return Ok(code(ended.map_err(Failure::other)?)),
            signal = signals.next() => pass_on(signal, &child),
        }
    }
}

/// Makes a key of 32 random bytes that is valid in a path.
fn random_key() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::new(OTHER, "the system gives no random numbers", ""))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns how the command's environment differs from this one: values to set, and names to remove (`None`).
fn changes(
    environment: impl Iterator<Item = (OsString, OsString)>,
    url: &str,
) -> Vec<(OsString, Option<OsString>)> {
    let mut changes = Vec::new();
    let mut no_proxy = [("NO_PROXY", None), ("no_proxy", None)];
    for (name, value) in environment {
        let text = name.to_string_lossy();
        let is_ours = ["RUNAI_AUTH_", "RUNAI_CLIENT_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
            || text == "RUNAI_CREDENTIALS";
        if let Some((_, found)) = no_proxy.iter_mut().find(|(name, _)| text == *name) {
            *found = Some(value);
        } else if is_ours {
            changes.push((name, None));
        }
    }
    let mut set = |name: &str, value: OsString| changes.push((name.into(), Some(value)));
    set("RUNAI_BASE_URL", url.into());
    set("RUNAI_CLIENT_ID", PLACEHOLDER.into());
    set("RUNAI_CLIENT_SECRET", PLACEHOLDER.into());
    // A program may read either name, so each gets the value of the other if it has none.
    let other = no_proxy.iter().find_map(|(_, value)| value.clone());
    for (name, value) in no_proxy {
        let value = value.or_else(|| other.clone()).unwrap_or_default();
        set(name, with_loopback(value));
    }
    changes
}

fn with_loopback(mut list: OsString) -> OsString {
    if !list.is_empty() {
        list.push(",");
    }
    list.push("127.0.0.1");
    list
}

fn not_run(program: &OsStr, error: &io::Error) -> Failure {
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            127,
            format!("the command `{program}` does not exist"),
            "Check its name and PATH",
        ),
        _ => Failure::new(
            126,
            format!("`{program}` cannot be run: {error}"),
            "Check that it is a program and executable",
        ),
    }
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    #[cfg(unix)]
    let code = {
        use std::os::unix::process::ExitStatusExt as _;

        let of_signal = |signal| u8::try_from(128 + signal).ok();
        code.or_else(|| status.signal().and_then(of_signal))
    };
    ExitCode::from(code.unwrap_or(OTHER))
}

#[cfg(unix)]
fn pass_on(signal: Signal, child: &Child) {
    use rustix::process::{Pid, kill_process};

    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let Some(child) = id.and_then(Pid::from_raw) else {
        return;
    };
    let which = match signal {
        // A terminal sends Ctrl-C and Ctrl-\ to the command too, which would get them twice.
        Signal::Interrupt | Signal::Quit if is_foreground() => return,
        Signal::Interrupt => rustix::process::Signal::INT,
        Signal::HangUp => rustix::process::Signal::HUP,
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Quit => rustix::process::Signal::QUIT,
        Signal::User1 => rustix::process::Signal::USR1,
        Signal::User2 => rustix::process::Signal::USR2,
    };
    let passed = kill_process(child, which);
    debug!(
        signal = signal.name(),
        ?passed,
        "a signal was passed on to the command"
    );
}

/// Returns true if the terminal sends its signals to this process, and so to its children.
#[cfg(unix)]
fn is_foreground() -> bool {
    let group = rustix::process::getpgrp();
    rustix::termios::tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|it| it == group)
}

#[cfg(not(unix))]
fn pass_on(signal: Signal, _: &Child) {
    debug!(
        signal = signal.name(),
        "a signal reaches the command by itself"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(environment: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
        let environment = environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let text = |it: OsString| it.into_string().unwrap();
        changes(environment, "http://127.0.0.1:1/key")
            .into_iter()
            .map(|(name, value)| (text(name), value.map(text)))
            .collect()
    }

    #[test]
    fn our_secrets_are_removed() {
        let changes = changed(&[
            ("RUNAI_AUTH_PASSWORD", "x"),
            ("RUNAI_CLIENT_SECRET_FILE", "x"),
            ("RUNAI_CLIENT_ID_FILE", "x"),
            ("RUNAI_CREDENTIALS", "x"),
            ("RUNAI_PROJECT", "x"),
            ("HOME", "x"),
        ]);
        let removed: Vec<_> = changes
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            removed,
            [
                "RUNAI_AUTH_PASSWORD",
                "RUNAI_CLIENT_SECRET_FILE",
                "RUNAI_CLIENT_ID_FILE",
                "RUNAI_CREDENTIALS",
            ]
        );
        let value = |name: &str| {
            let found = changes.iter().rfind(|(it, _)| it == name);
            found.and_then(|(_, value)| value.clone())
        };
        assert_eq!(value("RUNAI_BASE_URL").unwrap(), "http://127.0.0.1:1/key");
        assert_eq!(value("RUNAI_CLIENT_SECRET").unwrap(), "placeholder");
        assert_eq!(value("NO_PROXY").unwrap(), "127.0.0.1");
    }

    #[test]
    fn no_proxy_keeps_its_entries() {
        let changes = changed(&[("no_proxy", "a.example")]);
        for name in ["no_proxy", "NO_PROXY"] {
            let wanted = (name.to_owned(), Some("a.example,127.0.0.1".to_owned()));
            assert!(changes.contains(&wanted), "{changes:?}");
        }
    }

    #[test]
    fn keys_are_long_and_random() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
    }
}

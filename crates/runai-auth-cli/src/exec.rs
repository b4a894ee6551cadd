//! `runai-auth exec`: runs a command with a proxy of its own, which adds the token.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    net::{Ipv4Addr, SocketAddr},
    process::{ExitCode, ExitStatus},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::process::{Child, Command};
use tracing::debug;

use crate::{
    args::ExecArgs,
    connect,
    failure::{Failure, OTHER},
    proxy::{
        guard::Filter,
        key::Key,
        listen::Address,
        server::{Server, Setup},
        signals::{Signal, Signals},
    },
};

/// What a client has for an id and a secret. They open nothing.
const PLACEHOLDER: &str = "placeholder";

pub(crate) async fn run(args: &ExecArgs) -> Result<ExitCode, Failure> {
    // First, so that none ends the proxy before the command.
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
    };
    let auth = connect::auth(&args.connect)?;
    let server = tokio::select! {
        started = Server::start(auth, setup) => started?,
        signal = signals.ending() => return Ok(signal.code()),
    };
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::usage("there is no command", "Write it after `--`"));
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

/// 32 random bytes, as they can stand in a path.
fn random_key() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::new(OTHER, "the system gives no random numbers", ""))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is other in the command's environment than in this one: values, and names that are taken out.
fn changes(
    environment: impl Iterator<Item = (OsString, OsString)>,
    url: &str,
) -> Vec<(OsString, Option<OsString>)> {
    let mut changes = Vec::new();
    let mut exempt = [("NO_PROXY", None), ("no_proxy", None)];
    for (name, value) in environment {
        let text = name.to_string_lossy();
        let is_ours = ["RUNAI_AUTH_", "RUNAI_CLIENT_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
            || text == "RUNAI_CREDENTIALS";
        if let Some((_, told)) = exempt.iter_mut().find(|(name, _)| text == *name) {
            *told = Some(value);
        } else if is_ours {
            changes.push((name, None));
        }
    }
    let mut set = |name: &str, value: OsString| changes.push((name.into(), Some(value)));
    set("RUNAI_BASE_URL", url.into());
    set("RUNAI_CLIENT_ID", PLACEHOLDER.into());
    set("RUNAI_CLIENT_SECRET", PLACEHOLDER.into());
    // A program may read either, so that one stands in for the other.
    let other = exempt.iter().find_map(|(_, told)| told.clone());
    for (name, told) in exempt {
        let told = told.or_else(|| other.clone()).unwrap_or_default();
        set(name, with_loopback(told));
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
            format!("there is no command `{program}`"),
            "Check its name and PATH",
        ),
        _ => Failure::new(
            126,
            format!("`{program}` cannot be run: {error}"),
            "Check that it is a program, and may be run",
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
        // Ctrl-C and Ctrl-\ at a terminal reach the command by themselves, and twice would be once too often.
        Signal::Interrupt | Signal::Quit if is_foreground() => return,
        Signal::Interrupt => rustix::process::Signal::INT,
        Signal::HangUp => rustix::process::Signal::HUP,
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Quit => rustix::process::Signal::QUIT,
        Signal::User1 => rustix::process::Signal::USR1,
        Signal::User2 => rustix::process::Signal::USR2,
    };
    let passed = kill_process(child, which);
    debug!(signal = signal.name(), ?passed, "passed on to the command");
}

/// Whether signals of the terminal come to this process, and so to its children.
#[cfg(unix)]
fn is_foreground() -> bool {
    let group = rustix::process::getpgrp();
    rustix::termios::tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|it| it == group)
}

#[cfg(not(unix))]
fn pass_on(signal: Signal, _: &Child) {
    debug!(signal = signal.name(), "it reaches the command by itself");
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
    fn our_secrets_are_taken_out() {
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
    fn what_no_proxy_says_stays() {
        let changes = changed(&[("no_proxy", "a.example")]);
        for name in ["no_proxy", "NO_PROXY"] {
            let wanted = (name.to_owned(), Some("a.example,127.0.0.1".to_owned()));
            assert!(changes.contains(&wanted), "{changes:?}");
        }
    }

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
    }
}

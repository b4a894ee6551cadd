//! Reads the command line and the variables, and says what is wrong with them without their values, which may be
//! secrets.

use std::{env, error::Error as _, ffi::OsString};

use clap::{
    Arg, Command, CommandFactory as _, FromArgMatches as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{failure::Failure, flags::Arguments};

/// The longest text that can be a mistyped flag, in bytes. A longer one may be a secret.
const LONGEST_FLAG: usize = 32;

/// Reads the arguments. If they ask for help or the version, prints it and ends the process.
pub(crate) fn read() -> Result<Arguments, Failure> {
    let mut command = adapted(Arguments::command());
    let given: Vec<OsString> = env::args_os().collect();
    let read = command
        .try_get_matches_from_mut(&given)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    read.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => failure(&error, &command, &given),
    })
}

/// Ignores empty variables, because scripts set a variable to nothing to unset it and clap takes that for a value.
/// Hides the values of the others from the help.
fn adapted(command: Command) -> Command {
    let is_empty = |arg: &Arg| {
        let value = arg.get_env().and_then(env::var_os);
        value.is_some_and(|value| value.is_empty())
    };
    command
        .mut_args(|arg| match is_empty(&arg) {
            true => arg.env(None),
            false => arg.hide_env_values(true),
        })
        .mut_subcommands(adapted)
}

/// Explains an error of clap's. Only our own words are in it, and names of flags.
fn failure(error: &clap::Error, command: &Command, given: &[OsString]) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) if !texts.is_empty() => Some(texts.join(", ")),
        _ => None,
    };
    let called = given.iter().skip(1);
    let called = called
        .filter_map(|given| command.find_subcommand(given))
        .next();
    let help = called.map_or_else(
        || "See `runai-auth --help`".to_owned(),
        |called| format!("See `runai-auth {} --help`", called.get_name()),
    );
    let commands = || {
        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        format!("The commands are {}", names.join(", "))
    };
    // Except for an unknown one, clap names a flag as we define it.
    let arg = text(ContextKind::InvalidArg).unwrap_or_default();
    let (message, hint) = match error.kind() {
        ErrorKind::UnknownArgument => unknown(&arg, text(ContextKind::SuggestedArg), called, help),
        ErrorKind::InvalidSubcommand => (
            "there is no such command".to_owned(),
            text(ContextKind::SuggestedSubcommand)
                .map_or_else(commands, |name| format!("Did you mean `{name}`?")),
        ),
        ErrorKind::MissingSubcommand => ("no command is given".to_owned(), commands()),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            if value.is_empty() && error.source().is_none() {
                (format!("{arg} lacks its value"), help)
            } else {
                let why = error.source().map_or_else(String::new, |why| {
                    // Some reasons repeat the value.
                    let why = why.to_string();
                    match value.is_empty() {
                        true => format!(": {why}"),
                        false => format!(": {}", why.replace(&value, "it")),
                    }
                });
                let variable = variable(command, &arg);
                let message = format!("the value of {arg}{variable} is not valid{why}");
                let meant = text(ContextKind::SuggestedValue)
                    .map_or_else(String::new, |value| format!("Did you mean `{value}`? "));
                let values = text(ContextKind::ValidValue);
                let hint = values.map_or(help, |values| format!("{meant}The values are {values}"));
                (message, hint)
            }
        }
        ErrorKind::MissingRequiredArgument => (format!("{arg} is missing"), help),
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            Some(prior) if prior != arg => (format!("{arg} and {prior} exclude each other"), help),
            _ => (format!("{arg} is given twice"), help),
        },
        ErrorKind::InvalidUtf8 => ("an argument is not UTF-8 text".to_owned(), help),
        _ if !arg.is_empty() => (format!("{arg} is not given as it should be"), help),
        _ => ("the command line is not valid".to_owned(), help),
    };
    Failure::usage(message, hint)
}

/// Explains an argument that is not a flag. It is repeated only if it looks like a mistyped flag.
fn unknown(
    arg: &str,
    meant: Option<String>,
    called: Option<&Command>,
    help: String,
) -> (String, String) {
    let name = arg.split('=').next().unwrap_or_default();
    let is_flag = name.len() <= LONGEST_FLAG
        && name
            .strip_prefix("--")
            .is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
    let message = match is_flag {
        true => format!("there is no flag {name}"),
        false => "an argument is given that no flag takes".to_owned(),
    };
    // Better than clap's, which counts letters.
    let begins = called.filter(|_| is_flag).and_then(|called| {
        let mut longs = called.get_arguments().filter_map(Arg::get_long);
        longs.find(|long| long.starts_with(&name[2..]))
    });
    let meant = begins.map(|long| format!("--{long}")).or(meant);
    let takes_command = called.is_some_and(|it| it.get_positionals().next().is_some());
    let hint = match meant {
        Some(meant) => format!("Did you mean {meant}?"),
        None if takes_command && !is_flag => "Write the command after `--`".to_owned(),
        None => help,
    };
    (message, hint)
}

/// Names the variable of a flag, if it is set: the value may come from there.
fn variable(command: &Command, arg: &str) -> String {
    let name = arg.strip_prefix("--").and_then(|it| it.split(' ').next());
    let found = all_flags(command)
        .find(|it| name.is_some() && it.get_long() == name)
        .and_then(Arg::get_env)
        .filter(|name| env::var_os(name).is_some());
    found.map_or_else(String::new, |name| {
        format!(" (or {})", name.to_string_lossy())
    })
}

/// Returns the flags of all commands. Those of a command that was not called cannot be formatted.
fn all_flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let of_commands = command.get_subcommands().flat_map(Command::get_arguments);
    of_commands.chain(command.get_arguments())
}

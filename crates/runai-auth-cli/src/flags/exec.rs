//! The flags of `exec`.

use std::ffi::OsString;

use clap::Args;

use super::{connect::ConnectArgs, rules::RuleArgs};

const AFTER: &str = "\
The command finds RUNAI_BASE_URL, RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET in its environment: the URL is the
proxy's, with a key in its path; the other two are placeholders that give no access. The exit code is the
command's own, 128+N if signal N ended it, 127 if the command does not exist, 126 if it cannot be run.

Example:
  runai-auth exec -- python job.py";

/// The command that `exec` runs, and what its proxy serves.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

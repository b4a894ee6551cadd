//! The one way to read a file and to run a program.
//!
//! Every file that the product reads comes through [`read`]: secrets, tokens, logins, kubeconfigs and the
//! files that they name, certificates and keys. Files that change under a running program are followed by
//! [`watched`]; programs whose output is a secret are run by [`command`].

mod buffer;
mod command;
mod error;
mod read;
mod secret_file;
mod watched;

#[cfg(test)]
mod tests;

pub(crate) use self::{
    command::{Command, CommandError},
    error::shown_path,
    read::{
        FileKind, open_regular, read_bytes, read_line, read_text, trim_line_break,
        warn_if_others_may_read, without_line_break,
    },
    watched::Watched,
};
pub use self::{
    error::{FileError, FileErrorKind},
    secret_file::SecretFile,
};

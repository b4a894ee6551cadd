//! Reading a file: regular files only, no more than a cap, and the memory is wiped afterwards.
//!
//! A path may lead to anything. A pipe would block whoever opens it until somebody writes to it, a device
//! may never end, and a file below `/proc` claims to be empty. So the file's type is checked before it is
//! opened and again on the open handle, it is opened without blocking, and the bytes that come are counted,
//! whatever size the file claims. Symbolic links are followed: Kubernetes mounts secrets through them.

use std::{
    collections::BTreeSet,
    fs::{File, FileType, Metadata, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use zeroize::Zeroizing;

use super::{
    buffer,
    error::{FileError, FileErrorKind, shown_path},
};

/// What a file is for. That decides how large it may be, and who should be able to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// One secret or one token.
    Secret,
    /// A client's id and secret, perhaps beside other values.
    Credentials,
    /// The tokens of a login that another program keeps.
    Login,
    /// Settings of another program, without a secret.
    Settings,
    /// A kubeconfig. It may be empty, and only some of them hold a secret.
    Kubeconfig,
    /// Certificates, which are public.
    Certificates,
    /// A private key, perhaps beside its certificates.
    PrivateKey,
}

/// The most that is read of one secret or token: 64 KiB. Servers take headers of 8 to 32 KiB.
const SECRET_CAP: usize = 64 * 1024;

/// The most that is read of files with several values: 1 MiB. They are parsed as a whole, once a second at
/// most.
const VALUES_CAP: usize = 1024 * 1024;

/// The most that is read of certificates: 8 MiB. A system's bundle has 200 to 400 KiB.
const CERTIFICATES_CAP: usize = 8 * 1024 * 1024;

impl FileKind {
    /// The most that a file of this kind may have, in bytes.
    pub(crate) const fn cap(self) -> usize {
        match self {
            Self::Secret => SECRET_CAP,
            Self::Credentials
            | Self::Login
            | Self::Settings
            | Self::Kubeconfig
            | Self::PrivateKey => VALUES_CAP,
            Self::Certificates => CERTIFICATES_CAP,
        }
    }

    /// Whether only its owner should be able to read it.
    const fn is_private(self) -> bool {
        match self {
            Self::Secret | Self::Credentials | Self::Login | Self::PrivateKey => true,
            Self::Settings | Self::Kubeconfig | Self::Certificates => false,
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const UTF_16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Returns the whole file, without the byte order mark that some editors put before a text.
pub(crate) fn read_bytes(path: &Path, kind: FileKind) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut file = open_regular(path, OpenOptions::new().read(true))?;
    let failed = |error| FileError::from_io(path, error);
    let metadata = file.metadata().map_err(failed)?;
    let cap = kind.cap();
    let expected = usize::try_from(metadata.len()).unwrap_or(cap).min(cap);
    // One byte more, so that the end is seen without growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 1));
    loop {
        buffer::make_room(&mut bytes);
        let (len, capacity) = (bytes.len(), bytes.capacity());
        bytes.resize(capacity, 0);
        let read = file.read(&mut bytes[len..]);
        bytes.truncate(len + read.as_ref().map_or(0, |read| *read));
        match read {
            Ok(0) => break,
            Ok(_) if bytes.len() > cap => return Err(too_large(path, cap)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    if kind.is_private() && is_open_to_others(path, &metadata) {
        warn_once(path);
    }
    // Kubeconfigs are written back with all that they have.
    if kind != FileKind::Kubeconfig && bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

/// Returns the whole text, which may be empty for a kubeconfig alone.
pub(crate) fn read_text(path: &Path, kind: FileKind) -> Result<Zeroizing<String>, FileError> {
    let bytes = read_bytes(path, kind)?;
    let is_utf_16 = UTF_16_MARKS.iter().any(|mark| bytes.starts_with(mark));
    let Some(text) = buffer::into_text(bytes) else {
        let what = match is_utf_16 {
            true => "is UTF-16 text, not UTF-8",
            false => "is not UTF-8 text",
        };
        let advice = Some("save it as UTF-8");
        return Err(FileError::of(FileErrorKind::NotText, path, what, advice));
    };
    if kind != FileKind::Kubeconfig && text.trim().is_empty() {
        let advice = Some("write the value into it");
        return Err(FileError::of(
            FileErrorKind::Empty,
            path,
            "is empty",
            advice,
        ));
    }
    Ok(text)
}

/// Returns the text without the line break that editors and `echo` leave at its end.
pub(crate) fn read_line(path: &Path, kind: FileKind) -> Result<Zeroizing<String>, FileError> {
    let mut text = read_text(path, kind)?;
    trim_line_break(&mut text);
    Ok(text)
}

/// Returns the text without the line break at its end, if it has one.
pub(crate) fn without_line_break(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Removes the line break at the end in place, so that no copy of a secret is made.
pub(crate) fn trim_line_break(text: &mut String) {
    text.truncate(without_line_break(text).len());
}

/// Opens a file that must be a regular one, without waiting for anybody.
pub(crate) fn open_regular(path: &Path, options: &mut OpenOptions) -> Result<File, FileError> {
    let failed = |error| FileError::from_io(path, error);
    // Opening a device can have effects of its own, so the type is looked at first. What is at the path may
    // be another file by the time it is opened, so the handle is looked at too.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    check_type(path, metadata.file_type())?;
    let file = without_blocking(options).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_type(path, metadata.file_type())?;
    Ok(file)
}

/// A pipe is then opened at once, and a terminal does not become the process's own.
#[cfg(unix)]
fn without_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::OFlags;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits() as i32)
}

#[cfg(not(unix))]
fn without_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn check_type(path: &Path, found: FileType) -> Result<(), FileError> {
    if found.is_file() {
        return Ok(());
    }
    let (kind, name) = irregular(found);
    let what = format!("is {name}, not a regular file");
    let advice = Some("give the path of a regular file");
    Err(FileError::of(kind, path, what, advice))
}

#[cfg(unix)]
fn irregular(found: FileType) -> (FileErrorKind, &'static str) {
    use std::os::unix::fs::FileTypeExt as _;
    match found {
        _ if found.is_dir() => (FileErrorKind::NotRegular, "a directory"),
        _ if found.is_fifo() => (FileErrorKind::Pipe, "a pipe"),
        _ if found.is_socket() => (FileErrorKind::NotRegular, "a socket"),
        _ => (FileErrorKind::NotRegular, "a device"),
    }
}

#[cfg(not(unix))]
fn irregular(found: FileType) -> (FileErrorKind, &'static str) {
    let name = match found.is_dir() {
        true => "a directory",
        false => "a device",
    };
    (FileErrorKind::NotRegular, name)
}

fn too_large(path: &Path, cap: usize) -> FileError {
    let what = match cap / (1024 * 1024) {
        0 => format!("is larger than {} KiB", cap / 1024),
        mebibytes => format!("is larger than {mebibytes} MiB"),
    };
    let advice = Some("check that it is the right file");
    FileError::of(FileErrorKind::TooLarge, path, what, advice)
}

/// Warns once of a file with a secret that other users may read: for kubeconfigs, in which a secret is seen
/// only after they are parsed.
pub(crate) fn warn_if_others_may_read(path: &Path) {
    if std::fs::metadata(path).is_ok_and(|found| is_open_to_others(path, &found)) {
        warn_once(path);
    }
}

fn warn_once(path: &Path) {
    static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if warned.insert(path.to_owned()) {
        tracing::warn!(
            path = %shown_path(path),
            "other users of this machine may read this file, and it holds a secret: run chmod go-rwx on it"
        );
    }
}

/// Whether users other than its owner may read a file. Kubernetes mounts secrets readable for all, in a
/// volume that only the pod sees.
#[cfg(unix)]
pub(super) fn is_open_to_others(path: &Path, metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let is_open = metadata.permissions().mode() & 0o044 != 0;
    let is_mounted = || path.parent().is_some_and(|it| it.join("..data").exists());
    is_open && !is_mounted()
}

#[cfg(not(unix))]
pub(super) fn is_open_to_others(_: &Path, _: &Metadata) -> bool {
    false
}

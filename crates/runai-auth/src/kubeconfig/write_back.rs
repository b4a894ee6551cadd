//! Replaces tokens in a kubeconfig, so that `kubectl` and the next start find the new ones.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use saphyr::ScalarStyle;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{error::KubeconfigError, file::read_text, yaml};
use crate::files::{open_regular, shown_path};

/// How often to try again for a lock that another program holds, and the pause between tries: 2 s in all.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

const UNUSUAL: &str = "the old token is written in a way that is not replaced";

/// Replaces tokens in a file as text, so that comments and order stay.
///
/// Each old token must still be a whole value. Otherwise another program has changed the file, and nothing
/// is written. This blocks.
pub(crate) fn write_back(file: &Path, replaced: &[(&str, &str)]) -> Result<(), KubeconfigError> {
    for (old, new) in replaced {
        if old.is_empty() {
            return Err(KubeconfigError::about(
                file,
                "there is no old token to replace",
            ));
        }
        if new.is_empty() || !new.bytes().all(is_token) {
            let problem = "the new token has characters that are not written";
            return Err(KubeconfigError::about(file, problem));
        }
    }
    let _lock = Lock::take(file, &mut pause)?;
    let target = target(file)?;
    let Some(text) = read_text(&target)? else {
        return Err(KubeconfigError::about(
            file,
            "changed meanwhile: it is gone",
        ));
    };
    let text = replace(&text, replaced).map_err(|problem| KubeconfigError::about(file, problem))?;
    let written = write(&target, text.as_bytes());
    written.map_err(|error| KubeconfigError::about(file, "cannot be written").with_source(error))
}

/// Checks what can be checked before [`write_back`]: that the lock is free, and that the file and its folder
/// can be written. This blocks.
pub(crate) fn can_write_back(file: &Path) -> Result<(), KubeconfigError> {
    let _lock = Lock::take(file, &mut pause)?;
    let target = target(file)?;
    open_regular(&target, OpenOptions::new().write(true))
        .map_err(|error| KubeconfigError::about(file, "cannot be written").with_source(error))?;
    let tried = Temporary::new(&target).and_then(|temporary| keep_owner(&target, &temporary));
    tried.map_err(|error| KubeconfigError::about(file, "cannot be written").with_source(error))
}

/// Returns the file itself, if its path is a link to it.
fn target(file: &Path) -> Result<PathBuf, KubeconfigError> {
    let target = fs::canonicalize(file);
    target.map_err(|error| KubeconfigError::about(file, "cannot be found").with_source(error))
}

/// Returns whether a token may have this character. None of them has a meaning in YAML or JSON values.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte)
}

/// Returns the text with each old token replaced wherever it is a whole value.
fn replace(text: &str, replaced: &[(&str, &str)]) -> Result<Zeroizing<String>, String> {
    let invalid = |problem: yaml::Problem| format!("changed meanwhile: {problem}");
    let Some(root) = yaml::parse(text).map_err(invalid)? else {
        return Err("changed meanwhile: it is empty".to_owned());
    };
    let mut scalars = Vec::new();
    yaml::scalars(&root, &mut scalars);
    scalars.sort_by_key(|scalar| scalar.span.start.index());

    // Spans count characters, and slices count bytes.
    let mut offsets: Vec<_> = text.char_indices().map(|(offset, _)| offset).collect();
    offsets.push(text.len());
    let offset = |index: usize| offsets.get(index).copied().unwrap_or(text.len());

    let mut found = vec![false; replaced.len()];
    let mut result = Zeroizing::new(String::with_capacity(2 * text.len()));
    let mut done = 0;
    for scalar in scalars {
        let Some(index) = replaced.iter().position(|(old, _)| *old == scalar.text) else {
            continue;
        };
        let slot = offset(scalar.span.start.index())..offset(scalar.span.end.index());
        // An alias stands for a scalar that is replaced where it is written.
        let written = text.get(slot.clone()).unwrap_or_default();
        if slot.start < done || written.starts_with('*') {
            continue;
        }
        let (old, new) = replaced[index];
        // An anchor or a tag may stand before it, and a comment after quotes.
        let start = match scalar.style {
            ScalarStyle::DoubleQuoted => written.find(&format!("\"{old}\"")).map(|at| at + 1),
            ScalarStyle::SingleQuoted => written.find(&format!("'{old}'")).map(|at| at + 1),
            _ => written.rfind(old),
        };
        let Some(start) = start else {
            // It is escaped, or spans several lines.
            return Err(UNUSUAL.to_owned());
        };
        let start = slot.start + start;
        result.push_str(&text[done..start]);
        if scalar.style != ScalarStyle::Plain || is_text(new) {
            result.push_str(new);
        } else {
            result.extend(["\"", new, "\""]);
        }
        done = start + old.len();
        found[index] = true;
    }
    result.push_str(&text[done..]);
    if found.contains(&false) {
        return Err("changed meanwhile: it no longer has the old token".to_owned());
    }
    if same_but(text, &result, replaced) {
        Ok(result)
    } else {
        Err(UNUSUAL.to_owned())
    }
}

/// Returns whether every reader takes a token without quotes for a text: it is not a number, nor a word for
/// true, false or null.
fn is_text(token: &str) -> bool {
    token.len() > "false".len() && token.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// Returns whether two texts have the same values except for the replaced tokens.
pub(super) fn same_but(before: &str, after: &str, replaced: &[(&str, &str)]) -> bool {
    let values = |text: &str| {
        let root = yaml::parse(text).ok().flatten()?;
        yaml::to_json(&root).ok()
    };
    let (Some(mut before), Some(after)) = (values(before), values(after)) else {
        return false;
    };
    substitute(&mut before, replaced);
    before == after
}

fn substitute(value: &mut Value, replaced: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            if let Some((_, new)) = replaced.iter().find(|(old, _)| *old == text.as_str()) {
                *text = (*new).to_owned();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| substitute(item, replaced)),
        Value::Object(map) => map.values_mut().for_each(|item| substitute(item, replaced)),
        _ => {}
    }
}

/// Writes a file atomically: readers see the old or the new content.
fn write(target: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = Temporary::new(target)?;
    temporary.file.write_all(content)?;
    keep_owner(target, &temporary)?;
    // The file was created for its owner only. It gets its permissions after its owner.
    let permissions = fs::metadata(target)?.permissions();
    temporary.file.set_permissions(permissions)?;
    temporary.file.sync_all()?;
    fs::rename(&temporary.path, target)
}

/// Gives the new file the owner of the old one, for the case that root refreshes another user's token.
#[cfg(unix)]
fn keep_owner(target: &Path, temporary: &Temporary) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let (old, new) = (fs::metadata(target)?, temporary.file.metadata()?);
    if old.uid() != new.uid() {
        return fchown(&temporary.file, Some(old.uid()), Some(old.gid()));
    }
    if old.gid() != new.gid() {
        return fchown(&temporary.file, None, Some(old.gid()));
    }
    Ok(())
}

#[cfg(not(unix))]
fn keep_owner(_: &Path, _: &Temporary) -> io::Result<()> {
    Ok(())
}

/// A new file beside another one, which is removed unless it replaces the other one.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn new(target: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}-{count}.tmp", process::id()));
        let path = target.with_file_name(name);
        let file = create(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the renaming there is nothing by this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Creates a file that does not exist yet, for its owner only.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The lock that client-go takes to write a kubeconfig.
pub(super) struct Lock(PathBuf);

impl Lock {
    /// Takes the lock. It calls `wait` before each further try, which returns whether to try.
    pub(super) fn take(
        file: &Path,
        wait: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Self, KubeconfigError> {
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let mut tries = 0;
        loop {
            match create(&path) {
                Ok(_) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let locked = KubeconfigError::about(file, "cannot be locked");
                    return Err(locked.with_source(error));
                }
            }
            tries += 1;
            if !wait(tries) {
                let path = shown_path(&path);
                let advice = format!("remove {path} if no other program is changing it");
                return Err(KubeconfigError::about(file, "locked").with_advice(advice));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn pause(tries: u32) -> bool {
    if tries > TRIES {
        return false;
    }
    thread::sleep(PAUSE);
    true
}

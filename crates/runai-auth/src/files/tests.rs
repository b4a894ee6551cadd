//! What may lie at a path, and what comes of it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use tempfile::{TempDir, tempdir};

use super::{error::*, read::*};

const KINDS: [FileKind; 7] = [
    FileKind::Secret,
    FileKind::Credentials,
    FileKind::Login,
    FileKind::Settings,
    FileKind::Kubeconfig,
    FileKind::Certificates,
    FileKind::PrivateKey,
];

/// Reads on another thread, and fails where that takes long.
fn soon(path: &Path, kind: FileKind) -> Result<String, FileError> {
    let (done, result) = mpsc::channel();
    let path = path.to_owned();
    thread::spawn(move || done.send(read_text(&path, kind).map(|text| text.as_str().to_owned())));
    result
        .recv_timeout(Duration::from_secs(5))
        .expect("the read hangs")
}

fn write(folder: &TempDir, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join("file");
    fs::write(&path, content).unwrap();
    path
}

#[cfg(unix)]
fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[cfg(unix)]
#[test]
fn p04_only_a_regular_file_is_opened() {
    use std::os::unix::{fs::symlink, net::UnixListener};
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    make_pipe(&path("pipe"));
    symlink("pipe", path("link")).unwrap();
    let _listener = UnixListener::bind(path("socket")).unwrap();
    symlink("loop", path("loop")).unwrap();
    for (path, kind, says) in [
        (
            path("pipe"),
            FileErrorKind::Pipe,
            "is a pipe, not a regular file",
        ),
        (
            path("link"),
            FileErrorKind::Pipe,
            "is a pipe, not a regular file",
        ),
        (
            "/dev/zero".into(),
            FileErrorKind::NotRegular,
            "is a device, not a regular file",
        ),
        (
            "/dev/tty".into(),
            FileErrorKind::NotRegular,
            "is a device, not a regular file",
        ),
        (
            path("socket"),
            FileErrorKind::NotRegular,
            "is a socket, not a regular file",
        ),
        (
            path("."),
            FileErrorKind::NotRegular,
            "is a directory, not a regular file",
        ),
        (path("missing"), FileErrorKind::NotFound, "does not exist"),
        (
            path("loop"),
            FileErrorKind::Unreadable,
            // What the system says of it comes next.
            "cannot be read (",
        ),
    ] {
        for of in KINDS {
            let error = soon(&path, of).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.path(), path);
            let expected = format!("the file {} {says}", path.display());
            match kind {
                FileErrorKind::Unreadable => assert!(error.message().starts_with(&expected)),
                _ => assert_eq!(error.message(), expected),
            }
        }
    }
}

/// The type that is found before the file is opened may be another one's by then.
#[cfg(unix)]
#[test]
fn p04_a_pipe_that_takes_the_files_place_does_not_block() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("regular"), "text").unwrap();
    make_pipe(&path("pipe"));
    let place = path("place");
    fs::hard_link(path("regular"), &place).unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let swapper = {
        let (names, place, new) = ([path("pipe"), path("regular")], place.clone(), path("new"));
        thread::spawn(move || {
            for name in names.iter().cycle() {
                fs::hard_link(name, &new).unwrap();
                fs::rename(&new, &place).unwrap();
                if stopped.try_recv() != Err(mpsc::TryRecvError::Empty) {
                    break;
                }
            }
        })
    };
    let (mut read, mut refused) = (0, 0);
    while read < 200 || refused < 200 {
        match soon(&place, FileKind::Secret) {
            Ok(text) => {
                assert_eq!(text, "text");
                read += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), FileErrorKind::Pipe, "{error}");
                refused += 1;
            }
        }
    }
    drop(stop);
    swapper.join().unwrap();
}

#[test]
fn p04_a_file_is_read_up_to_its_cap() {
    let folder = tempdir().unwrap();
    for (kind, says) in [
        (FileKind::Secret, "is larger than 64 KiB"),
        (FileKind::Kubeconfig, "is larger than 1 MiB"),
        (FileKind::Certificates, "is larger than 8 MiB"),
    ] {
        let path = write(&folder, "x".repeat(kind.cap()));
        assert_eq!(soon(&path, kind).unwrap().len(), kind.cap());
        let path = write(&folder, "x".repeat(kind.cap() + 1));
        let error = soon(&path, kind).unwrap_err();
        assert_eq!(error.kind(), FileErrorKind::TooLarge);
        assert!(error.message().ends_with(says), "{error}");
    }
}

/// It claims to have no bytes.
#[cfg(target_os = "linux")]
#[test]
fn p04_a_file_below_proc_is_read_by_what_comes() {
    let status = Path::new("/proc/self/status");
    assert_eq!(fs::metadata(status).unwrap().len(), 0);
    let text = soon(status, FileKind::Settings).unwrap();
    assert!(
        text.starts_with("Name:") && text.contains("\nThreads:"),
        "{text}"
    );
}

#[test]
fn what_is_not_text_says_how_to_mend_it() {
    let folder = tempdir().unwrap();
    for (content, says) in [
        (&b"s3cr3t\xff"[..], "is not UTF-8 text: save it as UTF-8"),
        (
            b"\xff\xfes\x003\x00",
            "is UTF-16 text, not UTF-8: save it as UTF-8",
        ),
        (
            b"\xfe\xff\x00s\x003",
            "is UTF-16 text, not UTF-8: save it as UTF-8",
        ),
        (b"", "is empty: write the value into it"),
        (b"\xef\xbb\xbf\n", "is empty: write the value into it"),
    ] {
        let path = write(&folder, content);
        let error = soon(&path, FileKind::Secret).unwrap_err().to_string();
        assert_eq!(error, format!("the file {} {says}", path.display()));
    }
    let empty = soon(&write(&folder, ""), FileKind::Kubeconfig);
    assert_eq!(empty.unwrap(), "");
}

#[test]
fn a_byte_order_mark_and_one_line_break_are_not_part_of_it() {
    let folder = tempdir().unwrap();
    for (content, line) in [
        ("\u{feff}one", "one"),
        ("one\r\n", "one"),
        (" one \n\n", " one \n"),
        ("one\ntwo\n", "one\ntwo"),
    ] {
        let path = write(&folder, content);
        assert_eq!(*read_line(&path, FileKind::Secret).unwrap(), line);
    }
    let bytes = read_bytes(
        &write(&folder, "\u{feff}-----BEGIN"),
        FileKind::Certificates,
    );
    assert_eq!(**bytes.unwrap(), *b"-----BEGIN");
}

#[test]
fn p01_a_path_cannot_pass_for_words_of_ours() {
    for (path, shown) in [
        ("/var/run/secrets/a-b_c.d", "/var/run/secrets/a-b_c.d"),
        ("/home/jos\u{e9}/x", "/home/jos\u{e9}/x"),
        ("/a hint: run x", "\"/a hint: run x\""),
        ("/a\n\u{1b}[31m\u{202e}", "\"/a\\n\\u{1b}[31m\\u{202e}\""),
    ] {
        let error = FileError::new(Path::new(path), "is odd");
        assert_eq!(error.message(), format!("the file {shown} is odd"));
    }
    let error = FileError::new(Path::new("/x"), "is odd").with_foreign_path();
    assert_eq!(error.message(), "the file \"/x\" is odd");
}

#[test]
fn p02_what_the_system_says_is_in_the_message() {
    let reason = std::io::Error::from(std::io::ErrorKind::TimedOut);
    let error = FileError::from_io(Path::new("/x"), reason);
    assert_eq!(error.message(), "the file /x cannot be read (timed out)");
}

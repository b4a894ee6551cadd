//! Replacing tokens.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use super::{Folder, message};
use crate::kubeconfig::{
    LoginMethod, can_write_back, load, write_back,
    write_back::{Lock, same_but},
};

const REPLACED: [(&str, &str); 2] = [
    ("old.id-token_1", "new.id-token_1"),
    ("old+refresh/1=", "new+refresh/1~="),
];

/// What becomes of a text.
fn replaced(text: &str, replaced: &[(&str, &str)]) -> Result<String, String> {
    let folder = Folder::new();
    let file = folder.file("config", text);
    let result = write_back(&file, replaced);
    assert_eq!(folder.names(), ["config"], "nothing is left behind");
    let now = fs::read_to_string(&file).unwrap();
    match result {
        Ok(()) => Ok(now),
        Err(error) => {
            assert_eq!(now, text, "a failure writes nothing");
            let error = error.to_string();
            let told = error.strip_prefix(&format!("{}: ", file.display()));
            Err(told.unwrap().to_owned())
        }
    }
}

#[test]
fn comments_and_order_stay() {
    let text = "# kept: old.id-token_1\n\
                users:\n\
                - name: münchen 🦀\n  user:\n    auth-provider:\n      config:\n\
                \x20       refresh-token: \"old+refresh/1=\" # old+refresh/1=\n\
                \x20       id-token:    old.id-token_1   # the last one\n\
                \x20       extra: old.id-token_1.more\n\
                \x20       'old.id-token_1': {a: 'old.id-token_1', b: [old.id-token_1]}\n\
                contexts: []\r\n\
                zone: old.id-token_1\r\n\
                kind: Config";
    let expected = "# kept: old.id-token_1\n\
                users:\n\
                - name: münchen 🦀\n  user:\n    auth-provider:\n      config:\n\
                \x20       refresh-token: \"new+refresh/1~=\" # old+refresh/1=\n\
                \x20       id-token:    new.id-token_1   # the last one\n\
                \x20       extra: old.id-token_1.more\n\
                \x20       'old.id-token_1': {a: 'new.id-token_1', b: [new.id-token_1]}\n\
                contexts: []\r\n\
                zone: new.id-token_1\r\n\
                kind: Config";
    assert_eq!(replaced(text, &REPLACED).unwrap(), expected);
}

#[test]
fn all_ways_to_write_a_text_are_replaced() {
    for (text, expected) in [
        ("a: >-\n  old\nb: 1\n", "a: >-\n  fresh-token\nb: 1\n"),
        ("a: |-\n    old\n", "a: |-\n    fresh-token\n"),
        ("a: &it old\nb: *it\n", "a: &it fresh-token\nb: *it\n"),
        (
            "a: &it {t: old}\nb: *it\n",
            "a: &it {t: fresh-token}\nb: *it\n",
        ),
        ("a: !!str old\n", "a: !!str fresh-token\n"),
        ("a:\n  old\n", "a:\n  fresh-token\n"),
        (
            "{\n\t\"a\": \"old\"\n}\n",
            "{\n\t\"a\": \"fresh-token\"\n}\n",
        ),
        ("\u{feff}a: old\n", "\u{feff}a: fresh-token\n"),
        (
            "%YAML 1.2\n---\na: old\n---\na: old\n",
            "%YAML 1.2\n---\na: fresh-token\n---\na: old\n",
        ),
        ("a: old", "a: fresh-token"),
        ("a: &old old # old\n", "a: &old fresh-token # old\n"),
        (
            "a: &old 'old' # 'old'\nb: 'c' # old\n",
            "a: &old 'fresh-token' # 'old'\nb: 'c' # old\n",
        ),
        (
            "a: old # \"old\"\n# old\nb: 1",
            "a: fresh-token # \"old\"\n# old\nb: 1",
        ),
        ("a: !old old\n", "a: !old fresh-token\n"),
        (
            "a: >- # old\n  old\n# old\n",
            "a: >- # old\n  fresh-token\n# old\n",
        ),
        ("? old\n: old\n", "? old\n: fresh-token\n"),
        ("{a: old, b: old}", "{a: fresh-token, b: fresh-token}"),
    ] {
        assert_eq!(
            replaced(text, &[("old", "fresh-token")]).as_deref(),
            Ok(expected),
            "{text:?}"
        );
    }
}

#[test]
fn a_token_that_looks_like_something_else_is_quoted() {
    for new in ["123", "1e5", "null", "yes", "~", "-", "=", "1.2.3", ".inf"] {
        let expected = format!("a: \"{new}\"\nb: '{new}'\n");
        let now = replaced("a: old\nb: 'old'\n", &[("old", new)]);
        assert_eq!(now.unwrap(), expected);
    }
}

#[test]
fn what_changed_meanwhile_is_not_written() {
    let gone = Err("changed meanwhile: it no longer has the old token".to_owned());
    assert_eq!(replaced("a: other\n", &[("old", "new")]), gone);
    assert_eq!(
        replaced("a: old.more\n# old\nold: 1\n", &[("old", "new")]),
        gone
    );
    assert_eq!(replaced("a: old.id-token_1\n", &REPLACED), gone);
    let empty = Err("changed meanwhile: it is empty".to_owned());
    assert_eq!(replaced("", &[("old", "new")]), empty);
    let invalid = Err("changed meanwhile: not valid YAML at line 1".to_owned());
    assert_eq!(replaced("a: old: b", &[("old", "new")]), invalid);
    let unusual = Err("the old token is written in a way that is not replaced".to_owned());
    assert_eq!(replaced("a: \"\\u006fld\"\n", &[("old", "new")]), unusual);
}

#[test]
fn a_text_that_would_say_more_or_less_is_refused() {
    let same = |after: &str| same_but("a: old\nb: [x]\n", after, &[("old", "new")]);
    assert!(same("b: [x]\na: 'new'\n"));
    for after in [
        "a: old\nb: [x]\n",
        "a: new\n",
        "a: new\nb: [x, y]\n",
        "a: new: x",
        "",
    ] {
        assert!(!same(after), "{after:?}");
    }
}

#[test]
fn what_is_not_a_token_is_not_written() {
    let error = Err("the new token has characters that are not written".to_owned());
    for new in ["", "a b", "a\nb", "a: b", "\"", "#", "ä", "a\0"] {
        assert_eq!(replaced("a: old\n", &[("old", new)]), error, "{new:?}");
    }
    let error = Err("there is no old token to replace".to_owned());
    assert_eq!(replaced("a: ''\n", &[("", "new")]), error);
}

#[test]
fn what_was_written_is_read_again() {
    let folder = Folder::new();
    let text = "current-context: main\n\
         contexts: [{name: main, context: {user: me}}]\n\
         users: [{name: me, user: {token: old}}]\n";
    let file = folder.file("config", text);
    write_back(&file, &[("old", "fresh-token")]).unwrap();
    let user = load(&[file]).unwrap().user(None).unwrap();
    match user.login {
        LoginMethod::Token(token) => assert_eq!(token.as_str(), "fresh-token"),
        other => panic!("{other:?}"),
    }
}

fn lock_of(file: &Path) -> PathBuf {
    file.with_extension("lock")
}

#[test]
fn a_lock_of_another_program_is_waited_for() {
    let folder = Folder::new();
    let file = folder.file("config", "a: old\n");
    fs::write(lock_of(&file), "").unwrap();
    let mut tries = Vec::new();
    let lock = Lock::take(&file, &mut |attempt| {
        tries.push(attempt);
        if attempt == 3 {
            fs::remove_file(lock_of(&file)).unwrap();
        }
        true
    });
    assert_eq!(tries, [1, 2, 3]);
    assert!(lock_of(&file).exists());
    drop(lock.unwrap());
    assert!(!lock_of(&file).exists());
}

#[test]
fn a_lock_that_stays_is_named_and_left() {
    let folder = Folder::new();
    let file = folder.file("config", "a: old\n");
    let lock = folder.file("config.lock", "");
    let expected = format!(
        "{}: locked: remove {} if no other program is changing it",
        file.display(),
        lock.display()
    );
    assert_eq!(
        message(Lock::take(&file, &mut |_| false).map(drop)),
        expected
    );
    assert!(lock.exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), "a: old\n");
}

#[test]
fn all_of_many_writers_write() {
    let folder = Folder::new();
    let text: String = (0..4)
        .map(|index| format!("a{index}: old{index}\n"))
        .collect();
    let file = folder.file("config", &text);
    let (done, results) = mpsc::channel();
    for index in 0..4 {
        let (file, done) = (file.clone(), done.clone());
        thread::spawn(move || {
            let (old, new) = (format!("old{index}"), format!("fresh-token{index}"));
            done.send(write_back(&file, &[(&old, &new)]).map_err(|error| error.to_string()))
        });
    }
    drop(done);
    assert_eq!(results.iter().collect::<Vec<_>>(), vec![Ok(()); 4]);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        text.replace("old", "fresh-token")
    );
}

#[test]
fn whether_it_could_work_is_known_beforehand() {
    let folder = Folder::new();
    let file = folder.file("config", "a: old\n");
    can_write_back(&file).unwrap();
    assert_eq!(folder.names(), ["config"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a: old\n");

    let error = message(can_write_back(&folder.join("missing")));
    assert!(error.ends_with("missing: cannot be found"), "{error}");
    let error = message(can_write_back(&folder.join("no/folder")));
    assert!(error.ends_with("folder: cannot be locked"), "{error}");
    // What holds for root too: a folder cannot be opened for writing.
    fs::create_dir(folder.join("sub")).unwrap();
    let error = message(can_write_back(&folder.join("sub")));
    assert!(error.ends_with("sub: cannot be written"), "{error}");
    assert_eq!(folder.names(), ["config", "sub"]);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn permissions_stay() {
        for mode in [0o600, 0o640, 0o400] {
            let folder = Folder::new();
            let file = folder.file("config", "a: old\n");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let before = fs::metadata(&file).unwrap();
            write_back(&file, &[("old", "fresh-token")]).unwrap();
            let after = fs::metadata(&file).unwrap();
            assert_eq!(after.mode() & 0o7777, mode);
            assert_ne!(after.ino(), before.ino(), "it was replaced whole");
            assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        }
    }

    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let folder = Folder::new();
        let target = folder.file("real/target", "a: old\n");
        let link = folder.join("config");
        symlink("real/target", &link).unwrap();
        can_write_back(&link).unwrap();
        write_back(&link, &[("old", "fresh-token")]).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("real/target"));
        assert_eq!(fs::read_to_string(&target).unwrap(), "a: fresh-token\n");
        assert_eq!(folder.names(), ["config", "real"]);
        assert_eq!(fs::read_dir(folder.join("real")).unwrap().count(), 1);
    }
}

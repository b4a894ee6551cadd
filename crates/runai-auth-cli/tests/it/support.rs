//! What the tests share: a proxy to start, and ways to ask it.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use runai_fake::RunaiFake;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const CLUSTERS: &str = "/api/v1/clusters";
pub(crate) const SUBMIT: &str = "/api/v1/workloads/trainings";

/// Waits for what must come.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("it took too long")
}

/// Asks again and again until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    within(async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The command, with nothing of the environment but where programs are.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runai-auth"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// The same, for a control plane and its application.
pub(crate) fn command_for(url: &str, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command
        .env("RUNAI_BASE_URL", url)
        .env("RUNAI_CLIENT_ID", "test-app")
        .env("RUNAI_CLIENT_SECRET", "test-secret");
    command
}

/// How a command ended that should end at once: its code and what it wrote.
pub(crate) async fn ended(mut command: Command) -> (Option<i32>, String, String) {
    let output = within(command.output()).await.unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// A proxy that serves.
pub(crate) struct Proxy {
    pub(crate) child: Child,
    pub(crate) line: Value,
    _stdout: BufReader<ChildStdout>,
}

impl Proxy {
    /// One for a fake, on any port of loopback.
    pub(crate) async fn of(fake: &RunaiFake, arguments: &[&str]) -> Self {
        Self::at(fake.url(), arguments).await
    }

    pub(crate) async fn at(url: &str, arguments: &[&str]) -> Self {
        let mut all = vec!["proxy", "--listen", "127.0.0.1:0"];
        all.extend(arguments);
        Self::start(command_for(url, &all)).await
    }

    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        within(stdout.read_line(&mut line)).await.unwrap();
        let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:?}"));
        Self {
            child,
            line,
            _stdout: stdout,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.line["listening"].as_str().unwrap())
    }

    pub(crate) fn named_url(&self, name: &str, path: &str) -> String {
        format!("{}{path}", self.line[name].as_str().unwrap())
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        let url = self.line["listening"].as_str().unwrap();
        url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(&self.url(path)).await
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        within(self.child.wait()).await.unwrap()
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Checks the status, and the reason in the JSON.
    pub(crate) fn expect(&self, status: u16, reason: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let json = self.json();
        assert_eq!(json["reason"], reason, "{json}");
        assert!(json["error"].as_str().is_some_and(|it| !it.is_empty()));
        assert!(json["hint"].is_string());
    }
}

pub(crate) fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A client that speaks HTTP/2 at once.
pub(crate) fn h2c_client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

pub(crate) async fn read(response: Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = within(body.collect()).await.unwrap();
    Answer {
        status: head.status,
        headers: head.headers,
        trailers: body.trailers().cloned(),
        body: body.to_bytes(),
    }
}

pub(crate) async fn send(request: Request<Full<Bytes>>) -> Answer {
    read(within(client().request(request)).await.unwrap()).await
}

pub(crate) async fn get(url: &str) -> Answer {
    get_with(url, &[]).await
}

pub(crate) async fn get_with(url: &str, headers: &[(&str, &str)]) -> Answer {
    send(request("GET", url, headers, "")).await
}

pub(crate) fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// Sends bytes as they are, and reads until the other side closes.
pub(crate) async fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end too.
    let _read = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A directory that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("runai-auth-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}

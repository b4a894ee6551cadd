//! What the tests share: the command, a proxy to start, and ways to ask it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use runai_fake::{Builder, RunaiFake};
use serde_json::Value;
use test_support::{Ended, Program, Running, Signal, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An application of its own for what checks the texts that people read.
pub(crate) const ID: &str = "ci-bot";
pub(crate) const SECRET: &str = "s3cr3t-of-the-cli";

pub(crate) const CLUSTERS: &str = "/api/v1/clusters";
pub(crate) const SUBMIT: &str = "/api/v1/workloads/trainings";

pub(crate) fn builder() -> Builder {
    RunaiFake::builder().application(ID, SECRET)
}

pub(crate) async fn fake() -> RunaiFake {
    builder().start().await.unwrap()
}

/// The command, in an environment of its own.
pub(crate) fn command(arguments: &[&str]) -> Program {
    Program::at(env!("CARGO_BIN_EXE_runai-auth")).args(arguments)
}

/// The same, with the application that a fake has if none is given to it.
pub(crate) fn command_for(url: &str, arguments: &[&str]) -> Program {
    command(arguments).application(url, "test-app", "test-secret")
}

/// How a command ended that ends at once: its code and what it wrote.
pub(crate) async fn ended(command: Program) -> (Option<i32>, String, String) {
    let ended = command.end().await;
    (ended.status.code(), ended.stdout, ended.stderr)
}

/// A proxy that serves.
pub(crate) struct Proxy {
    pub(crate) program: Running,
    pub(crate) line: Value,
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

    pub(crate) async fn start(command: Program) -> Self {
        let mut program = command.start();
        let line = program.json().await;
        Self { program, line }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.named_url("listening", path)
    }

    pub(crate) fn named_url(&self, name: &str, path: &str) -> String {
        format!("{}{path}", self.line[name].as_str().unwrap())
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        let url = self.url("");
        url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(&self.url(path)).await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    pub(crate) async fn end(self) -> Ended {
        self.program.end().await
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

//! A plain client, and short ways to ask for a token and to use one.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use runai_fake::RunaiFake;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::Value;
use test_support::within;

pub(crate) const ID: &str = "ci-bot";
pub(crate) const SECRET: &str = "s3cr3t/+\"é";

pub(crate) async fn start() -> RunaiFake {
    RunaiFake::builder()
        .application(ID, SECRET)
        .start()
        .await
        .expect("a port is free")
}

/// An answer, as much of it as came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The sizes in which the body came.
    pub(crate) pieces: Vec<usize>,
    /// Whether the body came to its end.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("the header is text")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
}

impl Client {
    /// HTTP/1.1 on plain sockets; with TLS whatever was agreed on.
    pub(crate) fn new(fake: &RunaiFake) -> Self {
        Self::build(fake, false)
    }

    /// HTTP/2, with prior knowledge on plain sockets.
    pub(crate) fn h2(fake: &RunaiFake) -> Self {
        Self::build(fake, true)
    }

    /// The same client, at another address.
    pub(crate) fn at(mut self, url: String) -> Self {
        self.url = url;
        self
    }

    fn build(fake: &RunaiFake, h2: bool) -> Self {
        let mut roots = RootCertStore::empty();
        if let Some(pem) = fake.ca_pem() {
            let ca = CertificateDer::from_pem_slice(pem.as_bytes()).expect("the CA is PEM");
            roots.add(ca).expect("the CA can be trusted");
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the versions are supported")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .build();
        let http = legacy::Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .http2_only(h2)
            .build(connector);
        let url = fake.url().to_owned();
        Self { http, url }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, legacy::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::from(body.into()))
            .expect("the request is one");
        within(async {
            let (head, mut body) = self.http.request(request).await?.into_parts();
            let (mut bytes, mut pieces, mut complete) = (Vec::new(), Vec::new(), true);
            while let Some(frame) = body.frame().await {
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) => {
                        bytes.extend_from_slice(&data);
                        pieces.push(data.len());
                    }
                    Ok(Err(_trailers)) => {}
                    Err(_) => {
                        complete = false;
                        break;
                    }
                }
            }
            Ok(Answer {
                status: head.status,
                version: head.version,
                headers: head.headers,
                body: bytes.into(),
                pieces,
                complete,
            })
        })
        .await
    }

    pub(crate) async fn v1(&self, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send("POST", "/api/v1/token", &json, body.to_string())
            .await
            .expect("an answer comes")
    }

    pub(crate) async fn v2(&self, form: &str) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send("POST", "/api/v2/token", &headers, form.to_owned())
            .await
            .expect("an answer comes")
    }

    /// Asks for a token as the how-to page does.
    pub(crate) async fn ask(&self, secret: &str) -> Answer {
        self.v1(&serde_json::json!({"grantType": "app_token", "AppId": ID, "AppSecret": secret}))
            .await
    }

    pub(crate) async fn token(&self) -> String {
        let answer = self.ask(SECRET).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        answer["accessToken"].as_str().expect("a text").to_owned()
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send("GET", path, &[("authorization", &bearer)], "")
            .await
            .expect("an answer comes")
    }

    /// The status that a token gets.
    pub(crate) async fn clusters(&self, token: &str) -> u16 {
        self.get("/api/v1/clusters", token).await.status.as_u16()
    }
}

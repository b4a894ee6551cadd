//! hyper-util's client, and what it got.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use runai_fake::RunaiFake;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::{Value, json};

pub(crate) type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.json()["accessToken"].as_str().unwrap().to_owned()
    }
}

/// A client that trusts this fake's CA and nobody else.
pub(crate) fn client(ca_pem: Option<&str>) -> Http {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca_pem {
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}

pub(crate) async fn fake() -> (RunaiFake, Http) {
    let fake = RunaiFake::builder()
        .application("ci-bot", "s3cr3t")
        .start()
        .await
        .unwrap();
    (fake, client(None))
}

/// The whole answer, or what broke.
pub(crate) async fn send(http: &Http, request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let response = http
        .request(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| format!("{error:?}"))?
        .to_bytes();
    Ok(Answer {
        status: head.status,
        version: head.version,
        headers: head.headers,
        body,
    })
}

pub(crate) fn post(
    url: String,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    Request::post(url)
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .unwrap()
}

/// A token request as the how-to writes it.
pub(crate) async fn ask(http: &Http, fake: &RunaiFake) -> Result<Answer, String> {
    let body = json!({"grantType": "app_token", "AppId": "ci-bot", "AppSecret": "s3cr3t"});
    v1(http, fake, &body).await
}

pub(crate) async fn v1(http: &Http, fake: &RunaiFake, body: &Value) -> Result<Answer, String> {
    let url = format!("{}/api/v1/token", fake.url());
    send(http, post(url, "application/json", body.to_string())).await
}

pub(crate) async fn v2(http: &Http, fake: &RunaiFake, form: &str) -> Result<Answer, String> {
    let url = format!("{}/api/v2/token", fake.url());
    send(
        http,
        post(url, "application/x-www-form-urlencoded", form.to_owned()),
    )
    .await
}

pub(crate) async fn get(
    http: &Http,
    fake: &RunaiFake,
    path: &str,
    token: &str,
) -> Result<Answer, String> {
    let request = Request::get(format!("{}{path}", fake.url()))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .unwrap();
    send(http, request).await
}

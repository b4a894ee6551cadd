//! kube-client's auth layer. Its tokens come from a file, which is timed, or from a plugin that it runs,
//! which is what the counts are of: this program itself, asking the endpoint.

use std::{
    future::{Ready, ready},
    io::{Read, Write},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use kube_client::{
    Config,
    client::ConfigExt,
    config::{AuthInfo, ExecConfig, ExecInteractiveMode},
};
use tokio::runtime::Runtime;
use tower_layer::Layer;
use tower_service::Service;

use super::{Boxed, Client, No, Peer, Stamp, ours::Judge};
use crate::{
    endpoint,
    source::{Api, Source},
    stacks,
    workload::{Body, Noop, ORIGIN, request, token},
};

/// The argument with which this program is the plugin; the address of the endpoint follows.
pub const PLUGIN: &str = "exec-credential";

pub struct Kube;

/// Asks the endpoint for a token, and prints it as a plugin must.
///
/// # Errors
///
/// If there is none.
pub fn plugin(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(b"GET /token HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it is no answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err("the source is down".into());
    }
    let body: serde_json::Value = serde_json::from_str(body)?;
    let lifetime = body["expires_in"].as_i64().ok_or("no lifetime")?;
    let expiry = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(lifetime);
    let credential = serde_json::json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {
            "token": body["access_token"],
            "expirationTimestamp": expiry.to_string(),
        },
    });
    writeln!(std::io::stdout(), "{credential}")?;
    Ok(())
}

fn config(auth: AuthInfo) -> Config {
    let mut config = Config::new(http::Uri::from_static(ORIGIN));
    config.auth_info = auth;
    config
}

/// A service of theirs has a boxed error.
#[derive(Clone)]
struct Terminal(Option<Judge>);

impl Service<Request<Body>> for Terminal {
    type Response = Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Ready<Result<Response<Body>, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::new());
        match &self.0 {
            Some(judge) => *response.status_mut() = judge.0.judge(request.headers()),
            None => {
                std::hint::black_box(&request);
            }
        }
        ready(Ok(response))
    }
}

struct Through<S>(S);

impl<S> Client for Through<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: ToString,
    S::Future: Send + 'static,
{
    fn send(&self) -> Boxed<Result<StatusCode, String>> {
        let mut service = self.0.clone();
        Box::pin(async move {
            let response = service.call(request()).await;
            Ok(response.map_err(|it| it.to_string())?.status())
        })
    }
}

impl Peer for Kube {
    fn name(&self) -> &'static str {
        "kube-client"
    }

    fn package(&self) -> Option<&'static str> {
        Some("kube-client")
    }

    fn path(&self) -> &'static str {
        "`auth_layer` with a token file (the counts: with a plugin that it runs)"
    }

    fn fetches_first(&self) -> bool {
        true
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        // Whole seconds, and the plugin takes its time.
        Ok(Duration::from_secs(61) + due_in)
    }

    fn outage_lifetime(&self) -> Duration {
        Duration::from_secs(90)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        Box::pin(async move {
            let url = endpoint::serve(source).await.map_err(|it| it.to_string())?;
            let program = std::env::current_exe().map_err(|it| it.to_string())?;
            let exec = ExecConfig {
                api_version: Some("client.authentication.k8s.io/v1".into()),
                command: Some(program.to_string_lossy().into_owned()),
                args: Some(vec![PLUGIN.into(), url.replace("http://", "")]),
                env: None,
                drop_env: None,
                install_hint: None,
                interactive_mode: Some(ExecInteractiveMode::Never),
                provide_cluster_info: false,
                cluster: None,
                other: Default::default(),
            };
            let auth = AuthInfo {
                exec: Some(exec),
                ..AuthInfo::default()
            };
            // It runs the plugin at once, and waits for it on this thread.
            let layer = tokio::task::spawn_blocking(move || config(auth).auth_layer()).await;
            let layer = layer
                .map_err(|it| it.to_string())?
                .map_err(|it| it.to_string())?
                .ok_or("there is no layer")?;
            let service = layer.layer(Terminal(Some(Judge(api))));
            let client: Arc<dyn Client> = Arc::new(Through(service));
            Ok(client)
        })
    }

    fn stamp(&self, _runtime: &Runtime) -> Result<Stamp, No> {
        let path = std::env::temp_dir().join(format!("bench-token-{}", std::process::id()));
        std::fs::write(&path, token()).map_err(|it| it.to_string())?;
        let auth = AuthInfo {
            token_file: Some(path.to_string_lossy().into_owned()),
            ..AuthInfo::default()
        };
        let layer = config(auth).auth_layer().map_err(|it| it.to_string())?;
        let layer = layer.ok_or("there is no layer")?;
        Ok(Stamp {
            with: stacks::make(layer.layer(Terminal(None)), false),
            bare: stacks::make(Noop, false),
        })
    }
}

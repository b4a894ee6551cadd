//! A token endpoint on loopback, for peers whose source cannot be set.

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::source::Source;

/// Serves the tokens of a source, whatever the path; it ends with the runtime. Its URL.
pub async fn serve(source: Arc<Source>) -> std::io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let source = source.clone();
            tokio::spawn(async move {
                let answer = service_fn(move |request| answer(source.clone(), request));
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    Ok(url)
}

async fn answer(
    source: Arc<Source>,
    _request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match source.fetch().await {
        Ok(issued) => {
            let body = serde_json::json!({
                "access_token": issued.secret,
                "token_type": "Bearer",
                "expires_in": issued.lifetime.as_secs(),
            });
            (StatusCode::OK, body.to_string())
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, String::from("{}")),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

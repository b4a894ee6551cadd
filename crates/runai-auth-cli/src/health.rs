//! `runai-auth health`: asks a proxy whether it is ready. For probes that run a command.

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use runai_auth::{
    BoxError,
    tower_bearer::{ForeignText, Report},
};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    failure::{Failure, OTHER},
    flags::HealthArgs,
};

/// How long the proxy may take to answer.
const LIMIT: Duration = Duration::from_secs(2);

pub(crate) async fn run(args: &HealthArgs) -> Result<ExitCode, Failure> {
    let Some(url) = &args.url else {
        return Err(Failure::usage(
            "no URL of a proxy is given",
            "Give --url http://127.0.0.1:PORT, or set RUNAI_AUTH_HEALTH_URL",
        ));
    };
    let authority = authority(url).ok_or_else(|| {
        Failure::usage(
            "the value of --url (or RUNAI_AUTH_HEALTH_URL) is not the URL of a proxy",
            "Write http://127.0.0.1:PORT, the address of --health-listen or --admin-listen",
        )
    })?;
    let failed = |why: String| {
        Failure::new(
            OTHER,
            format!("the proxy at {authority} is not ready: {why}"),
            "See its log",
        )
    };
    match timeout(LIMIT, ask(&authority)).await {
        Ok(Ok((StatusCode::OK, _))) => Ok(ExitCode::SUCCESS),
        Ok(Ok((status, body))) => {
            let answer = serde_json::from_slice::<Value>(&body).ok();
            // Any server may be there.
            let reason = answer.as_ref().and_then(|it| it["reason"].as_str());
            Err(failed(match reason {
                Some(reason) => ForeignText::new(reason).to_string(),
                None => format!("it answered {status}"),
            }))
        }
        Ok(Err(error)) => Err(failed(Report::new(&*error).to_string())),
        Err(_) => Err(failed(format!("no answer in {} s", LIMIT.as_secs()))),
    }
}

/// Returns the host and port of a URL, which may lack its scheme.
fn authority(url: &str) -> Option<String> {
    let full = match url.contains("://") {
        true => url.to_owned(),
        false => format!("http://{url}"),
    };
    let uri: Uri = full.parse().ok()?;
    let is_plain = uri.scheme() == Some(&Scheme::HTTP) && matches!(uri.path(), "/" | "/readyz");
    let authority = uri.authority().filter(|_| is_plain)?;
    let port = authority.port_u16().unwrap_or(80);
    (!authority.as_str().contains('@')).then(|| format!("{}:{port}", authority.host()))
}

async fn ask(authority: &str) -> Result<(StatusCode, Bytes), BoxError> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender.
    tokio::spawn(connection);
    let request = Request::get("/readyz")
        .header(header::HOST, authority)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), 64 * 1024)
        .collect()
        .await?
        .to_bytes();
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_people_write_them() {
        for (url, read) in [
            ("http://127.0.0.1:9", Some("127.0.0.1:9")),
            ("http://127.0.0.1:9/readyz", Some("127.0.0.1:9")),
            ("127.0.0.1:9", Some("127.0.0.1:9")),
            ("http://[::1]:9/", Some("[::1]:9")),
            ("http://proxy", Some("proxy:80")),
            ("https://127.0.0.1:9", None),
            ("http://127.0.0.1:9/else", None),
            ("http://a@127.0.0.1:9", None),
            ("", None),
        ] {
            assert_eq!(authority(url).as_deref(), read, "{url}");
        }
    }
}

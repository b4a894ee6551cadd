//! `runai-auth check`: goes the whole way, one step after the other, and says where it ends.

mod report;

use std::{
    process::ExitCode,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use runai_auth::{Auth, BoxError, ControlPlane, tower_bearer};
use serde_json::Value;
use tower::ServiceExt;
use x509_parser::prelude::{FromDer, X509Certificate};

use self::report::Report;
use crate::{
    args::{CheckArgs, ConnectArgs},
    connect,
    failure::{Failure, OTHER, REFUSED, UNREACHABLE},
    token::{claims, left, seconds_since_1970},
};

/// Where the token is tried if the probe is not there: older control planes have no access rules.
const OLDER_PROBE: &str = "/api/v1/clusters";

/// A clock that is off by more makes tokens look ended, or endless.
const SKEW: f64 = 60.0;

/// The most that is read of the probe's answer.
const ANSWER_CAP: usize = 64 * 1024;

pub(crate) async fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    let failure = all(args, &mut report).await.err();
    let code = failure.as_ref().map_or(ExitCode::SUCCESS, Failure::code);
    if let Some(failure) = failure {
        report.failed(failure);
    }
    report.print(args.output)?;
    Ok(code)
}

/// Step after step; the failure is that of the step that began last.
async fn all(args: &CheckArgs, report: &mut Report) -> Result<(), Failure> {
    report.begin("url");
    let plane = connect::control_plane(&args.connect)?;
    report.ok(plane.base());

    report.begin("dns");
    match addresses(&plane, &args.connect).await? {
        Some(found) => report.ok(found),
        None => report.skipped("the URL has an address"),
    }

    report.begin("connection");
    let connection = within(args.connect.timeout, plane.connect()).await??;
    let peer = connection
        .peer
        .map_or_else(String::new, |it| it.to_string());
    match connection.certificate {
        None => report.ok(format!("{peer}, without TLS")),
        Some(der) => {
            report.ok(peer);
            report.begin("certificate");
            let told = certificate(&der);
            match args.connect.insecure_skip_tls_verify {
                true => report.ok(format!("{told}, NOT CHECKED")),
                false => report.ok(told),
            }
        }
    }

    report.begin("credentials");
    let credentials = connect::credentials(&args.connect, &plane)?;
    report.ok(credentials.name());
    let auth = connect::authenticate(&args.connect, plane, credentials);

    report.begin("token");
    let token = auth.cache().token().await?;
    let secret = token.expose_secret();
    let place = auth.token_endpoint();
    let place = place.map_or_else(|| "held, not fetched".into(), |uri| uri.path().to_owned());
    let lives = left(secret).map_or_else(
        || "does not say how long it lives".into(),
        |left| format!("lives {}", report::time(left)),
    );
    report.ok(format!("{place}; {lives}"));

    report.begin("who");
    match claims(secret) {
        Some(claims) => report.ok(whose(&claims)),
        None => report.skipped("the token is no JWT"),
    }

    report.begin("api");
    let answer = probe(&auth, args).await?;
    report.ok(format!("GET {}: {}", answer.path, answer.status.as_u16()));

    report.begin("clock");
    match answer.skew {
        None => report.skipped("the answer has no date"),
        Some(skew) if skew.abs() > SKEW => {
            return Err(Failure::new(
                OTHER,
                format!(
                    "this machine's clock is {} s {} the control plane's",
                    skew.abs().round(),
                    if skew > 0.0 { "ahead of" } else { "behind" }
                ),
                "Set the clock, or let it be set (NTP): tokens look ended, or endless, otherwise",
            ));
        }
        Some(_) => report.ok("agrees with the control plane's"),
    }
    Ok(())
}

async fn within<F: Future>(limit: Duration, step: F) -> Result<F::Output, Failure> {
    tokio::time::timeout(limit, step).await.map_err(|_| {
        Failure::new(
            UNREACHABLE,
            format!("there was no answer within {} s", limit.as_secs_f32()),
            "Check that a firewall lets the connection through, and that HTTPS_PROXY is set where one is \
             needed",
        )
    })
}

/// The addresses of the host, if it has a name.
async fn addresses(plane: &ControlPlane, args: &ConnectArgs) -> Result<Option<String>, Failure> {
    let uri = plane.url("/").map_err(Failure::from)?;
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(None);
    }
    let port = uri.port_u16().unwrap_or(443);
    let looked = within(args.timeout, tokio::net::lookup_host((host.as_str(), port))).await?;
    match looked {
        Ok(found) => {
            let mut found: Vec<_> = found.map(|it| it.ip().to_string()).collect();
            found.dedup();
            Ok(Some(found.join(", ")))
        }
        // Behind a forward proxy only the proxy needs to know the name.
        Err(_)
            if std::env::var_os("HTTPS_PROXY")
                .or_else(|| std::env::var_os("https_proxy"))
                .is_some() =>
        {
            Ok(Some("not known here; the forward proxy may know it".into()))
        }
        Err(error) => Err(Failure::new(
            UNREACHABLE,
            format!("the host {host} is not known: {error}"),
            "Check the URL, and that this machine's DNS knows the host",
        )),
    }
}

/// Whose certificate it is, who says so, and until when.
fn certificate(der: &[u8]) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return "one that cannot be read here".into();
    };
    let until = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
    let until = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(until));
    format!(
        "{}, by {}, until {until}",
        report::clean(&certificate.subject().to_string()),
        report::clean(&certificate.issuer().to_string())
    )
}

fn whose(claims: &serde_json::Map<String, Value>) -> String {
    let names = [
        ("tenant", ["tenantId", "tenant_id", "tenant"]),
        ("client", ["azp", "client_id", "clientId"]),
        ("person", ["email", "preferred_username", "name"]),
        ("subject", ["sub", "sub", "sub"]),
        ("issuer", ["iss", "iss", "iss"]),
    ];
    let told = names.iter().filter_map(|(name, keys)| {
        let value = keys.iter().find_map(|key| claims.get(*key))?;
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        Some(format!("{name} {}", report::clean(&text)))
    });
    told.collect::<Vec<_>>().join(", ")
}

struct Answer {
    path: String,
    status: StatusCode,
    /// How far this machine's clock is ahead, in seconds.
    skew: Option<f64>,
}

/// A call with the token.
async fn probe(auth: &Auth, args: &CheckArgs) -> Result<Answer, Failure> {
    let answer = call(auth, &args.probe, args.connect.timeout).await?;
    match (answer.0.status, args.probe.as_str()) {
        (StatusCode::NOT_FOUND, path) if path != OLDER_PROBE => {
            judged(call(auth, OLDER_PROBE, args.connect.timeout).await?)
        }
        _ => judged(answer),
    }
}

fn judged((answer, said): (Answer, String)) -> Result<Answer, Failure> {
    let path = &answer.path;
    let status = answer.status.as_u16();
    match status {
        200..=299 => Ok(answer),
        401 => Err(Failure::new(
            REFUSED,
            format!("{path} rejected the token that was just issued (401{said})"),
            "Check the clocks of this machine and of the control plane, and that the URL is that of the \
             control plane which the credentials are for",
        )),
        403 => Err(Failure::new(
            REFUSED,
            format!("the token is good, but {path} is not allowed to it (403{said})"),
            "Assign an access rule, a role and a scope, to the application: Settings & Tools → \
             Applications, or Access rules; it holds at once",
        )),
        500..=599 | 408 | 429 => Err(Failure::new(
            UNREACHABLE,
            format!("{path} cannot answer at present ({status}{said})"),
            "Try again later",
        )),
        _ => Err(Failure::new(
            OTHER,
            format!("{path} answered {status}{said}"),
            "Check that the URL is the control plane's own, or name another call with --probe",
        )),
    }
}

async fn call(auth: &Auth, path: &str, limit: Duration) -> Result<(Answer, String), Failure> {
    let request = Request::get(auth.url(path)?)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(Failure::other)?;
    let api = auth.client()?;
    let before = seconds_since_1970();
    let answered = within(2 * limit, api.oneshot(request)).await?;
    let response =
        answered.map_err(
            |error: BoxError| match error.downcast::<tower_bearer::Error>() {
                Ok(error) => Failure::from(*error),
                Err(error) => Failure::new(
                    UNREACHABLE,
                    format!("the call to {path} broke off: {error}"),
                    "Try again; if it lasts, check what is between here and the control plane",
                ),
            },
        )?;
    let now = f64::midpoint(before, seconds_since_1970());
    let date = response.headers().get(header::DATE);
    let date = date.and_then(|it| httpdate::parse_http_date(it.to_str().ok()?).ok());
    let skew = date.and_then(|at| Some(now - at.duration_since(UNIX_EPOCH).ok()?.as_secs_f64()));
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_CAP).collect();
    let body = within(limit, body)
        .await?
        .map_or_else(|_| Bytes::new(), |it| it.to_bytes());
    let said = serde_json::from_slice::<Value>(&body).ok();
    let said = said.and_then(|value| Some(value.get("message")?.as_str()?.to_owned()));
    let said = said.map_or_else(String::new, |said| {
        format!(", \"{}\"", report::clean(&said))
    });
    let path = path.to_owned();
    Ok((Answer { path, status, skew }, said))
}

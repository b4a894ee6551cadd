//! The steps, in order. The first that fails is the last in the report.

use std::{net::IpAddr, process::ExitCode};

use runai_auth::{Auth, ControlPlane};
use serde_json::{Map, Value};

use super::{
    certificate,
    probe::probe,
    report::{self, Later, Report},
    within::within,
};
use crate::{
    claims::{claims, text as claim_text, time_left},
    connect,
    failure::{Failure, OTHER, UNREACHABLE},
    flags::{CheckArgs, ConnectArgs},
};

/// With a larger difference between the clocks, in seconds, fresh tokens seem expired or expired ones fresh.
const MAX_SKEW: f64 = 60.0;

pub(crate) async fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    let failure = steps(args, &mut report).await.err();
    let code = failure.as_ref().map_or(ExitCode::SUCCESS, Failure::code);
    if let Some(failure) = failure {
        report.failed(failure);
    }
    report.print(args.output)?;
    Ok(code)
}

/// Runs one step after the other. An error belongs to the step that began last.
async fn steps(args: &CheckArgs, report: &mut Report) -> Result<(), Failure> {
    report.begin("url");
    let plane = connect::control_plane(&args.connect)?;
    report.ok(plane.base());
    let certificate = network(args, &plane, report).await?;

    report.begin("credentials");
    let auth = connect::credentials(&args.connect, &plane).map(|credentials| {
        report.ok(credentials.name());
        connect::authenticate(&args.connect, plane, credentials)
    });
    let (auth, rest) = match auth {
        Ok(auth) => {
            let rest = with_token(args, &auth, report).await;
            (Some(auth), rest)
        }
        Err(failure) => (None, Err(failure)),
    };
    // Only now all secrets are known that the certificate may repeat.
    if let Some((der, place)) = certificate {
        let certificate = certificate::description(&der, auth.as_ref());
        match args.connect.insecure_skip_tls_verify {
            true => report.fill(place, format!("{certificate}, NOT CHECKED")),
            false => report.fill(place, certificate),
        }
    }
    rest
}

/// Runs the steps that need no credentials. Returns the server's certificate, if it has one, with its place in the
/// report.
async fn network(
    args: &CheckArgs,
    plane: &ControlPlane,
    report: &mut Report,
) -> Result<Option<(Vec<u8>, Later)>, Failure> {
    report.begin("dns");
    match addresses(plane, &args.connect).await? {
        Some(found) => report.ok(found),
        None => report.skipped("the URL has an address"),
    }

    report.begin("connection");
    let connection = within(args.connect.timeout, plane.connect()).await??;
    let peer = connection
        .peer
        .map_or_else(String::new, |it| it.to_string());
    match connection.certificate {
        None => {
            report.ok(format!("{peer}, without TLS"));
            Ok(None)
        }
        Some(der) => {
            report.ok(peer);
            report.begin("certificate");
            Ok(Some((der, report.ok_later())))
        }
    }
}

/// Runs the steps that need credentials.
async fn with_token(args: &CheckArgs, auth: &Auth, report: &mut Report) -> Result<(), Failure> {
    report.begin("token");
    let token = auth.cache().token().await?;
    let secret = token.expose_secret();
    let endpoint = auth.token_endpoint();
    let endpoint = endpoint.map_or_else(|| "held, not fetched".into(), |uri| uri.path().to_owned());
    let lifetime = time_left(secret).map_or_else(
        || "does not say how long it lives".into(),
        |left| format!("lives {}", report::time(left)),
    );
    report.ok(format!("{endpoint}; {lifetime}"));

    report.begin("who");
    match claims(secret) {
        Some(claims) => report.ok(owner(&claims, auth)),
        None => report.skipped("the token is not a JWT"),
    }

    report.begin("api");
    let answer = probe(auth, args).await?;
    report.ok(format!("GET {}: {}", answer.path, answer.status.as_u16()));

    report.begin("clock");
    match answer.skew {
        None => report.skipped("the answer has no date"),
        Some(skew) if skew.abs() > MAX_SKEW => {
            return Err(Failure::new(
                OTHER,
                format!(
                    "this machine's clock is {} s {} the control plane's",
                    skew.abs().round(),
                    if skew > 0.0 { "ahead of" } else { "behind" }
                ),
                "Set the clock, or let NTP set it: otherwise fresh tokens seem expired, or expired ones fresh",
            ));
        }
        Some(_) => report.ok("agrees with the control plane's"),
    }
    Ok(())
}

/// Looks the host up. Returns `None` if the URL has an address instead of a name.
async fn addresses(plane: &ControlPlane, args: &ConnectArgs) -> Result<Option<String>, Failure> {
    let uri = plane.url("/").map_err(Failure::from)?;
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    if host.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    let port = uri.port_u16().unwrap_or(443);
    let lookup = tokio::net::lookup_host((host.as_str(), port));
    match within(args.timeout, lookup).await? {
        Ok(found) => {
            let mut found: Vec<_> = found.map(|it| it.ip().to_string()).collect();
            found.dedup();
            Ok(Some(found.join(", ")))
        }
        // Behind a forward proxy only that proxy needs to know the name.
        Err(_)
            if std::env::var_os("HTTPS_PROXY")
                .or_else(|| std::env::var_os("https_proxy"))
                .is_some() =>
        {
            Ok(Some("unknown here; the forward proxy may know it".into()))
        }
        Err(error) => Err(Failure::new(
            UNREACHABLE,
            format!("the host {host} is not known: {error}"),
            "Check the URL, and that this machine's DNS knows the host",
        )),
    }
}

/// Describes whose token it is.
fn owner(claims: &Map<String, Value>, auth: &Auth) -> String {
    let kinds: [(&str, &[&str]); 5] = [
        ("tenant", &["tenantId", "tenant_id", "tenant"]),
        ("client", &["azp", "client_id", "clientId"]),
        ("person", &["email", "preferred_username", "name"]),
        ("subject", &["sub"]),
        ("issuer", &["iss"]),
    ];
    let found = kinds.iter().filter_map(|(kind, names)| {
        let value = names.iter().find_map(|name| claims.get(*name))?;
        Some(format!("{kind} {}", auth.foreign_text(&claim_text(value))))
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => "a JWT that names no tenant, client, person, subject or issuer".into(),
        false => found.join(", "),
    }
}

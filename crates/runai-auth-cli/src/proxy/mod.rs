//! `runai-auth proxy`: plain HTTP in, stamped requests to the one control plane out.
//!
//! `listen` is where callers come from, `connection` serves one of them, `guard` lets a request in,
//! `forward` sends it on and its answer back, and `admin` tells how all that goes.

mod admin;
mod answer;
mod body;
mod callers_body;
mod clock;
mod connection;
mod counts;
mod drain;
mod forward;
pub(crate) mod guard;
mod headers;
pub(crate) mod key;
pub(crate) mod listen;
mod path;
pub(crate) mod placeholder;
mod reason;
pub(crate) mod server;
pub(crate) mod signals;
mod upgrade;

use std::process::ExitCode;

use runai_auth::Auth;
use tracing::{info, warn};

use self::{
    guard::{Filter, HostRule},
    key::Key,
    listen::Address,
    server::{Server, Setup},
    signals::{Signal, Signals},
};
use crate::{
    args::{self, ProxyArgs},
    connect,
    failure::Failure,
    token::print,
};

pub(crate) async fn run(args: &ProxyArgs) -> Result<ExitCode, Failure> {
    // First, so that none ends the process in its midst.
    let mut signals = Signals::listen()?;
    let setup = setup(args)?;
    let auth = connect::auth(&args.connect)?;
    let server = tokio::select! {
        started = Server::start(auth.clone(), setup) => started?,
        signal = signals.ending() => return Ok(signal.code()),
    };
    print(&server.ready_line())?;
    info!(
        control_plane = auth.control_plane().base(),
        listening = server.url(),
        "ready"
    );
    loop {
        match signals.next().await {
            Signal::HangUp => {
                tokio::spawn(refresh(auth.clone()));
            }
            signal => {
                info!(signal = signal.name(), "told to stop");
                break;
            }
        }
    }
    tokio::select! {
        () = server.stop(args.grace) => Ok(ExitCode::SUCCESS),
        signal = signals.ending() => {
            warn!(signal = signal.name(), "told again: requests in flight are cut off");
            Ok(signal.code())
        }
    }
}

/// Another token, with the secret that its file holds now.
pub(crate) async fn refresh(auth: Auth) {
    match auth.cache().refresh().await {
        Ok(token) => info!(generation = token.generation(), "refreshed after SIGHUP"),
        Err(error) => {
            let failure = Failure::from(error);
            warn!(
                error = failure.error(),
                hint = failure.hint(),
                "not refreshed after SIGHUP"
            );
        }
    }
}

/// From flags to what a proxy is made of. What is wrong is told before anything is asked for.
fn setup<'a>(args: &'a ProxyArgs) -> Result<Setup<'a>, Failure> {
    let told = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
    let listen = match told(&args.listen) {
        Some(text) => Address::parse(text, "--listen")?,
        None => Address::default_socket()?,
    };
    let key = match &args.inbound_key_file {
        Some(path) => Some(Key::file(path.clone())?),
        None => None,
    };
    if let Address::Tcp(address) = &listen {
        let is_remote = !address.ip().is_loopback();
        if is_remote && !(args.allow_remote && key.is_some()) {
            return Err(Failure::usage(
                format!("{address} is reached from other machines"),
                "Give both --allow-remote and --inbound-key-file, or listen on 127.0.0.1",
            ));
        }
        if key.is_none() {
            warn!(
                "any user of this machine can act as the application: give --inbound-key-file, or listen \
                 on a socket"
            );
        }
    }
    let admin = match told(&args.admin_listen) {
        Some(text) => Some(Address::parse(text, "--admin-listen")?),
        None => None,
    };
    if !matches!(&admin, None | Some(Address::Tcp(_)))
        || matches!(&admin, Some(Address::Tcp(address)) if !address.ip().is_loopback())
    {
        return Err(Failure::usage(
            "--admin-listen is for this machine only",
            "Write 127.0.0.1:PORT; --health-listen is for probes from other machines",
        ));
    }
    let health = match told(&args.health_listen) {
        Some(text) => Some(Address::parse(text, "--health-listen")?),
        None => None,
    };
    let hosts = args.allow_host.iter().filter(|text| !text.is_empty());
    let metrics = match admin.is_some() || health.is_some() {
        true => Some(server::recorder()?),
        false => None,
    };
    Ok(Setup {
        metrics,
        listen,
        admin,
        health,
        key,
        allow_host: hosts
            .map(|text| HostRule::parse(text))
            .collect::<Result<_, _>>()?,
        filter: Filter::new(&args.rules)?,
        rules: &args.rules,
    })
}

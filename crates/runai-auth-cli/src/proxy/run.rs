//! The command: starts a proxy, and ends it on a signal.

use std::process::ExitCode;

use runai_auth::Auth;
use tracing::{info, warn};

use super::{
    server::Server,
    setup::Setup,
    signals::{Signal, Signals},
};
use crate::{connect, failure::Failure, flags::ProxyArgs, print};

pub(crate) async fn run(args: &ProxyArgs) -> Result<ExitCode, Failure> {
    // First, so that no signal ends the process halfway.
    let mut signals = Signals::listen()?;
    let setup = Setup::from_flags(args)?;
    let auth = connect::auth(&args.connect)?;
    let server = tokio::select! {
        started = Server::start(auth.clone(), setup) => started?,
        signal = signals.ending() => return Ok(signal.code()),
    };
    print::json(&server.ready_line())?;
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
                info!(signal = signal.name(), "stopping");
                break;
            }
        }
    }
    tokio::select! {
        () = server.stop() => Ok(ExitCode::SUCCESS),
        signal = signals.ending() => {
            warn!(signal = signal.name(), "a second signal: requests in flight are cut off");
            Ok(signal.code())
        }
    }
}

/// Fetches a new token, with the secret that the file holds now.
async fn refresh(auth: Auth) {
    match auth.cache().refresh().await {
        Ok(token) => info!(
            generation = token.generation(),
            "the token was refreshed after SIGHUP"
        ),
        Err(error) => warn!(
            error = format!("{error:#}"),
            "the refresh after SIGHUP failed"
        ),
    }
}

//! Connections that change their protocol: WebSocket, and the protocols of `kubectl exec`.

use http::{request, response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use runai_auth::tower_bearer::Report;
use tokio::io::copy_bidirectional;
use tracing::debug;

use super::in_flight::InFlight;

/// Takes the caller's side of an upgrade out of its request.
pub(crate) fn of(head: &mut request::Parts) -> Option<OnUpgrade> {
    head.extensions.remove()
}

/// Both sides of a connection that is being upgraded.
#[derive(Debug)]
pub(crate) struct Tunnel {
    caller: Option<OnUpgrade>,
    control_plane: Option<OnUpgrade>,
}

impl Tunnel {
    pub(crate) fn new(caller: Option<OnUpgrade>, answer: &mut response::Parts) -> Self {
        Self {
            caller,
            control_plane: answer.extensions.remove(),
        }
    }

    /// Passes bytes on until both sides have ended. The request is in flight until then.
    pub(crate) async fn join(self, _in_flight: InFlight) {
        let (Some(caller), Some(control_plane)) = (self.caller, self.control_plane) else {
            return;
        };
        let sides = tokio::try_join!(caller, control_plane);
        let joined = match sides {
            Ok((caller, control_plane)) => pass(caller, control_plane).await,
            Err(error) => {
                debug!(error = %Report::new(&error), "the upgrade failed");
                return;
            }
        };
        match joined {
            Ok((sent, received)) => debug!(sent, received, "an upgraded connection has ended"),
            Err(error) => debug!(error = %Report::new(&error), "an upgraded connection broke"),
        }
    }
}

async fn pass(caller: Upgraded, control_plane: Upgraded) -> std::io::Result<(u64, u64)> {
    let mut caller = TokioIo::new(caller);
    let mut control_plane = TokioIo::new(control_plane);
    copy_bidirectional(&mut caller, &mut control_plane).await
}

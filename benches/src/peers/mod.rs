//! The peers: how each is given tokens, sends a request, and is timed.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::runtime::Runtime;

use crate::{
    source::{Api, Source},
    stacks::Make,
};

#[cfg(feature = "peers")]
mod aliri;
#[cfg(feature = "peers")]
mod aws;
#[cfg(feature = "peers")]
mod azure;
pub mod by_hand;
pub mod call;
#[cfg(feature = "peers")]
mod gears;
#[cfg(feature = "peers")]
mod google;
#[cfg(feature = "peers")]
mod huskarl;
#[cfg(feature = "peers")]
pub mod kube;
#[cfg(feature = "peers")]
mod middle;
#[cfg(feature = "peers")]
mod object_store;
pub mod ours;

/// A future of a peer's, whose type is forgotten.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a peer has no way to do, and why.
pub type No = String;

/// What a peer does, or `no` to it.
pub trait Peer: Send + Sync {
    /// Its name in the output.
    fn name(&self) -> &'static str;

    /// The crate whose version is printed; none for what is written by hand.
    fn package(&self) -> Option<&'static str>;

    /// What was timed, in a few words.
    fn path(&self) -> &'static str;

    /// Whether it fetches another token after a 401.
    fn heals(&self) -> bool {
        false
    }

    /// Whether a client exists only once there is a token, so that no request is ever cold.
    fn fetches_first(&self) -> bool {
        false
    }

    /// The lifetime of a token that it refreshes about `due_in` after it was issued.
    ///
    /// # Errors
    ///
    /// If it has no such lifetime.
    fn lifetime(&self, due_in: Duration) -> Result<Duration, No>;

    /// The lifetime of the tokens before an outage: a minute, unless it takes such a token for due at once.
    fn outage_lifetime(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// A client whose tokens come from `source`, and whose requests are judged by `api`.
    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>>;

    /// Its stack with a token that is there, and the same stack without authentication.
    ///
    /// # Errors
    ///
    /// If it cannot be timed.
    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No>;
}

/// A client of a peer.
pub trait Client: Send + Sync {
    /// Sends a request with a token, and says how it was answered.
    fn send(&self) -> Boxed<Result<StatusCode, String>>;
}

/// What is timed of a peer.
pub struct Stamp {
    pub with: Make,
    pub bare: Make,
}

/// All of them; this project comes first.
pub fn all() -> Vec<Arc<dyn Peer>> {
    vec![
        Arc::new(ours::Ours),
        Arc::new(by_hand::Mutexed),
        Arc::new(by_hand::Checked),
        #[cfg(feature = "peers")]
        Arc::new(middle::Middle),
        #[cfg(feature = "peers")]
        Arc::new(aliri::Aliri),
        #[cfg(feature = "peers")]
        Arc::new(huskarl::Huskarl),
        #[cfg(feature = "peers")]
        Arc::new(kube::Kube),
        #[cfg(feature = "peers")]
        Arc::new(object_store::ObjectStore),
        #[cfg(feature = "peers")]
        Arc::new(azure::Azure),
        #[cfg(feature = "peers")]
        Arc::new(google::Google),
        #[cfg(feature = "peers")]
        Arc::new(aws::Aws),
        #[cfg(feature = "peers")]
        Arc::new(gears::Gears),
    ]
}

//! Waits for a token, and then for the inner service.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::attempt::Shared;
use crate::{
    error::{BoxError, Error},
    refresh::{Acquire, Core, Look, Stamp, Want},
};

/// Waits until there is a token for a request and the inner service is ready for it.
pub(super) struct Turn<S> {
    /// The tokens and the rules.
    pub(super) shared: Arc<Shared<S>>,
    /// The inner service. While there is no token it is not ready, so it holds no capacity (G39).
    pub(super) service: S,
    /// Which token will do.
    pub(super) want: Want,
    /// The token that it waits for; `None` while it waits for the service.
    pub(super) acquire: Option<Acquire>,
}

/// Why a request got no turn.
pub(super) enum NoTurn {
    Token(Error),
    Service(BoxError),
}

impl From<NoTurn> for BoxError {
    fn from(why: NoTurn) -> Self {
        match why {
            NoTurn::Token(error) => error.into(),
            NoTurn::Service(error) => error,
        }
    }
}

impl<S> Turn<S> {
    /// Returns the token for the request, once the service is ready for it.
    pub(super) fn poll_stamp<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stamp, NoTurn>>
    where
        S: Service<T> + Clone,
        S::Error: Into<BoxError>,
    {
        loop {
            if let Some(acquire) = &mut self.acquire {
                ready!(Pin::new(acquire).poll(cx)).map_err(NoTurn::Token)?;
                self.acquire = None;
                // What it got is the best there is (L35).
                self.want = self.want.after_refresh();
            }
            ready!(self.service.poll_ready(cx)).map_err(|it| NoTurn::Service(it.into()))?;
            // The service may have taken its time, so the token is looked up anew (G19).
            match self.core().look(self.want) {
                Look::Serve(token) => return Poll::Ready(Ok(token.into())),
                look => {
                    // The wait begins anew, so the capacity is given back (G39).
                    self.service = self.service.clone();
                    self.acquire = Some(Acquire::looked(self.core().clone(), self.want, look));
                }
            }
        }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        self.shared.stamper.cache.core()
    }
}

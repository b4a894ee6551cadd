use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    attach::Stamper,
    hops::{self, Memory, Pair},
    service::BearerAuth,
};

/// Makes services that follow redirects, and on each hop keep to what the request asked for.
///
/// [`BearerAuthLayer::with_redirects`](crate::BearerAuthLayer::with_redirects) makes it.
#[derive(Clone, Debug)]
pub struct RedirectsLayer<L> {
    redirects: L,
    stamper: Stamper,
    pair: Pair,
}

impl<L> RedirectsLayer<L> {
    pub(super) fn new(redirects: L, stamper: Stamper, pair: Pair) -> Self {
        Self {
            redirects,
            stamper,
            pair,
        }
    }
}

impl<S, L> Layer<S> for RedirectsLayer<L>
where
    L: Layer<BearerAuth<S>>,
{
    type Service = Redirects<L::Service>;

    fn layer(&self, inner: S) -> Redirects<L::Service> {
        let stamped = BearerAuth::new(inner, self.stamper.clone());
        Redirects {
            inner: self.redirects.layer(stamped),
            pair: self.pair,
        }
    }
}

/// Follows redirects with a layer of another crate, around a [`BearerAuth`]. [`RedirectsLayer`] makes it.
#[derive(Clone, Debug)]
pub struct Redirects<S> {
    inner: S,
    pair: Pair,
}

impl<S, T> Service<T> for Redirects<S>
where
    S: Service<T>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RedirectsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: T) -> Self::Future {
        let mut memory = Some(Memory::new(self.pair));
        // The first hop is usually sent here.
        let inner = hops::within(&mut memory, || self.inner.call(request));
        RedirectsFuture { inner, memory }
    }
}

pin_project! {
    /// The response future of [`Redirects`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request.
    pub struct RedirectsFuture<F> {
        #[pin]
        inner: F,
        memory: Option<Memory>,
    }
}

impl<F: Future> Future for RedirectsFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        hops::within(this.memory, || this.inner.poll(cx))
    }
}

impl<F> fmt::Debug for RedirectsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedirectsFuture").finish_non_exhaustive()
    }
}

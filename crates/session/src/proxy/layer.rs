//! [`TrustProxyLayer`]: tells handlers who is really calling.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{Extensions, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    PeerAddr, TrustProxy,
    forwarded::{client, is_forwarded},
};

/// Puts a [`Client`](crate::Client) into the extensions of every request.
#[derive(Clone)]
pub struct TrustProxyLayer {
    shared: Arc<Shared>,
}

struct Shared {
    trust: TrustProxy,
    peer: fn(&Extensions) -> Option<IpAddr>,
    warned: AtomicBool,
}

impl TrustProxyLayer {
    /// A layer that takes the connection's address from a [`PeerAddr`] extension. A request without one is answered with 500
    /// and says what is missing: all clients would look like one, and share its limits.
    pub fn new(trust: TrustProxy) -> Self {
        Self::with_peer(trust, |extensions| extensions.get::<PeerAddr>().map(|peer| peer.0.ip()))
    }

    /// A layer that asks `peer` for the connection's address; for axum:
    /// `|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())`, together with
    /// `into_make_service_with_connect_info::<SocketAddr>()`. A request for which `peer` knows no address is answered with 500. Behind a
    /// Unix socket, return the address that stands for the proxy.
    pub fn with_peer(trust: TrustProxy, peer: fn(&Extensions) -> Option<IpAddr>) -> Self {
        Self { shared: Arc::new(Shared { trust, peer, warned: AtomicBool::new(false) }) }
    }
}

impl<S> Layer<S> for TrustProxyLayer {
    type Service = TrustProxyService<S>;

    fn layer(&self, inner: S) -> TrustProxyService<S> {
        TrustProxyService { inner, shared: self.shared.clone() }
    }
}

/// The service that [`TrustProxyLayer`] makes.
#[derive(Clone)]
pub struct TrustProxyService<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// What a program that does not know its clients is told, at its first request.
const NO_PEER: &str = "the address of the connection is missing, so all clients would count as one: \
    serve the router with into_make_service_with_connect_info::<SocketAddr>() and read ConnectInfo in TrustProxyLayer::with_peer, \
    or put a PeerAddr into the extensions of each request";

impl<S, B, Out> Service<Request<B>> for TrustProxyService<S>
where
    S: Service<Request<B>, Response = Response<Out>>,
    Out: From<&'static str>,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = TrustProxyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> TrustProxyFuture<S::Future> {
        let Shared { trust, peer, .. } = &*self.shared;
        let Some(peer) = peer(request.extensions()) else {
            self.shared.report_no_peer();
            return TrustProxyFuture::NoPeer;
        };
        self.shared.warn_of_untrusted(peer, &request);
        let client = client(trust, peer, request.headers(), request.uri());
        request.extensions_mut().insert(client);
        TrustProxyFuture::Serving { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// The response future of [`TrustProxyService`].
    #[project = FutureState]
    pub enum TrustProxyFuture<F> {
        /// The handler is at work.
        #[doc(hidden)]
        Serving { #[pin] inner: F },
        /// Nobody knows who is calling.
        #[doc(hidden)]
        NoPeer,
    }
}

impl<F, E, Out> Future for TrustProxyFuture<F>
where
    F: Future<Output = Result<Response<Out>, E>>,
    Out: From<&'static str>,
{
    type Output = Result<Response<Out>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            FutureState::Serving { inner } => inner.poll(cx),
            FutureState::NoPeer => {
                let mut response = Response::new(Out::from(NO_PEER));
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                Poll::Ready(Ok(response))
            }
        }
    }
}

impl Shared {
    fn report_no_peer(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::error!(event = "peer_address_missing", "{NO_PEER}");
        }
    }

    /// A forgotten `trust_proxy` looks like clients that all share one address and never use https: say so, once.
    fn warn_of_untrusted<B>(&self, peer: IpAddr, request: &Request<B>) {
        let ignored = is_forwarded(request.headers()) && !self.trust.trusts(peer.to_canonical(), 0);
        if ignored && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "forwarded_headers_ignored",
                %peer,
                "X-Forwarded-* headers from a peer that is not trusted are ignored; if it is your proxy, name it in trust_proxy"
            );
        }
    }
}

//! [`TrustProxyLayer`]: tells handlers who is really calling.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{Extensions, Request};
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
    /// A layer that takes the connection's address from a [`PeerAddr`] extension. A request without one comes from
    /// 0.0.0.0, which no list of networks trusts.
    pub fn new(trust: TrustProxy) -> Self {
        Self::with_peer(trust, |extensions| extensions.get::<PeerAddr>().map(|peer| peer.0.ip()))
    }

    /// A layer that asks `peer` for the connection's address; for axum:
    /// `|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())`.
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

impl<S: Service<Request<B>>, B> Service<Request<B>> for TrustProxyService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let Shared { trust, peer, .. } = &*self.shared;
        let peer = peer(request.extensions()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.shared.warn_of_untrusted(peer, &request);
        let client = client(trust, peer, request.headers(), request.uri());
        request.extensions_mut().insert(client);
        self.inner.call(request)
    }
}

impl Shared {
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

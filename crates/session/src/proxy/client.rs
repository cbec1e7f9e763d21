//! [`Client`]: where a request really came from.

use std::net::{IpAddr, SocketAddr};

/// How the client reached the outermost trusted proxy, or us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// The address at the other end of the connection. The program that accepts connections puts it into the request's
/// extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// The client of a request: address, scheme and host, derived from the connection and from trusted proxies alone.
/// [`TrustProxyLayer`](crate::TrustProxyLayer) puts it into the request's extensions; with axum it is an extractor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The first address, counted from us, that is not a trusted proxy. IPv4 in IPv6 is written as IPv4.
    pub addr: IpAddr,
    /// How it connected.
    pub scheme: Scheme,
    /// The host (and port) it asked for.
    pub host: Option<String>,
}

#[cfg(feature = "axum")]
impl<S: Sync> axum_core::extract::FromRequestParts<S> for Client {
    type Rejection = (http::StatusCode, &'static str);

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        let missing = "there is no Client here: add a TrustProxyLayer around this route";
        parts.extensions.get().cloned().ok_or((http::StatusCode::INTERNAL_SERVER_ERROR, missing))
    }
}

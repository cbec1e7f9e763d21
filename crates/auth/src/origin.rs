//! [`Origin`]: where an attempt comes from.

use std::net::IpAddr;

use http::{HeaderMap, header::USER_AGENT};

use crate::device::SentDevices;

/// How much of a browser's name for itself is kept, in characters.
const MAX_USER_AGENT: usize = 256;

/// Where an attempt comes from: the client's address, and what its headers tell. With the feature `axum` it is an extractor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Origin {
    /// The client's address, after trusted proxies.
    pub addr: IpAddr,
    /// What the browser says it is; shown in the list of sessions.
    pub user_agent: Option<String>,
    /// The accounts that have been signed in to in this browser.
    pub(crate) devices: SentDevices,
}

impl Origin {
    /// A client of which only the address is known.
    pub fn new(addr: IpAddr) -> Self {
        Self { addr, user_agent: None, devices: SentDevices::default() }
    }

    /// Reads `User-Agent` and the [device cookies](crate::DeviceCookies) of a request.
    #[must_use]
    pub fn with_headers(self, headers: &HeaderMap) -> Self {
        let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let user_agent = agent.map(|agent| agent.chars().take(MAX_USER_AGENT).collect());
        Self { user_agent, devices: SentDevices::of(headers), ..self }
    }
}

/// Needs a [`TrustProxyLayer`](hallpass_session::TrustProxyLayer) around the route.
#[cfg(feature = "axum")]
impl<S: Send + Sync> axum_core::extract::FromRequestParts<S> for Origin {
    type Rejection = <hallpass_session::Client as axum_core::extract::FromRequestParts<S>>::Rejection;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        state: &S,
    ) -> Result<Self, Self::Rejection> {
        let client = hallpass_session::Client::from_request_parts(parts, state).await?;
        Ok(Self::new(client.addr).with_headers(&parts.headers))
    }
}

//! [`HttpClient`]: hyper with rustls, the stack that is here already.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::{
    fetch::{Fetch, FetchError, MAX_RESPONSE},
    proxy::{ForwardProxy, Route},
};

/// How long establishing a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// An HTTP/1.1 client with the system's certificates. Clones share their connections. Certificates are always verified; http
/// without TLS works, and [`Provider`](super::Provider) allows it for this machine only.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<HttpsConnector<Route>, Full<Bytes>>,
    proxy: Option<ForwardProxy>,
    patience: Duration,
}

impl HttpClient {
    /// A client that waits at most 5 seconds for each answer. An error: the system has no certificates.
    pub fn new() -> io::Result<Self> {
        Self::through(None)
    }

    /// The same, through a forward proxy if there is one.
    pub fn through(proxy: Option<ForwardProxy>) -> io::Result<Self> {
        let mut straight = HttpConnector::new();
        straight.enforce_http(false);
        straight.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
        let tls = tls.map_err(io::Error::other)?.with_native_roots()?.with_no_client_auth();
        let secured =
            || HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
        let to_proxy = secured().wrap_connector(straight.clone());
        let https = secured().wrap_connector(Route::new(straight, to_proxy, proxy.clone()));
        let client =
            Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build(https);
        Ok(Self { client, proxy, patience: Duration::from_secs(5) })
    }

    /// With another limit for each answer.
    #[must_use]
    pub fn with_timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
        let response = self.client.request(request).await;
        let response = response.map_err(|error| FetchError::Unreachable(with_causes(&error)))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE).collect().await;
        let body = body.map_err(|error| FetchError::Unreadable(error.to_string()))?;
        Ok(Response::from_parts(parts, body.to_bytes().into()))
    }
}

/// "client error (Connect)" says little: the causes say which certificate or port.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[async_trait]
impl Fetch for HttpClient {
    async fn fetch(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        let way = self.proxy.as_ref().filter(|proxy| proxy.serves(request.uri()));
        let way = way.map(|proxy| format!(" (through the proxy {proxy})")).unwrap_or_default();
        match timeout(self.patience, self.exchange(request)).await {
            Ok(Err(FetchError::Unreachable(error))) => Err(FetchError::Unreachable(format!("{error}{way}"))),
            Ok(response) => response,
            Err(_) => Err(FetchError::Unreachable(format!("no answer within {:?}{way}", self.patience))),
        }
    }
}

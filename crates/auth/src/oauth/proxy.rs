//! [`ForwardProxy`]: the way out for a machine that has none of its own. https goes through it in a tunnel (`CONNECT`), so it sees names of
//! hosts and nothing else; http, which is for this machine only, never does.

use std::{
    error::Error as StdError,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hallpass_session::Secret;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower_service::Service;
use url::Url;

use super::provider::is_local;

/// A forward proxy. `Debug` and `Display` show its address, no password.
#[derive(Clone)]
pub struct ForwardProxy {
    address: Uri,
    /// `None`: every host is an exception.
    matcher: Option<Arc<Matcher>>,
}

/// The proxy's address cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no proxy's address; write http://proxy.example.com:3128, with user:password@ in front of the host if it wants them"
)]
pub struct ForwardProxyError;

impl ForwardProxy {
    /// The proxy at `url`, `http://user:password@host:port`, where everything but scheme and host may be missing; with https it is spoken to over TLS.
    /// Not for this machine itself, nor for hosts in `except`: names, which cover what is below them, addresses, networks (`10.0.0.0/8`),
    /// or `*` for all.
    pub fn new(url: &Secret<String>, except: &[String]) -> Result<Self, ForwardProxyError> {
        let builder = || Matcher::builder().https(url.expose().as_str());
        let elsewhere = builder().build().intercept(&Uri::from_static("https://login.example.com"));
        let address = elsewhere.as_ref().map(Intercept::uri).ok_or(ForwardProxyError)?;
        if !matches!(address.scheme_str(), Some("http" | "https")) || address.host().is_none_or(str::is_empty)
        {
            return Err(ForwardProxyError);
        }
        // The matcher takes it for names only.
        let nobody = except.iter().any(|one| one == "*");
        let matcher = (!nobody).then(|| Arc::new(builder().no(except.join(",")).build()));
        Ok(Self { address: address.clone(), matcher })
    }

    /// Whether requests to `uri` go through it.
    pub(super) fn serves(&self, uri: &Uri) -> bool {
        self.way(uri).is_some()
    }

    fn way(&self, to: &Uri) -> Option<Intercept> {
        let is_here = Url::parse(&to.to_string()).is_ok_and(|url| is_local(&url));
        self.matcher.as_ref().filter(|_| !is_here)?.intercept(to)
    }
}

impl fmt::Display for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.address.scheme_str(), self.address.host());
        write!(f, "{}://{}", scheme.unwrap_or_default(), host.unwrap_or_default())?;
        self.address.port_u16().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForwardProxy({self})")
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// Makes connections: straight, or through the proxy.
#[derive(Clone)]
pub(super) struct Route {
    straight: HttpConnector,
    /// To a proxy, which may want TLS itself.
    to_proxy: HttpsConnector<HttpConnector>,
    proxy: Option<ForwardProxy>,
}

impl Route {
    pub(super) fn new(
        straight: HttpConnector,
        to_proxy: HttpsConnector<HttpConnector>,
        proxy: Option<ForwardProxy>,
    ) -> Self {
        Self { straight, to_proxy, proxy }
    }
}

impl Service<Uri> for Route {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.straight.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.as_ref().and_then(|proxy| proxy.way(&to)) else {
            let connecting = self.straight.call(to);
            return Box::pin(async { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.to_proxy.clone());
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let connecting = tunnel.call(to);
        Box::pin(async { connecting.await.map_err(|error| io::Error::other(error).into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, except: &[&str]) -> Result<ForwardProxy, ForwardProxyError> {
        let except: Vec<String> = except.iter().map(ToString::to_string).collect();
        ForwardProxy::new(&Secret::new(url.to_owned()), &except)
    }

    #[test]
    fn it_serves_https_but_for_the_exceptions() {
        let proxy =
            proxy("http://ann:secret@proxy.example.com:3128", &["intern.example", "10.0.0.0/8"]).unwrap();
        for (to, served) in [
            ("https://accounts.google.com/o", true),
            ("https://intern.example", false),
            ("https://login.intern.example:8443/x", false),
            ("https://10.1.2.3/", false),
            ("https://[2001:db8::1]/", true),
            ("http://127.0.0.1:8080/", false),
            // Its machine is not ours.
            ("https://127.0.0.1:8443/", false),
            ("https://[::1]:8443/", false),
            ("https://localhost:8443/", false),
            ("https://login.localhost/", false),
        ] {
            assert_eq!(proxy.serves(&Uri::from_static(to)), served, "{to}");
        }
        assert_eq!(proxy.to_string(), "http://proxy.example.com:3128");
        assert_eq!(format!("{proxy:?}"), "ForwardProxy(http://proxy.example.com:3128)");
    }

    #[test]
    fn what_is_no_http_proxy_is_refused() {
        for bad in ["", "socks5://proxy:1080", "ftp://proxy", "http://", "http://pro xy"] {
            assert_eq!(proxy(bad, &[]).unwrap_err(), ForwardProxyError, "{bad}");
        }
        assert_eq!(proxy("proxy:3128", &[]).unwrap().to_string(), "http://proxy:3128");
    }

    #[test]
    fn an_asterisk_means_every_host() {
        for except in [&["*"][..], &["intern.example", "*"]] {
            let proxy = proxy("http://proxy:3128", except).unwrap();
            for to in ["https://accounts.google.com/o", "https://192.0.2.1/", "https://[2001:db8::1]/"] {
                assert!(!proxy.serves(&to.parse().unwrap()), "{to}");
            }
        }
    }
}

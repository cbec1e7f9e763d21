//! Forwarded headers: whatever a client writes, an untrusted peer is the client itself, and behind one trusted hop only
//! the last entry counts.

#![no_main]

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use hallpass_session::{Client, PeerAddr, TrustProxy, TrustProxyLayer};
use http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use tower::{Layer, Service, ServiceExt, service_fn};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn client(trust: TrustProxy, headers: &[(&str, &[u8])]) -> Client {
    let mut request = Request::new(());
    request.extensions_mut().insert(PeerAddr(SocketAddr::new(PEER, 1)));
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), HeaderValue::from_bytes(value)) {
            request.headers_mut().append(name, value);
        }
    }
    let inner = service_fn(|request: Request<()>| async move {
        Ok::<_, Infallible>(request.extensions().get::<Client>().cloned())
    });
    let mut service = TrustProxyLayer::new(trust).layer(inner);
    let future = service.ready_and_call(request);
    future.expect("the layer always says who the client is")
}

trait Now {
    fn ready_and_call(&mut self, request: Request<()>) -> Option<Client>;
}

impl<S> Now for S
where
    S: Service<Request<()>, Response = Option<Client>, Error = Infallible> + Clone,
{
    /// The layer never waits.
    fn ready_and_call(&mut self, request: Request<()>) -> Option<Client> {
        let mut future = Box::pin(self.clone().oneshot(request));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(Ok(client)) => client,
            std::task::Poll::Pending => unreachable!("nothing here waits"),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    drop(TrustProxy::parse(&text));
    let mut parts = data.split(|byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let headers = [
        ("x-forwarded-for", part()),
        ("x-forwarded-proto", part()),
        ("x-forwarded-host", part()),
        ("host", part()),
    ];
    let untrusted = client(TrustProxy::Off, &headers);
    assert_eq!(untrusted.addr, PEER);
    let trusted = client(TrustProxy::Hops(1), &headers);
    let forwarded = std::str::from_utf8(headers[0].1).unwrap_or_default();
    let last = forwarded.rsplit(',').map(str::trim).find(|entry| !entry.is_empty());
    if let Some(Ok(last)) = last.map(str::parse::<IpAddr>) {
        if HeaderValue::from_bytes(headers[0].1).is_ok_and(|value| value.to_str().is_ok()) {
            assert_eq!(trusted.addr, last.to_canonical());
        }
    }
    client(TrustProxy::All, &headers);
});

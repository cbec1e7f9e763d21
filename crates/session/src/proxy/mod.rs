//! Who is really calling: the client behind the proxies, as far as they are trusted.

mod client;
mod forwarded;
mod layer;
mod trust;

pub use self::{
    client::{Client, PeerAddr, Scheme},
    layer::{TrustProxyFuture, TrustProxyLayer, TrustProxyService},
    trust::{TrustProxy, TrustProxyError},
};

//! `trust proxy` and what follows from it, as Express 5 has it: `req.ip`, `ips`, `protocol`, `secure`, `host`, `hostname`.
//!
//! The library takes protocol and host from the place where the address stands, because a client can forge the leftmost; Express takes
//! the leftmost, and so does this file.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::http::{HeaderMap, header::HOST};
use hallpass_session::{Client, Scheme, TrustProxy};
use serde_json::{Value, json};

/// The value of `trust proxy`.
pub(crate) struct Trust(TrustProxy);

impl Trust {
    pub(crate) fn new(value: &Value) -> Result<Self, String> {
        let trust = match value {
            Value::Null | Value::Bool(false) => TrustProxy::Off,
            Value::Bool(true) => TrustProxy::All,
            Value::Number(hops) => {
                TrustProxy::Hops(hops.as_u64().unwrap_or_default().try_into().unwrap_or(usize::MAX))
            }
            Value::String(list) => named(list.split(','))?,
            Value::Array(list) => named(list.iter().filter_map(Value::as_str))?,
            Value::Object(_) => return Err("trust proxy is no object".to_owned()),
        };
        Ok(Self(trust))
    }

    fn trusts(&self, addr: &str, hop: usize) -> bool {
        let addr: Option<IpAddr> = addr.parse().ok();
        // What is no address is in no network, but still a hop.
        let counted = matches!(self.0, TrustProxy::All | TrustProxy::Hops(_));
        (addr.is_some() || counted) && self.0.trusts(addr.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), hop)
    }
}

fn named<'a>(list: impl Iterator<Item = &'a str>) -> Result<TrustProxy, String> {
    let mut all = Vec::new();
    for item in list.map(str::trim) {
        // A number is an address in Express: 0.0.0.1, which is nobody's.
        if item.parse::<u32>().is_ok() {
            continue;
        }
        match TrustProxy::parse(item) {
            Ok(TrustProxy::Networks(networks)) => all.extend(networks),
            _ => return Err(format!("invalid IP address: {item}")),
        }
    }
    Ok(TrustProxy::Custom(Arc::new(move |addr, _| {
        all.iter().any(|network| network.contains(&addr.to_canonical()))
    })))
}

/// What Express knows of a request.
pub(crate) struct Net {
    /// From the socket on, as far as is trusted.
    addrs: Vec<String>,
    protocol: String,
    host: Option<String>,
}

impl Net {
    /// For heads whose script goes on elsewhere.
    pub(crate) fn nobody() -> Self {
        Self { addrs: Vec::new(), protocol: String::new(), host: None }
    }

    pub(crate) fn new(trust: &Trust, peer: IpAddr, headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty())
        };
        let peer = peer.to_canonical().to_string();
        let mut addrs = vec![peer.clone()];
        let forwarded = text("x-forwarded-for").unwrap_or_default();
        addrs.extend(
            forwarded.split(',').rev().map(str::trim).filter(|addr| !addr.is_empty()).map(str::to_owned),
        );
        let last = addrs.len() - 1;
        let first_foreign =
            addrs.iter().take(last).enumerate().position(|(hop, addr)| !trust.trusts(addr, hop));
        addrs.truncate(first_foreign.map_or(last, |at| at) + 1);
        let trusted = trust.trusts(&peer, 0);
        let first = |name: &str| {
            text(name).filter(|_| trusted).and_then(|list| list.split(',').next()).map(str::trim)
        };
        let own_host = headers.get(HOST).and_then(|value| value.to_str().ok());
        Self {
            addrs,
            protocol: first("x-forwarded-proto").unwrap_or("http").to_owned(),
            host: first("x-forwarded-host").or(own_host).map(str::to_owned),
        }
    }

    pub(crate) fn client(&self) -> Client {
        let addr = self.addrs.last().and_then(|addr| addr.parse().ok());
        let scheme = if self.protocol == "https" { Scheme::Https } else { Scheme::Http };
        Client { addr: addr.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), scheme, host: self.host.clone() }
    }

    pub(crate) fn to_json(&self) -> Value {
        let ips: Vec<&String> = self.addrs.iter().skip(1).rev().collect();
        json!({
            "ip": self.addrs.last(),
            "ips": ips,
            "secure": self.protocol == "https",
            "protocol": self.protocol,
            "host": self.host,
            "hostname": self.host.as_deref().map(hostname),
        })
    }
}

/// The host without its port.
fn hostname(host: &str) -> &str {
    let from = if host.starts_with('[') { host.find(']').map_or(0, |at| at + 1) } else { 0 };
    host[from..].find(':').map_or(host, |at| &host[..from + at])
}

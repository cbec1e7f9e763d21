//! [`TrustProxy`]: which peers may speak for others.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Whose `X-Forwarded-*` headers are believed, in all forms that Express's `trust proxy` has. Nobody's by default.
#[derive(Clone, Default)]
pub enum TrustProxy {
    /// Nobody's.
    #[default]
    Off,
    /// Everybody's: whoever can connect can pretend to be anybody. For a network that only the proxy can reach.
    All,
    /// Those of the last `n` proxies, counted from us.
    Hops(usize),
    /// Those from these networks.
    Networks(Vec<IpNet>),
    /// Those for which the function of address and hop (0 is the connection itself) says so.
    Custom(Arc<dyn Fn(IpAddr, usize) -> bool + Send + Sync>),
}

/// The text names no trusted proxies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part:?} names no trusted proxy; write off, true, a number of hops, or a list of addresses, networks such as \
     10.0.0.0/8, loopback, linklocal and uniquelocal"
)]
pub struct TrustProxyError {
    part: String,
}

impl TrustProxy {
    /// Whether the address `hop` proxies away from us may say who is behind it.
    pub fn trusts(&self, addr: IpAddr, hop: usize) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Hops(hops) => hop < *hops,
            Self::Networks(networks) => networks.iter().any(|network| network.contains(&addr.to_canonical())),
            Self::Custom(trusts) => trusts(addr, hop),
        }
    }

    /// Reads configuration text: `off`, `true`, a number of hops, or a comma-separated list of addresses, networks
    /// (`10.0.0.0/8`, `10.0.0.0/255.0.0.0`) and the names `loopback`, `linklocal`, `uniquelocal`.
    ///
    /// A number is always a number of hops. Express takes the text "1", as the environment has it, for the address
    /// 0.0.0.1 and then trusts nobody.
    pub fn parse(text: &str) -> Result<Self, TrustProxyError> {
        let text = text.trim();
        if let Ok(hops) = text.parse() {
            return Ok(if hops == 0 { Self::Off } else { Self::Hops(hops) });
        }
        match text {
            "" | "off" | "false" => Ok(Self::Off),
            "true" => Ok(Self::All),
            list => {
                let networks =
                    list.split(',').map(|part| networks(part.trim())).collect::<Result<Vec<_>, _>>()?;
                Ok(Self::Networks(networks.concat()))
            }
        }
    }
}

impl FromStr for TrustProxy {
    type Err = TrustProxyError;

    fn from_str(text: &str) -> Result<Self, TrustProxyError> {
        Self::parse(text)
    }
}

/// The networks that one item of a list names.
fn networks(part: &str) -> Result<Vec<IpNet>, TrustProxyError> {
    let named: &[&str] = match part {
        "loopback" => &["127.0.0.0/8", "::1/128"],
        "linklocal" => &["169.254.0.0/16", "fe80::/10"],
        "uniquelocal" => &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
        _ => &[part],
    };
    let network = |text: &&str| network(text).ok_or_else(|| TrustProxyError { part: (*text).to_owned() });
    named.iter().map(network).collect()
}

/// An address, `address/bits` or `address/netmask`. IPv4 in IPv6 is read as IPv4.
fn network(text: &str) -> Option<IpNet> {
    let (addr, suffix) = text.split_once('/').map_or((text, None), |(addr, suffix)| (addr, Some(suffix)));
    let written: IpAddr = addr.parse().ok()?;
    let addr = written.to_canonical();
    let mapped_bits = if written.is_ipv6() && addr.is_ipv4() { 96 } else { 0 };
    let Some(suffix) = suffix else { return Some(addr.into()) };
    if let Ok(bits) = suffix.parse::<u8>() {
        return IpNet::new(addr, bits.checked_sub(mapped_bits)?).ok();
    }
    match (addr, suffix.parse().ok()?) {
        (IpAddr::V4(addr), IpAddr::V4(mask)) => Ipv4Net::with_netmask(addr, mask).ok().map(IpNet::V4),
        (IpAddr::V6(addr), IpAddr::V6(mask)) => Ipv6Net::with_netmask(addr, mask).ok().map(IpNet::V6),
        _ => None,
    }
}

impl fmt::Debug for TrustProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::All => f.write_str("true"),
            Self::Hops(hops) => write!(f, "{hops}"),
            Self::Networks(networks) => f.debug_list().entries(networks).finish(),
            Self::Custom(_) => f.write_str("custom"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(text: &str, addr: &str, hop: usize) -> bool {
        TrustProxy::parse(text).unwrap().trusts(addr.parse().unwrap(), hop)
    }

    #[test]
    fn every_form_of_express() {
        for (text, addr, hop, trusted) in [
            ("off", "127.0.0.1", 0, false),
            ("", "127.0.0.1", 0, false),
            ("false", "127.0.0.1", 0, false),
            ("0", "127.0.0.1", 0, false),
            ("true", "8.8.8.8", 9, true),
            ("1", "8.8.8.8", 0, true),
            ("1", "8.8.8.8", 1, false),
            ("2", "8.8.8.8", 1, true),
            ("loopback", "127.9.9.9", 0, true),
            ("loopback", "::1", 0, true),
            ("loopback", "::ffff:127.0.0.1", 0, true),
            ("loopback", "10.0.0.1", 0, false),
            ("linklocal", "169.254.1.1", 0, true),
            ("linklocal", "fe80::1", 0, true),
            ("uniquelocal", "172.31.0.1", 0, true),
            ("uniquelocal", "172.32.0.1", 0, false),
            ("uniquelocal", "fd00::1", 0, true),
            ("10.0.0.0/8", "10.255.0.1", 5, true),
            ("10.0.0.0/255.0.0.0", "10.255.0.1", 0, true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", 0, true),
            ("192.0.2.1", "192.0.2.1", 0, true),
            ("192.0.2.1", "192.0.2.2", 0, false),
            ("loopback, 192.0.2.0/24", "192.0.2.7", 0, true),
            ("2001:db8::/32", "2001:db8::7", 0, true),
        ] {
            assert_eq!(trusts(text, addr, hop), trusted, "{text:?} {addr} at hop {hop}");
        }
    }

    #[test]
    fn other_text_is_refused_by_name() {
        for bad in
            ["yes", "10.0.0.0/33", "10.0.0.0/8.8", "loopback,,", "-1", "1.5", "10.0.0.0/255.0.255.0", "x/8"]
        {
            let error = TrustProxy::parse(bad).unwrap_err().to_string();
            assert!(error.contains("write off, true, a number of hops"), "{error}");
        }
    }

    #[test]
    fn a_custom_function_decides() {
        let custom = TrustProxy::Custom(Arc::new(|addr, hop| addr.is_loopback() && hop == 0));
        assert!(custom.trusts([127, 0, 0, 1].into(), 0));
        assert!(!custom.trusts([127, 0, 0, 1].into(), 1));
    }
}

//! [`NetworkCounts`]: attempts from one network, counted on each of the prefixes an address has.
//!
//! One client of IPv6 has a whole /64 at least, often a /56 or a /48, and can take another address of it for each
//! attempt. So an attempt counts on all three; on IPv4 on the address and its /24. Wider prefixes have more free
//! attempts, because several clients may share them. All counts of the widest prefix are in one record: they cost one
//! read and one write.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use hallpass_session::{Timestamp, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Limit,
    count::{Count, Counted},
    records::Body,
};

/// How many times the free attempts of one client a prefix has: an IPv6 /56 is one household, a /48 one site.
const FACTOR_56: u32 = 2;
const FACTOR_48: u32 = 3;
/// An IPv4 /24 may be 256 customers of one provider.
const FACTOR_24: u32 = 10;

/// The most prefixes that a record counts; the wider ones count what is left out.
const MAX_PREFIXES: usize = 128;

/// The prefixes of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// The widest, which names the record.
    widest: String,
    /// The names of all in the record, the narrowest last, and how many times the free attempts each has.
    prefixes: Vec<(String, u32)>,
}

impl Network {
    pub(super) fn of(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(addr) => {
                let [a, b, c, d] = addr.octets();
                let prefixes = vec![("24".to_owned(), FACTOR_24), (format!("32:{d}"), 1)];
                Self { widest: format!("{a}.{b}.{c}.0/24"), prefixes }
            }
            IpAddr::V6(addr) => {
                let [a, b, c, d, ..] = addr.segments();
                let prefixes = vec![
                    ("48".to_owned(), FACTOR_48),
                    (format!("56:{:x}", d >> 8), FACTOR_56),
                    (format!("64:{d:x}"), 1),
                ];
                Self { widest: format!("{a:x}:{b:x}:{c:x}::/48"), prefixes }
            }
        }
    }

    /// The id of the record for a purpose: a hash, so that records hold no addresses.
    pub(super) fn id(&self, purpose: &str) -> String {
        let text = format!("{purpose} {}", self.widest);
        format!("network:{}", hex(&Sha256::digest(text.as_bytes())[..16]))
    }

    /// Names the client: an IPv4 address, an IPv6 /64.
    pub(super) fn client(&self) -> String {
        let narrowest = self.prefixes.last().map(|(name, _)| name.as_str()).unwrap_or_default();
        format!("{} {narrowest}", self.widest)
    }
}

/// The counts of a network's prefixes by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct NetworkCounts(BTreeMap<String, Count>);

impl NetworkCounts {
    fn counts<'a>(&'a self, network: &'a Network) -> impl Iterator<Item = (Count, u32)> + 'a {
        network.prefixes.iter().map(|(name, factor)| (self.0.get(name).copied().unwrap_or_default(), *factor))
    }

    pub(super) fn is_quiet(&self, network: &Network, limit: &Limit, now: Timestamp) -> bool {
        self.counts(network).all(|(count, factor)| count.is_quiet(&scaled(limit, factor), now))
    }

    /// How long to wait, if the next attempt has to; no longer than the longest wait.
    pub(super) fn wait(&self, network: &Network, limit: &Limit, now: Timestamp) -> Option<Duration> {
        let waits = self.counts(network).filter_map(|(count, _)| count.wait(now));
        waits.filter(|wait| *wait <= limit.max_wait).max()
    }

    /// Counts an attempt on all prefixes, or on none when one of them has to wait.
    pub(super) fn charge(&mut self, network: &Network, limit: &Limit, now: Timestamp) -> Counted {
        if let Some(wait) = self.wait(network, limit, now) {
            return Counted::Waits(wait);
        }
        let before = self.clone();
        let mut cut = None;
        for (name, factor) in &network.prefixes {
            let counted = self.0.entry(name.clone()).or_default().charge(&scaled(limit, *factor), now);
            if counted != Counted::Allowed {
                cut = Some((name, counted));
            }
        }
        if let Some((name, counted)) = cut {
            // Only the wait that was too long changes.
            let cut = self.0.get(name).copied().unwrap_or_default();
            *self = before;
            self.0.insert(name.clone(), cut);
            return counted;
        }
        self.prune(network, now);
        Counted::Allowed
    }

    pub(super) fn refund(&mut self, network: &Network, now: Timestamp) {
        for (name, _) in &network.prefixes {
            if let Some(count) = self.0.get_mut(name) {
                count.refund();
            }
        }
        self.prune(network, now);
    }

    /// Drops what is over, and the smallest counts when there are too many.
    fn prune(&mut self, network: &Network, now: Timestamp) {
        self.0.retain(|_, count| !count.is_over(now));
        if self.0.len() <= MAX_PREFIXES {
            return;
        }
        let is_own = |name: &str| network.prefixes.iter().any(|(own, _)| own == name);
        let others = self.0.iter().filter(|(name, _)| !is_own(name));
        let mut others: Vec<(u32, String)> =
            others.map(|(name, count)| (count.attempts, name.clone())).collect();
        others.sort_unstable();
        for (_, name) in others.into_iter().take(self.0.len() - MAX_PREFIXES) {
            self.0.remove(&name);
        }
    }

    #[cfg(test)]
    pub(super) fn attempts(&self) -> Vec<u32> {
        self.0.values().map(|count| count.attempts).collect()
    }
}

fn scaled(limit: &Limit, factor: u32) -> Limit {
    Limit { free: limit.free.saturating_mul(factor), ..*limit }
}

impl Body for NetworkCounts {
    fn ends(&self) -> Timestamp {
        self.0.values().map(Count::ends).max().unwrap_or_default()
    }
}

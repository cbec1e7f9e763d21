//! [`AccountCounts`] and [`DeviceCounts`]: failed sign-ins to one account.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use hallpass_session::{Timestamp, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    ThrottleOptions,
    count::{Count, Counted, Failures},
    network::Network,
    records::Body,
};
use crate::device::MAX_AGE;

/// How long an address counts as the owner's after a sign-in.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// The most addresses of an owner that are remembered; the least recently used make room.
const MAX_KNOWN: usize = 16;

/// Everything that is counted on an account, in one record, so that parallel attempts meet there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AccountCounts {
    /// Attempts of clients that are not known.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) others: Count,
    /// Attempts from addresses from which the owner has signed in before, by a hash of the address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) addresses: BTreeMap<String, KnownAddress>,
    /// Failures in a row of both.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) failures: Failures,
    /// Wrong current passwords in sessions of the account.
    #[serde(skip_serializing_if = "is_default")]
    signed_in: Count,
    #[serde(skip_serializing_if = "is_default")]
    signed_in_failures: Failures,
    /// Device cookies from before this time are void; milliseconds since the epoch.
    #[serde(skip_serializing_if = "is_default")]
    devices_since: i64,
}

/// An address from which the owner has signed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownAddress {
    until: i64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) count: Count,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What came of counting a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountCharge {
    Counted(Counted),
    /// Too many failures in a row.
    Locked,
}

/// The hash under which an address is known to an account.
pub(super) fn address_hash(account: &str, addr: IpAddr) -> String {
    let text = format!("{account} {}", Network::of(addr).client());
    hex(&Sha256::digest(text.as_bytes())[..8])
}

impl AccountCounts {
    /// The count for this address.
    fn count(&mut self, address: &str, now: Timestamp) -> &mut Count {
        match self.addresses.get_mut(address) {
            Some(known) if now.as_millis() < known.until => &mut known.count,
            _ => &mut self.others,
        }
    }

    /// Whether the limits are still far.
    pub(super) fn is_quiet(&self, address: &str, limits: &ThrottleOptions, now: Timestamp) -> bool {
        let count = *self.clone().count(address, now);
        count.is_quiet(&limits.account, now) && self.failures.count(now) < limits.max_failures.div_ceil(2)
    }

    /// Counts a sign-in from this address.
    pub(super) fn charge(
        &mut self,
        address: &str,
        limits: &ThrottleOptions,
        now: Timestamp,
    ) -> AccountCharge {
        if self.is_locked(limits, now) {
            return AccountCharge::Locked;
        }
        let counted = self.count(address, now).charge(&limits.account, now);
        if counted == Counted::Allowed {
            self.failures.add(now);
        }
        AccountCharge::Counted(counted)
    }

    /// Whether too many have failed in a row.
    pub(super) fn is_locked(&self, limits: &ThrottleOptions, now: Timestamp) -> bool {
        self.failures.count(now) >= limits.max_failures
    }

    /// Takes a sign-in back that was never decided.
    pub(super) fn refund(&mut self, address: &str, now: Timestamp) {
        self.count(address, now).refund();
        self.failures.take_back();
    }

    /// The owner has signed in. Failures in a row end; from the owner's device the short-term count of others stays.
    pub(super) fn succeeded(&mut self, from: Option<&str>, now: Timestamp) {
        self.failures = Failures::default();
        self.signed_in = Count::default();
        self.signed_in_failures = Failures::default();
        let Some(address) = from else { return };
        *self.count(address, now) = Count::default();
        self.remember(address, now);
    }

    /// Notes an address as the owner's. Not at each sign-in; a later end than today's was written when the clock was ahead.
    fn remember(&mut self, address: &str, now: Timestamp) {
        let (half, whole) = ((now + KNOWN_FOR / 2).as_millis(), (now + KNOWN_FOR).as_millis());
        let known = self.addresses.entry(address.to_owned()).or_default();
        if known.until <= half || known.until > whole {
            known.until = whole;
        }
        self.addresses.retain(|_, known| known.until > now.as_millis());
        while self.addresses.len() > MAX_KNOWN {
            let oldest = self.addresses.iter().min_by_key(|(_, known)| known.until);
            let Some(oldest) = oldest.map(|(address, _)| address.clone()) else { return };
            self.addresses.remove(&oldest);
        }
    }

    /// Counts a wrong current password in a session of the account.
    pub(super) fn charge_signed_in(&mut self, limits: &ThrottleOptions, now: Timestamp) -> AccountCharge {
        if self.signed_in_failures.count(now) >= limits.max_failures {
            return AccountCharge::Locked;
        }
        let counted = self.signed_in.charge(&limits.account, now);
        if counted == Counted::Allowed {
            self.signed_in_failures.add(now);
        }
        AccountCharge::Counted(counted)
    }

    /// The current password was right.
    pub(super) fn forget_signed_in(&mut self) {
        self.signed_in = Count::default();
        self.signed_in_failures = Failures::default();
    }

    /// The current password was never decided.
    pub(super) fn refund_signed_in(&mut self) {
        self.signed_in.refund();
        self.signed_in_failures.take_back();
    }

    /// All counts begin anew. How many failures in a row there were.
    pub(super) fn unlock(&mut self, now: Timestamp) -> u32 {
        let failures = self.failures.count(now);
        let addresses = self.addresses.iter();
        let addresses = addresses.map(|(address, known)| {
            (address.clone(), KnownAddress { until: known.until, ..Default::default() })
        });
        *self = Self { addresses: addresses.collect(), devices_since: self.devices_since, ..Self::default() };
        failures
    }

    pub(super) fn void_devices(&mut self, now: Timestamp) {
        self.devices_since = now.as_millis();
    }

    /// Whether a device cookie of this time is still valid.
    pub(super) fn counts_device(&self, issued: Timestamp) -> bool {
        issued.as_millis() >= self.devices_since
    }
}

impl Body for AccountCounts {
    fn ends(&self) -> Timestamp {
        let known = self.addresses.values().map(|known| Timestamp::from_millis(known.until)).max();
        let devices = match self.devices_since {
            0 => Timestamp::default(),
            since => Timestamp::from_millis(since) + Duration::from_secs(MAX_AGE),
        };
        let counts =
            [self.others.ends(), self.signed_in.ends(), self.failures.ends(), self.signed_in_failures.ends()];
        counts.into_iter().chain(known).fold(devices, Timestamp::max)
    }
}

/// What is counted on one browser that the owner has used before, for one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DeviceCounts {
    pub(super) count: Count,
    pub(super) failures: Failures,
}

impl DeviceCounts {
    /// Counts a sign-in. A device with too many failures in a row is no longer known.
    pub(super) fn charge(&mut self, limits: &ThrottleOptions, now: Timestamp) -> AccountCharge {
        if self.is_spent(limits, now) {
            return AccountCharge::Locked;
        }
        let counted = self.count.charge(&limits.account, now);
        if counted == Counted::Allowed {
            self.failures.add(now);
        }
        AccountCharge::Counted(counted)
    }

    /// Whether the limits are still far.
    pub(super) fn is_quiet(&self, limits: &ThrottleOptions, now: Timestamp) -> bool {
        self.count.is_quiet(&limits.account, now)
            && self.failures.count(now) < limits.max_failures.div_ceil(2)
    }

    pub(super) fn is_spent(&self, limits: &ThrottleOptions, now: Timestamp) -> bool {
        self.failures.count(now) >= limits.max_failures
    }

    pub(super) fn refund(&mut self) {
        self.count.refund();
        self.failures.take_back();
    }
}

impl Body for DeviceCounts {
    fn ends(&self) -> Timestamp {
        self.count.ends().max(self.failures.ends())
    }
}

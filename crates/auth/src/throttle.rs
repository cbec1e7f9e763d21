//! [`Throttle`]: how often somebody may try.
//!
//! Each attempt is charged before anything is looked up, so that parallel guesses cannot slip through. After some free
//! attempts each further one has to wait, longer and longer, but never for ever: whoever guesses at somebody's account must not be
//! able to lock its owner out (ASVS 5.0 6.1.1, NIST SP 800-63B-4 §3.2.2).

use std::{net::IpAddr, sync::Arc, time::Duration};

use hallpass_session::{StoreError, Timestamp, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Inserted, Record, RecordKey, RecordStore, Replaced};

const KIND: &str = "throttle";

/// Attempts at one key are counted one after the other; more at once than this are turned away.
const MAX_CONFLICTS: u32 = 32;

/// How often one key may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Attempts without waiting.
    pub free: u32,
    /// Quiet time after which counting begins anew.
    pub window: Duration,
    /// The first wait; each further one is twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub max_wait: Duration,
}

/// The limits of sign-in and registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleOptions {
    /// Failed sign-ins to one account, whoever tries. Default: 10 free in 15 minutes, then 30 seconds to 15 minutes.
    pub account: Limit,
    /// Failed sign-ins from one address (IPv6: one /64), whatever the account. Default: 100 free in 15 minutes.
    pub address: Limit,
    /// Registrations from one address. Default: 20 free in an hour.
    pub register: Limit,
}

impl Default for ThrottleOptions {
    fn default() -> Self {
        let limit = |free, minutes: u64| Limit {
            free,
            window: Duration::from_secs(minutes * 60),
            first_wait: Duration::from_secs(30),
            max_wait: Duration::from_secs(15 * 60),
        };
        Self { account: limit(10, 15), address: limit(100, 15), register: limit(20, 60) }
    }
}

/// Counts attempts in a [`RecordStore`], so that all servers on it count together.
#[derive(Clone)]
pub(crate) struct Throttle {
    records: Arc<dyn RecordStore>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Count {
    attempts: u32,
    /// No attempt before this time; milliseconds since the epoch.
    blocked_until: i64,
}

/// The answer to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    Allowed,
    Throttled { retry_after: Duration },
}

impl Throttle {
    pub(crate) fn new(records: Arc<dyn RecordStore>) -> Self {
        Self { records }
    }

    /// Counts an attempt, or says how long to wait.
    pub(crate) async fn charge(&self, id: &str, limit: &Limit, now: Timestamp) -> Result<Charge, StoreError> {
        for _ in 0..MAX_CONFLICTS {
            let record = self.records.get(&key(id), now).await?;
            let count = record.as_ref().map(count).unwrap_or_default();
            let blocked_until = Timestamp::from_millis(count.blocked_until);
            if now < blocked_until {
                return Ok(Charge::Throttled { retry_after: blocked_until.since(now) });
            }
            if self.write(id, record, count.attempted(limit, now), limit, now).await? {
                return Ok(Charge::Allowed);
            }
        }
        Ok(Charge::Throttled { retry_after: Duration::from_secs(1) })
    }

    /// Takes one attempt back: it succeeded.
    pub(crate) async fn refund(&self, id: &str, limit: &Limit, now: Timestamp) -> Result<(), StoreError> {
        let record = self.records.get(&key(id), now).await?;
        let Some(mut count) = record.as_ref().map(count) else { return Ok(()) };
        count.attempts = count.attempts.saturating_sub(1);
        // Whoever comes in between only makes the count higher than it need be.
        self.write(id, record, count, limit, now).await.map(drop)
    }

    /// Forgets all attempts.
    pub(crate) async fn forget(&self, id: &str, now: Timestamp) -> Result<(), StoreError> {
        self.records.take(&key(id), now).await.map(drop)
    }

    async fn write(
        &self,
        id: &str,
        old: Option<Record>,
        count: Count,
        limit: &Limit,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let record = Record {
            key: key(id),
            owner: None,
            body: serde_json::to_string(&count)
                .map_err(|error| StoreError::new("count an attempt", error))?,
            expires: Some(now.max(Timestamp::from_millis(count.blocked_until)) + limit.window),
            version: old.as_ref().map_or(0, |old| old.version),
        };
        Ok(match old {
            Some(_) => self.records.replace(&record, now).await? == Replaced::Done,
            None => self.records.insert(&record, now).await? == Inserted::Done,
        })
    }
}

impl Count {
    /// One attempt more; from the last free one on, the next has to wait.
    fn attempted(self, limit: &Limit, now: Timestamp) -> Self {
        let attempts = self.attempts.saturating_add(1);
        let blocked_until = attempts.checked_sub(limit.free).map_or(0, |beyond| {
            let wait = limit.first_wait.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX));
            (now + wait.min(limit.max_wait)).as_millis()
        });
        Self { attempts, blocked_until }
    }
}

/// A count nobody can read begins anew.
fn count(record: &Record) -> Count {
    serde_json::from_str(&record.body).unwrap_or_default()
}

fn key(id: &str) -> RecordKey {
    RecordKey { kind: KIND, id: id.to_owned() }
}

/// The key of an account: a hash, so that records hold no addresses, and the same for accounts that do not exist.
pub(crate) fn account_key(login: &str) -> String {
    let hash = Sha256::digest(login.trim().to_lowercase().as_bytes());
    format!("account:{}", hex(&hash[..16]))
}

/// The key of a client's address. A household has a whole IPv6 /64, and would else have as many attempts as addresses.
pub(crate) fn address_key(purpose: &str, addr: IpAddr) -> String {
    match addr.to_canonical() {
        IpAddr::V4(addr) => format!("{purpose}:{addr}"),
        IpAddr::V6(addr) => {
            let [a, b, c, d, ..] = addr.segments();
            format!("{purpose}:{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryRecords;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn limit() -> Limit {
        Limit {
            free: 3,
            window: Duration::from_secs(60),
            first_wait: Duration::from_secs(10),
            max_wait: Duration::from_secs(25),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn waits_grow_up_to_the_longest_and_end_by_themselves() {
        let throttle = Throttle::new(Arc::new(MemoryRecords::new()));
        let charge = async |now| throttle.charge("x", &limit(), now).await.unwrap();
        for _ in 0..3 {
            assert_eq!(charge(NOW).await, Charge::Allowed);
        }
        assert_eq!(charge(NOW).await, Charge::Throttled { retry_after: seconds(10) });
        assert_eq!(charge(NOW + seconds(9)).await, Charge::Throttled { retry_after: seconds(1) });
        assert_eq!(charge(NOW + seconds(10)).await, Charge::Allowed);
        assert_eq!(charge(NOW + seconds(10)).await, Charge::Throttled { retry_after: seconds(20) });
        assert_eq!(charge(NOW + seconds(30)).await, Charge::Allowed);
        assert_eq!(charge(NOW + seconds(30)).await, Charge::Throttled { retry_after: seconds(25) });
        let quiet = NOW + seconds(30 + 25 + 60);
        for _ in 0..3 {
            assert_eq!(charge(quiet).await, Charge::Allowed, "counting began anew");
        }
    }

    #[tokio::test]
    async fn parallel_attempts_cannot_slip_through() {
        let throttle = Throttle::new(Arc::new(MemoryRecords::new()));
        let attempts = (0..24).map(|_| {
            let throttle = throttle.clone();
            tokio::spawn(async move { throttle.charge("x", &limit(), NOW).await.unwrap() })
        });
        let mut allowed = 0;
        for attempt in attempts.collect::<Vec<_>>() {
            allowed += u32::from(attempt.await.unwrap() == Charge::Allowed);
        }
        assert_eq!(allowed, 3);
    }

    #[tokio::test]
    async fn success_gives_back_or_forgets() {
        let throttle = Throttle::new(Arc::new(MemoryRecords::new()));
        for _ in 0..9 {
            assert_eq!(throttle.charge("x", &limit(), NOW).await.unwrap(), Charge::Allowed);
            throttle.refund("x", &limit(), NOW).await.unwrap();
        }
        for _ in 0..3 {
            throttle.charge("x", &limit(), NOW).await.unwrap();
        }
        throttle.forget("x", NOW).await.unwrap();
        assert_eq!(throttle.charge("x", &limit(), NOW).await.unwrap(), Charge::Allowed);
    }

    #[test]
    fn keys_hold_no_address_of_a_person_and_one_key_per_network() {
        assert_eq!(account_key(" Ann@Example.com"), account_key("ann@example.com"));
        assert!(!account_key("ann@example.com").contains("ann"));
        let key = |addr: &str| address_key("login", addr.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::"));
        assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}

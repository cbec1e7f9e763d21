//! [`Throttle`]: how often somebody may try.
//!
//! Each attempt is charged before anything is looked up, so that parallel guesses cannot slip through; a success is given back. After
//! some free attempts each further one has to wait, longer and longer, but never for ever. An address from which the owner has signed in
//! before has a count of its own for the account: whoever guesses from elsewhere does not lock the owner out
//! (ASVS 5.0 6.1.1, NIST SP 800-63B-4 §3.2.2).

use std::{net::IpAddr, sync::Arc, time::Duration};

use hallpass_session::{StoreError, Timestamp, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Email, Inserted, Record, RecordKey, RecordStore, Replaced};

pub(crate) const KIND: &str = "throttle";

/// Attempts at one key are counted one after the other. Each conflict means that another one was counted, so this
/// many only meet when as many come at the same moment.
const MAX_CONFLICTS: u32 = 1024;

/// How long an address counts as the owner's after a sign-in.
const KNOWN_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// How often one key may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Attempts without waiting.
    pub free: u32,
    /// Counting begins anew this long after the first attempt, or after the last wait.
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
            let count = count.attempted(limit, now);
            let ends = record.as_ref().and_then(|record| record.expires).unwrap_or(now + limit.window);
            let ends = ends.max(Timestamp::from_millis(count.blocked_until) + limit.window);
            if self.write(id, record, count, ends, now).await? {
                return Ok(Charge::Allowed);
            }
        }
        Ok(Charge::Throttled { retry_after: Duration::from_secs(1) })
    }

    /// Takes one attempt back: it succeeded, and whoever came right is not made to wait.
    pub(crate) async fn refund(&self, id: &str, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..MAX_CONFLICTS {
            let record = self.records.get(&key(id), now).await?;
            let Some((record, ends)) = record.and_then(|record| record.expires.map(|ends| (record, ends)))
            else {
                return Ok(());
            };
            let count = Count { attempts: count(&record).attempts.saturating_sub(1), blocked_until: 0 };
            if self.write(id, Some(record), count, ends, now).await? {
                break;
            }
        }
        Ok(())
    }

    /// The key to count attempts at an account under: its own for an address the owner has signed in from.
    pub(crate) async fn account_key(
        &self,
        login: &str,
        addr: IpAddr,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let known = known_key(login, addr);
        let found = self.records.get(&key(&known), now).await?;
        Ok(if found.is_some() { format!("from-{known}") } else { account_key(login) })
    }

    /// The owner has signed in from here.
    pub(crate) async fn remember(&self, login: &str, addr: IpAddr, now: Timestamp) -> Result<(), StoreError> {
        let known = known_key(login, addr);
        let old = self.records.get(&key(&known), now).await?;
        let half = now + KNOWN_FOR / 2;
        if old.as_ref().and_then(|old| old.expires).is_some_and(|expires| expires > half) {
            return Ok(());
        }
        // Of two sign-ins at once one notes it.
        self.write(&known, old, Count::default(), now + KNOWN_FOR, now).await.map(drop)
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
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let record = Record {
            key: key(id),
            owner: None,
            body: serde_json::to_string(&count)
                .map_err(|error| StoreError::new("count an attempt", error))?,
            expires: Some(expires),
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

/// The key of an account: a hash, so that records hold no addresses, and the same for accounts that do not exist. All spellings that
/// lead to one account are one key.
pub(crate) fn account_key(login: &str) -> String {
    let spelling =
        Email::parse(login).map_or_else(|_| login.trim().to_lowercase(), |email| email.as_str().to_owned());
    format!("account:{}", hex(&Sha256::digest(spelling.as_bytes())[..16]))
}

/// The key that says whether the owner of an account has signed in from an address.
fn known_key(login: &str, addr: IpAddr) -> String {
    format!("{}:{}", account_key(login), address_key("known", addr))
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
            throttle.refund("x", NOW).await.unwrap();
        }
        for _ in 0..3 {
            throttle.charge("x", &limit(), NOW).await.unwrap();
        }
        throttle.forget("x", NOW).await.unwrap();
        assert_eq!(throttle.charge("x", &limit(), NOW).await.unwrap(), Charge::Allowed);
    }

    #[tokio::test]
    async fn successes_cost_nothing_however_many_come_at_once() {
        let throttle = Throttle::new(Arc::new(MemoryRecords::new()));
        for _ in 0..2 {
            throttle.charge("x", &limit(), NOW).await.unwrap();
        }
        for _ in 0..20 {
            assert_eq!(
                throttle.charge("x", &limit(), NOW).await.unwrap(),
                Charge::Allowed,
                "two failures, then only successes"
            );
            throttle.refund("x", NOW).await.unwrap();
        }
        let wide = Limit { free: 1000, ..limit() };
        let sign_ins = (0..100).map(|_| {
            let throttle = throttle.clone();
            tokio::spawn(async move {
                let charge = throttle.charge("y", &wide, NOW).await.unwrap();
                throttle.refund("y", NOW).await.unwrap();
                charge
            })
        });
        for sign_in in sign_ins.collect::<Vec<_>>() {
            assert_eq!(sign_in.await.unwrap(), Charge::Allowed);
        }
        let left = throttle.records.get(&key("y"), NOW).await.unwrap().map(|record| count(&record).attempts);
        assert_eq!(left, Some(0));
    }

    #[tokio::test]
    async fn counting_begins_anew_even_where_somebody_always_signs_in() {
        let throttle = Throttle::new(Arc::new(MemoryRecords::new()));
        for minute in 0..60 {
            let now = NOW + seconds(minute * 20);
            let charge = throttle.charge("x", &limit(), now).await.unwrap();
            assert_eq!(charge, Charge::Allowed, "one failure in each window of a minute never adds up");
            if minute % 3 != 0 {
                throttle.refund("x", now).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn the_owner_is_not_locked_out_by_guesses_from_elsewhere() {
        let throttle = Throttle::new(Arc::new(MemoryRecords::new()));
        let (home, elsewhere) = ([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
        throttle.remember("ann@example.com", home, NOW).await.unwrap();
        let guess = async |addr| {
            let key = throttle.account_key("ann@example.com", addr, NOW).await.unwrap();
            throttle.charge(&key, &limit(), NOW).await.unwrap()
        };
        while guess(elsewhere).await == Charge::Allowed {}
        for _ in 0..3 {
            assert_eq!(guess(home).await, Charge::Allowed);
        }
        assert_ne!(guess(home).await, Charge::Allowed, "but not without end either");
        let later = NOW + KNOWN_FOR;
        let key = throttle.account_key("ann@example.com", home, later).await.unwrap();
        assert_eq!(key, account_key("ann@example.com"), "forgotten after a while");
    }

    #[test]
    fn keys_hold_no_address_of_a_person_and_one_key_per_network() {
        for spelling in [" Ann@Example.com", "\u{ff41}nn@example.com", "ANN@EXAMPLE.COM\t"] {
            assert_eq!(account_key(spelling), account_key("ann@example.com"), "{spelling:?}");
        }
        assert!(!account_key("ann@example.com").contains("ann"));
        let key = |addr: &str| address_key("login", addr.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::"));
        assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}

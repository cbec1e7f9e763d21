//! [`Throttle`]: how often somebody may try.
//!
//! Each attempt is charged before its answer is known, so that parallel guesses cannot slip through; a success is given back. After
//! some free attempts each further one has to wait, longer and longer, but never for ever. An address from which the owner has signed in
//! before has a count of its own for the account: whoever guesses from elsewhere does not lock the owner out
//! (ASVS 5.0 6.1.1, NIST SP 800-63B-4 §3.2.2).
//!
//! A sign-in asks the store three times here, and waits twice: all counts are read together, both are charged side by side while the password
//! is hashed, and what a success gives back is written beside the session.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hallpass_session::{StoreError, Timestamp, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Inserted, Record, RecordKey, RecordStore, Replaced, email::login_form};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Charge<T = Counted> {
    Allowed(T),
    Throttled { retry_after: Duration },
}

/// An attempt that was counted: the record as it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted(Record);

/// What is known of a sign-in before it is counted.
pub(crate) struct Asked {
    account: Place,
    address: Place,
    known: RecordKey,
    remembered: Option<Record>,
}

impl Asked {
    /// Whether the limits are still far, as far as is known.
    pub(crate) fn is_quiet(&self, limits: &ThrottleOptions) -> bool {
        let far = |place: &Place, limit: &Limit| place.count().attempts < limit.free.div_ceil(2);
        far(&self.account, &limits.account) && far(&self.address, &limits.address)
    }
}

/// A sign-in that was counted.
#[derive(Debug)]
pub(crate) struct SignIn {
    account: Counted,
    address: Counted,
    /// Whether the owner has signed in from here before.
    known: RecordKey,
    remembered: Option<Record>,
}

impl Throttle {
    pub(crate) fn new(records: Arc<dyn RecordStore>) -> Self {
        Self { records }
    }

    /// Reads what a sign-in is counted on.
    pub(crate) async fn ask_sign_in(
        &self,
        login: &str,
        addr: IpAddr,
        now: Timestamp,
    ) -> Result<Asked, StoreError> {
        let address = key(&address_key("login", addr));
        let [known, from_known, account] = account_keys(login, addr);
        let keys = [known.clone(), from_known, account, address];
        let [remembered, from_known, account, address] = self.get_all(keys, now).await?;
        let account = if remembered.record.is_some() { from_known } else { account };
        Ok(Asked { account, address, known, remembered: remembered.record })
    }

    /// Counts a sign-in on its account and its address, or says how long to wait.
    pub(crate) async fn charge_sign_in(
        &self,
        asked: Asked,
        limits: &ThrottleOptions,
        now: Timestamp,
    ) -> Result<Charge<SignIn>, StoreError> {
        let Asked { account, address, known, remembered } = asked;
        if let Some(retry_after) = address.wait(now).filter(|wait| *wait <= limits.address.max_wait) {
            return Ok(Charge::Throttled { retry_after });
        }
        let (address, account) = tokio::try_join!(
            self.charge_from(address, &limits.address, now),
            self.charge_from(account, &limits.account, now),
        )?;
        match (address, account) {
            (Charge::Allowed(address), Charge::Allowed(account)) => {
                Ok(Charge::Allowed(SignIn { account, address, known, remembered }))
            }
            (Charge::Throttled { retry_after }, Charge::Allowed(account)) => {
                // Others from this address came first: that is nothing the account's owner should wait for.
                self.refund(account, now).await?;
                Ok(Charge::Throttled { retry_after })
            }
            (_, Charge::Throttled { retry_after }) => Ok(Charge::Throttled { retry_after }),
        }
    }

    /// The sign-in succeeded: its account's failures are forgotten, its address gets its attempt back, and counts as the owner's.
    pub(crate) async fn settle(&self, sign_in: SignIn, now: Timestamp) -> Result<(), StoreError> {
        let SignIn { account, address, known, remembered } = sign_in;
        tokio::try_join!(
            self.forget(account, now),
            self.refund(address, now),
            self.remember(known, remembered, now),
        )
        .map(drop)
    }

    /// Counts an attempt at an account alone: by somebody who is signed in.
    pub(crate) async fn charge_account(
        &self,
        login: &str,
        addr: IpAddr,
        limit: &Limit,
        now: Timestamp,
    ) -> Result<Charge, StoreError> {
        let [known, from_known, account] = self.get_all(account_keys(login, addr), now).await?;
        let account = if known.record.is_some() { from_known } else { account };
        self.charge_from(account, limit, now).await
    }

    /// Counts an attempt, or says how long to wait.
    pub(crate) async fn charge(&self, id: &str, limit: &Limit, now: Timestamp) -> Result<Charge, StoreError> {
        let [place] = self.get_all([key(id)], now).await?;
        self.charge_from(place, limit, now).await
    }

    /// Forgets all attempts.
    pub(crate) async fn forget(&self, Counted(record): Counted, now: Timestamp) -> Result<(), StoreError> {
        self.records.take(&record.key, now).await.map(drop)
    }

    async fn get_all<const N: usize>(
        &self,
        keys: [RecordKey; N],
        now: Timestamp,
    ) -> Result<[Place; N], StoreError> {
        let mut found = self.records.get_all(&keys, now).await?.into_iter();
        Ok(keys.map(|key| Place { key, record: found.next().flatten() }))
    }

    /// Counts an attempt on what was read; on what is there now, when others came first.
    ///
    /// A wait longer than `max_wait` was written when the clock was ahead, or the limit higher. It is stored
    /// again as `max_wait` from now on, so that it ends; the attempt has to wait, and is not counted.
    async fn charge_from(
        &self,
        mut place: Place,
        limit: &Limit,
        now: Timestamp,
    ) -> Result<Charge, StoreError> {
        for _ in 0..MAX_CONFLICTS {
            let wait = place.wait(now);
            if let Some(retry_after) = wait.filter(|wait| *wait <= limit.max_wait) {
                return Ok(Charge::Throttled { retry_after });
            }
            let count = place.count();
            let count = if wait.is_some() { count.cut(limit, now) } else { count.attempted(limit, now) };
            let ends = place.ends(limit, count, now);
            let Place { key, record } = place;
            if let Some(written) = self.write(key.clone(), record, count, ends, now).await? {
                let cut = wait.map(|_| Charge::Throttled { retry_after: limit.max_wait });
                return Ok(cut.unwrap_or(Charge::Allowed(Counted(written))));
            }
            let record = self.records.get(&key, now).await?;
            place = Place { key, record };
        }
        Ok(Charge::Throttled { retry_after: Duration::from_secs(1) })
    }

    /// Takes one attempt back: it succeeded, and whoever came right is not made to wait.
    async fn refund(&self, Counted(record): Counted, now: Timestamp) -> Result<(), StoreError> {
        let mut record = Some(record);
        for _ in 0..MAX_CONFLICTS {
            let Some((old, ends)) = record.and_then(|record| record.expires.map(|ends| (record, ends)))
            else {
                break;
            };
            let (key, attempts) = (old.key.clone(), count(&old).attempts.saturating_sub(1));
            let count = Count { attempts, blocked_until: 0 };
            if self.write(key.clone(), Some(old), count, ends, now).await?.is_some() {
                break;
            }
            record = self.records.get(&key, now).await?;
        }
        Ok(())
    }

    /// The owner has signed in from here.
    async fn remember(
        &self,
        known: RecordKey,
        old: Option<Record>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // A later end than today's was written when the clock was ahead, and is written again.
        let (half, whole) = (now + KNOWN_FOR / 2, now + KNOWN_FOR);
        let ends = old.as_ref().and_then(|old| old.expires);
        if ends.is_some_and(|ends| half < ends && ends <= whole) {
            return Ok(());
        }
        // Of two sign-ins at once one notes it.
        self.write(known, old, Count::default(), now + KNOWN_FOR, now).await.map(drop)
    }

    /// Writes a count over what was read; the record as it is then, unless somebody else came first.
    async fn write(
        &self,
        key: RecordKey,
        old: Option<Record>,
        count: Count,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Record>, StoreError> {
        let body =
            serde_json::to_string(&count).map_err(|error| StoreError::new("count an attempt", error))?;
        let version = old.as_ref().map_or(0, |old| old.version);
        let record = Record { key, owner: None, body, expires: Some(expires), version };
        let done = match old {
            Some(_) => self.records.replace(&record, now).await? == Replaced::Done,
            None => self.records.insert(&record, now).await? == Inserted::Done,
        };
        Ok(done.then_some(Record { version: version + 1, ..record }))
    }
}

/// Where something is counted, and the count that was read there.
struct Place {
    key: RecordKey,
    record: Option<Record>,
}

impl Place {
    fn count(&self) -> Count {
        self.record.as_ref().map(count).unwrap_or_default()
    }

    /// How long to wait, if the next attempt has to.
    fn wait(&self, now: Timestamp) -> Option<Duration> {
        let blocked_until = Timestamp::from_millis(self.count().blocked_until);
        (now < blocked_until).then(|| blocked_until.since(now))
    }

    /// When the record ends with this count: never later than the longest wait and the window after it.
    fn ends(&self, limit: &Limit, count: Count, now: Timestamp) -> Timestamp {
        let ends = self.record.as_ref().and_then(|record| record.expires).unwrap_or(now + limit.window);
        let ends = ends.max(Timestamp::from_millis(count.blocked_until) + limit.window);
        ends.min(now + limit.max_wait.saturating_add(limit.window))
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

    /// The same number of attempts, and the longest wait from now on.
    fn cut(self, limit: &Limit, now: Timestamp) -> Self {
        Self { blocked_until: (now + limit.max_wait).as_millis(), ..self }
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
    format!("account:{}", hex(&Sha256::digest(login_form(login).as_bytes())[..16]))
}

/// The keys of an account: of the note that its owner has signed in from this address, of the count for such an address, and of the
/// count for all others.
fn account_keys(login: &str, addr: IpAddr) -> [RecordKey; 3] {
    let account = account_key(login);
    let known = format!("{account}:{}", address_key("known", addr));
    let from_known = format!("from-{known}");
    [key(&known), key(&from_known), key(&account)]
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
mod tests;

//! The contract for everything that is only ours: throttle counters, one-time tokens, and what later features keep.
//!
//! A record's key is its uniqueness: [`RecordStore::insert`] of a taken key is the whole check. Single use is
//! [`RecordStore::take`], with exactly one winner. Counters are [`RecordStore::replace`], compare-and-swap on the version.
//! A record is expired from the millisecond `expires` on and then invisible to every method, swept or not.

use async_trait::async_trait;
use hallpass_session::{StoreError, StoreTime, Timestamp};

use crate::UserId;

/// Names a record: what kind of thing it is, and which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The kind, such as `"throttle"`; one word a feature.
    pub kind: &'static str,
    /// Unique within the kind. At most 512 bytes.
    pub id: String,
}

/// The kinds of records there are, whatever features are compiled in: another build may have written them.
pub(crate) mod kinds {
    pub(crate) const VERIFIED_EMAIL: &str = "verified_email";
    pub(crate) const PROVISIONED: &str = "provisioned";
    pub(crate) const SESSION_ENDED: &str = "session_ended";
    pub(crate) const OAUTH_ATTEMPT: &str = "oauth_attempt";
    pub(crate) const OAUTH_LINK: &str = "oauth_link";
    pub(crate) const OAUTH_LOGOUT: &str = "oauth_logout";
    pub(crate) const OAUTH_DEPARTURE: &str = "oauth_departure";
    pub(crate) const OAUTH_SESSION: &str = "oauth_session";
    pub(crate) const OAUTH_TOKENS: &str = "oauth_tokens";
}

/// A small thing kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub key: RecordKey,
    /// Whose it is; deleted with the user.
    pub owner: Option<UserId>,
    /// Its content as JSON text.
    pub body: String,
    /// When it ends; `None`: never.
    pub expires: Option<Timestamp>,
    /// Set by the store: 1 when inserted, one more with each replacement.
    pub version: u64,
}

/// The answer of [`RecordStore::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The record exists now, at version 1.
    Done,
    /// A live record has this key already; nothing was changed.
    Taken,
}

/// The answer of [`RecordStore::replace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The new content is stored, one version further.
    Done,
    /// The record is missing or at another version; nothing was changed.
    Refused,
}

/// Keeps records. The [module documentation](self) states what every implementation promises.
#[async_trait]
pub trait RecordStore: Send + Sync + 'static {
    /// Stores a new record; its `version` is ignored. An expired one of the same key counts as absent.
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError>;

    /// The live record of this key.
    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError>;

    /// The live records of these keys, in their order: what several [`get`](Self::get)s answer. A store that can ask for all at once
    /// should: signing in does.
    async fn get_all(&self, keys: &[RecordKey], now: Timestamp) -> Result<Vec<Option<Record>>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(self.get(key, now).await?);
        }
        Ok(found)
    }

    /// Replaces body, owner and expiry of the live record that still is at `record.version`. An expiry that has passed removes it.
    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError>;

    /// Removes the live record and returns it. Of many at once, exactly one gets it.
    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError>;

    /// A user's live records of a kind, in the order of their ids.
    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError>;

    /// Removes all records of a user; returns how many live ones.
    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError>;

    /// A page of all live records of a kind in the order of their ids, for moving them to another store: those after `after`, at most
    /// `limit`.
    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError>;

    /// Removes at most `limit` expired records; returns how many. Fewer than `limit` means that none are left.
    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError>;

    /// The store's clock, as [`SessionStore::time`](hallpass_session::SessionStore::time) tells it.
    async fn time(&self) -> Result<StoreTime, StoreError> {
        Ok(StoreTime::Unknown)
    }

    /// Whether the store accepts changes now: makes a small one, as durable as every other. `Err` means that changes fail.
    ///
    /// The default stores a record that has expired already, always under the same key: no method shows it, and sweeping removes it.
    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        let record = probe();
        // Where two servers check at once, one of them may be told that the other was first.
        for _ in 0..PROBES {
            if self.insert(&record, now).await? == Inserted::Done {
                return Ok(());
            }
        }
        Err(StoreError::new("check the records", "the store takes an expired record for a live one"))
    }
}

/// How often a check writes when another server checks at the same time.
const PROBES: usize = 3;

/// What [`RecordStore::check`] writes: a record that expired in 1970.
pub(crate) fn probe() -> Record {
    Record {
        key: RecordKey { kind: "check", id: "hallpass-check".to_owned() },
        owner: None,
        body: "{}".to_owned(),
        expires: Some(Timestamp::from_millis(1)),
        version: 1,
    }
}

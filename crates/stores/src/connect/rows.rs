//! [`Rows`]: what a database does for the layouts shared with Express. It compares bytes and times, and understands no session.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_session::{ChangeFeed, SessionHandle, SessionId, StoreError, StoreTime, Timestamp};

/// A session as it is stored.
pub struct Row {
    /// What it is stored under.
    pub key: String,
    /// Exactly what is stored.
    pub bytes: Arc<[u8]>,
    /// When it ends; `None`: never.
    pub expires: Option<Timestamp>,
    /// When connect-mongo last noted a use, if it is told to note not every one.
    pub last_modified: Option<Timestamp>,
}

/// A use of a session.
pub struct Use {
    /// Which one.
    pub key: String,
    /// Its end from now on, unless it is later already.
    pub expires: Timestamp,
}

/// A change of a session.
pub struct Change<'a> {
    /// What must be stored now.
    pub old: &'a [u8],
    /// What replaces it.
    pub new: &'a [u8],
    /// The end from now on.
    pub expires: Timestamp,
    /// Whether an end that is later stays.
    pub keep_later: bool,
}

/// Why a session stops existing under its ID here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has ended: no save of Express brings it back, and no [`insert`](Rows::insert) either.
    Ended,
    /// Another store holds it now. Saves of Express are refused in the same way, but `insert` may bring it back.
    Moved,
}

/// A session that gets a new ID.
pub struct Move<'a> {
    /// What it is stored under.
    pub old: &'a str,
    /// What must be stored there now.
    pub old_bytes: &'a [u8],
    /// How long a stale copy of the old one could make it live.
    pub old_idle: Duration,
    /// What it is stored under from now on.
    pub new: &'a str,
    /// What is stored there.
    pub bytes: &'a [u8],
    /// The end from now on.
    pub expires: Timestamp,
    /// Whose it is from now on.
    pub user: Option<&'a str>,
}

/// Stored bytes make no sense; says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub &'static str);

/// Rows of sessions in a database. A row has expired from the millisecond of its end on, there or not.
///
/// A key that was [removed](Rows::remove) is remembered: a row that an Express process with a stale copy writes there again is no
/// row to any method here.
#[async_trait]
pub trait Rows: Send + Sync + 'static {
    /// What a session is stored under; `None` where only its id's hash is known, and that is not enough.
    fn key(&self, id: &SessionId) -> Option<String>;

    /// The session that is stored there.
    fn id(&self, key: &str) -> Option<SessionId>;

    /// The stored form of a session's JSON text; `old` is what it replaces.
    async fn encode(&self, text: String, old: Option<&[u8]>) -> Result<Vec<u8>, Unreadable> {
        let _ = old;
        Ok(text.into_bytes())
    }

    /// The JSON text in stored bytes.
    async fn decode(&self, bytes: &[u8]) -> Result<String, Unreadable> {
        let text = std::str::from_utf8(bytes).map_err(|_| Unreadable("the stored session is no text"))?;
        Ok(text.to_owned())
    }

    /// The JSON text in bytes that are stored as this program would store them; nothing else counts.
    async fn decode_own(&self, bytes: &[u8]) -> Result<String, Unreadable> {
        self.decode(bytes).await
    }

    /// How long after a use the next one is noted.
    fn touch_after(&self) -> Duration {
        Duration::ZERO
    }

    /// An end as precisely as Express's package stores it.
    fn rounded(&self, expires: Timestamp, now: Timestamp) -> Timestamp {
        let _ = now;
        expires
    }

    /// The row, if there is one that lives.
    async fn get(&self, doing: &'static str, key: &str, now: Timestamp) -> Result<Option<Row>, StoreError>;

    /// Makes a row unless a live one is there; whether it did.
    async fn insert(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Makes a row, or replaces what is there, as Express's packages do; whether it did: an ended key stays ended. A row that has
    /// expired already is removed where they do so.
    async fn put(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Moves the end of a row, to and fro; whether there is one. `noted`: when to say that was.
    async fn prolong(
        &self,
        doing: &'static str,
        key: &str,
        expires: Timestamp,
        noted: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Changes a live row as Express's package would; whether it did.
    async fn replace_exact(&self, key: &str, change: Change<'_>, now: Timestamp) -> Result<bool, StoreError> {
        self.replace(key, change, now).await
    }

    /// Changes a live row; whether it did.
    async fn replace(&self, key: &str, change: Change<'_>, now: Timestamp) -> Result<bool, StoreError>;

    /// Ends a live row that holds these bytes and stores its session under a new key; whether it did. The old key is remembered as
    /// ended in the same step, and no moment exists at which neither [`naming`](Self::naming) nor [`announced`](Self::announced)
    /// finds the session.
    async fn rotate(
        &self,
        doing: &'static str,
        rotation: Move<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// The keys that sessions of this user are being moved to at this moment, if a rotation here takes several steps.
    async fn announced(&self, doing: &'static str, user: &str) -> Result<Vec<String>, StoreError> {
        let _ = (doing, user);
        Ok(Vec::new())
    }

    /// Lengthens live rows.
    async fn touch(&self, uses: &[Use], now: Timestamp) -> Result<(), StoreError>;

    /// Removes a row and remembers its key as ended, in one step or before it, also when there is no row. Returns the row, if it
    /// lived and had not ended before.
    async fn remove(
        &self,
        doing: &'static str,
        key: &str,
        end: End,
        now: Timestamp,
    ) -> Result<Option<Row>, StoreError>;

    /// Remembers an ended key for at least this long, if [`remove`](Self::remove) could not tell how long that must be.
    async fn remember(&self, doing: &'static str, key: &str, until: Timestamp) -> Result<(), StoreError> {
        let _ = (doing, key, until);
        Ok(())
    }

    /// All live rows that may name this user, and perhaps others.
    async fn naming(&self, doing: &'static str, user: &str, now: Timestamp) -> Result<Vec<Row>, StoreError>;

    /// What all rows are stored under, in no order.
    async fn keys(&self, doing: &'static str) -> Result<Vec<String>, StoreError>;

    /// The live ones of these rows.
    async fn get_all(
        &self,
        doing: &'static str,
        keys: &[String],
        now: Timestamp,
    ) -> Result<Vec<Row>, StoreError>;

    /// Removes at most `limit` rows that have ended; how many.
    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError>;

    /// The database's clock.
    async fn time(&self) -> Result<StoreTime, StoreError>;

    /// Tells what happens to the rows, whoever does it; `None`: this database cannot, or may not.
    fn changes(&self) -> Option<ChangeFeed<SessionHandle>>;
}

/// Whole seconds from `now`, rounded up.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(super) fn seconds_until(expires: Timestamp, now: Timestamp) -> i64 {
    let millis = expires.as_millis().saturating_sub(now.as_millis());
    millis.div_euclid(1000) + i64::from(millis.rem_euclid(1000) > 0)
}

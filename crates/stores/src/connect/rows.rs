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

/// Stored bytes make no sense; says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub &'static str);

/// Rows of sessions in a database. A row has ended from the millisecond of its end on, there or not.
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

    /// Makes a row, or replaces what is there, as Express's packages do. One that has ended already is removed where they do so.
    async fn put(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError>;

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

    /// Removes a live row if it holds these bytes; whether it did.
    async fn take(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Lengthens live rows.
    async fn touch(&self, uses: &[Use], now: Timestamp) -> Result<(), StoreError>;

    /// Removes a row; the row, if it lived.
    async fn remove(&self, doing: &'static str, key: &str, now: Timestamp)
    -> Result<Option<Row>, StoreError>;

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

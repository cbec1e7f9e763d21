//! The same rows as express-session's own stores keep them: whole sessions as JavaScript writes them, ends by each package's rules.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_session::{
    Document, SessionId, SessionStore, StoreError, Timestamp,
    express::{ExpressStore, Fetched, Over, Set, Version, parse, stringify},
};

use super::{
    rows::{Change, End, Row, Rows},
    sessions::Connect,
};

/// Where connect-mongo shows when it last noted a use, once it is told to note not every one (`touchAfter`).
const LAST_MODIFIED: &str = "lastModified";

/// The stored text holds something else than a session.
#[derive(Debug, thiserror::Error)]
#[error("Cannot read properties of undefined (reading 'expires')")]
struct NoSession;

impl<R: Rows> Connect<R> {
    /// The end of a session whose cookie has this end, as the package has it.
    fn end(&self, expires: Option<Timestamp>, now: Timestamp) -> Timestamp {
        self.rows.rounded(expires.unwrap_or(now + self.ttl()), now)
    }

    /// The session in a row; `None` where express-session takes what is stored for nothing.
    async fn whole(&self, doing: &'static str, row: &Row) -> Result<Option<Document>, StoreError> {
        let text = self.rows.decode_own(&row.bytes).await.map_err(|error| StoreError::new(doing, error))?;
        let session = parse(&text).map_err(|error| StoreError::new(doing, error))?;
        let Some(mut session) = session else {
            return if is_falsy(&text) { Ok(None) } else { Err(StoreError::new(doing, NoSession)) };
        };
        if let Some(at) = row.last_modified {
            session.insert(LAST_MODIFIED, &at.to_string()).map_err(|error| StoreError::new(doing, error))?;
        }
        Ok(Some(session))
    }
}

/// Whether JavaScript takes the value of this JSON text for false.
fn is_falsy(text: &str) -> bool {
    let text = text.trim();
    matches!(text, "null" | "false" | "\"\"") || text.parse() == Ok(0.0)
}

#[async_trait]
impl<R: Rows> ExpressStore for Connect<R> {
    fn sessions(self: Arc<Self>) -> Arc<dyn SessionStore> {
        self
    }

    async fn get(&self, id: &SessionId, now: Timestamp) -> Result<Option<Fetched>, StoreError> {
        let doing = "load a session";
        let row = self.rows.get(doing, &self.key(doing, id)?, now).await?;
        let Some(row) = row else { return Ok(None) };
        let session = self.whole(doing, &row).await?;
        Ok(session.map(|session| Fetched { session, version: Version(row.bytes) }))
    }

    async fn set(
        &self,
        id: &SessionId,
        session: &mut Document,
        expires: Option<Timestamp>,
        over: Over<'_>,
        now: Timestamp,
    ) -> Result<Set, StoreError> {
        let doing = "save a session";
        let key = self.key(doing, id)?;
        if !self.rows.touch_after().is_zero() {
            session.remove(LAST_MODIFIED);
        }
        let old = match over {
            Over::Anything => None,
            Over::Version(version) => Some(&*version.0),
        };
        let encoded = self.rows.encode(stringify(session), old).await;
        let bytes = encoded.map_err(|error| StoreError::new(doing, error))?;
        let expires = self.end(expires, now);
        let Some(old) = old else {
            let is_stored = self.rows.put(doing, &key, &bytes, expires, now).await?;
            return Ok(if is_stored { Set::Done(Version(bytes.into())) } else { Set::Gone });
        };
        let change = Change { old, new: &bytes, expires, keep_later: false };
        if self.rows.replace_exact(&key, change, now).await? {
            return Ok(Set::Done(Version(bytes.into())));
        }
        let live = self.rows.get(doing, &key, now).await?.is_some();
        Ok(if live { Set::Conflict } else { Set::Gone })
    }

    async fn touch(
        &self,
        id: &SessionId,
        session: &Document,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let doing = "note the use of a session";
        let noted: Option<String> = session.get(LAST_MODIFIED).ok().flatten();
        let noted = noted.filter(|_| !self.rows.touch_after().is_zero());
        let noted = noted.and_then(|text| Timestamp::parse(&text));
        if noted.is_some_and(|at| now.since(at) < self.rows.touch_after()) {
            return Ok(true);
        }
        let (key, expires) = (self.key(doing, id)?, self.end(expires, now));
        self.rows.prolong(doing, &key, expires, noted.map(|_| now), now).await
    }

    async fn destroy(&self, id: &SessionId, now: Timestamp) -> Result<Option<Fetched>, StoreError> {
        let (doing, key) = ("end a session", self.key("end a session", id)?);
        let Some((row, _)) = self.remove(doing, &key, End::Ended, now).await? else { return Ok(None) };
        // It is gone; that it cannot be read is no reason to say otherwise.
        let session = self.whole(doing, &row).await.ok().flatten();
        Ok(session.map(|session| Fetched { session, version: Version(row.bytes) }))
    }
}

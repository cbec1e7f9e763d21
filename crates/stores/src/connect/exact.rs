//! The same rows as express-session's own stores keep them: whole sessions as JavaScript writes them, ends by each package's rules.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_session::{
    Document, SessionId, SessionStore, StoreError, Timestamp,
    express::{ExpressStore, Fetched, Got, Over, Rotation, Set, Version, parse, stringify},
};

use super::{
    rows::{Change, End, Move, Row, Rows, Unreadable},
    sessions::Connect,
};
use crate::native;

/// Where connect-mongo shows when it last noted a use, once it is told to note not every one (`touchAfter`).
const LAST_MODIFIED: &str = "lastModified";

/// What is stored holds no session. Nothing of it is said: it may hold what its owner typed.
const NO_JSON: Unreadable =
    Unreadable("the stored text is no JSON that JavaScript reads, or is nested too deeply");
const NO_OBJECT: Unreadable = Unreadable("the stored JSON is no object");

impl<R: Rows> Connect<R> {
    /// The end of a session whose cookie has this end, as the package has it.
    fn end(&self, expires: Option<Timestamp>, now: Timestamp) -> Timestamp {
        self.rows.rounded(expires.unwrap_or(now + self.ttl()), now)
    }

    /// The session in a row; `None` where express-session takes what is stored for nothing.
    async fn whole(&self, row: &Row) -> Result<Option<Document>, Unreadable> {
        let text = self.rows.decode_own(&row.bytes).await?;
        let Some(mut session) = parse(&text).map_err(|_| NO_JSON)? else {
            return if is_falsy(&text) { Ok(None) } else { Err(NO_OBJECT) };
        };
        if let Some(at) = row.last_modified {
            session.insert(LAST_MODIFIED, &at.to_string()).map_err(|_| NO_JSON)?;
        }
        Ok(Some(session))
    }

    /// The stored form of a session, over `old`.
    async fn encode_whole(
        &self,
        doing: &'static str,
        session: &mut Document,
        old: Option<&[u8]>,
    ) -> Result<Vec<u8>, StoreError> {
        if !self.rows.touch_after().is_zero() {
            session.remove(LAST_MODIFIED);
        }
        let encoded = self.rows.encode(stringify(session), old).await;
        encoded.map_err(|error| StoreError::new(doing, error))
    }

    /// Why a change of a session found nothing to change.
    async fn refused(&self, doing: &'static str, key: &str, now: Timestamp) -> Result<Set, StoreError> {
        let lives = self.rows.get(doing, key, now).await?.is_some();
        Ok(if lives { Set::Conflict } else { Set::Gone })
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

    async fn get(&self, id: &SessionId, now: Timestamp) -> Result<Got, StoreError> {
        let doing = "load a session";
        let row = self.rows.get(doing, &self.key(doing, id)?, now).await?;
        let Some(row) = row else { return Ok(Got::Missing) };
        Ok(match self.whole(&row).await {
            Ok(Some(session)) => {
                self.users.note(self.text.user_of(&session).as_ref(), &row.key);
                Got::Session(Fetched { session, version: Version(row.bytes) })
            }
            Ok(None) => Got::Missing,
            Err(why) => {
                native::unreadable(Some(id.handle()), why.0);
                Got::Unreadable
            }
        })
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
        let old = match over {
            Over::Anything => None,
            Over::Version(version) => Some(&*version.0),
        };
        let bytes = self.encode_whole(doing, session, old).await?;
        let expires = self.end(expires, now);
        let Some(old) = old else {
            let is_stored = self.rows.put(doing, &key, &bytes, expires, now).await?;
            self.users.note(self.text.user_of(session).as_ref(), &key);
            return Ok(if is_stored { Set::Done(Version(bytes.into())) } else { Set::Gone });
        };
        let change = Change { old, new: &bytes, expires, keep_later: false };
        if self.rows.replace_exact(&key, change, now).await? {
            self.users.note(self.text.user_of(session).as_ref(), &key);
            return Ok(Set::Done(Version(bytes.into())));
        }
        self.refused(doing, &key, now).await
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

    async fn rotate(
        &self,
        rotation: Rotation<'_>,
        session: &mut Document,
        now: Timestamp,
    ) -> Result<Set, StoreError> {
        let doing = "move a session to a new id";
        let (old, new) = (self.key(doing, rotation.old)?, self.key(doing, rotation.new)?);
        let old_bytes = &*rotation.version.0;
        let bytes = self.encode_whole(doing, session, Some(old_bytes)).await?;
        let text = self.rows.decode(old_bytes).await.ok();
        let moved = Move {
            old: &old,
            old_bytes,
            old_idle: text.and_then(|text| self.text.idle(&text)).unwrap_or_default(),
            new: &new,
            bytes: &bytes,
            expires: self.end(rotation.expires, now),
            user: rotation.user,
        };
        if self.rows.rotate(doing, moved, now).await? {
            self.users.note(self.text.user_of(session).as_ref(), &new);
            return Ok(Set::Done(Version(bytes.into())));
        }
        self.refused(doing, &old, now).await
    }

    async fn destroy(&self, id: &SessionId, now: Timestamp) -> Result<(), StoreError> {
        let (doing, key) = ("end a session", self.key("end a session", id)?);
        self.remove(doing, &key, End::Ended, now).await.map(drop)
    }
}

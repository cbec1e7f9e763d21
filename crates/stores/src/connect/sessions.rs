//! [`Connect`]: sessions in rows that Express's stores read and write too.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_session::{
    ChangeFeed, Created, Listed, Recent, Revision, SessionHandle, SessionId, SessionRecord, SessionStore,
    StoreError, StoreTime, Stored, Timestamp, Touch, Updated,
};

use super::{
    ConnectOptions,
    pages::Pages,
    rows::{Change, End, Move, Row, Rows, Use},
    text::{Text, revision},
    user_index::UserIndex,
};
use crate::native;

/// How many sessions are asked for at once.
pub(super) const PAGE: usize = 500;

/// Sessions in the layout of one of Express's stores.
///
/// What operators and "sign out everywhere" ask for reads all rows, because Express keeps no index; see docs/stores.md for what that costs.
pub struct Connect<R> {
    pub(super) rows: R,
    pub(super) text: Text,
    pub(super) pages: Pages,
    pub(super) users: UserIndex,
}

/// The version of a session that is to be changed.
struct Version {
    key: String,
    bytes: Arc<[u8]>,
    text: String,
}

impl<R: Rows> Connect<R> {
    pub(super) fn new(rows: R, options: &ConnectOptions) -> Self {
        Self { rows, text: Text::new(options), pages: Pages::default(), users: UserIndex::default() }
    }

    /// How long a session lives whose cookie does not say.
    pub(super) fn ttl(&self) -> Duration {
        self.text.ttl()
    }

    pub(super) fn key(&self, doing: &'static str, id: &SessionId) -> Result<String, StoreError> {
        let why = "only the hash of this session's id is known, and Express's stores need the id itself; \
                   sessions of the native layout cannot be moved to theirs";
        self.rows.key(id).ok_or_else(|| StoreError::new(doing, why))
    }

    /// The session in a row, if it is one and lives. What cannot be read is no session: whoever has its cookie is signed out here, can
    /// sign in again, and is not answered with an error that lasts as long as the row.
    pub(super) async fn stored(&self, row: &Row, now: Timestamp) -> Option<Stored> {
        let text = match self.rows.decode(&row.bytes).await {
            Ok(text) => text,
            Err(why) => {
                native::unreadable(self.rows.id(&row.key).map(|id| id.handle()), why.0);
                return None;
            }
        };
        let mut record = self.text.read(&text, row.expires, now)?;
        record.document.set_source(source(&text, &row.bytes));
        Some(Stored { record: Arc::new(record), revision: revision(&row.bytes) })
    }

    /// The sessions in rows, with their ids.
    pub(super) async fn all_stored(&self, rows: Vec<Row>, now: Timestamp) -> Vec<(SessionId, Stored)> {
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(id) = self.rows.id(&row.key) else { continue };
            found.extend(self.stored(&row, now).await.map(|stored| (id, stored)));
        }
        found
    }

    pub(super) async fn named(
        &self,
        doing: &'static str,
        user: &str,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let rows = self.users.search(self.rows.naming(doing, user, now)).await?;
        let mut found = self.all_stored(rows, now).await;
        found.retain(|(_, stored)| stored.record.user.as_deref() == Some(user));
        Ok(found)
    }

    /// The version `expected`: as it was loaded with the record, else as it is stored; or the answer to give.
    async fn version(
        &self,
        doing: &'static str,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Result<Version, Updated>, StoreError> {
        let key = self.key(doing, id)?;
        let loaded = record.document.source().and_then(|source| loaded(source));
        let loaded = loaded.filter(|(_, bytes)| revision(bytes) == expected);
        let (text, bytes) = match loaded {
            Some((text, bytes)) => (Some(text.to_owned()), bytes.into()),
            None => match self.rows.get(doing, &key, now).await? {
                None => return Ok(Err(Updated::Gone)),
                Some(row) if revision(&row.bytes) != expected => return Ok(Err(Updated::Conflict)),
                Some(row) => (None, row.bytes),
            },
        };
        let text = match text {
            Some(text) => text,
            None => match self.rows.decode(&bytes).await {
                Ok(text) => text,
                Err(_) => return Ok(Err(Updated::Gone)),
            },
        };
        if Text::until(&text).is_some_and(|until| until <= now) {
            return Ok(Err(Updated::Gone));
        }
        Ok(Ok(Version { key, bytes, text }))
    }

    /// Why a change found nothing to change.
    async fn answer_for(
        &self,
        doing: &'static str,
        key: &str,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let live = self.rows.get(doing, key, now).await?.is_some();
        Ok(if live { Updated::Conflict } else { Updated::Gone })
    }

    /// The stored form of a record.
    async fn encode(
        &self,
        doing: &'static str,
        record: &SessionRecord,
        old: Option<&Version>,
    ) -> Result<Vec<u8>, StoreError> {
        // A session that comes from another store of this kind keeps its cookie.
        let template = record.document.source().and_then(|source| loaded(source)).map(|(text, _)| text);
        let before = old.map(|old| old.text.as_str()).or(template);
        let text = self.text.write(record, before).map_err(|error| StoreError::new(doing, error))?;
        let encoded = self.rows.encode(text, old.map(|old| &*old.bytes)).await;
        encoded.map_err(|error| StoreError::new(doing, error))
    }
}

#[async_trait]
impl<R: Rows> SessionStore for Connect<R> {
    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        self.rows.changes()
    }

    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        let doing = "load a session";
        let row = self.rows.get(doing, &self.key(doing, id)?, now).await?;
        let Some(row) = row else { return Ok(None) };
        let stored = self.stored(&row, now).await;
        self.users.note(stored.as_ref().and_then(|stored| stored.record.user.as_ref()), &row.key);
        Ok(stored)
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        let doing = "create a session";
        let key = self.key(doing, id)?;
        let bytes = self.encode(doing, record, None).await?;
        let made = self.rows.insert(doing, &key, &bytes, record.expires(), now).await?;
        self.users.note(record.user.as_ref(), &key);
        Ok(if made { Created::Done(revision(&bytes)) } else { Created::Taken })
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let doing = "save a session";
        let old = match self.version(doing, id, record, expected, now).await? {
            Ok(version) => version,
            Err(answer) => return Ok(answer),
        };
        let bytes = self.encode(doing, record, Some(&old)).await?;
        // Uses that were noted meanwhile count, unless the session is to live shorter from now on.
        let keep_later = self.text.idle(&old.text) == Some(record.lifetime.idle);
        let change = Change { old: &old.bytes, new: &bytes, expires: record.expires(), keep_later };
        if self.rows.replace(&old.key, change, now).await? {
            return Ok(Updated::Done(revision(&bytes)));
        }
        self.answer_for(doing, &old.key, now).await
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let doing = "move a session to a new id";
        let old = match self.version(doing, old, record, expected, now).await? {
            Ok(version) => version,
            Err(answer) => return Ok(answer),
        };
        let key = self.key(doing, new)?;
        let bytes = self.encode(doing, record, Some(&old)).await?;
        let rotation = Move {
            old: &old.key,
            old_bytes: &old.bytes,
            old_idle: self.text.idle(&old.text).unwrap_or_default(),
            new: &key,
            bytes: &bytes,
            expires: record.expires(),
            user: record.user.as_deref(),
        };
        if !self.rows.rotate(doing, rotation, now).await? {
            return self.answer_for(doing, &old.key, now).await;
        }
        self.users.note(record.user.as_ref(), &key);
        Ok(Updated::Done(revision(&bytes)))
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        let keyed = |touch: &Touch| Some(Use { key: self.rows.key(&touch.id)?, expires: touch.expires });
        let uses: Vec<Use> = batch.iter().filter_map(keyed).collect();
        if uses.is_empty() { Ok(()) } else { self.rows.touch(&uses, now).await }
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let doing = "end a session";
        self.end_session(doing, &self.key(doing, id)?, End::Ended, now).await
    }

    async fn release(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let doing = "hand a session over";
        self.end_session(doing, &self.key(doing, id)?, End::Moved, now).await
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let found = self.named("list a user's sessions", user, now).await?;
        let mut listed: Vec<Listed> = found.iter().map(|(id, stored)| listed(id, &stored.record)).collect();
        listed.sort_by_key(|listed| (Reverse(listed.seen), listed.handle));
        Ok(listed)
    }

    async fn recent_of_user(&self, user: &str, limit: usize, now: Timestamp) -> Result<Recent, StoreError> {
        self.recent_sessions_of(user, limit, now).await
    }

    async fn trim_user(
        &self,
        user: &str,
        keep: usize,
        newest: &SessionId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.trim_sessions_of(user, keep, newest, now).await
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let except = except.map(|except| self.key("end a user's sessions", except)).transpose()?;
        self.end_sessions_of(user, except.as_deref(), now).await
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let doing = "end a session";
        if let Some(user) = user
            && let Some(id) = self.known_of_handle(doing, handle, user, now).await?
        {
            return self.delete(&id, now).await;
        }
        let ids: Vec<SessionId> = match user {
            Some(user) => self.named(doing, user, now).await?.into_iter().map(|(id, _)| id).collect(),
            None => self.rows.keys(doing).await?.iter().filter_map(|key| self.rows.id(key)).collect(),
        };
        match ids.iter().find(|id| id.handle() == handle) {
            Some(id) => self.delete(id, now).await,
            None => Ok(false),
        }
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let page = self.page("list sessions", after, limit, now).await?;
        Ok(page.iter().map(|(id, stored)| listed(id, &stored.record)).collect())
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.rows.sweep(limit, now).await
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        self.page("export sessions", after, limit, now).await
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.rows.time().await
    }
}

/// What a document was read from, in words that all stores of this kind understand: the JSON text, and after a zero byte, which no JSON
/// has, what was stored if it was not the text itself.
fn source(text: &str, bytes: &Arc<[u8]>) -> Arc<[u8]> {
    if text.as_bytes() == &**bytes { bytes.clone() } else { [text.as_bytes(), &[0], bytes].concat().into() }
}

/// The text and the stored bytes in a source.
fn loaded(source: &[u8]) -> Option<(&str, &[u8])> {
    let end = source.iter().position(|byte| *byte == 0);
    let text = std::str::from_utf8(&source[..end.unwrap_or(source.len())]).ok()?;
    Some((text, end.map_or(source, |end| &source[end + 1..])))
}

pub(super) fn listed(id: &SessionId, record: &SessionRecord) -> Listed {
    Listed {
        handle: id.handle(),
        user: record.user.clone(),
        label: record.label.clone(),
        created: record.created,
        authenticated: record.authenticated,
        seen: record.seen,
        expires: record.expires(),
    }
}

//! A store of sessions in [redb](https://docs.rs/redb), an embedded key-value database, written from the contract of
//! [`SessionStore`] alone. `tests/conformance.rs` proves it.
//!
//! What makes it right: every change is one transaction, and redb runs one at a time, so "check, then write" cannot be interrupted; a
//! transaction is on disk before its answer leaves; ids are stored as hashes.

mod row;
mod tables;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use hallpass_session::{
    Created, IdHash, Listed, Revision, SessionHandle, SessionId, SessionRecord, SessionStore, StoreError,
    Stored, Timestamp, Touch, Updated,
};
use redb::{Database, ReadableDatabase};

use crate::{
    row::Row,
    tables::{Failure, OF_USER, SESSIONS, Tables},
};

/// The store. Clones share the file.
#[derive(Clone)]
pub struct RedbStore {
    database: Arc<Database>,
}

impl RedbStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened, or another program has it open.
    pub fn open(path: &Path) -> Result<Self, redb::Error> {
        let database = Database::create(path)?;
        // The tables are there from now on, so that reading never finds one missing.
        let transaction = database.begin_write()?;
        Tables::open(&transaction).map_err(|_| redb::Error::UpgradeRequired(0))?;
        transaction.commit()?;
        Ok(Self { database: Arc::new(database) })
    }

    /// One change, on a thread that may wait for the disk.
    async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database.clone();
        blocking(doing, move || {
            let transaction = database.begin_write()?;
            let done = work(&mut Tables::open(&transaction)?)?;
            transaction.commit()?;
            Ok(done)
        })
        .await
    }

    /// The live sessions after this one, at most so many.
    async fn page<T: Send + 'static>(
        &self,
        doing: &'static str,
        (after, limit, now): (Option<SessionHandle>, usize, Timestamp),
        shape: fn([u8; 32], Row) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let database = self.database.clone();
        blocking(doing, move || {
            let sessions = database.begin_read()?.open_table(SESSIONS)?;
            let mut first = [0; 32];
            if let Some(after) = after {
                first = [u8::MAX; 32];
                first[..16].copy_from_slice(&after.0);
            }
            let mut page = Vec::new();
            for entry in sessions.range(first..)? {
                let (id, row) = entry?;
                let (id, row) = (id.value(), serde_json::from_slice::<Row>(row.value())?);
                let is_after = after.is_none_or(|after| IdHash(id).handle() > after);
                if is_after && row.is_live(now) {
                    page.extend(shape(id, row));
                }
                if page.len() == limit {
                    break;
                }
            }
            Ok(page)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::new(doing, error))?;
    done.map_err(|error| StoreError::new(doing, error))
}

/// The live session at this revision, or the answer that says why not.
fn at_revision(
    tables: &Tables<'_>,
    id: [u8; 32],
    expected: Revision,
    now: Timestamp,
) -> Result<Result<Row, Updated>, Failure> {
    Ok(match tables.get(id)?.filter(|row| row.is_live(now)) {
        None => Err(Updated::Gone),
        Some(row) if row.revision != expected.0 => Err(Updated::Conflict),
        Some(row) => Ok(row),
    })
}

#[async_trait]
impl SessionStore for RedbStore {
    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        let (database, id) = (self.database.clone(), id.hash().0);
        blocking("load a session", move || {
            let sessions = database.begin_read()?.open_table(SESSIONS)?;
            let Some(row) = sessions.get(id)? else { return Ok(None) };
            let row: Row = serde_json::from_slice(row.value())?;
            Ok(if row.is_live(now) { row.stored() } else { None })
        })
        .await
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        let (id, row) = (id.hash().0, Row::new(record, 1));
        self.write("create a session", move |tables| {
            if tables.get(id)?.is_some_and(|old| old.is_live(now)) {
                return Ok(Created::Taken);
            }
            tables.put(id, &row)?;
            Ok(Created::Done(Revision(1)))
        })
        .await
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let (id, mut record) = (id.hash().0, record.clone());
        self.write("save a session", move |tables| {
            let old = match at_revision(tables, id, expected, now)? {
                Ok(old) => old,
                Err(answer) => return Ok(answer),
            };
            // The use of a session is noted beside changes, and never taken back by one.
            record.seen = record.seen.max(Timestamp::from_millis(old.seen));
            let revision = expected.0 + 1;
            tables.put(id, &Row::new(&record, revision))?;
            Ok(Updated::Done(Revision(revision)))
        })
        .await
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let (old, new, revision) = (old.hash().0, new.hash().0, expected.0 + 1);
        let row = Row::new(record, revision);
        self.write("move a session to a new id", move |tables| {
            if let Err(answer) = at_revision(tables, old, expected, now)? {
                return Ok(answer);
            }
            tables.remove(old)?;
            tables.put(new, &row)?;
            Ok(Updated::Done(Revision(revision)))
        })
        .await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        let batch = batch.to_vec();
        self.write("note the use of sessions", move |tables| {
            for touch in batch {
                let id = touch.id.hash().0;
                let Some(mut row) = tables.get(id)?.filter(|row| row.is_live(now)) else { continue };
                row.seen = row.seen.max(touch.seen.as_millis());
                row.expires = row.expires.max(touch.expires.as_millis());
                tables.put(id, &row)?;
            }
            Ok(())
        })
        .await
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let id = id.hash().0;
        self.write("end a session", move |tables| Ok(tables.remove(id)?.is_some_and(|row| row.is_live(now))))
            .await
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let (database, user) = (self.database.clone(), user.to_owned());
        blocking("list a user's sessions", move || {
            let transaction = database.begin_read()?;
            let (index, sessions) = (transaction.open_table(OF_USER)?, transaction.open_table(SESSIONS)?);
            let mut listed = Vec::new();
            for entry in index.range((user.as_str(), [0; 32])..=(user.as_str(), [u8::MAX; 32]))? {
                let id = entry?.0.value().1;
                let Some(row) = sessions.get(id)? else { continue };
                let row: Row = serde_json::from_slice(row.value())?;
                if row.is_live(now) {
                    listed.push(row.listed(id));
                }
            }
            listed.sort_by_key(|listed| (std::cmp::Reverse(listed.seen), listed.handle));
            Ok(listed)
        })
        .await
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (user, except) = (user.to_owned(), except.map(|id| id.hash().0));
        self.write("end a user's sessions", move |tables| {
            let mut ended = 0;
            for id in tables.ids_of(&user)?.into_iter().filter(|id| Some(*id) != except) {
                ended += u64::from(tables.remove(id)?.is_some_and(|row| row.is_live(now)));
            }
            Ok(ended)
        })
        .await
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let user = user.map(str::to_owned);
        self.write("end a session", move |tables| {
            let Some((id, row)) = tables.of_handle(handle)? else { return Ok(false) };
            if user.is_some() && row.user.as_deref() != user.as_deref() {
                return Ok(false);
            }
            tables.remove(id)?;
            Ok(row.is_live(now))
        })
        .await
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        self.page("list the sessions", (after, limit, now), |id, row| Some(row.listed(id))).await
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let whole = |id, row: Row| Some((SessionId::from_hash(IdHash(id)), row.stored()?));
        self.page("export sessions", (after, limit, now), whole).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.write("sweep expired sessions", move |tables| {
            let expired = tables.expired(now.as_millis(), limit)?;
            for id in &expired {
                tables.remove(*id)?;
            }
            Ok(expired.len())
        })
        .await
    }
}

//! Sessions, layout `native`: the columns are the record, the id is its hash.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_session::{
    ChangeFeed, Created, IdHash, Lifetime, Listed, Recent, Revision, SessionHandle, SessionId, SessionRecord,
    SessionStore, StoreError, StoreTime, Stored, Timestamp, Touch, Updated,
};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{Sqlite, feed::Table};
use crate::native;

// Columns are read by their place: a name is looked for each time.
const LOAD: &str =
    "select document, user, label, created, authenticated, seen, idle, until, persistent, revision
    from sessions where id = ?1 and expires > ?2";

const EXPORT: &str =
    "select document, user, label, created, authenticated, seen, idle, until, persistent, revision, id
    from sessions where id > ?1 and expires > ?2 order by id limit ?3";

const INSERT: &str = "insert into sessions
    (id, user, label, created, authenticated, seen, idle, until, persistent, expires, revision, document)
    values (:id, :user, :label, :created, :authenticated, :seen, :idle, :until, :persistent,
        min(:seen + :idle, coalesce(:until, 9223372036854775807)), :revision, :document)
    on conflict (id) do nothing";

const UPDATE: &str = "update sessions set
    user = :user, label = :label, created = :created, authenticated = :authenticated, seen = max(seen, :seen),
    idle = :idle, until = :until, persistent = :persistent,
    expires = min(max(seen, :seen) + :idle, coalesce(:until, 9223372036854775807)),
    revision = :revision, document = :document
    where id = :id and revision = :revision - 1 and expires > :now";

const TOUCH: &str =
    "update sessions set seen = max(seen, ?2), expires = max(expires, ?3) where id = ?1 and expires > ?4";

/// So many ended sessions are removed at once.
const BITE: usize = 20;

/// After which id a page begins: the last one of `after`, or what is before all.
fn last_of(after: Option<SessionHandle>) -> Vec<u8> {
    after.map(|handle| native::ids_of(handle).1.to_vec()).unwrap_or_default()
}

const LISTED: &str = "select id, user, label, created, authenticated, seen, expires from sessions";

#[async_trait]
impl SessionStore for Sqlite {
    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        Some(self.feed(Table::Sessions, |id| id.try_into().ok().map(|id| IdHash(id).handle())))
    }

    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        let id = id.hash();
        self.read("load a session", move |connection| {
            let mut load = connection.prepare_cached(LOAD)?;
            load.query_row(params![id.0, now.as_millis()], stored).optional().map(Option::flatten)
        })
        .await
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        let (id, record) = (id.hash(), record.clone());
        self.write("create a session", move |connection| {
            let mut clear =
                connection.prepare_cached("delete from sessions where id = ?1 and expires <= ?2")?;
            clear.execute(params![id.0, now.as_millis()])?;
            let revision = Revision(1);
            let inserted = write_record(connection, INSERT, id, &record, revision, None)?;
            Ok(if inserted { Created::Done(revision) } else { Created::Taken })
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
        let (id, record) = (id.hash(), record.clone());
        self.write("save a session", move |connection| {
            let revision = Revision(expected.0 + 1);
            if write_record(connection, UPDATE, id, &record, revision, Some(now))? {
                return Ok(Updated::Done(revision));
            }
            Ok(revision_of(connection, id, now)?.map_or(Updated::Gone, |_| Updated::Conflict))
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
        let (old, new, record) = (old.hash(), new.hash(), record.clone());
        self.write("move a session to a new id", move |connection| {
            match revision_of(connection, old, now)? {
                None => return Ok(Updated::Gone),
                Some(revision) if revision != expected => return Ok(Updated::Conflict),
                Some(_) => {}
            }
            delete(connection, old, now)?;
            let revision = Revision(expected.0 + 1);
            // Two ids of 256 random bits never meet; a generator that repeats itself must not open a stranger's session.
            if !write_record(connection, INSERT, new, &record, revision, None)? {
                return Err(rusqlite::Error::StatementChangedRows(0));
            }
            Ok(Updated::Done(revision))
        })
        .await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        let batch: Vec<_> = batch
            .iter()
            .map(|touch| (touch.id.hash(), touch.seen.as_millis(), touch.expires.as_millis()))
            .collect();
        self.write("note the use of sessions", move |connection| {
            let mut touch = connection.prepare_cached(TOUCH)?;
            for (id, seen, expires) in batch {
                touch.execute(params![id.0, seen, expires, now.as_millis()])?;
            }
            Ok(())
        })
        .await
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let id = id.hash();
        self.write("end a session", move |connection| delete(connection, id, now)).await
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let user = user.to_owned();
        self.read("list a user's sessions", move |connection| {
            let sql = format!("{LISTED} where user = ?1 and expires > ?2 order by seen desc, id");
            let mut list = connection.prepare_cached(&sql)?;
            list.query_map(params![user, now.as_millis()], listed)?.collect()
        })
        .await
    }

    async fn recent_of_user(&self, user: &str, limit: usize, now: Timestamp) -> Result<Recent, StoreError> {
        let user = user.to_owned();
        self.read("list a user's sessions", move |connection| {
            let sql = format!("{LISTED} where user = ?1 and expires > ?2 order by seen desc, id limit ?3");
            let mut list = connection.prepare_cached(&sql)?;
            let first = params![user, now.as_millis(), native::limit_of(limit)];
            let first: Vec<Listed> = list.query_map(first, listed)?.collect::<Result<_, _>>()?;
            let sql = "select count(*) from sessions where user = ?1 and expires > ?2";
            let all = connection
                .prepare_cached(sql)?
                .query_row(params![user, now.as_millis()], |row| row.get::<_, i64>(0))?;
            Ok(native::recent(first, all))
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
        self.write("end a user's sessions", move |connection| {
            let sql = "delete from sessions where user = ?1 and id is not ?2 returning expires > ?3";
            let mut delete = connection.prepare_cached(sql)?;
            let ended =
                delete.query_map(params![user, except, now.as_millis()], |row| row.get::<_, bool>(0))?;
            ended.map(|live| live.map(u64::from)).sum()
        })
        .await
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (first, last) = native::ids_of(handle);
        let user = user.map(str::to_owned);
        self.write("end a session", move |connection| {
            let sql = "delete from sessions where id between ?1 and ?2 and (?3 is null or user = ?3) returning expires > ?4";
            let mut delete = connection.prepare_cached(sql)?;
            let ended = delete.query_map(params![first, last, user, now.as_millis()], |row| row.get(0))?;
            ended.collect::<rusqlite::Result<Vec<bool>>>().map(|ended| ended.contains(&true))
        })
        .await
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let after = last_of(after);
        self.read("list the sessions", move |connection| {
            let sql = format!("{LISTED} where id > ?1 and expires > ?2 order by id limit ?3");
            let mut list = connection.prepare_cached(&sql)?;
            list.query_map(params![after, now.as_millis(), native::limit_of(limit)], listed)?.collect()
        })
        .await
    }

    /// In bites, each in the queue behind whoever writes meanwhile: among a million sessions, each that ended lies on pages of its own, and whoever
    /// writes waits for all of a bite's.
    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let mut swept = 0;
        while swept < limit {
            let bite = (limit - swept).min(BITE);
            let ended = self.write("sweep expired sessions", move |connection| {
                let sql = "delete from sessions where rowid in
                    (select rowid from sessions where expires <= ?1 order by expires limit ?2)";
                connection.prepare_cached(sql)?.execute(params![now.as_millis(), native::limit_of(bite)])
            });
            let ended = ended.await?;
            swept += ended;
            if ended < bite {
                break;
            }
        }
        Ok(swept)
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let after = last_of(after);
        self.read("export sessions", move |connection| {
            let mut page = connection.prepare_cached(EXPORT)?;
            let values = params![after, now.as_millis(), native::limit_of(limit)];
            let rows = page.query_map(values, |row| {
                let id = SessionId::from_hash(IdHash(row.get(10)?));
                Ok(stored(row)?.map(|stored| (id, stored)))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
        .await
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.newest().await
    }
}

/// Inserts or updates; whether a row was written.
fn write_record(
    connection: &Connection,
    sql: &str,
    id: IdHash,
    record: &SessionRecord,
    revision: Revision,
    now: Option<Timestamp>,
) -> rusqlite::Result<bool> {
    let Lifetime { idle, until, persistent } = record.lifetime;
    let idle = native::idle_millis(idle);
    let document = record.document.to_json();
    let mut statement = connection.prepare_cached(sql)?;
    let common = named_params! {
        ":id": id.0,
        ":user": record.user.as_deref(),
        ":label": record.label.as_deref(),
        ":created": record.created.as_millis(),
        ":authenticated": record.authenticated.map(Timestamp::as_millis),
        ":seen": record.seen.as_millis(),
        ":idle": idle,
        ":until": until.map(Timestamp::as_millis),
        ":persistent": persistent,
        ":revision": revision.0.cast_signed(),
        ":document": document,
    };
    let now = now.map(Timestamp::as_millis);
    let with_now: &[(&str, &dyn rusqlite::ToSql)] = if now.is_some() {
        named_params! { ":now": now }
    } else {
        &[]
    };
    Ok(statement.execute([common, with_now].concat().as_slice())? == 1)
}

fn revision_of(connection: &Connection, id: IdHash, now: Timestamp) -> rusqlite::Result<Option<Revision>> {
    let mut select =
        connection.prepare_cached("select revision from sessions where id = ?1 and expires > ?2")?;
    select
        .query_row(params![id.0, now.as_millis()], |row| row.get(0).map(i64::cast_unsigned).map(Revision))
        .optional()
}

fn delete(connection: &Connection, id: IdHash, now: Timestamp) -> rusqlite::Result<bool> {
    let mut delete =
        connection.prepare_cached("delete from sessions where id = ?1 returning expires > ?2")?;
    Ok(delete.query_row(params![id.0, now.as_millis()], |row| row.get(0)).optional()? == Some(true))
}

/// The session in a row of [`LOAD`] or [`EXPORT`]; `None` when somebody else wrote something unreadable into it.
fn stored(row: &Row<'_>) -> rusqlite::Result<Option<Stored>> {
    let Some(document) = native::document(row.get_ref(0)?.as_str().unwrap_or_default()) else {
        return Ok(None);
    };
    let record = SessionRecord {
        document,
        user: row.get(1)?,
        label: row.get(2)?,
        created: row.get(3).map(Timestamp::from_millis)?,
        authenticated: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_millis),
        seen: row.get(5).map(Timestamp::from_millis)?,
        lifetime: Lifetime {
            idle: Duration::from_millis(row.get::<_, i64>(6)?.cast_unsigned()),
            until: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_millis),
            persistent: row.get(8)?,
        },
    };
    let revision = Revision(row.get::<_, i64>(9)?.cast_unsigned());
    Ok(Some(Stored { record: Arc::new(record), revision }))
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
        handle: IdHash(row.get("id")?).handle(),
        user: row.get("user")?,
        label: row.get("label")?,
        created: row.get("created").map(Timestamp::from_millis)?,
        authenticated: row.get::<_, Option<i64>>("authenticated")?.map(Timestamp::from_millis),
        seen: row.get("seen").map(Timestamp::from_millis)?,
        expires: row.get("expires").map(Timestamp::from_millis)?,
    })
}

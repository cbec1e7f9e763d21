//! Sessions, layout `native`: the columns are the record, the id is its hash.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_session::{
    ChangeFeed, Created, IdHash, Lifetime, Listed, Recent, Revision, SessionHandle, SessionId, SessionRecord,
    SessionStore, StoreError, StoreTime, Stored, Timestamp, Touch, Updated,
};
use tokio_postgres::Row;

use super::{Postgres, Told, column};
use crate::native;

const LOAD: &str = r#"select document, "user", label, created, authenticated, seen, idle, until, persistent, revision
    from sessions where id = $1 and expires > $2"#;

/// An expired session of the same id gives way.
const CREATE: &str = r#"insert into sessions as old
    (id, "user", label, created, authenticated, seen, idle, until, persistent, document, expires, revision)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, least($6::bigint + $7::bigint, $8::bigint), 1)
    on conflict (id) do update set
        "user" = excluded."user", label = excluded.label, created = excluded.created,
        authenticated = excluded.authenticated, seen = excluded.seen, idle = excluded.idle, until = excluded.until,
        persistent = excluded.persistent, document = excluded.document, expires = excluded.expires,
        revision = excluded.revision
    where old.expires <= $11
    returning 1"#;

const UPDATE: &str = r#"with done as (
        update sessions set
            "user" = $2, label = $3, created = $4, authenticated = $5, seen = greatest(seen, $6), idle = $7,
            until = $8, persistent = $9, document = $10, expires = least(greatest(seen, $6) + $7::bigint, $8::bigint),
            revision = revision + 1
        where id = $1 and revision = $12 and expires > $11 returning 1)
    select exists (select from done) as done,
        exists (select from sessions where id = $1 and expires > $11) as live"#;

/// One statement, so the old id is dead when the new one can be seen. A new id that is taken fails it as a whole.
const ROTATE: &str = r#"with gone as (
        delete from sessions where id = $13 and revision = $12 and expires > $11 returning 1),
    done as (
        insert into sessions
            (id, "user", label, created, authenticated, seen, idle, until, persistent, document, expires, revision)
        select $1::bytea, $2::text, $3::text, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::boolean,
            $10::text, least($6::bigint + $7::bigint, $8::bigint), $12::bigint + 1 from gone returning 1)
    select exists (select from done) as done,
        exists (select from sessions where id = $13 and expires > $11) as live"#;

/// Rows are locked in the order of their ids: two batches never wait for each other.
const TOUCH: &str = "with used as (
        select session.id, batch.seen, batch.expires from sessions session
        join unnest($1::bytea[], $2::bigint[], $3::bigint[]) batch (id, seen, expires) on session.id = batch.id
        where session.expires > $4 order by session.id for update of session)
    update sessions set seen = greatest(sessions.seen, used.seen), expires = greatest(sessions.expires, used.expires)
    from used where sessions.id = used.id";

const DELETE: &str = "delete from sessions where id = $1 returning expires > $2 as live";

const OF_USER: &str = r#"select id, "user", label, created, authenticated, seen, expires from sessions
    where "user" = $1 and expires > $2 order by seen desc, id"#;

const RECENT_OF_USER: &str = r#"select id, "user", label, created, authenticated, seen, expires, count(*) over () as all_of_user
    from sessions where "user" = $1 and expires > $2 order by seen desc, id limit $3"#;

/// A session that gets a new id at this moment is seen under the old one, and is not deleted when that is gone: then there is another pass.
const DELETE_OF_USER: &str = r#"with seen as (
        select id from sessions where "user" = $1 and id is distinct from $2),
    gone as (
        delete from sessions where "user" = $1 and id is distinct from $2 returning expires > $3 as live)
    select (select count(*) from seen) as seen, count(*) as gone, count(*) filter (where live) as live from gone"#;

const DELETE_HANDLE: &str = r#"delete from sessions where id between $1 and $2 and ($3::text is null or "user" = $3)
    returning expires > $4 as live"#;

const LIST: &str = r#"select id, "user", label, created, authenticated, seen, expires from sessions
    where ($1::bytea is null or id > $1) and expires > $2 order by id limit $3"#;

const EXPORT: &str = r#"select id, document, "user", label, created, authenticated, seen, idle, until, persistent, revision
    from sessions where ($1::bytea is null or id > $1) and expires > $2 order by id limit $3"#;

const SWEEP: &str = "delete from sessions where id in
        (select id from sessions where expires <= $1 order by expires limit $2 for update skip locked)
    returning 1";

/// In more than a longer life; by hand, say.
const DIFFERS: &str = r#"next.expires < was.expires or
    (next.revision, next.document, next."user", next.label, next.created, next.authenticated, next.idle, next.until,
        next.persistent) is distinct from
    (was.revision, was.document, was."user", was.label, was.created, was.authenticated, was.idle, was.until,
        was.persistent)"#;

/// What `record` binds, in the order of `$2` to `$10`.
struct Bound {
    user: Option<String>,
    label: Option<String>,
    created: i64,
    authenticated: Option<i64>,
    seen: i64,
    idle: i64,
    until: Option<i64>,
    persistent: bool,
    document: String,
}

impl From<&SessionRecord> for Bound {
    fn from(record: &SessionRecord) -> Self {
        Self {
            user: record.user.as_deref().map(str::to_owned),
            label: record.label.as_deref().map(str::to_owned),
            created: record.created.as_millis(),
            authenticated: record.authenticated.map(Timestamp::as_millis),
            seen: record.seen.as_millis(),
            idle: native::idle_millis(record.lifetime.idle),
            until: record.lifetime.until.map(Timestamp::as_millis),
            persistent: record.lifetime.persistent,
            document: record.document.to_json(),
        }
    }
}

impl Postgres {
    /// Runs a statement that writes a whole record and says whether it did, and whether the session lives.
    async fn write_record(
        &self,
        doing: &'static str,
        sql: &'static str,
        id: IdHash,
        record: &SessionRecord,
        (now, expected, old): (Timestamp, Revision, Option<IdHash>),
    ) -> Result<Updated, StoreError> {
        let (id, old) = (id.0.as_slice(), old.as_ref().map(|old| old.0.as_slice()));
        let (now, expected) = (now.as_millis(), expected.0.cast_signed());
        let Bound { user, label, created, authenticated, seen, idle, until, persistent, document } =
            &record.into();
        let mut values: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![
            &id,
            user,
            label,
            created,
            authenticated,
            seen,
            idle,
            until,
            persistent,
            document,
            &now,
            &expected,
        ];
        if let Some(old) = &old {
            values.push(old);
        }
        let row = self.query_one(doing, sql, &values).await?;
        Ok(match (column(&row, doing, "done")?, column(&row, doing, "live")?) {
            (true, _) => Updated::Done(Revision(expected.cast_unsigned() + 1)),
            (false, true) => Updated::Conflict,
            (false, false) => {
                self.settle(doing).await?;
                Updated::Gone
            }
        })
    }

    /// Runs a statement that deletes; how many of the deleted were live.
    async fn ended(&self, sql: &'static str, values: super::Values<'_>) -> Result<u64, StoreError> {
        let doing = "end a session";
        let rows = self.settled_query(doing, sql, values).await?;
        rows.iter().map(|row| column::<bool>(row, doing, "live").map(u64::from)).sum()
    }
}

#[async_trait]
impl SessionStore for Postgres {
    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        Some(self.feed(Told {
            table: "sessions".to_owned(),
            key: "id".to_owned(),
            name: "encode(substring(was.id from 1 for 16), 'hex')".to_owned(),
            named: |handle| handle.parse().ok(),
            differs: DIFFERS.to_owned(),
        }))
    }

    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        let doing = "load a session";
        let rows = self.settled_query(doing, LOAD, &[&id.hash().0.as_slice(), &now.as_millis()]).await?;
        rows.first().map_or(Ok(None), |row| stored(row, doing))
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        let (id, now) = (id.hash(), now.as_millis());
        let Bound { user, label, created, authenticated, seen, idle, until, persistent, document } =
            &record.into();
        let values: super::Values<'_> = &[
            &id.0.as_slice(),
            user,
            label,
            created,
            authenticated,
            seen,
            idle,
            until,
            persistent,
            document,
            &now,
        ];
        let written = self.settled_query("create a session", CREATE, values).await?;
        Ok(if written.is_empty() { Created::Taken } else { Created::Done(Revision(1)) })
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.write_record("save a session", UPDATE, id.hash(), record, (now, expected, None)).await
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let how = (now, expected, Some(old.hash()));
        self.write_record("move a session to a new id", ROTATE, new.hash(), record, how).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        let ids: Vec<Vec<u8>> = batch.iter().map(|touch| touch.id.hash().0.to_vec()).collect();
        let seen: Vec<i64> = batch.iter().map(|touch| touch.seen.as_millis()).collect();
        let expires: Vec<i64> = batch.iter().map(|touch| touch.expires.as_millis()).collect();
        let values: super::Values<'_> = &[&ids, &seen, &expires, &now.as_millis()];
        self.query("note the use of sessions", TOUCH, values).await.map(drop)
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.ended(DELETE, &[&id.hash().0.as_slice(), &now.as_millis()]).await? > 0)
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let doing = "list a user's sessions";
        let rows = self.query(doing, OF_USER, &[&user, &now.as_millis()]).await?;
        rows.iter().map(|row| listed(row, doing)).collect()
    }

    async fn recent_of_user(&self, user: &str, limit: usize, now: Timestamp) -> Result<Recent, StoreError> {
        let doing = "list a user's sessions";
        let values: super::Values<'_> = &[&user, &now.as_millis(), &native::limit_of(limit)];
        let rows = self.query(doing, RECENT_OF_USER, values).await?;
        let all = rows.first().map(|row| column(row, doing, "all_of_user")).transpose()?.unwrap_or(0);
        let first: Vec<Listed> = rows.iter().map(|row| listed(row, doing)).collect::<Result<_, _>>()?;
        Ok(native::recent(first, all))
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (doing, now) = ("end a user's sessions", now.as_millis());
        let except = except.map(|id| id.hash().0.to_vec());
        let mut ended = 0;
        loop {
            let row = self.query_one(doing, DELETE_OF_USER, &[&user, &except, &now]).await?;
            let number = |name| column::<i64>(&row, doing, name);
            ended += number("live")?.cast_unsigned();
            if number("gone")? >= number("seen")? {
                return Ok(ended);
            }
        }
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (first, last) = native::ids_of(handle);
        let values: super::Values<'_> = &[&first.as_slice(), &last.as_slice(), &user, &now.as_millis()];
        Ok(self.ended(DELETE_HANDLE, values).await? > 0)
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let doing = "list the sessions";
        let after = after.map(|handle| native::ids_of(handle).1.to_vec());
        let values: super::Values<'_> = &[&after, &now.as_millis(), &native::limit_of(limit)];
        self.query(doing, LIST, values).await?.iter().map(|row| listed(row, doing)).collect()
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let values: super::Values<'_> = &[&now.as_millis(), &native::limit_of(limit)];
        Ok(self.query("sweep expired sessions", SWEEP, values).await?.len())
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let doing = "export sessions";
        let after = after.map(|handle| native::ids_of(handle).1.to_vec());
        let values: super::Values<'_> = &[&after, &now.as_millis(), &native::limit_of(limit)];
        let rows = self.query(doing, EXPORT, values).await?;
        let session = |row| {
            Ok(stored(row, doing)?
                .zip(Some(hash(row, doing)?))
                .map(|(stored, hash)| (SessionId::from_hash(hash), stored)))
        };
        rows.iter().filter_map(|row| session(row).transpose()).collect()
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.clock().await
    }
}

fn stored(row: &Row, doing: &'static str) -> Result<Option<Stored>, StoreError> {
    let Some(document) = native::document(column(row, doing, "document")?) else { return Ok(None) };
    let time = |name| column(row, doing, name).map(Timestamp::from_millis);
    let maybe = |name| column::<Option<i64>>(row, doing, name).map(|time| time.map(Timestamp::from_millis));
    let record = SessionRecord {
        document,
        user: text(row, doing, "user")?,
        label: text(row, doing, "label")?,
        created: time("created")?,
        authenticated: maybe("authenticated")?,
        seen: time("seen")?,
        lifetime: Lifetime {
            idle: Duration::from_millis(column::<i64>(row, doing, "idle")?.cast_unsigned()),
            until: maybe("until")?,
            persistent: column(row, doing, "persistent")?,
        },
    };
    let revision = Revision(column::<i64>(row, doing, "revision")?.cast_unsigned());
    Ok(Some(Stored { record: Arc::new(record), revision }))
}

fn listed(row: &Row, doing: &'static str) -> Result<Listed, StoreError> {
    let time = |name| column(row, doing, name).map(Timestamp::from_millis);
    let authenticated = column::<Option<i64>>(row, doing, "authenticated")?;
    Ok(Listed {
        handle: hash(row, doing)?.handle(),
        user: text(row, doing, "user")?,
        label: text(row, doing, "label")?,
        created: time("created")?,
        authenticated: authenticated.map(Timestamp::from_millis),
        seen: time("seen")?,
        expires: time("expires")?,
    })
}

fn hash(row: &Row, doing: &'static str) -> Result<IdHash, StoreError> {
    let id = column::<&[u8]>(row, doing, "id")?.try_into();
    id.map(IdHash).map_err(|error| StoreError::new(doing, error))
}

fn text(row: &Row, doing: &'static str, name: &str) -> Result<Option<Arc<str>>, StoreError> {
    Ok(column::<Option<&str>>(row, doing, name)?.map(Arc::from))
}

//! Records.

use async_trait::async_trait;
use hallpass_auth::{Inserted, Record, RecordKey, RecordStore, Replaced, UserId};
use hallpass_session::{StoreError, StoreTime, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

use super::Sqlite;
use crate::native::limit_of;

const COLUMNS: &str = "id, owner, body, expires, version";
const LIVE: &str = "(expires is null or expires > ?)";

#[async_trait]
impl RecordStore for Sqlite {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        let record = record.clone();
        self.write("insert a record", move |connection| {
            let clear = "delete from records where kind = ?1 and id = ?2 and expires <= ?3";
            let Record { key, owner, body, expires, .. } = &record;
            connection.prepare_cached(clear)?.execute(params![key.kind, key.id, now.as_millis()])?;
            let sql =
                "insert into records (kind, id, owner, body, expires, version) values (?1, ?2, ?3, ?4, ?5, 1)
                on conflict do nothing";
            let values = params![
                key.kind,
                key.id,
                owner.as_ref().map(UserId::as_str),
                body,
                expires.map(Timestamp::as_millis)
            ];
            let inserted = connection.prepare_cached(sql)?.execute(values)?;
            Ok(if inserted == 1 { Inserted::Done } else { Inserted::Taken })
        })
        .await
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let key = key.clone();
        self.read("get a record", move |connection| {
            let sql = format!("select {COLUMNS} from records where kind = ? and id = ? and {LIVE}");
            let mut select = connection.prepare_cached(&sql)?;
            select
                .query_row(params![key.kind, key.id, now.as_millis()], |row| record(key.kind, row))
                .optional()
        })
        .await
    }

    async fn get_all(&self, keys: &[RecordKey], now: Timestamp) -> Result<Vec<Option<Record>>, StoreError> {
        let keys = keys.to_vec();
        self.read("get records", move |connection| {
            let sql = format!("select {COLUMNS} from records where kind = ? and id = ? and {LIVE}");
            let mut select = connection.prepare_cached(&sql)?;
            let one = |key: &RecordKey| {
                let values = params![key.kind, key.id, now.as_millis()];
                select.query_row(values, |row| record(key.kind, row)).optional()
            };
            keys.iter().map(one).collect()
        })
        .await
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        let record = record.clone();
        self.write("replace a record", move |connection| {
            let Record { key, owner, body, expires, version } = &record;
            let sql = format!(
                "update records set owner = ?, body = ?, expires = ?, version = version + 1
                 where kind = ? and id = ? and version = ? and {LIVE}"
            );
            let replaced = connection.prepare_cached(&sql)?.execute(params![
                owner.as_ref().map(UserId::as_str),
                body,
                expires.map(Timestamp::as_millis),
                key.kind,
                key.id,
                version.cast_signed(),
                now.as_millis(),
            ])?;
            Ok(if replaced == 1 { Replaced::Done } else { Replaced::Refused })
        })
        .await
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let key = key.clone();
        self.write("take a record", move |connection| {
            let sql = format!("delete from records where kind = ? and id = ? and {LIVE} returning {COLUMNS}");
            let mut delete = connection.prepare_cached(&sql)?;
            delete
                .query_row(params![key.kind, key.id, now.as_millis()], |row| record(key.kind, row))
                .optional()
        })
        .await
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let owner = owner.clone();
        self.read("list a user's records", move |connection| {
            let sql =
                format!("select {COLUMNS} from records where owner = ? and kind = ? and {LIVE} order by id");
            let mut select = connection.prepare_cached(&sql)?;
            select
                .query_map(params![owner.as_str(), kind, now.as_millis()], |row| record(kind, row))?
                .collect()
        })
        .await
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        let owner = owner.clone();
        self.write("delete a user's records", move |connection| {
            let sql = format!("delete from records where owner = ? returning {LIVE}");
            let mut delete = connection.prepare_cached(&sql)?;
            let deleted =
                delete.query_map(params![owner.as_str(), now.as_millis()], |row| row.get::<_, bool>(0))?;
            deleted.map(|live| live.map(u64::from)).sum()
        })
        .await
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let after = after.map(str::to_owned);
        self.read("export records", move |connection| {
            let sql = format!(
                "select {COLUMNS} from records where kind = ?1 and (?2 is null or id > ?2) and {LIVE} order by id limit ?"
            );
            let mut select = connection.prepare_cached(&sql)?;
            select
                .query_map(params![kind, after, now.as_millis(), limit_of(limit)], |row| record(kind, row))?
                .collect()
        })
        .await
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.newest().await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.write("sweep expired records", move |connection| {
            let sql = "delete from records where (kind, id) in
                (select kind, id from records where expires <= ?1 order by expires limit ?2)";
            connection.prepare_cached(sql)?.execute(params![now.as_millis(), limit_of(limit)])
        })
        .await
    }
}

fn record(kind: &'static str, row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        key: RecordKey { kind, id: row.get("id")? },
        owner: row.get::<_, Option<String>>("owner")?.as_deref().map(UserId::new),
        body: row.get("body")?,
        expires: row.get::<_, Option<i64>>("expires")?.map(Timestamp::from_millis),
        version: row.get::<_, i64>("version")?.cast_unsigned(),
    })
}

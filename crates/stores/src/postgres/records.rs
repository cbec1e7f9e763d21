//! Records.

use async_trait::async_trait;
use hallpass_auth::{Inserted, Record, RecordKey, RecordStore, Replaced, UserId};
use hallpass_session::{StoreError, StoreTime, Timestamp};
use tokio_postgres::Row;

use super::{Postgres, Values, column};
use crate::native::limit_of;

/// An expired record of the same key gives way.
const INSERT: &str = "insert into records as old (kind, id, owner, body, expires, version)
    values ($1, $2, $3, $4, $5, 1)
    on conflict (kind, id) do update set
        owner = excluded.owner, body = excluded.body, expires = excluded.expires, version = 1
    where old.expires <= $6 returning 1";
const GET: &str = "select id, owner, body, expires, version from records where kind = $1 and id = $2 and (expires is null or expires > $3)";
const GET_ALL: &str = "select asked.at, records.id, owner, body, expires, version
    from unnest($1::text[], $2::text[]) with ordinality asked (kind, id, at)
    join records on records.kind = asked.kind and records.id = asked.id
    where expires is null or expires > $3";
const REPLACE: &str = "update records set owner = $3, body = $4, expires = $5, version = version + 1
    where kind = $1 and id = $2 and version = $7 and (expires is null or expires > $6) returning 1";
const TAKE: &str = "delete from records where kind = $1 and id = $2 and (expires is null or expires > $3) returning id, owner, body, expires, version";
const LIST: &str = "select id, owner, body, expires, version from records
    where owner = $1 and kind = $2 and (expires is null or expires > $3) order by id";
const DELETE_OWNED: &str =
    "delete from records where owner = $1 returning (expires is null or expires > $2) as live";
const EXPORT: &str = "select id, owner, body, expires, version from records
    where kind = $1 and ($2::text is null or id > $2) and (expires is null or expires > $3) order by id limit $4";
const SWEEP: &str = "delete from records where (kind, id) in
        (select kind, id from records where expires <= $1 order by expires limit $2 for update skip locked)
    returning 1";

#[async_trait]
impl RecordStore for Postgres {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        let Record { key, owner, body, expires, .. } = record;
        let (owner, expires) = (owner.as_ref().map(UserId::as_str), expires.map(Timestamp::as_millis));
        let values: Values<'_> = &[&key.kind, &key.id, &owner, body, &expires, &now.as_millis()];
        let inserted = self.settled_query("insert a record", INSERT, values).await?;
        Ok(if inserted.is_empty() { Inserted::Taken } else { Inserted::Done })
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let rows = self.settled_query("get a record", GET, &[&key.kind, &key.id, &now.as_millis()]).await?;
        rows.first().map(|row| record(key.kind, row)).transpose()
    }

    async fn get_all(&self, keys: &[RecordKey], now: Timestamp) -> Result<Vec<Option<Record>>, StoreError> {
        let doing = "get records";
        let (kinds, ids): (Vec<&str>, Vec<&str>) = keys.iter().map(|key| (key.kind, key.id.as_str())).unzip();
        let mut found = vec![None; keys.len()];
        for row in self.query(doing, GET_ALL, &[&kinds, &ids, &now.as_millis()]).await? {
            let at = usize::try_from(column::<i64>(&row, doing, "at")? - 1).unwrap_or(usize::MAX);
            if let (Some(key), Some(place)) = (keys.get(at), found.get_mut(at)) {
                *place = Some(record(key.kind, &row)?);
            }
        }
        Ok(found)
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        let Record { key, owner, body, expires, version } = record;
        let (owner, expires) = (owner.as_ref().map(UserId::as_str), expires.map(Timestamp::as_millis));
        let version = version.cast_signed();
        let values: Values<'_> = &[&key.kind, &key.id, &owner, body, &expires, &now.as_millis(), &version];
        let replaced = self.settled_query("replace a record", REPLACE, values).await?;
        Ok(if replaced.is_empty() { Replaced::Refused } else { Replaced::Done })
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let rows = self.settled_query("take a record", TAKE, &[&key.kind, &key.id, &now.as_millis()]).await?;
        rows.first().map(|row| record(key.kind, row)).transpose()
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let rows =
            self.query("list a user's records", LIST, &[&owner.as_str(), &kind, &now.as_millis()]).await?;
        rows.iter().map(|row| record(kind, row)).collect()
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        let doing = "delete a user's records";
        let rows = self.query(doing, DELETE_OWNED, &[&owner.as_str(), &now.as_millis()]).await?;
        rows.iter().map(|row| column::<bool>(row, doing, "live").map(u64::from)).sum()
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let values: Values<'_> = &[&kind, &after, &now.as_millis(), &limit_of(limit)];
        let rows = self.query("export records", EXPORT, values).await?;
        rows.iter().map(|row| record(kind, row)).collect()
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.clock().await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let values: Values<'_> = &[&now.as_millis(), &limit_of(limit)];
        Ok(self.query("sweep expired records", SWEEP, values).await?.len())
    }
}

fn record(kind: &'static str, row: &Row) -> Result<Record, StoreError> {
    let doing = "read a record";
    Ok(Record {
        key: RecordKey { kind, id: column(row, doing, "id")? },
        owner: column::<Option<&str>>(row, doing, "owner")?.map(UserId::new),
        body: column(row, doing, "body")?,
        expires: column::<Option<i64>>(row, doing, "expires")?.map(Timestamp::from_millis),
        version: column::<i64>(row, doing, "version")?.cast_unsigned(),
    })
}

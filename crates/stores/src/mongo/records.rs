//! Records.

use async_trait::async_trait;
use hallpass_auth::{Inserted, Record, RecordKey, RecordStore, Replaced, UserId};
use hallpass_session::{StoreError, StoreTime, Timestamp};
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
};
use serde::Deserialize;

use crate::native::limit_of;

use super::{Mongo, TRIES, date, disagreement, time};

/// A record as it is stored.
#[derive(Clone, Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    key: Key,
    owner: Option<String>,
    body: String,
    expires: Option<DateTime>,
    version: i64,
}

#[derive(Clone, Deserialize)]
struct Key {
    kind: String,
    id: String,
}

#[async_trait]
impl RecordStore for Mongo {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        let Record { key, owner, body, expires, .. } = record;
        let row = doc! {
            "_id": id(key),
            "owner": owner.as_ref().map(UserId::as_str),
            "body": body,
            "expires": expires.map(date),
            "version": 1_i64,
        };
        // Replaces an expired record; a live one does not match, and its key refuses the second document.
        let expired = doc! { "_id": id(key), "expires": { "$lte": date(now) } };
        let (doing, records) = ("insert a record", self.collection("records"));
        for _ in 0..TRIES {
            let written = records.replace_one(expired.clone(), row.clone()).upsert(true);
            if self.unless_taken(doing, written).await? {
                return Ok(Inserted::Done);
            }
            if self.is_there(doing, &records, live(doc! { "_id": id(key) }, now)).await? {
                return Ok(Inserted::Taken);
            }
        }
        Err(disagreement(doing))
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let filter = live(doc! { "_id": id(key) }, now);
        let found = self.find_confirmed("get a record", &self.records(), filter, None).await?;
        Ok(found.map(|row| record(key.kind, row)))
    }

    /// For those who write before they answer: a record that is missing here is not confirmed to be.
    async fn get_all(&self, keys: &[RecordKey], now: Timestamp) -> Result<Vec<Option<Record>>, StoreError> {
        let doing = "get records";
        let ids: Vec<Document> = keys.iter().map(id).collect();
        let records = self.records();
        let asked = records.find(live(doc! { "_id": { "$in": ids } }, now));
        let mut rows = self.run(doing, asked).await?;
        let mut found = vec![None; keys.len()];
        while self.run(doing, rows.advance()).await? {
            let row = rows.deserialize_current().map_err(|error| StoreError::new(doing, error))?;
            for (key, place) in keys.iter().zip(&mut found) {
                if key.id == row.key.id && key.kind == row.key.kind {
                    *place = Some(record(key.kind, row.clone()));
                }
            }
        }
        Ok(found)
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        let Record { key, owner, body, expires, version } = record;
        let filter = live(doc! { "_id": id(key), "version": version.cast_signed() }, now);
        let change = doc! {
            "$set": { "owner": owner.as_ref().map(UserId::as_str), "body": body, "expires": expires.map(date) },
            "$inc": { "version": 1_i64 },
        };
        let records = self.collection("records");
        let replaced = self.update_confirmed("replace a record", &records, &filter, &change).await?;
        Ok(if replaced { Replaced::Done } else { Replaced::Refused })
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let filter = live(doc! { "_id": id(key) }, now);
        let taken = self.take_one("take a record", &self.records(), filter, None).await?;
        Ok(taken.map(|row| record(key.kind, row)))
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let doing = "list a user's records";
        let records = self.records();
        let filter = live(doc! { "owner": owner.as_str(), "_id.kind": kind }, now);
        let listing = records.find(filter).with_options(self.listing());
        let mut rows = self.read(doing, true, listing.sort(doc! { "_id.id": 1 })).await?;
        let mut found = Vec::new();
        while self.advance(doing, &mut rows, true).await? {
            found.push(record(
                kind,
                rows.deserialize_current().map_err(|error| StoreError::new(doing, error))?,
            ));
        }
        Ok(found)
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        let doing = "delete a user's records";
        let records = self.collection("records");
        let deleted = self.delete_all(doing, &records, live(doc! { "owner": owner.as_str() }, now)).await?;
        // What has expired is nobody's loss, but a deleted person leaves nothing behind.
        self.run(doing, records.delete_many(doc! { "owner": owner.as_str() })).await?;
        Ok(deleted)
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let doing = "export records";
        let mut filter = live(doc! { "_id.kind": kind }, now);
        if let Some(after) = after {
            filter.insert("_id.id", doc! { "$gt": after });
        }
        let records = self.records();
        let page = records.find(filter).with_options(self.listing());
        let page = page.sort(doc! { "_id.id": 1 }).limit(limit_of(limit));
        let mut rows = self.read(doing, true, page).await?;
        let mut found = Vec::new();
        while self.advance(doing, &mut rows, true).await? {
            let row = rows.deserialize_current().map_err(|error| StoreError::new(doing, error))?;
            found.push(record(kind, row));
        }
        Ok(found)
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.clock().await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.sweep_collection(&self.collection("records"), limit, now).await
    }
}

impl Mongo {
    fn records(&self) -> Collection<Row> {
        self.database.collection("hallpass_records")
    }
}

fn id(key: &RecordKey) -> Document {
    doc! { "kind": key.kind, "id": &key.id }
}

fn live(mut filter: Document, now: Timestamp) -> Document {
    filter.insert("$or", vec![doc! { "expires": null }, doc! { "expires": { "$gt": date(now) } }]);
    filter
}

fn record(kind: &'static str, row: Row) -> Record {
    Record {
        key: RecordKey { kind, id: row.key.id },
        owner: row.owner.as_deref().map(UserId::new),
        body: row.body,
        expires: row.expires.map(time),
        version: row.version.cast_unsigned(),
    }
}

//! Records on the move.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use hallpass_auth::{Inserted, Record, RecordKey, RecordStore, Replaced, UserId};
use hallpass_session::{StoreError, StoreTime, Timestamp};

pub(super) struct MovingRecords {
    pub(super) old: Arc<dyn RecordStore>,
    pub(super) new: Arc<dyn RecordStore>,
}

impl MovingRecords {
    /// Brings one record over.
    pub(super) async fn bring(&self, record: &Record, now: Timestamp) -> Result<(), StoreError> {
        self.new.insert(record, now).await?;
        self.old.take(&record.key, now).await.map(drop)
    }
}

#[async_trait]
impl RecordStore for MovingRecords {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        match self.old.get(&record.key, now).await? {
            Some(_) => Ok(Inserted::Taken),
            None => self.new.insert(record, now).await,
        }
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        match self.new.get(key, now).await? {
            Some(found) => Ok(Some(found)),
            None => self.old.get(key, now).await,
        }
    }

    async fn get_all(&self, keys: &[RecordKey], now: Timestamp) -> Result<Vec<Option<Record>>, StoreError> {
        let new = self.new.get_all(keys, now).await?;
        if new.iter().all(Option::is_some) {
            return Ok(new);
        }
        let old = self.old.get_all(keys, now).await?;
        Ok(new.into_iter().zip(old).map(|(new, old)| new.or(old)).collect())
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        if self.new.get(&record.key, now).await?.is_some() {
            return self.new.replace(record, now).await;
        }
        let old = self.old.get(&record.key, now).await?;
        if old.is_none_or(|old| old.version != record.version) {
            return Ok(Replaced::Refused);
        }
        // Of many that replace the same version, one inserts.
        if self.new.insert(record, now).await? == Inserted::Taken {
            return Ok(Replaced::Refused);
        }
        self.old.take(&record.key, now).await?;
        Ok(Replaced::Done)
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let new = self.new.take(key, now).await?;
        let old = self.old.take(key, now).await?;
        Ok(new.or(old))
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        Ok(both(self.old.list(kind, owner, now).await?, self.new.list(kind, owner, now).await?).collect())
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        let old = self.old.delete_owned(owner, now).await?;
        Ok(old + self.new.delete_owned(owner, now).await?)
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let old = self.old.export(kind, after, limit, now).await?;
        Ok(both(old, self.new.export(kind, after, limit, now).await?).take(limit).collect())
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.new.time().await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let old = self.old.sweep(limit, now).await?;
        if old == limit { Ok(old) } else { Ok(old + self.new.sweep(limit - old, now).await?) }
    }

    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        self.old.check(now).await?;
        self.new.check(now).await
    }
}

/// Both lists in the order of ids; of a record that is in both, the new one.
fn both(old: Vec<Record>, new: Vec<Record>) -> impl Iterator<Item = Record> {
    let by_id = |record: Record| (record.key.id.clone(), record);
    old.into_iter().chain(new).map(by_id).collect::<BTreeMap<_, _>>().into_values()
}

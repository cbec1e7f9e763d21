use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use async_trait::async_trait;
use hallpass_session::{StoreError, Timestamp};
use tokio::{sync::Semaphore, time::timeout};

use super::*;
use crate::{
    Argon2Params, AuthOptions, Inserted, MemoryRecords, MemoryUsers, Record, RecordKey, RecordStore, Replaced,
};

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);

/// Records that are written once the password is being hashed, and not before.
struct Meeting {
    inner: MemoryRecords,
    counting: Semaphore,
    hashing: Semaphore,
}

#[async_trait]
impl RecordStore for Meeting {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        self.counting.add_permits(1);
        drop(self.hashing.acquire().await);
        self.inner.insert(record, now).await
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        self.inner.get(key, now).await
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        self.inner.replace(record, now).await
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        self.inner.take(key, now).await
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.list(kind, owner, now).await
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.delete_owned(owner, now).await
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.export(kind, after, limit, now).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.inner.sweep(limit, now).await
    }
}

/// Counting waits for hashing and hashing for counting: one after the other, neither would end.
#[tokio::test]
async fn an_attempt_is_counted_while_the_password_is_hashed() {
    let (counting, hashing) = (Semaphore::new(0), Semaphore::new(0));
    let records = Arc::new(Meeting { inner: MemoryRecords::new(), counting, hashing });
    let options = AuthOptions { argon2: Argon2Params::insecure_for_tests(), ..AuthOptions::default() };
    let auth = Auth::new(Arc::new(MemoryUsers::new()), records.clone(), options).unwrap();
    let origin = Origin::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (asked, _) = auth.ask_sign_in("ann@example.com", "ann", &origin, NOW).await.unwrap();
    let hash = async {
        records.hashing.add_permits(1);
        drop(records.counting.acquire().await);
        Ok(Verified::nothing())
    };
    let counted = auth.charge_and_verify(asked, hash, NOW);
    let (charge, _) = timeout(Duration::from_secs(20), counted).await.expect("both at once").unwrap();
    assert!(matches!(charge, Charge::Allowed(_)));
}

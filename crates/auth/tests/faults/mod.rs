//! Stores in memory of which one operation fails: the one of a number, before or after it was done.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use hallpass_auth::{
    Change, Email, Inserted, MemoryRecords, MemoryUsers, Record, RecordKey, RecordStore, Replaced, User,
    UserChanged, UserCreated, UserId, UserStore,
};
use hallpass_session::{
    Created, Listed, MemoryStore, Revision, SessionHandle, SessionId, SessionRecord, SessionStore,
    StoreError, Stored, Timestamp, Touch, Updated,
};

/// When the operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing is done.
    Before,
    /// It is done, but the answer is lost.
    After,
}

/// All three stores, which count their operations together. Clones are the same stores.
#[derive(Clone, Default)]
pub struct Faulty {
    pub users: Arc<MemoryUsers>,
    pub records: MemoryRecords,
    pub sessions: MemoryStore,
    asked: Arc<AtomicUsize>,
    /// Twice the number of the operation that fails, and one more when it fails afterwards; 0: none.
    fails: Arc<AtomicUsize>,
}

impl Faulty {
    /// From now on the `number`th operation fails, counted from 1.
    pub fn fail(&self, number: usize, when: When) {
        self.asked.store(0, Ordering::SeqCst);
        self.fails.store(2 * number + usize::from(when == When::After), Ordering::SeqCst);
    }

    /// Nothing fails any more; how many operations there were.
    pub fn heal(&self) -> usize {
        self.fails.store(0, Ordering::SeqCst);
        self.asked.swap(0, Ordering::SeqCst)
    }

    async fn run<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let fails = self.fails.load(Ordering::SeqCst);
        if fails == 2 * number {
            return Err(StoreError::new("reach the store", "connection refused"));
        }
        let done = work.await;
        if fails == 2 * number + 1 {
            return Err(StoreError::new("reach the store", "connection reset"));
        }
        done
    }
}

#[async_trait]
impl SessionStore for Faulty {
    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        self.run(self.sessions.load(id, now)).await
    }
    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        self.run(self.sessions.create(id, record, now)).await
    }
    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.run(self.sessions.update(id, record, expected, now)).await
    }
    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.run(self.sessions.rotate(old, expected, new, record, now)).await
    }
    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        self.run(self.sessions.touch(batch, now)).await
    }
    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        self.run(self.sessions.delete(id, now)).await
    }
    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        self.run(self.sessions.of_user(user, now)).await
    }
    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.run(self.sessions.delete_of_user(user, except, now)).await
    }
    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run(self.sessions.delete_handle(handle, user, now)).await
    }
    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        self.run(self.sessions.list(after, limit, now)).await
    }
    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.run(self.sessions.sweep(limit, now)).await
    }
    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        self.run(self.sessions.export(after, limit, now)).await
    }
}

#[async_trait]
impl UserStore for Faulty {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.run(self.users.find(id)).await
    }
    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.run(self.users.find_by_email(email)).await
    }
    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        self.run(self.users.create(user)).await
    }
    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        self.run(self.users.change(id, change)).await
    }
    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        self.run(self.users.delete(id)).await
    }
    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.run(self.users.list(after, limit)).await
    }
}

#[async_trait]
impl RecordStore for Faulty {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        self.run(self.records.insert(record, now)).await
    }
    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        self.run(self.records.get(key, now)).await
    }
    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        self.run(self.records.replace(record, now)).await
    }
    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        self.run(self.records.take(key, now)).await
    }
    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.run(self.records.list(kind, owner, now)).await
    }
    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        self.run(self.records.delete_owned(owner, now)).await
    }
    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.run(self.records.export(kind, after, limit, now)).await
    }
    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.run(self.records.sweep(limit, now)).await
    }
}

//! The contracts of accounts and records on [`Watched`] stores.

use async_trait::async_trait;
use hallpass_session::{
    ChangeFeed, StoreError, StoreTime, Timestamp,
    conformance::{Watch, Watched},
};

use crate::{
    Change, Conventions, Email, Inserted, PasswordHash, Record, RecordKey, RecordStore, Replaced, User,
    UserChanged, UserCreated, UserId, UserStore,
};

#[async_trait]
impl<S: UserStore + ?Sized, W: Watch + ?Sized> UserStore for Watched<S, W> {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.run("find user", 1, self.inner.find(id)).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.run("find user by email", 1, self.inner.find_by_email(email)).await
    }

    async fn find_by_provider(&self, provider: &str, subject: &str) -> Result<Option<User>, StoreError> {
        self.run("find user by provider", 1, self.inner.find_by_provider(provider, subject)).await
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        self.run("create user", 1, self.inner.create(user)).await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        self.run("change user", 1, self.inner.change(id, change)).await
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        self.run("delete user", 1, self.inner.delete(id)).await
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.run("list users", 1, self.inner.list(after, limit)).await
    }

    async fn sample(&self, limit: usize) -> Result<Vec<User>, StoreError> {
        self.run("sample users", 1, self.inner.sample(limit)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.run("check users", 1, self.inner.check()).await
    }

    fn conventions(&self) -> Conventions {
        self.inner.conventions()
    }

    fn epoch_at_first(&self, user: &User) -> u64 {
        self.inner.epoch_at_first(user)
    }

    fn epoch_after(&self, user: &User, to: &PasswordHash) -> u64 {
        self.inner.epoch_after(user, to)
    }

    fn changes(&self) -> Option<ChangeFeed<UserId>> {
        self.inner.changes()
    }
}

#[async_trait]
impl<S: RecordStore + ?Sized, W: Watch + ?Sized> RecordStore for Watched<S, W> {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        self.run("insert record", 1, self.inner.insert(record, now)).await
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        self.run("get record", 1, self.inner.get(key, now)).await
    }

    async fn get_all(&self, keys: &[RecordKey], now: Timestamp) -> Result<Vec<Option<Record>>, StoreError> {
        self.run("get records", keys.len(), self.inner.get_all(keys, now)).await
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        self.run("replace record", 1, self.inner.replace(record, now)).await
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        self.run("take record", 1, self.inner.take(key, now)).await
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.run("list records", 1, self.inner.list(kind, owner, now)).await
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        self.run("delete owned records", 1, self.inner.delete_owned(owner, now)).await
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.run("export records", 1, self.inner.export(kind, after, limit, now)).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.run("sweep records", 1, self.inner.sweep(limit, now)).await
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.inner.time().await
    }

    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        self.run("check records", 1, self.inner.check(now)).await
    }
}

//! Stores in which one flow waits before its n-th question while another runs from beginning to end: so two flows meet at every point.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use hallpass_auth::{
    Change, Conventions, Email, Inserted, PasswordHash, Record, RecordKey, RecordStore, Replaced, User,
    UserChanged, UserCreated, UserId, UserStore,
};
use hallpass_session::{StoreError, Timestamp};
use tokio::sync::Notify;

tokio::task_local! {
    static WAIT: Arc<Wait>;
}

struct Wait {
    /// Questions until it waits.
    left: AtomicUsize,
    reached: Notify,
    go: Notify,
}

/// Runs `one`, and all of `other` while `one` waits before its question `number`. What came of `one`, and whether it asked so much.
pub async fn at_question<T: Send + 'static>(
    number: usize,
    one: impl Future<Output = T> + Send + 'static,
    other: impl Future<Output = ()>,
) -> (T, bool) {
    let wait = Arc::new(Wait { left: AtomicUsize::new(number), reached: Notify::new(), go: Notify::new() });
    let mut running = tokio::spawn(WAIT.scope(wait.clone(), one));
    tokio::select! {
        done = &mut running => (done.unwrap(), false),
        () = wait.reached.notified() => {
            other.await;
            wait.go.notify_one();
            (running.await.unwrap(), true)
        }
    }
}

async fn question() {
    let Ok(wait) = WAIT.try_with(Clone::clone) else { return };
    if wait.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        wait.reached.notify_one();
        wait.go.notified().await;
    }
}

/// Users or records whose questions count.
pub struct Held<S: ?Sized>(pub Arc<S>);

#[async_trait]
impl UserStore for Held<dyn UserStore> {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        question().await;
        self.0.find(id).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        question().await;
        self.0.find_by_email(email).await
    }

    async fn find_by_provider(&self, provider: &str, subject: &str) -> Result<Option<User>, StoreError> {
        question().await;
        self.0.find_by_provider(provider, subject).await
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        question().await;
        self.0.create(user).await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        question().await;
        self.0.change(id, change).await
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        question().await;
        self.0.delete(id).await
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.0.list(after, limit).await
    }

    fn conventions(&self) -> Conventions {
        self.0.conventions()
    }

    fn epoch_at_first(&self, user: &User) -> u64 {
        self.0.epoch_at_first(user)
    }

    fn epoch_after(&self, user: &User, to: &PasswordHash) -> u64 {
        self.0.epoch_after(user, to)
    }
}

#[async_trait]
impl RecordStore for Held<dyn RecordStore> {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        question().await;
        self.0.insert(record, now).await
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        question().await;
        self.0.get(key, now).await
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        question().await;
        self.0.replace(record, now).await
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        question().await;
        self.0.take(key, now).await
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        question().await;
        self.0.list(kind, owner, now).await
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        question().await;
        self.0.delete_owned(owner, now).await
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.0.export(kind, after, limit, now).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.0.sweep(limit, now).await
    }
}

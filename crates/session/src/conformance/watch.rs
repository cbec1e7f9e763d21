//! [`Watched`]: a store in front of another one, for tests that note operations, delay them or make them fail.

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;

use crate::{
    ChangeFeed, Created, Listed, Recent, Revision, SessionHandle, SessionId, SessionRecord, SessionStore,
    StoreError, StoreTime, Stored, Timestamp, Touch, Updated,
};

/// An operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method's name, such as `"load"`.
    pub name: &'static str,
    /// How many things it is about; 1 unless it takes a batch.
    pub items: usize,
}

/// The operation itself.
pub type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What a test does around each operation of a [`Watched`] store.
#[async_trait]
pub trait Watch: Send + Sync + 'static {
    /// Does `work`, or leaves it out. An error takes the place of the operation's answer: before `work` nothing was done, after it
    /// the answer was lost.
    async fn around(&self, call: Call, work: Work<'_>) -> Result<(), StoreError>;

    /// Whether each update meets another one that came first. Default: no.
    fn conflicts(&self) -> bool {
        false
    }

    /// What the store tells of changes. Default: nothing.
    fn changes(self: Arc<Self>) -> Option<ChangeFeed<SessionHandle>> {
        None
    }
}

/// The store `inner`, with `watch` around each of its operations. It dereferences to the watch.
#[derive(Debug, Default)]
pub struct Watched<S: ?Sized, W: ?Sized> {
    /// What answers.
    pub inner: Arc<S>,
    /// Who watches. Several stores may share one.
    pub watch: Arc<W>,
}

impl<S: ?Sized, W: ?Sized> Watched<S, W> {
    /// `inner` with `watch` around it.
    pub fn new(inner: Arc<S>, watch: Arc<W>) -> Self {
        Self { inner, watch }
    }
}

impl<S: ?Sized, W: ?Sized> Clone for Watched<S, W> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), watch: self.watch.clone() }
    }
}

impl<S: ?Sized, W: ?Sized> std::ops::Deref for Watched<S, W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.watch
    }
}

impl<S: ?Sized, W: Watch + ?Sized> Watched<S, W> {
    /// Runs one operation under the watch's eyes; for implementations of further contracts.
    ///
    /// # Errors
    /// The operation's own, or the watch's.
    pub async fn run<T: Send>(
        &self,
        name: &'static str,
        items: usize,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let mut answer = None;
        let work: Work<'_> = Box::pin(async { answer = Some(work.await) });
        self.watch.around(Call { name, items }, work).await?;
        answer.unwrap_or_else(|| Err(StoreError::new(name, "the watch left the operation out")))
    }
}

#[async_trait]
impl<S: SessionStore + ?Sized, W: Watch + ?Sized> SessionStore for Watched<S, W> {
    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        self.run("load", 1, self.inner.load(id, now)).await
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        self.run("create", 1, self.inner.create(id, record, now)).await
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        if self.watch.conflicts() {
            return self.run("update", 1, async { Ok(Updated::Conflict) }).await;
        }
        self.run("update", 1, self.inner.update(id, record, expected, now)).await
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.run("rotate", 1, self.inner.rotate(old, expected, new, record, now)).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        self.run("touch", batch.len(), self.inner.touch(batch, now)).await
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        self.run("delete", 1, self.inner.delete(id, now)).await
    }

    async fn release(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        self.run("release", 1, self.inner.release(id, now)).await
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        self.run("of_user", 1, self.inner.of_user(user, now)).await
    }

    async fn recent_of_user(&self, user: &str, limit: usize, now: Timestamp) -> Result<Recent, StoreError> {
        self.run("recent_of_user", 1, self.inner.recent_of_user(user, limit, now)).await
    }

    async fn trim_user(
        &self,
        user: &str,
        keep: usize,
        newest: &SessionId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.run("trim_user", 1, self.inner.trim_user(user, keep, newest, now)).await
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.run("delete_of_user", 1, self.inner.delete_of_user(user, except, now)).await
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run("delete_handle", 1, self.inner.delete_handle(handle, user, now)).await
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        self.run("list", 1, self.inner.list(after, limit, now)).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.run("sweep", 1, self.inner.sweep(limit, now)).await
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        self.run("export", 1, self.inner.export(after, limit, now)).await
    }

    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        self.run("check", 1, self.inner.check(now)).await
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.inner.time().await
    }

    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        self.watch.clone().changes()
    }
}

//! [`CachedSessions`]: a [`SessionStore`] in front of another.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{task::JoinHandle, time::sleep};

use super::{CacheOptions, ChangeFeed, Coherent, key::text_mark, touches::Touches};
use crate::{
    Created, Listed, Recent, Revision, SessionHandle, SessionId, SessionRecord, SessionStore, StoreError,
    StoreTime, Stored, Timestamp, Touch, Updated, session::Chain,
};

/// So many uses are noted in one write.
const BATCH: usize = 500;

/// When so many wait, whoever brings another helps to note them: memory stays bounded when the store is slow.
const MOST_WAITING: usize = 50_000;

/// Answers from memory while that is proven to be right, and brings changes to the store at once. Uses (`touch`) are collected for
/// [`flush_every`](CacheOptions::flush_every); call [`flush`](Self::flush) before the program ends.
pub struct CachedSessions {
    inner: Arc<Inner>,
    tasks: Vec<JoinHandle<()>>,
}

struct Inner {
    store: Arc<dyn SessionStore>,
    cache: Coherent<SessionHandle, Stored>,
    touches: Touches,
}

impl CachedSessions {
    /// Caches `store` if it has a feed; else only uses are collected. Starts tasks, so it must be called within a Tokio runtime; they end with this value.
    pub fn new(store: Arc<dyn SessionStore>, options: &CacheOptions) -> Self {
        let wanted = options.size > 0 && !options.max_staleness.is_zero();
        let feed = wanted.then(|| store.changes()).flatten();
        let size = if feed.is_some() { options.size } else { 0 };
        let cache = Coherent::new(&CacheOptions { size, ..options.clone() });
        let inner = Arc::new(Inner { store, cache, touches: Touches::default() });
        let flush = tokio::spawn(flush_for_ever(Arc::downgrade(&inner), options.flush_every));
        let listen = feed.map(|feed| tokio::spawn(listen(feed, inner.clone())));
        Self { inner, tasks: [flush].into_iter().chain(listen).collect() }
    }

    /// Notes the uses that are still to be noted. What cannot be noted stays for the next time.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush().await
    }

    /// Whether reads are answered from memory now: the feed has spoken within the bound.
    pub fn is_proven(&self) -> bool {
        self.inner.cache.is_proven()
    }

    /// How many sessions are in memory, and about how many bytes they take.
    pub fn size(&self) -> (usize, u64) {
        (self.inner.cache.len(), self.inner.cache.weight())
    }
}

impl Drop for CachedSessions {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(feed: ChangeFeed<SessionHandle>, inner: Arc<Inner>) {
    let listener = inner.cache.listener();
    let reason = feed.run(listener).await;
    tracing::warn!(event = "sessions_not_cached", %reason, "every session check asks the store");
}

async fn flush_for_ever(inner: Weak<Inner>, every: Duration) {
    loop {
        sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.settle_all().await;
    }
}

fn report(noted: Result<(), StoreError>) {
    if let Err(error) = noted {
        tracing::warn!(event = "session_touch_failed", error = %Chain(&error));
    }
}

impl Inner {
    async fn flush(&self) -> Result<(), StoreError> {
        loop {
            let taken = Taken { touches: &self.touches, taken: self.touches.take_some(BATCH) };
            if taken.taken.is_empty() {
                return Ok(());
            }
            taken.note(&*self.store).await?;
        }
    }

    /// Notes a waiting use of this session before something else happens to it. A use that cannot be noted is no reason against that: a
    /// disk that is full is still read. It goes on waiting.
    async fn settle(&self, handle: SessionHandle) {
        if let Some(touch) = self.touches.take(&handle) {
            let taken = Taken { touches: &self.touches, taken: vec![(handle, touch)] };
            report(taken.note(&*self.store).await);
        }
    }

    /// The same for all.
    async fn settle_all(&self) {
        report(self.flush().await);
    }

    /// Voids what is cached of these when it is dropped: after the write, however it ended, and also when nobody waits for it any more.
    fn voids<'a>(&'a self, handles: &'a [SessionHandle]) -> Voids<'a> {
        Voids { inner: self, handles, user: None }
    }
}

/// Uses on their way to the store; those that do not arrive wait again.
struct Taken<'a> {
    touches: &'a Touches,
    taken: Vec<(SessionHandle, Touch)>,
}

impl Taken<'_> {
    async fn note(mut self, store: &dyn SessionStore) -> Result<(), StoreError> {
        let batch: Vec<Touch> = self.taken.iter().map(|(_, touch)| touch.clone()).collect();
        // The earliest: each was live when it was used, and none may be refused for having waited here.
        let now = batch.iter().map(|touch| touch.seen).min().unwrap_or_default();
        store.touch(&batch, now).await?;
        self.taken.clear();
        Ok(())
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for (handle, touch) in &self.taken {
            self.touches.add(*handle, touch);
        }
    }
}

struct Voids<'a> {
    inner: &'a Inner,
    handles: &'a [SessionHandle],
    user: Option<&'a str>,
}

impl Drop for Voids<'_> {
    fn drop(&mut self) {
        self.handles.iter().for_each(|handle| self.inner.cache.changed(handle));
        if let Some(user) = self.user {
            self.inner.cache.group_changed(text_mark(user));
        }
    }
}

fn live_at(now: Timestamp) -> impl Fn(&Stored) -> bool {
    move |stored| now < stored.record.expires()
}

#[async_trait]
impl SessionStore for CachedSessions {
    fn cached(&self, id: &SessionId, now: Timestamp) -> Option<Stored> {
        self.inner.cache.get(&id.handle()).filter(live_at(now))
    }

    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        let (inner, handle) = (&self.inner, id.handle());
        let load = async || {
            inner.settle(handle).await;
            inner.store.load(id, now).await
        };
        inner.cache.get_or_load(&handle, live_at(now), load).await
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        self.inner.store.create(id, record, now).await
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let handle = id.handle();
        self.inner.settle(handle).await;
        let _voids = self.inner.voids(std::slice::from_ref(&handle));
        self.inner.store.update(id, record, expected, now).await
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let handles = [old.handle(), new.handle()];
        self.inner.settle(handles[0]).await;
        let _voids = self.inner.voids(&handles);
        self.inner.store.rotate(old, expected, new, record, now).await
    }

    async fn touch(&self, batch: &[Touch], _: Timestamp) -> Result<(), StoreError> {
        let mut waiting = 0;
        for touch in batch {
            let handle = touch.id.handle();
            waiting = self.inner.touches.add(handle, touch);
            self.inner.cache.amend(&handle, |stored| used(stored, touch.seen));
        }
        if waiting > MOST_WAITING { self.inner.flush().await } else { Ok(()) }
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let handle = id.handle();
        self.inner.settle(handle).await;
        let _voids = self.inner.voids(std::slice::from_ref(&handle));
        self.inner.store.delete(id, now).await
    }

    async fn release(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let handle = id.handle();
        self.inner.settle(handle).await;
        let _voids = self.inner.voids(std::slice::from_ref(&handle));
        self.inner.store.release(id, now).await
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        self.inner.settle_all().await;
        self.inner.store.of_user(user, now).await
    }

    async fn recent_of_user(&self, user: &str, limit: usize, now: Timestamp) -> Result<Recent, StoreError> {
        self.inner.settle_all().await;
        self.inner.store.recent_of_user(user, limit, now).await
    }

    async fn trim_user(
        &self,
        user: &str,
        keep: usize,
        newest: &SessionId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.inner.settle_all().await;
        let ended = self.inner.store.trim_user(user, keep, newest, now).await;
        if !matches!(ended, Ok(0)) {
            drop(Voids { user: Some(user), ..self.inner.voids(&[]) });
        }
        ended
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.inner.settle_all().await;
        let _voids = Voids { user: Some(user), ..self.inner.voids(&[]) };
        self.inner.store.delete_of_user(user, except, now).await
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.inner.settle(handle).await;
        let _voids = self.inner.voids(std::slice::from_ref(&handle));
        self.inner.store.delete_handle(handle, user, now).await
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        self.inner.settle_all().await;
        self.inner.store.list(after, limit, now).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.inner.settle_all().await;
        self.inner.store.sweep(limit, now).await
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        self.inner.settle_all().await;
        self.inner.store.export(after, limit, now).await
    }

    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.store.check(now).await
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.inner.store.time().await
    }
}

/// The session as it is after a use; what has ended stays as it is.
fn used(stored: &Stored, seen: Timestamp) -> Stored {
    let record = &stored.record;
    if record.expires() <= seen {
        return stored.clone();
    }
    let record = SessionRecord { seen: record.seen.max(seen), ..SessionRecord::clone(record) };
    Stored { record: Arc::new(record), revision: stored.revision }
}

//! A store whose reads are counted and can be held up, and a cache in front of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use hallpass_session::{
    CacheOptions, CachedSessions, ChangeFeed, Created, Document, IdGenerator, Lifetime, Listed, Listener,
    MemoryStore, NoFeed, RandomIds, Revision, SessionHandle, SessionId, SessionRecord, SessionStore,
    StoreError, Stored, Timestamp, Touch, Updated,
};
use tokio::sync::Semaphore;

pub const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);
pub const IDLE: Duration = Duration::from_secs(3600);

/// A store whose reads are counted and can be held up, and whose feed the test speaks.
pub struct Told {
    pub store: MemoryStore,
    pub loads: AtomicUsize,
    pub touches: Mutex<Vec<usize>>,
    /// A load takes one; the test gives them when loads are held up.
    pub gate: Semaphore,
    pub gated: AtomicBool,
    pub broken: AtomicBool,
    /// Reads, but writes nothing: a disk that is full.
    pub full: AtomicBool,
    pub feed: Mutex<Option<Listener<SessionHandle>>>,
}

impl Told {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            store: MemoryStore::new(),
            loads: AtomicUsize::new(0),
            touches: Mutex::default(),
            gate: Semaphore::new(0),
            gated: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            full: AtomicBool::new(false),
            feed: Mutex::default(),
        })
    }

    /// The cache's ear, once it listens.
    pub async fn listener(&self) -> Listener<SessionHandle> {
        loop {
            if let Some(listener) = self.feed.lock().unwrap().clone() {
                return listener;
            }
            tokio::task::yield_now().await;
        }
    }

    pub fn loads(&self) -> usize {
        self.loads.swap(0, SeqCst)
    }
}

/// The trait without what this test changes.
pub struct Feed(pub Arc<Told>);

#[async_trait]
impl SessionStore for Feed {
    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        self.0.loads.fetch_add(1, SeqCst);
        let found = self.0.store.load(id, now).await;
        if self.0.gated.load(SeqCst) {
            self.0.gate.acquire().await.unwrap().forget();
        }
        if self.0.broken.load(SeqCst) { Err(StoreError::new("load a session", "broken")) } else { found }
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        self.0.store.create(id, record, now).await
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.0.store.update(id, record, expected, now).await
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.0.store.rotate(old, expected, new, record, now).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        if self.0.broken.load(SeqCst) || self.0.full.load(SeqCst) {
            return Err(StoreError::new("note uses", "broken"));
        }
        self.0.touches.lock().unwrap().push(batch.len());
        self.0.store.touch(batch, now).await
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        self.0.store.delete(id, now).await
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        self.0.store.of_user(user, now).await
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.0.store.delete_of_user(user, except, now).await
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.0.store.delete_handle(handle, user, now).await
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        self.0.store.list(after, limit, now).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.0.store.sweep(limit, now).await
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        self.0.store.export(after, limit, now).await
    }

    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        self.0.store.check(now).await
    }

    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        let told = self.0.clone();
        Some(ChangeFeed::new(move |listener| async move {
            *told.feed.lock().unwrap() = Some(listener);
            std::future::pending::<NoFeed>().await
        }))
    }
}

pub fn options() -> CacheOptions {
    CacheOptions { max_staleness: Duration::from_secs(3600), flush_every: IDLE, ..CacheOptions::default() }
}

/// A cache whose feed is alive.
pub async fn cached(options: &CacheOptions) -> (Arc<Told>, Arc<CachedSessions>, Listener<SessionHandle>) {
    let told = Told::new();
    let cache = Arc::new(CachedSessions::new(Arc::new(Feed(told.clone())), options));
    let listener = told.listener().await;
    listener.alive(listener.now());
    (told, cache, listener)
}

pub fn record(user: &str) -> SessionRecord {
    SessionRecord {
        document: Document::from_json(r#"{"n":1}"#).unwrap(),
        user: Some(user.into()),
        label: None,
        created: NOW,
        authenticated: None,
        seen: NOW,
        lifetime: Lifetime { idle: IDLE, until: None, persistent: false },
    }
}

pub async fn stored(cache: &CachedSessions, user: &str) -> SessionId {
    let id = RandomIds.generate();
    cache.create(&id, &record(user), NOW).await.unwrap();
    id
}

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
    CacheOptions, CachedSessions, ChangeFeed, Document, IdGenerator, Lifetime, Listener, MemoryStore, NoFeed,
    RandomIds, SessionHandle, SessionId, SessionRecord, SessionStore, StoreError, Timestamp,
    conformance::{Call, Watch, Watched, Work},
};
use tokio::sync::Semaphore;

pub const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);
pub const IDLE: Duration = Duration::from_secs(3600);

/// A store whose reads are counted and can be held up, and whose feed the test speaks.
pub struct Told {
    pub store: Arc<MemoryStore>,
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
            store: Arc::new(MemoryStore::new()),
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

#[async_trait]
impl Watch for Told {
    async fn around(&self, call: Call, work: Work<'_>) -> Result<(), StoreError> {
        if call.name == "touch" {
            if self.broken.load(SeqCst) || self.full.load(SeqCst) {
                return Err(StoreError::new("note uses", "broken"));
            }
            self.touches.lock().unwrap().push(call.items);
        }
        if call.name != "load" {
            work.await;
            return Ok(());
        }
        self.loads.fetch_add(1, SeqCst);
        work.await;
        if self.gated.load(SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        if self.broken.load(SeqCst) { Err(StoreError::new("load a session", "broken")) } else { Ok(()) }
    }

    fn changes(self: Arc<Self>) -> Option<ChangeFeed<SessionHandle>> {
        Some(ChangeFeed::new(move |listener| async move {
            *self.feed.lock().unwrap() = Some(listener);
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
    let cache =
        Arc::new(CachedSessions::new(Arc::new(Watched::new(told.store.clone(), told.clone())), options));
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

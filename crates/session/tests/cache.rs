//! The cache in front of a store: the store's contract holds, reads cost nothing, and nothing revoked is served.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hallpass_session::{
    CacheOptions, CachedSessions, ChangeFeed, Created, Document, IdGenerator, Lifetime, Listed, Listener,
    MemoryStore, NoFeed, RandomIds, Revision, SessionHandle, SessionId, SessionRecord, SessionStore,
    StoreError, Stored, Timestamp, Touch, Updated, conformance,
};
use tokio::sync::Semaphore;

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);
const IDLE: Duration = Duration::from_secs(3600);

/// A store whose reads are counted and can be held up, and whose feed the test speaks.
struct Told {
    store: MemoryStore,
    loads: AtomicUsize,
    touches: Mutex<Vec<usize>>,
    /// A load takes one; the test gives them when loads are held up.
    gate: Semaphore,
    gated: AtomicBool,
    broken: AtomicBool,
    /// Reads, but writes nothing: a disk that is full.
    full: AtomicBool,
    feed: Mutex<Option<Listener<SessionHandle>>>,
}

impl Told {
    fn new() -> Arc<Self> {
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
    async fn listener(&self) -> Listener<SessionHandle> {
        loop {
            if let Some(listener) = self.feed.lock().unwrap().clone() {
                return listener;
            }
            tokio::task::yield_now().await;
        }
    }

    fn loads(&self) -> usize {
        self.loads.swap(0, SeqCst)
    }
}

/// The trait without what this test changes.
struct Feed(Arc<Told>);

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

    async fn check(&self) -> Result<(), StoreError> {
        self.0.store.check().await
    }

    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        let told = self.0.clone();
        Some(ChangeFeed::new(move |listener| async move {
            *told.feed.lock().unwrap() = Some(listener);
            std::future::pending::<NoFeed>().await
        }))
    }
}

fn options() -> CacheOptions {
    CacheOptions { max_staleness: Duration::from_secs(3600), flush_every: IDLE, ..CacheOptions::default() }
}

/// A cache whose feed is alive.
async fn cached(options: &CacheOptions) -> (Arc<Told>, Arc<CachedSessions>, Listener<SessionHandle>) {
    let told = Told::new();
    let cache = Arc::new(CachedSessions::new(Arc::new(Feed(told.clone())), options));
    let listener = told.listener().await;
    listener.alive(Instant::now());
    (told, cache, listener)
}

fn record(user: &str) -> SessionRecord {
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

async fn stored(cache: &CachedSessions, user: &str) -> SessionId {
    let id = RandomIds.generate();
    cache.create(&id, &record(user), NOW).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_with_a_feed_that_is_alive_silent_or_missing() {
    let (_, alive, _) = cached(&options()).await;
    conformance::run(alive).await;
    let silent = CacheOptions { max_staleness: Duration::from_nanos(1), ..options() };
    conformance::run(cached(&silent).await.1).await;
    conformance::run(Arc::new(CachedSessions::new(Arc::new(MemoryStore::new()), &options()))).await;
}

#[tokio::test]
async fn a_session_is_read_once_and_the_absence_of_one_every_time() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    assert!(cache.cached(&id, NOW).is_none());
    for _ in 0..5 {
        assert!(cache.load(&id, NOW).await.unwrap().is_some());
        assert!(cache.cached(&id, NOW).is_some());
    }
    assert_eq!(told.loads(), 1);
    let missing = RandomIds.generate();
    for _ in 0..5 {
        assert!(cache.load(&missing, NOW).await.unwrap().is_none());
    }
    assert_eq!(told.loads(), 5);
}

#[tokio::test]
async fn what_is_told_is_not_served_any_more() {
    let (told, cache, listener) = cached(&options()).await;
    let (one, other) = (stored(&cache, "ann").await, stored(&cache, "bob").await);
    for id in [&one, &other] {
        cache.load(id, NOW).await.unwrap();
    }
    told.store.delete(&one, NOW).await.unwrap();
    assert!(cache.cached(&one, NOW).is_some(), "nobody has told yet");
    listener.changed(&one.handle());
    assert!(cache.cached(&one, NOW).is_none());
    assert!(cache.load(&one, NOW).await.unwrap().is_none());
    assert!(cache.cached(&other, NOW).is_some());
    listener.everything();
    assert!(cache.cached(&other, NOW).is_none());
}

#[tokio::test]
async fn a_silent_feed_sends_reads_to_the_store_until_it_speaks() {
    let (told, cache, listener) =
        cached(&CacheOptions { max_staleness: Duration::from_millis(30), ..options() }).await;
    let id = stored(&cache, "ann").await;
    listener.alive(Instant::now());
    tokio::time::sleep(Duration::from_millis(40)).await;
    for _ in 0..3 {
        assert!(cache.load(&id, NOW).await.unwrap().is_some());
        assert!(cache.cached(&id, NOW).is_none(), "the proof has run out");
    }
    assert_eq!(told.loads(), 3);
    assert!(!cache.is_proven());
}

#[tokio::test]
async fn a_proof_counts_from_when_it_was_asked_for() {
    let (_, cache, listener) =
        cached(&CacheOptions { max_staleness: Duration::from_secs(1), ..options() }).await;
    let (_, late, _) = cached(&options()).await;
    drop(late);
    listener.alive(Instant::now());
    assert!(cache.is_proven());
    let (_, cache, listener) =
        cached(&CacheOptions { max_staleness: Duration::from_nanos(1), ..options() }).await;
    listener.alive(Instant::now());
    assert!(!cache.is_proven());
}

#[tokio::test]
async fn ones_own_changes_are_seen_at_once() {
    let (told, cache, _) = cached(&options()).await;
    let (id, renewed) = (stored(&cache, "ann").await, RandomIds.generate());
    let revision = cache.load(&id, NOW).await.unwrap().unwrap().revision;
    let mut changed = record("ann");
    changed.document.insert("n", &2).unwrap();
    let Updated::Done(revision) = cache.update(&id, &changed, revision, NOW).await.unwrap() else { panic!() };
    let read = cache.load(&id, NOW).await.unwrap().unwrap();
    assert_eq!((&*read.record, read.revision), (&changed, revision));
    cache.rotate(&id, revision, &renewed, &changed, NOW).await.unwrap();
    assert!(cache.cached(&id, NOW).is_none() && cache.load(&id, NOW).await.unwrap().is_none());
    cache.load(&renewed, NOW).await.unwrap().unwrap();
    assert!(cache.delete(&renewed, NOW).await.unwrap());
    assert!(cache.cached(&renewed, NOW).is_none());
    let (first, second) = (stored(&cache, "bob").await, stored(&cache, "bob").await);
    for id in [&first, &second] {
        cache.load(id, NOW).await.unwrap();
    }
    assert!(cache.delete_handle(first.handle(), Some("bob"), NOW).await.unwrap());
    assert!(cache.cached(&first, NOW).is_none() && cache.cached(&second, NOW).is_some());
    assert_eq!(cache.delete_of_user("bob", None, NOW).await.unwrap(), 1);
    assert!(cache.cached(&second, NOW).is_none());
    told.loads();
}

#[tokio::test]
async fn sign_out_everywhere_beats_a_load_that_is_under_way() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    told.gated.store(true, SeqCst);
    let loading = tokio::spawn({
        let (cache, id) = (cache.clone(), id.clone());
        async move { cache.load(&id, NOW).await.unwrap() }
    });
    while told.loads.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    cache.delete_of_user("ann", None, NOW).await.unwrap();
    told.gated.store(false, SeqCst);
    told.gate.add_permits(1);
    assert!(loading.await.unwrap().is_some(), "it read before the sign-out");
    assert!(cache.cached(&id, NOW).is_none());
    assert!(cache.load(&id, NOW).await.unwrap().is_none());
}

type Asked = tokio::task::JoinHandle<Result<Option<Stored>, StoreError>>;

/// So many ask for the session at once, and wait as far as they can get.
async fn ask(cache: &Arc<CachedSessions>, id: &SessionId, count: usize) -> Vec<Asked> {
    let one = |_| {
        let (cache, id) = (cache.clone(), id.clone());
        tokio::spawn(async move { cache.load(&id, NOW).await })
    };
    let all = (0..count).map(one).collect();
    everybody_else().await;
    all
}

/// Lets all others go on as far as they can.
async fn everybody_else() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// The store answers a question, and then the next.
async fn answer_two(told: &Told) {
    for _ in 0..2 {
        told.gate.add_permits(1);
        everybody_else().await;
    }
}

#[tokio::test]
async fn many_who_ask_at_once_cost_one_read_and_an_error_is_not_shared() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    told.gated.store(true, SeqCst);
    let all = ask(&cache, &id, 50).await;
    assert_eq!(told.loads.load(SeqCst), 1);
    told.gated.store(false, SeqCst);
    told.gate.add_permits(1);
    for one in all {
        assert!(one.await.unwrap().unwrap().is_some());
    }
    assert_eq!(told.loads(), 1);
    told.feed.lock().unwrap().as_ref().unwrap().everything();
    told.broken.store(true, SeqCst);
    for one in ask(&cache, &id, 5).await {
        assert!(one.await.unwrap().is_err());
    }
    told.broken.store(false, SeqCst);
    assert!(cache.load(&id, NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn an_absence_is_shared_with_those_who_asked_before_the_store_was_and_with_nobody_else() {
    let (told, cache, _) = cached(&options()).await;
    let id = RandomIds.generate();
    told.gated.store(true, SeqCst);
    let all = ask(&cache, &id, 50).await;
    answer_two(&told).await;
    for one in all {
        assert!(one.await.unwrap().unwrap().is_none());
    }
    assert_eq!(told.loads(), 2);

    let early = ask(&cache, &id, 1).await;
    // The store has answered that there is nothing, and we wait for its answer, when somebody signs in.
    cache.create(&id, &record("ann"), NOW).await.unwrap();
    let late = ask(&cache, &id, 50).await;
    assert_eq!(told.loads.load(SeqCst), 1);
    answer_two(&told).await;
    for one in early {
        assert!(one.await.unwrap().unwrap().is_none());
    }
    for one in late {
        assert!(one.await.unwrap().unwrap().is_some());
    }
    assert_eq!(told.loads(), 2);
}

#[tokio::test]
async fn whoever_waits_for_a_load_that_is_given_up_loads_itself() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    told.gated.store(true, SeqCst);
    let load = || {
        tokio::spawn({
            let (cache, id) = (cache.clone(), id.clone());
            async move { cache.load(&id, NOW).await.unwrap() }
        })
    };
    let first = load();
    while told.loads.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let second = load();
    tokio::task::yield_now().await;
    first.abort();
    first.await.unwrap_err();
    told.gate.add_permits(1);
    assert!(second.await.unwrap().is_some());
    assert_eq!(told.loads(), 2);
}

#[tokio::test]
async fn copies_expire_by_the_time_that_is_given() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    cache.load(&id, NOW).await.unwrap();
    told.loads();
    let end = NOW + IDLE;
    assert!(cache.cached(&id, end).is_none());
    assert!(cache.load(&id, end).await.unwrap().is_none());
    // Somebody else used it: the copy is too old to tell, the store knows.
    let touch = Touch { id: id.clone(), seen: NOW + IDLE / 2, expires: end + IDLE / 2 };
    told.store.touch(&[touch], NOW).await.unwrap();
    assert!(cache.load(&id, end).await.unwrap().is_some());
    assert!(cache.cached(&id, end).is_some());
}

#[tokio::test]
async fn uses_are_collected_seen_at_once_and_none_is_lost() {
    let (told, cache, _) = cached(&options()).await;
    let ids = [stored(&cache, "ann").await, stored(&cache, "ann").await];
    for id in &ids {
        cache.load(id, NOW).await.unwrap();
    }
    let later = NOW + Duration::from_secs(120);
    for _ in 0..10 {
        for id in &ids {
            let touch = Touch { id: id.clone(), seen: later, expires: later + IDLE };
            cache.touch(&[touch], later).await.unwrap();
        }
    }
    assert!(told.touches.lock().unwrap().is_empty());
    assert_eq!(cache.cached(&ids[0], later).unwrap().record.seen, later, "the next request need not note it");
    told.broken.store(true, SeqCst);
    cache.flush().await.unwrap_err();
    told.broken.store(false, SeqCst);
    cache.flush().await.unwrap();
    assert_eq!(*told.touches.lock().unwrap(), [2]);
    assert_eq!(told.store.load(&ids[1], later).await.unwrap().unwrap().record.seen, later);
}

#[tokio::test]
async fn memory_is_bounded_in_bytes() {
    let size = 256 * 1024;
    let (told, cache, _) = cached(&CacheOptions { size, ..options() }).await;
    let mut large = record("ann");
    large.document.insert("text", &"x".repeat(2000)).unwrap();
    for _ in 0..1000 {
        let id = RandomIds.generate();
        cache.create(&id, &large, NOW).await.unwrap();
        assert!(cache.load(&id, NOW).await.unwrap().is_some());
    }
    let (sessions, bytes) = cache.size();
    assert!(bytes <= u64::try_from(size).unwrap() && (20..200).contains(&sessions), "{sessions} in {bytes}");
    assert_eq!(told.loads(), 1000);
}

#[tokio::test]
async fn a_use_that_cannot_be_noted_hinders_neither_reading_nor_ending() {
    let (told, cache, listener) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    cache.load(&id, NOW).await.unwrap();
    let later = NOW + Duration::from_secs(120);
    cache.touch(&[Touch { id: id.clone(), seen: later, expires: later + IDLE }], later).await.unwrap();
    told.full.store(true, SeqCst);
    listener.everything();
    assert!(cache.load(&id, later).await.unwrap().is_some());
    assert_eq!(cache.of_user("ann", later).await.unwrap().len(), 1);
    told.full.store(false, SeqCst);
    cache.flush().await.unwrap();
    assert_eq!(*told.touches.lock().unwrap(), [1], "it was kept for later");
    assert_eq!(cache.delete_of_user("ann", None, later).await.unwrap(), 1);
}

//! Sessions cached in front of every store: the contract holds, strangers' changes are heard, and what is revoked is never served later than
//! the bound, with feeds held up, cut, and the database killed.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]
#![expect(clippy::print_stdout, reason = "prints the table of docs/performance.md")]

mod engines;
mod strangers;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use engines::{mongodb, postgres, proxy::Proxy, redis};
use hallpass_session::{
    CacheOptions, CachedSessions, Clock, Document, IdGenerator, Lifetime, RandomIds, SessionId,
    SessionRecord, SessionStore, SystemClock,
    conformance::{SWEEP, run, run_without},
};
use hallpass_stores::{
    AutoRemove, ConnectMongo, ConnectMongoOptions, ConnectPg, ConnectPgOptions, ConnectRedis,
    ConnectRedisOptions, Mongo, Postgres, Redis, RedisOptions, ServerOptions, Sqlite, SqliteOptions,
};
use strangers::{Stranger, express, mongo_stranger, redis_stranger, sql};
use tokio::time::sleep;

const BOUND: Duration = Duration::from_millis(500);

fn options() -> CacheOptions {
    CacheOptions { max_staleness: BOUND, flush_every: Duration::from_millis(50), ..CacheOptions::default() }
}

fn server() -> ServerOptions {
    ServerOptions { timeout: Duration::from_secs(1), ..ServerOptions::default() }
}

fn cache(store: impl SessionStore) -> Arc<CachedSessions> {
    Arc::new(CachedSessions::new(Arc::new(store), &options()))
}

async fn until_proven(cache: &CachedSessions) {
    let end = Instant::now() + Duration::from_secs(20);
    while !cache.is_proven() {
        assert!(Instant::now() < end, "the feed does not speak");
        sleep(Duration::from_millis(5)).await;
    }
}

/// As the session layer reads.
async fn read(cache: &CachedSessions, id: &SessionId) -> Option<bool> {
    let now = SystemClock.now();
    match cache.cached(id, now) {
        Some(_) => Some(true),
        None => cache.load(id, now).await.ok().map(|found| found.is_some()),
    }
}

async fn made(cache: &CachedSessions) -> SessionId {
    let (id, now) = (RandomIds.generate(), SystemClock.now());
    let record = SessionRecord {
        document: Document::from_json(r#"{"userId":"1"}"#).unwrap(),
        user: Some("ann".into()),
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: Lifetime { idle: Duration::from_secs(3600), until: None, persistent: false },
    };
    cache.create(&id, &record, now).await.unwrap();
    id
}

/// How long it takes until a session that a stranger ended is refused, when nothing is wrong.
async fn calm(engine: &str, caches: &[Arc<CachedSessions>; 2], stranger: &Stranger) {
    let [ours, theirs] = caches;
    let mut took = Vec::new();
    for round in 0..100 {
        let id = made(ours).await;
        until_proven(theirs).await;
        assert_eq!(read(theirs, &id).await, Some(true));
        if round % 2 == 0 {
            assert!(ours.delete(&id, SystemClock.now()).await.unwrap());
            assert_eq!(read(ours, &id).await, Some(false), "one's own change is seen at once");
        } else {
            assert!(stranger(&id).await);
        }
        let ended = Instant::now();
        while read(theirs, &id).await == Some(true) {
            assert!(ended.elapsed() < BOUND, "{engine}: nobody told");
            tokio::task::yield_now().await;
        }
        took.push(ended.elapsed());
    }
    took.sort();
    println!("| {engine} | {:.1} ms | {:.1} ms | {:.1} ms |", ms(took[50]), ms(took[98]), ms(took[99]));
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What can go wrong, by turns.
enum Trouble<'a> {
    None,
    Feeds(&'a Proxy),
    Everything(&'a Proxy),
}

/// Two caches, readers on both, a stranger who ends sessions: whoever begins to read later than the bound after an end was acknowledged must
/// not find the session. The database is killed and started by `restart`.
async fn history(
    engine: &str,
    caches: &[Arc<CachedSessions>; 2],
    stranger: &Stranger,
    trouble: Trouble<'_>,
    restart: &mut dyn FnMut(),
) {
    let (stop, reads, ends) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut lives = Vec::new();
    for number in 0..16 {
        let (caches, stranger, stop) = (caches.clone(), stranger.clone(), stop.clone());
        let (reads, ends) = (reads.clone(), ends.clone());
        lives.push(tokio::spawn(async move {
            while !stop.load(SeqCst) {
                reads.fetch_add(live(&caches, &stranger, number).await, SeqCst);
                ends.fetch_add(1, SeqCst);
            }
        }));
    }
    for round in 0..6 {
        sleep(Duration::from_millis(400)).await;
        match (&trouble, round) {
            (Trouble::None, _) => {}
            (Trouble::Feeds(proxy), 0 | 3) => proxy.hold(true),
            (Trouble::Feeds(proxy) | Trouble::Everything(proxy), 1 | 4) => proxy.cut(),
            (Trouble::Everything(proxy), 0 | 3) => proxy.hold(false),
            (Trouble::Feeds(_) | Trouble::Everything(_), 2) => restart(),
            (Trouble::Feeds(proxy) | Trouble::Everything(proxy), _) => proxy.hold_nothing(),
        }
        sleep(Duration::from_millis(700)).await;
        if let Trouble::Feeds(proxy) | Trouble::Everything(proxy) = &trouble {
            proxy.hold_nothing();
        }
    }
    for cache in caches {
        until_proven(cache).await;
    }
    sleep(Duration::from_secs(1)).await;
    stop.store(true, SeqCst);
    for life in lives {
        life.await.unwrap();
    }
    let (reads, ends) = (reads.load(SeqCst), ends.load(SeqCst));
    assert!(ends > 50 && reads > 1000, "{engine}: too little happened: {ends} sessions, {reads} reads");
}

/// One session from its beginning to its end; how often it was read.
async fn live(caches: &[Arc<CachedSessions>; 2], stranger: &Stranger, number: usize) -> usize {
    let now = SystemClock.now();
    let id = RandomIds.generate();
    let record = SessionRecord {
        document: Document::new(),
        user: Some("ann".into()),
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: Lifetime { idle: Duration::from_secs(3600), until: None, persistent: false },
    };
    if caches[number % 2].create(&id, &record, now).await.is_err() {
        sleep(Duration::from_millis(20)).await;
        return 0;
    }
    let mut reads = 0;
    for _ in 0..40 {
        reads += usize::from(read(&caches[reads % 2], &id).await.is_some());
        sleep(Duration::from_millis(2)).await;
    }
    let ended = match number % 3 {
        0 => caches[0].delete(&id, SystemClock.now()).await.is_ok(),
        _ => stranger(&id).await,
    };
    if !ended {
        return reads;
    }
    let acknowledged = Instant::now();
    while acknowledged.elapsed() < BOUND + Duration::from_millis(200) {
        let cache = &caches[reads % 2];
        let (began, found) = (Instant::now(), read(cache, &id).await);
        let late = began.saturating_duration_since(acknowledged);
        assert!(found != Some(true) || late <= BOUND, "served {late:?} after its end");
        reads += 1;
        sleep(Duration::from_millis(5)).await;
    }
    reads
}

fn nothing() -> impl FnMut() {
    || {}
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hallpass.db");
    let open = || Sqlite::open(&path, &SqliteOptions::default()).unwrap();
    run(cache(open())).await;
    let caches = [cache(open()), cache(open())];
    let file = Arc::new(std::sync::Mutex::new(rusqlite::Connection::open(&path).unwrap()));
    file.lock().unwrap().busy_timeout(Duration::from_secs(5)).unwrap();
    let stranger: Stranger = Arc::new(move |id| {
        let (file, id) = (file.clone(), id.hash().0);
        Box::pin(async move {
            let delete =
                move || file.lock().unwrap().execute("delete from sessions where id = ?1", [id]).unwrap();
            tokio::task::spawn_blocking(delete).await.unwrap() == 1
        })
    });
    calm("SQLite, two programs on a file", &caches, &stranger).await;
    history("SQLite", &caches, &stranger, Trouble::None, &mut nothing()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql() {
    let Some(mut engine) = postgres::start() else { return };
    let proxy = Proxy::to(engine.port);
    let (direct, through) = (
        postgres::url(&engine),
        postgres::url(&engine).replace(&engine.port.to_string(), &proxy.port.to_string()),
    );
    let caches = [
        cache(Postgres::connect(&direct, &server()).await.unwrap()),
        cache(Postgres::connect(&through, &server()).await.unwrap()),
    ];
    run(caches[0].clone()).await;
    let stranger = sql(&direct, "delete from sessions where id = $1", |id| Box::new(id.hash().0.to_vec()));
    calm("PostgreSQL", &caches, &stranger).await;
    let mut restart = || {
        engine.kill();
        engine.start();
        postgres::wait(&engine);
    };
    history("PostgreSQL", &caches, &stranger, Trouble::Feeds(&proxy), &mut restart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_pg_simple() {
    let Some(engine) = postgres::start() else { return };
    let proxy = Proxy::to(engine.port);
    let (direct, through) = (
        postgres::url(&engine),
        postgres::url(&engine).replace(&engine.port.to_string(), &proxy.port.to_string()),
    );
    let mut options = ConnectPgOptions { create_table: true, triggers: true, ..ConnectPgOptions::default() };
    options.connect.server = server();
    let caches = [
        cache(ConnectPg::connect(&direct, &options).await.unwrap()),
        cache(ConnectPg::connect(&through, &options).await.unwrap()),
    ];
    run(caches[0].clone()).await;
    let Some(stranger) = express("pg", &direct) else { return };
    calm("PostgreSQL, Express's table", &caches, &stranger).await;
    history("connect-pg-simple", &caches, &stranger, Trouble::Everything(&proxy), &mut nothing()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongo() {
    let Some(mut engine) = mongodb::start().await else { return };
    let proxy = Proxy::to(engine.port);
    let direct = mongodb::url(&engine);
    let through = format!("mongodb://127.0.0.1:{}/test?directConnection=true", proxy.port);
    let alone = cache(Mongo::connect(&direct, &server()).await.unwrap());
    until_proven(&alone).await;
    sleep(3 * BOUND).await;
    until_proven(&alone).await;
    drop(alone);
    let caches = [
        cache(Mongo::connect(&direct, &server()).await.unwrap()),
        cache(Mongo::connect(&through, &server()).await.unwrap()),
    ];
    run(caches[0].clone()).await;
    let stranger = mongo_stranger(&direct, "hallpass_sessions", |id| {
        let subtype = ::mongodb::bson::spec::BinarySubtype::Generic;
        ::mongodb::bson::Binary { subtype, bytes: id.hash().0.to_vec() }.into()
    })
    .await;
    calm("MongoDB", &caches, &stranger).await;
    let mut restart = || {
        engine.kill();
        engine.start();
    };
    history("MongoDB", &caches, &stranger, Trouble::Everything(&proxy), &mut restart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo() {
    let Some(engine) = mongodb::start().await else { return };
    let proxy = Proxy::to(engine.port);
    let direct = mongodb::url(&engine);
    let through = format!("mongodb://127.0.0.1:{}/test?directConnection=true", proxy.port);
    let mut options = ConnectMongoOptions {
        auto_remove: AutoRemove::Interval(Duration::from_secs(600)),
        ..ConnectMongoOptions::default()
    };
    options.connect.server = server();
    let caches = [
        cache(ConnectMongo::connect(&direct, &options).await.unwrap()),
        cache(ConnectMongo::connect(&through, &options).await.unwrap()),
    ];
    run(caches[0].clone()).await;
    let Some(stranger) = express("mongo", &direct) else { return };
    calm("MongoDB, Express's collection", &caches, &stranger).await;
    history("connect-mongo", &caches, &stranger, Trouble::Everything(&proxy), &mut nothing()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_server() {
    let Some(mut engine) = redis::start() else { return };
    let proxy = Proxy::to(engine.port);
    let options = RedisOptions { server: server(), ..RedisOptions::default() };
    let through = format!("redis://127.0.0.1:{}", proxy.port);
    let caches = [
        cache(Redis::connect(&redis::url(&engine), &options).await.unwrap()),
        cache(Redis::connect(&through, &options).await.unwrap()),
    ];
    run_without(caches[0].clone(), &[SWEEP]).await;
    let stranger = redis_stranger(engine.port, |id| format!("hallpass:s:{}", id.handle()));
    calm("Redis", &caches, &stranger).await;
    let mut restart = || {
        engine.kill();
        engine.start();
    };
    history("Redis", &caches, &stranger, Trouble::Feeds(&proxy), &mut restart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_redis() {
    let Some(engine) = redis::start() else { return };
    let proxy = Proxy::to(engine.port);
    let mut options = ConnectRedisOptions::default();
    options.connect.server = server();
    let through = format!("redis://127.0.0.1:{}", proxy.port);
    let caches = [
        cache(ConnectRedis::connect(&redis::url(&engine), &options).await.unwrap()),
        cache(ConnectRedis::connect(&through, &options).await.unwrap()),
    ];
    run_without(caches[0].clone(), &[SWEEP]).await;
    let Some(stranger) = express("redis", &redis::url(&engine)) else { return };
    calm("Redis, Express's keys", &caches, &stranger).await;
    history("connect-redis", &caches, &stranger, Trouble::Everything(&proxy), &mut nothing()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster_is_heard_from_every_master() {
    let Some(nodes) = redis::start_cluster() else { return };
    let options = RedisOptions { server: server(), ..RedisOptions::default() };
    let open = async || Redis::connect(&redis::cluster_url(&nodes), &options).await.unwrap();
    let caches = [cache(open().await), cache(open().await)];
    let other = Arc::new(open().await);
    let stranger: Stranger = Arc::new(move |id| {
        let other = other.clone();
        Box::pin(async move { other.delete(id, SystemClock.now()).await.unwrap_or_default() })
    });
    calm("Redis Cluster", &caches, &stranger).await;
}

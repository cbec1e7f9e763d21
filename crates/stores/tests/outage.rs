//! Servers that are killed, hang, or step down under load: every answer comes in time, nobody is signed out by it, nothing that was
//! acknowledged is lost, and all goes on by itself.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]
#![expect(clippy::print_stdout, reason = "prints what clients saw")]

mod engines;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use engines::{Engine, mongodb, postgres, redis};
use hallpass_session::{
    Clock, Created, Document, IdGenerator, Lifetime, RandomIds, SessionId, SessionRecord, SessionStore,
    StoreError, Sweeper, SystemClock, Updated,
};
use hallpass_stores::{
    ConnectMongo, ConnectMongoOptions, ConnectOptions, ConnectPg, ConnectPgOptions, ConnectRedis,
    ConnectRedisOptions, Mongo, Postgres, Redis, RedisOptions, ServerOptions,
};
use tokio::{task::JoinSet, time::sleep};

const CLIENTS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(1);

/// A change that meets another one asks the server twice; and the machine may be slow.
const LONGEST: Duration = Duration::from_secs(5);

/// How long a server may need after it is back.
const PATIENCE: Duration = Duration::from_secs(20);

fn server() -> ServerOptions {
    ServerOptions { timeout: TIMEOUT, ..ServerOptions::default() }
}

fn record(n: u32) -> SessionRecord {
    let now = SystemClock.now();
    let mut document = Document::new();
    document.insert("n", &n).unwrap();
    SessionRecord {
        document,
        user: Some("ann".into()),
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: Lifetime { idle: Duration::from_secs(3600), until: None, persistent: false },
    }
}

/// What one client was told.
#[derive(Default)]
struct Told {
    answered: u32,
    failed: u32,
    slowest: Duration,
    /// Acknowledged, with the content that was acknowledged last; `None`: a change was not answered.
    kept: Vec<(SessionId, Option<u32>)>,
    ended: Vec<SessionId>,
}

impl Told {
    /// Waits for an answer; `None` when it is an error.
    async fn ask<T>(&mut self, question: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        let begun = Instant::now();
        let answer = question.await;
        self.slowest = self.slowest.max(begun.elapsed());
        if answer.is_ok() {
            self.answered += 1;
        } else {
            self.failed += 1;
            // As a client would: not again at once.
            sleep(Duration::from_millis(20)).await;
        }
        answer.ok()
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.slowest = self.slowest.max(other.slowest);
        self.kept.extend(other.kept);
        self.ended.extend(other.ended);
    }
}

/// Creates, reads, changes and ends sessions until told to stop.
async fn client(store: Arc<dyn SessionStore>, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    for round in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let id = RandomIds.generate();
        let created = told.ask(store.create(&id, &record(0), SystemClock.now())).await;
        let Some(Created::Done(revision)) = created else { continue };
        if let Some(found) = told.ask(store.load(&id, SystemClock.now())).await {
            assert!(found.is_some(), "an outage has signed somebody out");
        }
        let n = match told.ask(store.update(&id, &record(1), revision, SystemClock.now())).await {
            Some(updated) => {
                assert!(matches!(updated, Updated::Done(_)), "an outage has ended a session: {updated:?}");
                Some(1)
            }
            None => None,
        };
        if round % 2 == 0 {
            told.kept.push((id, n));
        } else if told.ask(store.delete(&id, SystemClock.now())).await.is_some() {
            told.ended.push(id);
        }
    }
    told
}

/// Has clients at work while `fault` happens, then asks for everything that was acknowledged.
async fn storm(name: &str, store: Arc<dyn SessionStore>, fault: impl AsyncFnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(store.clone(), stop.clone()));
    }
    sleep(Duration::from_millis(500)).await;
    fault().await;
    let back = Instant::now();
    while store.create(&RandomIds.generate(), &record(0), SystemClock.now()).await.is_err() {
        assert!(back.elapsed() < PATIENCE, "{name}: it does not come back");
        sleep(Duration::from_millis(50)).await;
    }
    let back = back.elapsed();
    sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::SeqCst);
    let mut told = Told::default();
    while let Some(one) = clients.join_next().await {
        told.add(one.unwrap());
    }
    for (id, n) in &told.kept {
        let found = store.load(id, SystemClock.now()).await.unwrap();
        let found = found.unwrap_or_else(|| panic!("{name}: an acknowledged session is lost"));
        let stored = found.record.document.get::<u32>("n").unwrap();
        assert!(n.is_none_or(|n| stored == Some(n)), "{name}: an acknowledged change is lost");
    }
    for id in &told.ended {
        assert!(store.load(id, SystemClock.now()).await.unwrap().is_none(), "{name}: an end was taken back");
    }
    let Told { answered, failed, slowest, kept, ended } = told;
    assert!(kept.len() > CLIENTS && ended.len() > CLIENTS, "{name}: too little was tried");
    println!(
        "| {name} | {answered} answered, {failed} refused, the slowest after {:.1} s; back after {:.1} s | {} kept and {} ended: 0 lost |",
        slowest.as_secs_f32(),
        back.as_secs_f32(),
        kept.len(),
        ended.len()
    );
    assert!(slowest < LONGEST, "{name}: somebody waited for {slowest:?}");
}

async fn die(engine: &mut Engine) {
    engine.kill();
    sleep(Duration::from_millis(500)).await;
    engine.start();
}

async fn hang(engine: &mut Engine) {
    engine.signal("STOP");
    sleep(Duration::from_secs(3)).await;
    engine.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_dies_and_the_sweeper_goes_on() {
    let Some(mut engine) = postgres::start() else { return };
    let store = Arc::new(Postgres::connect(&postgres::url(&engine), &server()).await.unwrap());
    let sweeper = Sweeper { every: Duration::from_millis(100), ..Sweeper::default() };
    let sweeping = tokio::spawn(sweeper.run(store.clone()));
    storm("PostgreSQL killed", store.clone(), async || die(&mut engine).await).await;
    let short = Lifetime { idle: Duration::from_millis(1), until: None, persistent: false };
    let id = RandomIds.generate();
    store.create(&id, &SessionRecord { lifetime: short, ..record(0) }, SystemClock.now()).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(store.sweep(10, SystemClock.now()).await.unwrap(), 0, "the sweeper was there first");
    sweeping.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_hangs() {
    let Some(mut engine) = postgres::start() else { return };
    let store = Arc::new(Postgres::connect(&postgres::url(&engine), &server()).await.unwrap());
    storm("PostgreSQL stopped", store, async || hang(&mut engine).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_dies() {
    let Some(mut engine) = mongodb::start().await else { return };
    let store = Arc::new(Mongo::connect(&mongodb::url(&engine), &server()).await.unwrap());
    storm("MongoDB killed", store, async || die(&mut engine).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_hangs() {
    let Some(mut engine) = mongodb::start().await else { return };
    let store = Arc::new(Mongo::connect(&mongodb::url(&engine), &server()).await.unwrap());
    storm("MongoDB stopped", store, async || hang(&mut engine).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_of_a_replica_set_dies() {
    let Some(mut engines) = mongodb::start_set(3).await else { return };
    let store = Arc::new(Mongo::connect(&mongodb::set_url(&engines), &server()).await.unwrap());
    storm("MongoDB, primary of three killed", store, async || engines[0].kill()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_of_a_replica_set_steps_down() {
    let Some(engines) = mongodb::start_set(3).await else { return };
    let store = Arc::new(Mongo::connect(&mongodb::set_url(&engines), &server()).await.unwrap());
    storm("MongoDB, primary of three steps down", store, async || mongodb::step_down(&engines[0]).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_dies() {
    let Some(mut engine) = redis::start() else { return };
    let options = RedisOptions { server: server(), ..RedisOptions::default() };
    let store = Arc::new(Redis::connect(&redis::url(&engine), &options).await.unwrap());
    storm("Redis killed", store, async || die(&mut engine).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hangs() {
    let Some(mut engine) = redis::start() else { return };
    let options = RedisOptions { server: server(), ..RedisOptions::default() };
    let store = Arc::new(Redis::connect(&redis::url(&engine), &options).await.unwrap());
    storm("Redis stopped", store, async || hang(&mut engine).await).await;
}

fn connect() -> ConnectOptions {
    ConnectOptions { server: server(), ..ConnectOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_dies_under_connect_pg_simples_table() {
    let Some(mut engine) = postgres::start() else { return };
    let options = ConnectPgOptions { connect: connect(), create_table: true, ..ConnectPgOptions::default() };
    let store = Arc::new(ConnectPg::connect(&postgres::url(&engine), &options).await.unwrap());
    storm("connect-pg-simple, PostgreSQL killed", store, async || die(&mut engine).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_steps_down_under_connect_mongos_collection() {
    let Some(engines) = mongodb::start_set(3).await else { return };
    let options = ConnectMongoOptions { connect: connect(), ..ConnectMongoOptions::default() };
    let store = Arc::new(ConnectMongo::connect(&mongodb::set_url(&engines), &options).await.unwrap());
    storm("connect-mongo, primary of three steps down", store, async || {
        mongodb::step_down(&engines[0]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_dies_under_connect_rediss_keys() {
    let Some(mut engine) = redis::start() else { return };
    let options = ConnectRedisOptions { connect: connect(), ..ConnectRedisOptions::default() };
    let store = Arc::new(ConnectRedis::connect(&redis::url(&engine), &options).await.unwrap());
    storm("connect-redis, Redis killed", store, async || die(&mut engine).await).await;
}

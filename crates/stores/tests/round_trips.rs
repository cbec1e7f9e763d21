//! How often each operation waits for the server, counted on the wire.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]
#![expect(clippy::print_stdout, reason = "prints the table of docs/stores.md")]

mod engines;

use std::{sync::Arc, time::Duration};

use engines::{mongodb, postgres, proxy::Proxy, redis};
use hallpass_auth::{Email, User, UserStore};
use hallpass_session::{
    Clock, Document, IdGenerator, Lifetime, RandomIds, SessionRecord, SessionStore, SystemClock, Timestamp,
    Touch, Updated,
};
use hallpass_stores::{
    ConnectMongo, ConnectMongoOptions, ConnectOptions, ConnectPg, ConnectPgOptions, ConnectRedis,
    ConnectRedisOptions, Mongo, Postgres, Redis, RedisOptions, ServerOptions,
};

fn record(now: Timestamp) -> SessionRecord {
    SessionRecord {
        document: Document::from_json(r#"{"userId":"1"}"#).unwrap(),
        user: Some("ann".into()),
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: Lifetime { idle: Duration::from_secs(3600), until: None, persistent: false },
    }
}

/// Every operation twice, the second time counted: statements are prepared and connections open by then.
async fn count(engine: &str, store: &dyn SessionStore, proxy: &Proxy) -> Vec<(&'static str, usize)> {
    let now = SystemClock.now();
    let mut counts = Vec::new();
    for _ in 0..2 {
        counts.clear();
        let (one, two) = (RandomIds.generate(), RandomIds.generate());
        proxy.taken();
        store.create(&one, &record(now), now).await.unwrap();
        counts.push(("create", proxy.taken()));
        assert!(store.load(&one, now).await.unwrap().is_some());
        counts.push(("load", proxy.taken()));
        let loaded = store.load(&one, now).await.unwrap().unwrap();
        proxy.taken();
        let updated = store.update(&one, &loaded.record, loaded.revision, now).await.unwrap();
        counts.push(("update", proxy.taken()));
        let Updated::Done(revision) = updated else { panic!("{updated:?}") };
        let touch = Touch { id: one.clone(), seen: now, expires: now + Duration::from_secs(4000) };
        store.touch(&vec![touch; 20], now).await.unwrap();
        counts.push(("touch of 20", proxy.taken()));
        let loaded = store.load(&one, now).await.unwrap().unwrap();
        assert_eq!(loaded.revision, revision);
        proxy.taken();
        store.rotate(&one, revision, &two, &loaded.record, now).await.unwrap();
        counts.push(("rotate", proxy.taken()));
        assert_eq!(store.of_user("ann", now).await.unwrap().len(), 1);
        counts.push(("of_user", proxy.taken()));
        assert!(store.delete(&two, now).await.unwrap());
        counts.push(("delete", proxy.taken()));
    }
    for (operation, trips) in &counts {
        println!("| {engine} | {operation} | {trips} |");
    }
    counts
}

fn server() -> ServerOptions {
    ServerOptions { connections: 1, ..ServerOptions::default() }
}

async fn count_user(store: &dyn UserStore, proxy: &Proxy) -> usize {
    let email = Email::parse("ann@example.com").unwrap();
    for _ in 0..2 {
        proxy.taken();
        assert!(store.find_by_email(&email).await.unwrap().is_none());
    }
    let missing = proxy.taken();
    store.create(&User::new(email.clone(), SystemClock.now())).await.unwrap();
    proxy.taken();
    assert!(store.find_by_email(&email).await.unwrap().is_some());
    assert_eq!(proxy.taken(), missing, "an account is found in as many steps as none");
    missing
}

const ONE_EACH: [(&str, usize); 7] = [
    ("create", 1),
    ("load", 1),
    ("update", 1),
    ("touch of 20", 1),
    ("rotate", 1),
    ("of_user", 1),
    ("delete", 1),
];

fn with(operation: &str, trips: usize) -> Vec<(&'static str, usize)> {
    ONE_EACH.map(|(name, one)| if name == operation { (name, trips) } else { (name, one) }).into()
}

/// MongoDB changes one document at a time, and has no way to refuse a write because of another one: what has ended is read beside each
/// write, and remembered before the session is deleted.
const CONNECT_MONGO: [(&str, usize); 7] = [
    ("create", 2),
    ("load", 1),
    ("update", 2),
    ("touch of 20", 1),
    ("rotate", 5),
    ("of_user", 1),
    ("delete", 2),
];

fn postgres_url(proxy: &Proxy) -> String {
    format!("postgres://hallpass@127.0.0.1:{}/postgres?sslmode=disable", proxy.port)
}

/// Nobody asks how the server is while we count.
fn mongodb_url(proxy: &Proxy) -> String {
    format!("mongodb://127.0.0.1:{}/test?directConnection=true&heartbeatFrequencyMS=100000", proxy.port)
}

/// Without a guard, which listens on the same wire.
fn connect() -> ConnectOptions {
    ConnectOptions { server: server(), guard: false, ..ConnectOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_pg_simple_takes_one_for_each() {
    let Some(engine) = postgres::start() else { return };
    let proxy = Proxy::to(engine.port);
    let options = ConnectPgOptions { connect: connect(), create_table: true, ..ConnectPgOptions::default() };
    let store = ConnectPg::connect(&postgres_url(&proxy), &options).await.unwrap();
    assert_eq!(count("connect-pg-simple", &store, &proxy).await, ONE_EACH);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_takes_more_to_remember_what_ended() {
    let Some(engine) = mongodb::start().await else { return };
    let proxy = Proxy::to(engine.port);
    let options = ConnectMongoOptions { connect: connect(), ..ConnectMongoOptions::default() };
    let store = ConnectMongo::connect(&mongodb_url(&proxy), &options).await.unwrap();
    assert_eq!(count("connect-mongo", &store, &proxy).await, CONNECT_MONGO);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_redis_takes_one_for_each_but_reads_all_keys_for_a_list() {
    let Some(engine) = redis::start() else { return };
    let proxy = Proxy::to(engine.port);
    let options = ConnectRedisOptions { connect: connect(), ..ConnectRedisOptions::default() };
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let store = ConnectRedis::connect(&url, &options).await.unwrap();
    assert_eq!(count("connect-redis", &store, &proxy).await, with("of_user", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_takes_one_for_each() {
    let Some(engine) = postgres::start() else { return };
    let proxy = Proxy::to(engine.port);
    let url = postgres_url(&proxy);
    let store = Arc::new(Postgres::connect(&url, &server()).await.unwrap());
    assert_eq!(count("PostgreSQL", &*store, &proxy).await, ONE_EACH);
    assert_eq!(count_user(&*store, &proxy).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_takes_one_for_each_but_two_for_a_new_id() {
    let Some(engine) = mongodb::start().await else { return };
    let proxy = Proxy::to(engine.port);
    let url = mongodb_url(&proxy);
    let store = Arc::new(Mongo::connect(&url, &server()).await.unwrap());
    assert_eq!(count("MongoDB", &*store, &proxy).await, with("rotate", 2));
    assert_eq!(count_user(&*store, &proxy).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_takes_one_for_each_but_two_for_a_list() {
    let Some(engine) = redis::start() else { return };
    let proxy = Proxy::to(engine.port);
    let options = RedisOptions { server: server(), ..RedisOptions::default() };
    let store = Redis::connect(&format!("redis://127.0.0.1:{}", proxy.port), &options).await.unwrap();
    assert_eq!(count("Redis", &store, &proxy).await, with("of_user", 2));
}

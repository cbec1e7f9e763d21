//! Finding a user's sessions in Express's layouts: looking searches all sessions seldom, ending searches always and misses none.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{sync::Arc, time::Duration};

use engines::{mongodb, postgres, redis};
use hallpass_session::{
    Clock, Document, IdGenerator, Lifetime, RandomIds, SessionId, SessionRecord, SessionStore, SystemClock,
};
use hallpass_stores::{
    ConnectMongo, ConnectMongoOptions, ConnectPg, ConnectPgOptions, ConnectRedis, ConnectRedisOptions,
};

/// How many sessions each of three users has: enough for several pages of a search.
const EACH: usize = 500;

async fn create(store: &dyn SessionStore, user: &str) -> SessionId {
    let (id, now) = (RandomIds.generate(), SystemClock.now());
    let record = SessionRecord {
        document: Document::from_json(&format!(r#"{{"userId":"{user}"}}"#)).unwrap(),
        user: Some(user.into()),
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: Lifetime { idle: Duration::from_secs(3600), until: None, persistent: false },
    };
    store.create(&id, &record, now).await.unwrap();
    id
}

/// `others` is another server, or Express. `searched` says how much was searched since it was last asked.
async fn look(ours: Arc<dyn SessionStore>, others: Arc<dyn SessionStore>, searched: &dyn Fn() -> usize) {
    for _ in 0..EACH {
        for user in ["ann", "bob", "eve"] {
            create(&*others, user).await;
        }
    }
    let now = SystemClock.now();
    let recent = async |user: &str| ours.recent_of_user(user, 10, now).await.unwrap();
    searched();
    let looks = ["ann", "bob", "eve"].into_iter().cycle().take(12).map(|user| {
        let ours = ours.clone();
        tokio::spawn(async move { ours.recent_of_user(user, 10, now).await.unwrap() })
    });
    for look in looks.collect::<Vec<_>>() {
        let found = look.await.unwrap();
        assert_eq!((found.listed.len(), found.more), (10, EACH as u64 - 10));
    }
    let twelve_at_once = searched();
    recent("ann").await;
    assert_eq!(searched(), 0, "looking again searches nothing");
    ours.of_user("ann", now).await.unwrap();
    assert_eq!(twelve_at_once, searched(), "twelve at once search as much as one");

    let total = async |user: &str| recent(user).await.more + 10;
    let mine = create(&*ours, "ann").await;
    assert_eq!(total("ann").await, EACH as u64 + 1, "what is opened here is there at once");
    let theirs = create(&*others, "ann").await;
    assert!(ours.load(&theirs, now).await.unwrap().is_some());
    assert_eq!(total("ann").await, EACH as u64 + 2, "what is used here too");
    others.delete(&mine, now).await.unwrap();
    assert_eq!(total("ann").await, EACH as u64 + 1, "what has ended elsewhere is not");
    let listed = recent("ann").await.listed;
    let oldest = listed.last().unwrap().handle;
    let ended = ours.delete_handle(oldest, Some("bob"), now).await.unwrap();
    assert!(!ended, "another user's session");
    assert!(ours.delete_handle(oldest, Some("ann"), now).await.unwrap());

    let unknown = create(&*others, "ann").await;
    assert_eq!(ours.delete_of_user("ann", Some(&theirs), now).await.unwrap(), EACH as u64);
    assert!(others.load(&unknown, now).await.unwrap().is_none(), "ending misses none");
    assert_eq!(ours.of_user("ann", now).await.unwrap().len(), 1);
    assert_eq!(ours.trim_user("bob", 3, &unknown, now).await.unwrap(), EACH as u64 - 2);
}

/// What the other databases do cannot be told from outside.
fn untold() -> usize {
    0
}

#[tokio::test(flavor = "multi_thread")]
async fn in_redis() {
    let Some(engine) = redis::start() else { return };
    let url = redis::url(&engine);
    let store =
        async || Arc::new(ConnectRedis::connect(&url, &ConnectRedisOptions::default()).await.unwrap());
    let cli = |words: &[&str]| {
        let port = engine.port.to_string();
        redis::cli(&[&["-p", &port], words].concat().iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    // A search goes through all keys.
    let searched = || {
        let commands = cli(&["info", "commandstats"]);
        cli(&["config", "resetstat"]);
        let scans = commands.lines().find_map(|line| line.strip_prefix("cmdstat_scan:calls="));
        scans.map_or(0, |scans| scans.split(',').next().unwrap().parse().unwrap())
    };
    look(store().await, store().await, &searched).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_postgresql() {
    let Some(engine) = postgres::start() else { return };
    let url = postgres::url(&engine);
    let store = async || {
        let options = ConnectPgOptions { create_table: true, ..ConnectPgOptions::default() };
        Arc::new(ConnectPg::connect(&url, &options).await.unwrap())
    };
    look(store().await, store().await, &untold).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mongodb() {
    let Some(engine) = mongodb::start().await else { return };
    let url = mongodb::url(&engine);
    let store =
        async || Arc::new(ConnectMongo::connect(&url, &ConnectMongoOptions::default()).await.unwrap());
    look(store().await, store().await, &untold).await;
}

//! What was answered is not taken back: by a crash, by a failover, or because a server could not know better.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]
#![expect(clippy::print_stdout, reason = "prints how long it took")]

mod engines;

use std::{
    fs::OpenOptions as File,
    io::Write,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use engines::{Engine, mongodb, postgres, proxy::Proxy, redis};
use hallpass_auth::{
    Change, Email, Inserted, Record, RecordKey, RecordStore, Replaced, User, UserChanged, UserCreated,
    UserStore,
};
use hallpass_session::{
    Clock, Created, Document, IdGenerator, Lifetime, RandomIds, Revision, SessionId, SessionRecord,
    SessionStore, StoreError, SystemClock, Updated,
};
use hallpass_stores::{
    ConnectMongo, ConnectMongoOptions, ConnectOptions, Mongo, OpenOptions, Postgres, ServerOptions, StoreUrl,
    inspect,
};
use tokio::time::sleep;

fn server() -> ServerOptions {
    ServerOptions { timeout: Duration::from_secs(1), ..ServerOptions::default() }
}

fn record() -> SessionRecord {
    let now = SystemClock.now();
    SessionRecord {
        document: Document::from_json(r#"{"userId":"1"}"#).unwrap(),
        user: Some("1".into()),
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: Lifetime { idle: Duration::from_secs(3600), until: None, persistent: false },
    }
}

async fn created(store: &dyn SessionStore) -> (SessionId, Revision) {
    let id = RandomIds.generate();
    let Created::Done(revision) = store.create(&id, &record(), SystemClock.now()).await.unwrap() else {
        panic!("a new id is taken")
    };
    (id, revision)
}

/// The only servers that have the data besides the primary are gone.
fn kill_secondaries(set: &mut [Engine]) {
    set[1..].iter_mut().for_each(Engine::kill);
}

/// The primary is gone, the others are back and elect one of them.
async fn fail_over(set: &mut [Engine]) {
    set[0].kill();
    set[1..].iter_mut().for_each(Engine::start);
    mongodb::step_up(&set[1]).await;
}

/// Waits until the store works again.
async fn back(store: &dyn SessionStore) {
    let end = Instant::now() + Duration::from_secs(60);
    while store.check(SystemClock.now()).await.is_err() {
        assert!(Instant::now() < end, "it does not come back");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Nothing is said while only one of three servers has it, twice.
async fn says_nothing_that_may_be_taken_back(set: &mut [Engine], store: &dyn SessionStore) {
    let now = || SystemClock.now();
    let (ended, _) = created(store).await;
    let (others, _) = created(store).await;
    let (saved, revision) = created(store).await;
    let (moved, of_moved) = created(store).await;
    let unknown = RandomIds.generate();
    kill_secondaries(set);
    for round in 1..=2 {
        assert!(store.delete(&ended, now()).await.is_err(), "{round}: a sign-out that one server has");
        assert!(!matches!(store.load(&ended, now()).await, Ok(None)), "{round}: said to have ended");
        assert!(
            store.delete_handle(others.handle(), Some("1"), now()).await.is_err(),
            "{round}: a revocation"
        );
        assert!(store.delete_of_user("1", Some(&saved), now()).await.is_err(), "{round}: all others");
        assert!(store.update(&saved, &record(), revision, now()).await.is_err(), "{round}: a change");
        let to = RandomIds.generate();
        assert!(store.rotate(&moved, of_moved, &to, &record(), now()).await.is_err(), "{round}: a new id");
        assert!(store.create(&others, &record(), now()).await.is_err(), "{round}: a taken id");
        assert!(
            store.delete(&unknown, now()).await.is_err(),
            "{round}: nothing to end, by one server's word"
        );
        assert!(store.load(&unknown, now()).await.is_err(), "{round}: not there, by one server's word");
        assert!(store.of_user("1", now()).await.is_err(), "{round}: a list, by one server's word");
    }
    fail_over(set).await;
    back(store).await;
    assert!(store.load(&ended, now()).await.unwrap().is_some(), "what was not acknowledged has not happened");
    for id in [&ended, &others, &saved] {
        assert!(store.delete(id, now()).await.unwrap(), "it was alive all the time");
        assert!(!store.delete(id, now()).await.unwrap());
        assert!(store.load(id, now()).await.unwrap().is_none());
    }
    let gone = store.update(&saved, &record(), revision, now()).await.unwrap();
    assert_eq!(gone, Updated::Gone);
}

/// The primary stays one until it is killed.
async fn patient_set() -> Option<Vec<Engine>> {
    mongodb::start_set_with(3, 120_000).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_says_nothing_of_sessions_that_a_majority_may_take_back() {
    let Some(mut set) = patient_set().await else { return };
    let store = Mongo::connect(&mongodb::set_url(&set), &server()).await.unwrap();
    says_nothing_that_may_be_taken_back(&mut set, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_says_nothing_of_expresss_sessions_that_a_majority_may_take_back() {
    let Some(mut set) = patient_set().await else { return };
    let connect = ConnectOptions { server: server(), ..ConnectOptions::default() };
    let options = ConnectMongoOptions { connect, ..ConnectMongoOptions::default() };
    let store = ConnectMongo::connect(&mongodb::set_url(&set), &options).await.unwrap();
    says_nothing_that_may_be_taken_back(&mut set, &store).await;
}

fn ann() -> User {
    User::new(Email::parse("ann@example.com").unwrap(), SystemClock.now())
}

fn token(id: &str) -> Record {
    let key = RecordKey { kind: "test", id: id.to_owned() };
    Record { key, owner: None, body: "{}".to_owned(), expires: None, version: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_says_nothing_of_records_and_users_that_a_majority_may_take_back() {
    let Some(mut set) = patient_set().await else { return };
    let store = Mongo::connect(&mongodb::set_url(&set), &server()).await.unwrap();
    let (records, users): (&dyn RecordStore, &dyn UserStore) = (&store, &store);
    let (now, ann) = (|| SystemClock.now(), ann());
    let (taken, changed, new) = (token("taken"), token("changed"), token("new"));
    for record in [&taken, &changed] {
        assert_eq!(records.insert(record, now()).await.unwrap(), Inserted::Done);
    }
    kill_secondaries(&mut set);
    for round in 1..=2 {
        assert!(
            records.take(&taken.key, now()).await.is_err(),
            "{round}: used already, by one server's word"
        );
        assert!(!matches!(records.get(&taken.key, now()).await, Ok(None)), "{round}: not there");
        assert!(records.replace(&changed, now()).await.is_err(), "{round}: changed by somebody else");
        assert!(records.insert(&new, now()).await.is_err(), "{round}: the key is taken");
        assert!(users.create(&ann).await.is_err(), "{round}: the address is taken");
        assert!(users.change(&ann.id, &Change::Disabled(true)).await.is_err(), "{round}: no such user");
        assert!(users.delete(&ann.id).await.is_err(), "{round}: nobody to delete");
        assert!(users.find(&ann.id).await.is_err(), "{round}: nobody of this id");
    }
    fail_over(&mut set).await;
    back(&store).await;
    assert!(records.take(&taken.key, now()).await.unwrap().is_some(), "it was not used");
    assert_eq!(records.take(&taken.key, now()).await.unwrap(), None);
    assert_eq!(records.replace(&changed, now()).await.unwrap(), Replaced::Done);
    assert_eq!(records.insert(&new, now()).await.unwrap(), Inserted::Done, "it was not taken");
    assert_eq!(users.create(&ann).await.unwrap(), UserCreated::Done(ann.id.clone()), "it was not taken");
    assert_eq!(users.create(&ann).await.unwrap(), UserCreated::Taken);
    assert_eq!(users.change(&ann.id, &Change::Disabled(true)).await.unwrap(), UserChanged::Done);
    assert!(users.delete(&ann.id).await.unwrap() && !users.delete(&ann.id).await.unwrap());
}

/// Listings are longer than what MongoDB gives at once.
#[tokio::test(flavor = "multi_thread")]
async fn mongodb_lists_many_by_the_word_of_a_majority() {
    let Some(engine) = mongodb::start().await else { return };
    let store = Mongo::connect(&mongodb::url(&engine), &ServerOptions::default()).await.unwrap();
    for _ in 0..250 {
        created(&store).await;
    }
    let now = SystemClock.now();
    assert_eq!(SessionStore::of_user(&store, "1", now).await.unwrap().len(), 250);
    assert_eq!(SessionStore::list(&store, None, 240, now).await.unwrap().len(), 240);
    assert_eq!(SessionStore::delete_of_user(&store, "1", None, now).await.unwrap(), 250);
}

/// A crash of the server, and not only of a connection. Its log is written every ten seconds, and by each durable commit.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_that_commits_without_waiting_is_asked_to_wait() {
    let lazy = ["-c", "synchronous_commit=off", "-c", "wal_writer_delay=10000ms"];
    let Some(mut engine) = postgres::start_with(&lazy, &[]) else { return };
    let store = Arc::new(Postgres::connect(&postgres::url(&engine), &server()).await.unwrap());
    let mut sessions = Vec::new();
    for number in 0..20 {
        let (id, _) = created(&*store).await;
        if number % 2 == 0 {
            assert!(SessionStore::delete(&*store, &id, SystemClock.now()).await.unwrap());
        }
        sessions.push(id);
    }
    engine.kill();
    engine.start();
    postgres::wait(&engine);
    back(&*store).await;
    for (number, id) in sessions.iter().enumerate() {
        let found = store.load(id, SystemClock.now()).await.unwrap();
        assert_eq!(found.is_some(), number % 2 == 1, "session {number} was acknowledged");
    }
}

fn set(engine: &Engine, setting: &str) {
    let mut file = File::new().append(true).open(engine.data().join("postgresql.auto.conf")).unwrap();
    writeln!(file, "{setting}").unwrap();
    engine.signal("HUP");
}

/// Of a commit that was cancelled while it waited for a standby, this server shows what no other one has.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_says_nothing_that_its_standby_may_not_have() {
    let Some(engine) = postgres::start() else { return };
    let url = postgres::url(&engine);
    let (ended, _) = created(&Postgres::connect(&url, &server()).await.unwrap()).await;
    let (admin, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    set(&engine, "synchronous_standby_names = 'nobody'");
    let seen = "select current_setting('synchronous_standby_names')";
    while admin.query_one(seen, &[]).await.unwrap().get::<_, String>(0) != "nobody" {
        sleep(Duration::from_millis(20)).await;
    }
    let store = Postgres::connect(&url, &server()).await.unwrap();
    assert!(SessionStore::delete(&store, &ended, SystemClock.now()).await.is_err());
    let cancel = "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'";
    while admin.query_one(cancel, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    let is_gone = "select count(*) from sessions where expires > 1000";
    while admin.query_one(is_gone, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..2 {
        assert!(SessionStore::delete(&store, &ended, SystemClock.now()).await.is_err(), "no standby has it");
        assert!(store.load(&ended, SystemClock.now()).await.is_err(), "no standby has it");
    }
    set(&engine, "synchronous_standby_names = ''");
    back(&store).await;
    assert!(!SessionStore::delete(&store, &ended, SystemClock.now()).await.unwrap());
    assert!(store.load(&ended, SystemClock.now()).await.unwrap().is_none());
}

async fn warnings(url: &str) -> String {
    let url: StoreUrl = url.parse().unwrap();
    let found = inspect(&url, &OpenOptions::default()).await.unwrap();
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_durable_is_said() {
    if let Some(engine) = postgres::start_with(&["-c", "fsync=off", "-c", "full_page_writes=off"], &[]) {
        let url = postgres::url(&engine);
        drop(Postgres::connect(&url, &server()).await.unwrap());
        let (admin, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        admin.batch_execute("alter table sessions set unlogged").await.unwrap();
        let said = warnings(&url).await;
        for expected in ["fsync = off", "full_page_writes = off", "the table sessions is unlogged"] {
            assert!(said.contains(expected), "{said}");
        }
    }
    if let Some(engine) = postgres::start() {
        assert_eq!(warnings(&postgres::url(&engine)).await, "");
    }
    let evicting =
        ["--appendfsync", "everysec", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"];
    if let Some(engine) = redis::start_with(&evicting) {
        let said = warnings(&redis::url(&engine)).await;
        assert!(
            said.contains("appendfsync everysec") && said.contains("maxmemory-policy volatile-lru"),
            "{said}"
        );
    }
    if let Some(engine) = redis::start_with(&["--appendonly", "no"]) {
        assert!(warnings(&redis::url(&engine)).await.contains("appendonly no"));
    }
    if let Some(engine) = redis::start() {
        assert_eq!(warnings(&redis::url(&engine)).await, "");
    }
    if let Some(engine) = mongodb::start().await {
        let url = mongodb::url(&engine);
        assert_eq!(warnings(&url).await, "");
        let said = warnings(&format!("{url}&w=1&journal=false&readPreference=secondaryPreferred")).await;
        for expected in ["w=1 in the URL", "journal=false in the URL", "readPreference in the URL"] {
            assert!(said.contains(expected), "{said}");
        }
    }
}

/// Something that accepts connections, as a stopped server's machine does, and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let all: Vec<_> = listener.incoming().collect();
        drop(all);
    });
    for url in [
        format!("postgres://u:hunter2@127.0.0.1:{port}/x?sslmode=disable"),
        format!("postgres://u:hunter2@127.0.0.1:{port}/x"),
        format!("mongodb://u:hunter2@127.0.0.1:{port}/x"),
        format!("redis://u:hunter2@127.0.0.1:{port}"),
    ] {
        let url: StoreUrl = url.parse().unwrap();
        let options = OpenOptions { server: server(), ..OpenOptions::default() };
        let opened =
            tokio::time::timeout(Duration::from_secs(60), hallpass_stores::open_sessions(&url, &options));
        let Err(error) = opened.await.expect("it is waited for for ever") else { panic!("nobody is there") };
        let said = error.to_string();
        assert!(said.contains("check that") && !said.contains("hunter2"), "{said}");
        println!("{said}");
    }
}

/// A network that drops everything for a while, after which connections from before stay silent.
#[tokio::test(flavor = "multi_thread")]
async fn mongodb_is_used_again_soon_after_a_silent_partition() {
    let Some(engine) = mongodb::start().await else { return };
    let proxy = Proxy::to(engine.port);
    let url = format!("mongodb://127.0.0.1:{}/test?directConnection=true", proxy.port);
    let store = Mongo::connect(&url, &ServerOptions::default()).await.unwrap();
    let (id, _) = created(&store).await;
    proxy.hold(false);
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        let asked = tokio::time::timeout(Duration::from_secs(1), store.load(&id, SystemClock.now())).await;
        assert!(!matches!(asked, Ok(Ok(_))), "nothing comes through");
    }
    proxy.heal();
    let healed = Instant::now();
    let found = loop {
        let asked: Result<Result<_, StoreError>, _> =
            tokio::time::timeout(Duration::from_millis(500), store.load(&id, SystemClock.now())).await;
        if let Ok(Ok(found)) = asked {
            break found;
        }
    };
    let took = healed.elapsed();
    println!("used again after {:.1} s", took.as_secs_f32());
    assert!(found.is_some() && took < Duration::from_secs(5), "used again after {took:?}");
}

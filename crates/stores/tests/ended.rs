//! A session that was ended here stays ended, though an Express process with a stale copy saves it afterwards: with the real connect-mongo,
//! connect-redis and connect-pg-simple.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engines::{express::Express, mongodb, postgres, redis};
use hallpass_session::{
    CacheOptions, CachedSessions, Clock, Created, IdGenerator, RandomIds, SessionId, SessionStore,
    SystemClock, Timestamp, Updated,
    express::{ExpressStore, Fetched, Got, Rotation, Set},
};
use hallpass_stores::{
    AutoRemove, ConnectMongo, ConnectMongoOptions, ConnectOptions, ConnectPg, ConnectPgOptions, ConnectRedis,
    ConnectRedisOptions, TransformId,
};
use serde_json::Value;

const DATA: &str = r#"{ passport: { user: "ann" }, n: 1 }"#;
const HOUR: u64 = 3_600_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// What removes a stale save again.
#[derive(Clone, Copy, PartialEq)]
enum Removed {
    /// The database lets it fall on nothing.
    AtOnce,
    /// The guard, when it hears of it or looks.
    Soon,
    /// The next sweep.
    BySweep,
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn common() -> ConnectOptions {
    ConnectOptions { user_path: Some("passport.user".to_owned()), ..ConnectOptions::default() }
}

fn fresh() -> (String, SessionId) {
    let id = RandomIds.generate();
    (id.expose().to_owned(), id)
}

struct Shared {
    express: Express,
    ours: Arc<dyn SessionStore>,
    /// The same store as the Express profile uses it.
    profile: Arc<dyn ExpressStore>,
    /// Another server, with a cache.
    other: CachedSessions,
    removed: Removed,
    /// How often it was time to sweep.
    sweeps: u32,
}

impl Shared {
    fn new(
        express: Express,
        ours: Arc<impl SessionStore + ExpressStore>,
        other: Arc<dyn SessionStore>,
        removed: Removed,
    ) -> Self {
        let other = CachedSessions::new(other, &CacheOptions::default());
        Self { express, profile: ours.clone(), ours, other, removed, sweeps: 0 }
    }

    /// A session that both servers here have loaded.
    async fn begun(&mut self) -> (String, SessionId) {
        let (sid, id) = fresh();
        self.express.create(&sid, Some(HOUR), DATA);
        assert!(self.ours.load(&id, now()).await.unwrap().is_some());
        assert!(self.other.load(&id, now()).await.unwrap().is_some());
        (sid, id)
    }

    /// Express saves a copy of a session that ended: it opens nothing here, from the first moment on, and soon nothing there.
    async fn stays_ended(&mut self, sid: &str, id: &SessionId) {
        self.express.create(sid, Some(HOUR), DATA);
        for store in [&*self.ours, &self.other] {
            assert!(store.load(id, now()).await.unwrap().is_none(), "it lives again");
            assert!(store.of_user("ann", now()).await.unwrap().iter().all(|one| one.handle != id.handle()));
            let listed = store.list(None, 1000, now()).await.unwrap();
            assert!(listed.iter().all(|one| one.handle != id.handle()), "it is listed");
            let exported = store.export(None, 1000, now()).await.unwrap();
            assert!(exported.iter().all(|(one, _)| one.handle() != id.handle()), "it would be moved");
            assert!(!store.delete(id, now()).await.unwrap(), "there was nothing to end");
        }
        assert!(matches!(self.profile.get(id, now()).await.unwrap(), Got::Missing), "the profile accepts it");
        self.express.create(sid, Some(HOUR), DATA);
        self.is_removed(sid).await;
    }

    async fn is_removed(&mut self, sid: &str) {
        if self.removed == Removed::BySweep {
            self.sweeps += 1;
            self.ours.sweep(100, now() + Duration::from_secs(61) * self.sweeps).await.unwrap();
        }
        let end = Instant::now() + PATIENCE;
        while self.express.raw(sid) != Value::Null {
            assert!(self.removed == Removed::Soon, "the stale save is there");
            assert!(Instant::now() < end, "the stale save stays");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn check(mut self) {
        let (sid, id) = self.begun().await;
        assert!(self.ours.delete(&id, now()).await.unwrap());
        self.stays_ended(&sid, &id).await;

        let (sid, id) = self.begun().await;
        let (kept, kept_id) = self.begun().await;
        self.other.delete_of_user("ann", Some(&kept_id), now()).await.unwrap();
        self.stays_ended(&sid, &id).await;
        assert_eq!(self.express.look(&kept, "session.n"), 1);

        let (sid, id) = self.begun().await;
        assert!(self.ours.delete_handle(id.handle(), Some("ann"), now()).await.unwrap());
        self.stays_ended(&sid, &id).await;

        self.old_ids().await;
        self.ended_by_the_profile().await;
        self.ended_elsewhere().await;
        self.moved().await;
    }

    /// An update that read the stale copy before it was removed changes nothing, and an old ID opens nothing after a rotation.
    async fn old_ids(&mut self) {
        let (sid, id) = self.begun().await;
        let loaded = self.ours.load(&id, now()).await.unwrap().unwrap();
        let (new, new_id) = fresh();
        let rotated = self.ours.rotate(&id, loaded.revision, &new_id, &loaded.record, now()).await.unwrap();
        assert!(matches!(rotated, Updated::Done(_)));
        self.express.create(&sid, Some(HOUR), DATA);
        let late = self.ours.update(&id, &loaded.record, loaded.revision, now()).await.unwrap();
        assert_eq!(late, Updated::Gone);
        let again = self.ours.rotate(&id, loaded.revision, &fresh().1, &loaded.record, now()).await.unwrap();
        assert_eq!(again, Updated::Gone, "an old ID gives no new session");
        self.stays_ended(&sid, &id).await;
        assert_eq!(self.express.look(&new, "session.n"), 1);
    }

    /// What the Express profile destroys, and the ID that a session had before the profile gave it a new one.
    async fn ended_by_the_profile(&mut self) {
        let (sid, id) = self.begun().await;
        self.profile.destroy(&id, now()).await.unwrap();
        self.stays_ended(&sid, &id).await;

        let (sid, id) = self.begun().await;
        let Got::Session(Fetched { mut session, version }) = self.profile.get(&id, now()).await.unwrap()
        else {
            panic!("the profile does not find the session")
        };
        let (new, new_id) = fresh();
        let end = now() + Duration::from_millis(HOUR);
        let rotation =
            Rotation { old: &id, version: &version, new: &new_id, user: Some("ann"), expires: Some(end) };
        let moved = self.profile.rotate(rotation, &mut session, now()).await.unwrap();
        assert!(matches!(moved, Set::Done(_)), "{moved:?}");
        self.stays_ended(&sid, &id).await;
        assert_eq!(self.express.look(&new, "session.n"), 1);
    }

    /// What Express ends is never brought back by us; and what ended here without being there stays ended too.
    async fn ended_elsewhere(&mut self) {
        let (sid, id) = self.begun().await;
        let loaded = self.other.load(&id, now()).await.unwrap().unwrap();
        self.express.destroy(&sid);
        for store in [&*self.ours, &self.other] {
            let late = store.update(&id, &loaded.record, loaded.revision, now()).await.unwrap();
            assert_eq!(late, Updated::Gone);
        }
        assert_eq!(self.express.raw(&sid), Value::Null);
        assert!(!self.ours.delete(&id, now()).await.unwrap());
        self.stays_ended(&sid, &id).await;
    }

    /// A session that another store holds now is refused, and may come back.
    async fn moved(&mut self) {
        let (sid, id) = self.begun().await;
        let loaded = self.ours.load(&id, now()).await.unwrap().unwrap();
        assert!(self.ours.release(&id, now()).await.unwrap());
        self.stays_released(&sid, &id).await;
        let back = self.ours.create(&id, &loaded.record, now()).await.unwrap();
        assert!(matches!(back, Created::Done(_)), "{back:?}");
        assert_eq!(self.express.look(&sid, "session.n"), 1);
        assert!(self.ours.delete(&id, now()).await.unwrap());
        assert_eq!(self.ours.create(&id, &loaded.record, now()).await.unwrap(), Created::Taken);
        self.is_removed(&sid).await;
        self.stays_ended(&sid, &id).await;
    }

    async fn stays_released(&mut self, sid: &str, id: &SessionId) {
        self.express.create(sid, Some(HOUR), DATA);
        assert!(self.ours.load(id, now()).await.unwrap().is_none(), "it lives in two stores");
        let end = Instant::now() + PATIENCE;
        while self.express.raw(sid) != Value::Null {
            assert!(Instant::now() < end, "the stale save stays");
            self.sweeps += 1;
            self.ours.sweep(100, now() + Duration::from_secs(61) * self.sweeps).await.unwrap();
        }
    }
}

fn mongo() -> ConnectMongoOptions {
    ConnectMongoOptions { connect: common(), ..ConnectMongoOptions::default() }
}

async fn on_mongo(url: &str, options: &ConnectMongoOptions, express: &str, removed: Removed) {
    let Some(express) = Express::open("mongo", url, express) else { return };
    let open = async || Arc::new(ConnectMongo::connect(url, options).await.unwrap());
    Shared::new(express, open().await, open().await, removed).check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo() {
    let Some(engine) = mongodb::start().await else { return };
    on_mongo(&mongodb::url(&engine), &mongo(), "{}", Removed::Soon).await;
    let options = ConnectMongoOptions {
        collection: "objects".to_owned(),
        stringify: false,
        transform_id: TransformId::Sha256,
        auto_remove: AutoRemove::Disabled,
        ..mongo()
    };
    let express =
        "{ collectionName: 'objects', stringify: false, autoRemove: 'disabled', transformId: sha256 }";
    on_mongo(&mongodb::url(&engine), &options, express, Removed::Soon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_without_change_streams() {
    let Some(engine) = mongodb::start_alone() else { return };
    let url = format!("mongodb://127.0.0.1:{}/test", engine.port);
    on_mongo(&url, &mongo(), "{}", Removed::Soon).await;
}

async fn on_redis(url: &str, express: &str, options: ConnectRedisOptions, removed: Removed) {
    let Some(express) = Express::open("redis", url, express) else { return };
    let open = async || Arc::new(ConnectRedis::connect(url, &options).await.unwrap());
    Shared::new(express, open().await, open().await, removed).check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_redis() {
    let Some(engine) = redis::start() else { return };
    let options = |prefix: &str| ConnectRedisOptions {
        connect: common(),
        prefix: prefix.to_owned(),
        ..ConnectRedisOptions::default()
    };
    on_redis(&redis::url(&engine), "{}", options("sess:"), Removed::Soon).await;
    on_redis(&redis::url(&engine), "{ version: 10, prefix: '' }", options(""), Removed::Soon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_redis_without_tracking() {
    let Some(engine) = redis::start_with(&["--rename-command", "CLIENT", ""]) else { return };
    let url = redis::url(&engine);
    let options = ConnectRedisOptions { connect: common(), ..ConnectRedisOptions::default() };
    let ours = ConnectRedis::connect(&url, &options).await.unwrap();
    // Express's client wants CLIENT as well: the stale copy is saved by hand.
    let (sid, id) = fresh();
    assert!(!ours.delete(&id, now()).await.unwrap());
    let cli = |arguments: &[&str]| {
        let port = engine.port.to_string();
        let arguments = [&["-p", &port][..], arguments].concat();
        redis::cli(&arguments.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let key = format!("sess:{sid}");
    cli(&["set", &key, r#"{"cookie":{"originalMaxAge":60000},"passport":{"user":"ann"}}"#, "EX", "60"]);
    assert!(ours.load(&id, now()).await.unwrap().is_none(), "it lives again");
    ours.sweep(100, now() + Duration::from_secs(61)).await.unwrap();
    assert_eq!(cli(&["exists", &key]).trim(), "0");
}

fn pg(table: &str) -> ConnectPgOptions {
    ConnectPgOptions {
        connect: common(),
        create_table: true,
        table: table.to_owned(),
        ..ConnectPgOptions::default()
    }
}

async fn client(engine: &engines::Engine) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(&postgres::url(engine), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn on_postgres(url: &str, options: &ConnectPgOptions, removed: Removed) {
    let express = format!("{{ tableName: {:?} }}", options.table);
    let open = async || Arc::new(ConnectPg::connect(url, options).await.unwrap());
    let (ours, other) = (open().await, open().await);
    let Some(express) = Express::open("pg", url, &express) else { return };
    Shared::new(express, ours, other, removed).check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_pg_simple() {
    let Some(engine) = postgres::start() else { return };
    let url = postgres::url(&engine);
    on_postgres(&url, &pg("session"), Removed::AtOnce).await;
    on_postgres(&url, &ConnectPgOptions { triggers: false, ..pg("bare") }, Removed::BySweep).await;
}

/// A role that may use Express's table and make tables of its own, but not put triggers on Express's; and one that may make none.
#[tokio::test(flavor = "multi_thread")]
async fn connect_pg_simple_without_rights() {
    let Some(engine) = postgres::start() else { return };
    let url = postgres::url(&engine);
    ConnectPg::connect(&url, &ConnectPgOptions { triggers: false, ..pg("theirs") }).await.unwrap();
    let admin = client(&engine).await;
    admin
        .batch_execute(
            "drop table hallpass_ended_theirs; create role tables login; create role nothing login;
            grant all on schema public to tables; revoke create on schema public from public;
            grant select, insert, update, delete on theirs to tables, nothing;",
        )
        .await
        .unwrap();
    let as_role = |role: &str| url.replace("hallpass@", &format!("{role}@"));
    let options = ConnectPgOptions { create_table: false, ..pg("theirs") };

    let (sid, id) = fresh();
    let Some(mut express) = Express::open("pg", &url, "{ tableName: 'theirs' }") else { return };
    let ours = ConnectPg::connect(&as_role("nothing"), &options).await.unwrap();
    express.create(&sid, Some(HOUR), DATA);
    assert!(ours.delete(&id, now()).await.unwrap(), "sign-out works as before");
    assert!(ours.load(&id, now()).await.unwrap().is_none());

    let open = async || Arc::new(ConnectPg::connect(&as_role("tables"), &options).await.unwrap());
    let (ours, other) = (open().await, open().await);
    Shared::new(express, ours, other, Removed::BySweep).check().await;
}

/// Express's `INSERT … ON CONFLICT` at the very moment of the sign-out: whichever comes first, the session is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_races_the_end_in_postgresql() {
    let Some(engine) = postgres::start() else { return };
    let ours = Arc::new(ConnectPg::connect(&postgres::url(&engine), &pg("session")).await.unwrap());
    let mut savers = Vec::new();
    for _ in 0..4 {
        savers.push(Arc::new(client(&engine).await));
    }
    let save = "insert into session (sess, expire, sid)
        select '{\"cookie\":{\"originalMaxAge\":3600000}}', now() + interval '1 hour', $1
        on conflict (sid) do update set sess = excluded.sess, expire = excluded.expire returning sid";
    for round in 0..200 {
        let (sid, id) = fresh();
        if round % 2 == 0 {
            savers[0].execute(save, &[&sid]).await.unwrap();
        }
        let mut racing = tokio::task::JoinSet::new();
        for saver in &savers {
            let (saver, sid) = (saver.clone(), sid.clone());
            racing.spawn(async move { saver.execute(save, &[&sid]).await.is_ok() });
        }
        let ours = ours.clone();
        racing.spawn(async move { ours.delete(&id, now()).await.is_ok() });
        assert!(racing.join_all().await.into_iter().all(|is_ok| is_ok));
        let left = savers[0].query("select 1 from session where sid = $1", &[&sid]).await.unwrap();
        assert!(left.is_empty(), "round {round}: the save outlived the end");
    }
}

/// What ended is forgotten when no copy could live any more, but not while one is there.
#[tokio::test(flavor = "multi_thread")]
async fn ended_sessions_are_forgotten_when_no_copy_can_live() {
    let Some(engine) = postgres::start() else { return };
    let options = ConnectPgOptions { triggers: false, ..pg("session") };
    let ours = ConnectPg::connect(&postgres::url(&engine), &options).await.unwrap();
    let admin = client(&engine).await;
    let (one, two) = (fresh(), fresh());
    for (_, id) in [&one, &two] {
        ours.delete(id, now()).await.unwrap();
    }
    // Long ago: the pass over recent ends does not see it.
    admin.execute("update hallpass_ended_session set ended = now() - interval '2 days'", &[]).await.unwrap();
    admin
        .execute(
            "insert into session (sid, sess, expire) values ($1, '{\"cookie\":{}}', now() + interval '9 days')",
            &[&two.0],
        )
        .await
        .unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    ours.sweep(100, now() + day).await.unwrap();
    let count = async || {
        let row = admin.query_one("select count(*) from hallpass_ended_session", &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    assert_eq!(count().await, 2, "the store's ttl of a day and a day more are not over");
    ours.sweep(100, now() + day * 2 + Duration::from_secs(60)).await.unwrap();
    assert_eq!(count().await, 1, "one is forgotten, the other one was there again");
    assert!(ours.load(&two.1, now()).await.unwrap().is_none());
    let rows = admin.query("select 1 from session", &[]).await.unwrap();
    assert!(rows.is_empty(), "what was written over it is gone");
}

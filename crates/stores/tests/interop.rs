//! Sessions shared with the real connect-mongo, connect-redis and connect-pg-simple: what one side begins, changes, uses or ends, the other
//! sees; what we do not know stays byte for byte.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engines::{express::Express, mongodb, postgres, redis};
use hallpass_session::{
    Clock, Created, Document, IdGenerator, Lifetime, RandomIds, SessionId, SessionRecord, SessionStore,
    SystemClock, Timestamp, Updated,
};
use hallpass_stores::{
    AutoRemove, Cipher, ConnectMongo, ConnectMongoOptions, ConnectOptions, ConnectPg, ConnectPgOptions,
    ConnectRedis, ConnectRedisOptions, Crypto, Encoding, TransformId, WebCrypto,
};
use serde_json::{Value, json};

const ANN: &str = "507f1f77bcf86cd799439011";
const MINUTE: Duration = Duration::from_secs(60);

/// What texts can hold: numbers and half characters that other programs would write otherwise, an order of keys.
const DATA: &str = r#"{ z: 1e21, odd: "\ud83d", passport: { user: "507f1f77bcf86cd799439011" }, "é\u2028": -0, a: [1.5, { y: 1, x: null }] }"#;

/// What objects can hold.
const OBJECT: &str = r#"{ z: 1e21, at: new Date(86400000), passport: { user: new ObjectId("507f1f77bcf86cd799439011") },
    cart: { item: new ObjectId("507f1f77bcf86cd799439012"), n: 2 }, a: [1.5, { y: 1, x: null }] }"#;

/// Whether JavaScript finds all of it again.
const INTACT: &str = r#"session.z === 1e21 && session.a[1].x === null && String(session.passport.user) === "507f1f77bcf86cd799439011"
    && (session.at ? session.at instanceof Date && session.passport.user instanceof ObjectId
        && session.cart.item instanceof ObjectId : session.odd === "\ud83d")"#;

/// A store of Express and ours on the same rows.
struct Shared {
    express: Express,
    ours: Arc<dyn SessionStore>,
    /// What is stored is the session's text.
    plain: bool,
    data: &'static str,
    /// How long sessions live whose cookie ends with the browser.
    ttl: Duration,
    /// A use within it is not noted again.
    touch_after: bool,
}

fn common(ttl: Duration) -> ConnectOptions {
    ConnectOptions { ttl, user_path: Some("passport.user".to_owned()), ..ConnectOptions::default() }
}

fn id(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

/// Sessions end in seconds there, rounded up.
#[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds")]
fn is_about(expires: &Value, expected: Timestamp) -> bool {
    let found = Timestamp::from_millis(expires.as_f64().unwrap().round() as i64);
    expected.since(found) <= Duration::from_millis(100)
        && found.since(expected) <= Duration::from_millis(1100)
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn record(persistent: bool, idle: Duration) -> SessionRecord {
    let now = now();
    let until = Some(now + 10 * MINUTE);
    SessionRecord {
        document: Document::from_json(r#"{"cart":[1,2]}"#).unwrap(),
        user: Some(ANN.into()),
        label: Some("a browser".into()),
        created: now,
        authenticated: Some(now),
        seen: now,
        lifetime: Lifetime { idle, until, persistent },
    }
}

impl Shared {
    async fn check(mut self) {
        self.what_express_begins().await;
        self.what_we_begin().await;
        self.cookies_that_end_with_the_browser().await;
        self.ends().await;
        self.expiry().await;
    }

    async fn load(&self, sid: &str) -> Option<Arc<SessionRecord>> {
        self.ours.load(&id(sid), now()).await.unwrap().map(|stored| stored.record)
    }

    async fn what_express_begins(&mut self) {
        self.express.create("from-express", Some(60_000), self.data);
        let begun = now();
        let before = self.express.raw("from-express");
        let stored = self.ours.load(&id("from-express"), begun).await.unwrap().unwrap();
        let mut record = (*stored.record).clone();
        assert_eq!(record.user.as_deref(), Some(ANN));
        // Express takes what is left of the minute when the cookie is made for its length: now and then a millisecond less.
        let length = self.express.look("from-express", "session.cookie.originalMaxAge").as_u64().unwrap();
        assert!((59_000..=60_000).contains(&length), "{length}");
        let idle = Duration::from_millis(length);
        assert_eq!(record.lifetime, Lifetime { idle, until: None, persistent: true });
        assert!(is_about(&json!(record.expires().as_millis()), begun + MINUTE));
        assert_eq!(self.ours.of_user(ANN, begun).await.unwrap().len(), 1);

        record.document.insert("ours", &json!({ "a": 1 })).unwrap();
        let changed = self.ours.update(&id("from-express"), &record, stored.revision, begun).await.unwrap();
        assert!(matches!(changed, Updated::Done(_)), "{changed:?}");
        assert_eq!(self.express.look("from-express", INTACT), true);
        assert_eq!(self.express.look("from-express", "session.ours.a"), 1);
        let keys = self.express.look(
            "from-express",
            "Object.keys(session).filter(key => !/^(cookie|_hallpass|lastModified)$/.test(key))",
        );
        let expected: &[&str] = if self.data == DATA {
            &["z", "odd", "passport", "é\u{2028}", "a", "ours"]
        } else {
            &["z", "at", "passport", "cart", "a", "ours"]
        };
        assert_eq!(keys, json!(expected));
        if self.plain {
            let before = before["text"].as_str().unwrap();
            let data = before.strip_suffix('}').unwrap().split_once("},").unwrap().1;
            assert!(data.contains(r#""z":1e+21,"odd":"\ud83d""#), "{data}");
            let after = self.express.raw("from-express");
            let after = after["text"].as_str().unwrap();
            assert!(after.contains(&format!(r#"}},{data},"ours":{{"a":1}},"_hallpass":{{"#)), "{after}");
        }

        self.express.change("from-express", "(session.count = 1, delete session.ours)");
        let again = self.load("from-express").await.unwrap();
        assert_eq!(again.document.get_raw("count").unwrap(), "1");
        assert!(again.document.get_raw("ours").is_none());
        assert_eq!(again.created, record.created, "what is ours comes along");
        let late = self.ours.update(&id("from-express"), &record, stored.revision, now()).await.unwrap();
        assert_eq!(late, Updated::Conflict, "Express came first");

        let touch = hallpass_session::Touch {
            id: id("from-express"),
            seen: now(),
            expires: now() + Duration::from_secs(90),
        };
        let (before, expires) = (self.express.raw("from-express")["expires"].clone(), touch.expires);
        self.ours.touch(&[touch], now()).await.unwrap();
        let after = self.express.raw("from-express")["expires"].clone();
        assert!(
            if self.touch_after { before == after } else { is_about(&after, expires) },
            "{before} {after}"
        );
        self.express.touch("from-express", 120_000);
        let after = self.express.raw("from-express")["expires"].clone();
        let expires = now() + 2 * MINUTE;
        assert!(
            if self.touch_after { before == after } else { is_about(&after, expires) },
            "{before} {after}"
        );
        assert!(self.load("from-express").await.is_some());
    }

    async fn what_we_begin(&mut self) {
        let (sid, record) = (RandomIds.generate(), record(true, MINUTE));
        let created = self.ours.create(&sid, &record, now()).await.unwrap();
        assert!(matches!(created, Created::Done(_)));
        let name = sid.expose().to_owned();
        let seen = self.express.look(
            &name,
            "[session.passport.user, session.cart, session.cookie.originalMaxAge, session.cookie.path, session.cookie.httpOnly, session.cookie.sameSite]",
        );
        assert_eq!(seen, json!([ANN, [1, 2], 60_000, "/", true, "lax"]));
        assert_eq!(self.express.look(&name, "session.cookie.expires instanceof Date"), true);
        assert!(is_about(&self.express.raw(&name)["expires"], record.expires()));
        self.express.change(&name, "session.cart.push(3)");
        let back = self.load(&name).await.unwrap();
        assert_eq!(back.document.get_raw("cart").unwrap(), "[1,2,3]");
        assert_eq!(
            (&back.user, &back.label, back.created, back.authenticated, back.lifetime),
            (&record.user, &record.label, record.created, record.authenticated, record.lifetime)
        );
        assert_eq!(self.ours.of_user(ANN, now()).await.unwrap().len(), 2);
        assert!(self.load(&name).await.is_some());
        let beyond = record.lifetime.until.unwrap();
        assert!(
            self.ours.load(&sid, beyond).await.unwrap().is_none(),
            "the absolute end is ours, whatever Express does to the row"
        );

        let (stored, new) = (self.ours.load(&sid, now()).await.unwrap().unwrap(), RandomIds.generate());
        let moved = self.ours.rotate(&sid, stored.revision, &new, &stored.record, now()).await.unwrap();
        assert!(matches!(moved, Updated::Done(_)));
        assert_eq!(self.express.look(&name, "true"), Value::Null);
        assert_eq!(self.express.look(new.expose(), "session.cart"), json!([1, 2, 3]));
    }

    async fn cookies_that_end_with_the_browser(&mut self) {
        self.express.create("browser", None, "{}");
        let ends = now() + self.ttl;
        assert!(is_about(&self.express.raw("browser")["expires"], ends));
        let found = self.load("browser").await.unwrap();
        assert_eq!(found.lifetime, Lifetime { idle: self.ttl, until: None, persistent: false });
        assert_eq!(found.user, None);
        let (sid, record) = (RandomIds.generate(), record(false, 2 * MINUTE));
        self.ours.create(&sid, &record, now()).await.unwrap();
        let cookie =
            self.express.look(sid.expose(), "[session.cookie.originalMaxAge, session.cookie.expires]");
        assert_eq!(cookie, json!([null, null]));
        assert!(is_about(&self.express.raw(sid.expose())["expires"], record.expires()));
    }

    async fn ends(&mut self) {
        for sid in ["one", "two"] {
            self.express.create(sid, Some(60_000), self.data);
        }
        assert!(self.ours.delete(&id("one"), now()).await.unwrap());
        assert_eq!(self.express.look("one", "true"), Value::Null);
        assert_eq!(self.express.raw("one"), Value::Null);
        let stored = self.ours.load(&id("two"), now()).await.unwrap().unwrap();
        self.express.destroy("two");
        assert!(self.load("two").await.is_none());
        let late = self.ours.update(&id("two"), &stored.record, stored.revision, now()).await.unwrap();
        assert_eq!(late, Updated::Gone, "a sign-out at Express is final here");
        assert_eq!(self.express.look("two", "true"), Value::Null);
        assert!(self.ours.delete_of_user(ANN, None, now()).await.unwrap() >= 2);
        assert_eq!(self.express.look("from-express", "true"), Value::Null);
    }

    /// Nobody sees a session that has ended by itself, whoever began it.
    async fn expiry(&mut self) {
        self.express.create("short", Some(2000), self.data);
        let sid = RandomIds.generate();
        self.ours.create(&sid, &record(true, Duration::from_secs(2)), now()).await.unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let names = ["short", sid.expose()];
        for name in names {
            assert!(self.load(name).await.is_some());
        }
        for name in names {
            while self.load(name).await.is_some() || !self.express.look(name, "true").is_null() {
                assert!(Instant::now() < end, "{name} does not end");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn with_mongo(options: &str, ours: ConnectMongoOptions, plain: bool, data: &'static str) {
    let Some(server) = mongodb::reach().await else { return };
    let name = ours.collection.clone();
    let options = format!("{{ collectionName: {name:?}, ...{options} }}");
    let Some(express) = Express::open("mongo", &server.url, &options) else { return };
    let ours = ConnectMongoOptions { connect: common(14 * 24 * 60 * MINUTE), ..ours };
    let (ttl, touch_after) = (ours.connect.ttl, !ours.touch_after.is_zero());
    let ours = Arc::new(ConnectMongo::connect(&server.url, &ours).await.unwrap());
    Shared { express, ours, plain, data, ttl, touch_after }.check().await;
}

fn collection(name: &str) -> ConnectMongoOptions {
    ConnectMongoOptions { collection: name.to_owned(), ..ConnectMongoOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo() {
    with_mongo("{}", collection("plain"), true, DATA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_with_objects() {
    let ours = ConnectMongoOptions { stringify: false, ..collection("objects") };
    with_mongo("{ stringify: false }", ours, false, OBJECT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_that_touches_seldom_and_removes_in_intervals() {
    let ours = ConnectMongoOptions {
        touch_after: 60 * MINUTE,
        auto_remove: AutoRemove::Interval(10 * MINUTE),
        ..collection("seldom")
    };
    with_mongo("{ touchAfter: 3600, autoRemove: 'interval' }", ours, true, DATA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_with_web_crypto() {
    let crypto = WebCrypto::new("a secret".to_owned());
    let ours = ConnectMongoOptions { crypto: Some(Crypto::WebCrypto(crypto)), ..collection("sealed") };
    with_mongo("{ cryptoAdapter: createWebCryptoAdapter({ secret: 'a secret' }) }", ours, false, DATA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_with_all_options_of_web_crypto_and_prefixed_ids() {
    let crypto = WebCrypto {
        cipher: Cipher::AesCbc,
        encoding: Encoding::Base64Url,
        salt: "salt".to_owned(),
        iterations: 1000.try_into().unwrap(),
        ..WebCrypto::new("a secret".to_owned())
    };
    let ours = ConnectMongoOptions {
        crypto: Some(Crypto::WebCrypto(crypto)),
        transform_id: TransformId::Prefix("p:".to_owned()),
        ..collection("cbc")
    };
    let options = "{ transformId: sid => 'p:' + sid, cryptoAdapter: createWebCryptoAdapter({ secret: 'a secret', algorithm: 'AES-CBC',
        encoding: 'base64url', salt: 'salt', iterations: 1000 }) }";
    with_mongo(options, ours, false, DATA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_with_kruptein_and_hashed_ids() {
    let ours = ConnectMongoOptions {
        crypto: Some(Crypto::Kruptein("a secret".to_owned().into())),
        transform_id: TransformId::Sha256,
        ..collection("kruptein")
    };
    with_mongo("{ transformId: sha256, crypto: { secret: 'a secret' } }", ours, false, DATA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_beside_the_session_are_connect_mongos() {
    let Some(server) = mongodb::reach().await else { return };
    let options = "{ collectionName: 'beside', touchAfter: 3600, timestamps: true }";
    let Some(mut express) = Express::open("mongo", &server.url, options) else { return };
    let ours = ConnectMongoOptions { touch_after: 60 * MINUTE, timestamps: true, ..collection("beside") };
    let ours = ConnectMongo::connect(&server.url, &ours).await.unwrap();
    express.create("a", Some(60_000), "{ n: 1 }");
    let before = express.raw("a")["row"].clone();
    let mut stored = ours.load(&id("a"), now()).await.unwrap().unwrap();
    Arc::make_mut(&mut stored.record).document.insert("n", &2).unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    ours.update(&id("a"), &stored.record, stored.revision, now()).await.unwrap();
    let after = express.raw("a")["row"].clone();
    assert_eq!(after["createdAt"], before["createdAt"]);
    for moved in ["updatedAt", "lastModified"] {
        assert!(!after[moved].is_null() && after[moved] != before[moved], "{moved}: {after}");
    }
    assert!(!after["session"].as_str().unwrap().contains("lastModified"), "{after}");
    assert_eq!(express.look("a", "session.lastModified instanceof Date && session.n"), 2);
    let sid = RandomIds.generate();
    ours.create(&sid, &stored.record, now()).await.unwrap();
    let made = express.raw(sid.expose())["row"].clone();
    for field in ["createdAt", "updatedAt", "lastModified"] {
        assert!(!made[field].is_null(), "{field}: {made}");
    }
}

async fn with_redis(options: &str, ours: ConnectRedisOptions) {
    let Some(server) = redis::reach() else { return };
    let Some(express) = Express::open("redis", &server.url, options) else { return };
    let ttl = 24 * 60 * MINUTE;
    let ours = ConnectRedisOptions { connect: common(ttl), ..ours };
    let ours = Arc::new(ConnectRedis::connect(&server.url, &ours).await.unwrap());
    Shared { express, ours, plain: true, data: DATA, ttl, touch_after: false }.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_redis_9() {
    with_redis("{ version: 9 }", ConnectRedisOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_redis_10_with_a_prefix_of_its_own() {
    let ours = ConnectRedisOptions { prefix: "app:".to_owned(), ..ConnectRedisOptions::default() };
    with_redis("{ version: 10, prefix: 'app:' }", ours).await;
}

async fn with_pg(options: &str, ours: ConnectPgOptions) {
    let Some(server) = postgres::reach() else { return };
    let Some(express) = Express::open("pg", &server.url, options) else { return };
    let ttl = 24 * 60 * MINUTE;
    let ours = ConnectPgOptions { connect: common(ttl), create_table: true, ..ours };
    let ours = Arc::new(ConnectPg::connect(&server.url, &ours).await.unwrap());
    Shared { express, ours, plain: true, data: DATA, ttl, touch_after: false }.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_pg_simple() {
    with_pg("{ createTableIfMissing: true }", ConnectPgOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_pg_simple_in_another_time_zone() {
    let ours = ConnectPgOptions {
        table: "Sessions of Tokyo".to_owned(),
        time_zone: Some("Asia/Tokyo".to_owned()),
        ..ConnectPgOptions::default()
    };
    let options = "{ tableName: 'Sessions of Tokyo', pool: { options: '-c TimeZone=Asia/Tokyo' } }";
    with_pg(options, ours).await;
}

//! The Express profile over stored sessions that cannot be read, in each of Express's stores: their owners are not signed in, can sign
//! in, and sign out of them at Express too.

#![cfg(all(feature = "mongodb", feature = "postgres", feature = "redis"))]
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{pin::Pin, sync::Arc};

use ::mongodb::bson::{Bson, RawDocumentBuf, doc, serialize_to_vec};
use axum::{
    Router,
    body::{Body, to_bytes},
    routing::{get, post},
};
use engines::{mongodb, postgres, redis};
use hallpass_session::{
    Clock, IdGenerator, Keys, RandomIds, Session, SessionLayer, SystemClock,
    express::{ExpressOptions, ExpressStore},
};
use hallpass_stores::{
    AutoRemove, ConnectMongo, ConnectMongoOptions, ConnectPg, ConnectPgOptions, ConnectRedis,
    ConnectRedisOptions,
};
use http::{Request, StatusCode, header};
use tower::ServiceExt;

const COOKIE: &str = r#""cookie":{"originalMaxAge":null,"expires":null,"path":"/"}"#;

/// What makes no session, written as a text.
fn broken(depth: usize) -> Vec<String> {
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    vec![
        "[1]".to_owned(),
        "5".to_owned(),
        r#"{"passport":{"user":"ann"}}"#.to_owned(),
        r#"{"cookie":null,"passport":{"user":"ann"}}"#.to_owned(),
        r#"{"cookie":{"originalMaxAge":"soon"},"passport":{"user":"ann"}}"#.to_owned(),
        format!(r#"{{{COOKIE},"passport":{{"user":"ann"}},"deep":{deep}}}"#),
    ]
}

/// Sessions whose user is no text: they can be read, and nobody is signed in.
fn nobody() -> Vec<String> {
    ["{\"id\":1}", "[\"ann\"]", "true", "null", "\"\\ud83d\""]
        .map(|user| format!(r#"{{{COOKIE},"passport":{{"user":{user}}}}}"#))
        .into()
}

fn no_json() -> Vec<String> {
    ["{", "{nope", "[object Object]"].map(str::to_owned).into()
}

type Done<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Writes something under an ID; `N`-th of what a test has.
type Put<'a> = &'a dyn Fn(String, usize) -> Done<'a, ()>;

/// Whether something is stored under an ID.
type Exists<'a> = &'a dyn Fn(String) -> Done<'a, bool>;

struct Site {
    router: Router,
    keys: Keys,
}

impl Site {
    fn new(store: Arc<dyn ExpressStore>) -> Self {
        let keys = Keys::from_secret("a secret that the Express app has too").unwrap();
        let router = Router::new()
            .route("/who", get(async |session: Session| session.user().unwrap_or_default().to_string()))
            .route("/login", post(async |session: Session| session.establish("ann")))
            .route("/logout", post(async |session: Session| session.destroy()))
            .layer(SessionLayer::express(store, keys.clone(), ExpressOptions::default()));
        Self { router, keys }
    }

    /// The body, and the cookie that is set.
    async fn send(&self, method: &str, path: &str, cookie: &str) -> (String, Option<String>) {
        let request = Request::builder().method(method).uri(path).header(header::COOKIE, cookie);
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{method} {path}");
        let set = answer.headers().get(header::SET_COOKIE).map(|set| set.to_str().unwrap().to_owned());
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let cookie = set.and_then(|set| Some(set.split(';').next()?.to_owned()));
        (String::from_utf8(body.to_vec()).unwrap(), cookie)
    }

    async fn check(&self, count: usize, put: Put<'_>, exists: Exists<'_>) {
        for at in 0..count {
            for act in ["/logout", "/login"] {
                let id = RandomIds.generate();
                let (sid, cookie) = (id.expose().to_owned(), format!("connect.sid={}", self.keys.sign(&id)));
                put(sid.clone(), at).await;
                assert!(exists(sid.clone()).await, "{at}");
                assert_eq!(self.send("GET", "/who", &cookie).await.0, "", "{at}: somebody is signed in");
                assert!(exists(sid.clone()).await, "{at}: a look ends nothing");
                let (_, set) = self.send("POST", act, &cookie).await;
                assert!(!exists(sid.clone()).await, "{at}: {act} left it to Express");
                if act == "/login" {
                    assert_eq!(self.send("GET", "/who", &set.unwrap()).await.0, "ann", "{at}");
                }
            }
        }
    }
}

#[tokio::test]
async fn connect_redis() {
    let Some(engine) = redis::start() else { return };
    let store = ConnectRedis::connect(&redis::url(&engine), &ConnectRedisOptions::default()).await.unwrap();
    let texts: Vec<String> = [broken(100_000), nobody(), no_json()].concat();
    let cli = |words: &[&str]| {
        let port = engine.port.to_string();
        let words: Vec<String> = [&["-p", &port], words].concat().into_iter().map(str::to_owned).collect();
        redis::cli(&words).trim().to_owned()
    };
    let (cli, texts) = (&cli, &texts);
    let put = |sid: String, at: usize| -> Done<'_, ()> {
        let key = format!("sess:{sid}");
        // A command line takes 128 KiB a word, so what is nested deeply is made there. The last one is not UTF-8.
        let script = "local text = ARGV[1]
            if text == '' then text = '{' .. string.char(255) .. '}' end
            return redis.call('SET', KEYS[1], (string.gsub(text, 'DEEP', string.rep('[', 100000) .. string.rep(']', 100000))), 'EX', 600)";
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = texts.get(at).map(|text| text.replace(&deep, "DEEP")).unwrap_or_default();
        assert_eq!(cli(&["eval", script, "1", &key, &text]), "OK");
        Box::pin(async {})
    };
    let exists = |sid: String| -> Done<'_, bool> {
        let found = cli(&["exists", &format!("sess:{sid}")]) == "1";
        Box::pin(async move { found })
    };
    Site::new(Arc::new(store)).check(texts.len() + 1, &put, &exists).await;
}

#[tokio::test]
async fn connect_pg_simple() {
    let Some(engine) = postgres::start() else { return };
    let url = postgres::url(&engine);
    let options = ConnectPgOptions { create_table: true, ..ConnectPgOptions::default() };
    let store = ConnectPg::connect(&url, &options).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // A column of type json refuses what is no JSON, and half a surrogate pair only in an index.
    let texts = [broken(2000), nobody()].concat();
    let (client, texts) = (&client, &texts);
    let put = |sid: String, at: usize| -> Done<'_, ()> {
        Box::pin(async move {
            let row = "insert into session (sid, sess, expire) values ($1, $2::text::json, 'infinity')";
            client.execute(row, &[&sid, &texts[at]]).await.unwrap();
        })
    };
    let exists = |sid: String| -> Done<'_, bool> {
        let query = "select 1 from session where sid = $1";
        Box::pin(async move { client.query_opt(query, &[&sid]).await.unwrap().is_some() })
    };
    Site::new(Arc::new(store)).check(texts.len(), &put, &exists).await;
}

async fn connect_mongo(stringify: bool, collection: &str) {
    let Some(engine) = mongodb::start().await else { return };
    let url = mongodb::url(&engine);
    let options = ConnectMongoOptions {
        stringify,
        collection: collection.to_owned(),
        auto_remove: AutoRemove::Disabled,
        ..ConnectMongoOptions::default()
    };
    let store = ConnectMongo::connect(&url, &options).await.unwrap();
    let client = ::mongodb::Client::with_uri_str(&url).await.unwrap();
    let rows = client.database("test").collection::<RawDocumentBuf>(collection);
    let mut values: Vec<Bson> =
        [broken(100_000), nobody(), no_json()].concat().into_iter().map(Bson::String).collect();
    values.push(doc! { "passport": { "user": "ann" } }.into());
    values.push(doc! { "cookie": { "originalMaxAge": "soon" }, "passport": { "user": "ann" } }.into());
    let (rows, values) = (&rows, &values);
    let put = |sid: String, at: usize| -> Done<'_, ()> {
        let ends = ::mongodb::bson::DateTime::from_millis(SystemClock.now().as_millis() + 600_000);
        let session = values.get(at).cloned().unwrap_or_else(|| "{}".into());
        let mut bytes = serialize_to_vec(&doc! { "_id": sid, "session": session, "expires": ends }).unwrap();
        if at == values.len() {
            let at = bytes.windows(2).position(|pair| pair == b"{}").unwrap();
            bytes[at] = 0xff;
        }
        let row = RawDocumentBuf::from_bytes(bytes).unwrap();
        Box::pin(async move { drop(rows.insert_one(row).await.unwrap()) })
    };
    let exists = |sid: String| -> Done<'_, bool> {
        Box::pin(async move { rows.count_documents(doc! { "_id": sid }).await.unwrap() == 1 })
    };
    Site::new(Arc::new(store)).check(values.len() + 1, &put, &exists).await;
}

#[tokio::test]
async fn connect_mongo_with_texts() {
    connect_mongo(true, "texts").await;
}

#[tokio::test]
async fn connect_mongo_with_objects() {
    connect_mongo(false, "objects").await;
}

//! Sessions in Express's layouts that cannot be read as one: their users are signed out here, and can sign out and in again.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;
#[path = "../../stores/tests/engines/mod.rs"]
mod engines;

use std::time::Instant;

use common::{Client, Server, credentials};
use hallpass_session::Keys;
use mongodb::bson::{RawDocumentBuf, doc};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const SECRET: &str = "a-secret-of-several-servers-that-is-long";

/// What somebody writes in place of a session.
struct Broken {
    what: &'static str,
    /// The text, `{user}` replaced by a user's ID.
    text: String,
}

fn broken(depth: usize) -> Vec<Broken> {
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let cookie = r#""cookie":{"originalMaxAge":null}"#;
    let one = |what, text: String| Broken { what, text };
    vec![
        one("half a surrogate pair as the user", format!(r#"{{{cookie},"userId":"\ud83d"}}"#)),
        one("an object as the user", format!(r#"{{{cookie},"userId":{{"id":"{{user}}"}}}}"#)),
        one("a list as the user", format!(r#"{{{cookie},"userId":["{{user}}"]}}"#)),
        one("a nested value as the user", format!(r#"{{{cookie},"userId":{deep}}}"#)),
        one("a nested value", format!(r#"{{{cookie},"userId":5,"deep":{deep}}}"#)),
        one("a nested cookie", format!(r#"{{"cookie":{deep},"userId":7}}"#)),
        one("a nested stamp", format!(r#"{{{cookie},"userId":"{{user}}","hallpass":{deep}}}"#)),
        one("a stamp that is none", format!(r#"{{{cookie},"userId":"{{user}}","hallpass":"x"}}"#)),
        one("nested notes", format!(r#"{{{cookie},"userId":"nobody","_hallpass":{deep}}}"#)),
        one("a list", "[1]".to_owned()),
        one("a number", "5".to_owned()),
    ]
}

/// What is no JSON, where the database keeps such a thing.
fn no_json() -> Vec<Broken> {
    ["", "{", "\u{0}", "null", "[object Object]"]
        .map(|text| Broken { what: "no JSON", text: text.into() })
        .into()
}

/// The session ID in a browser's cookie.
fn sid(client: &Client) -> String {
    let (_, value) = client.cookie.as_deref().unwrap().split_once('=').unwrap();
    Keys::from_secret(SECRET).unwrap().verify(value).unwrap().id.expose().to_owned()
}

fn serve(folder: &TempDir, url: &str, more: &[(&str, &str)]) -> Server {
    let environment = [
        &[
            ("HALLPASS__SESSION__SECRETS", SECRET),
            ("HALLPASS__SESSION__LOGIN_KEY", "userId"),
            ("HALLPASS__THROTTLE__ACCOUNT__FREE", "1000"),
            ("HALLPASS__THROTTLE__ADDRESS__FREE", "1000"),
            ("HALLPASS__SESSION__CACHE_SIZE", "0"),
        ],
        more,
    ]
    .concat();
    Server::start_with(folder.path(), &["--sessions", url, "--layout", "connect"], &environment)
}

/// Each browser has a session; `overwrite` puts something else in its place. Express may read what this program cannot, so what stands
/// there must be gone after a sign-out, and after a sign-in of the same browser.
fn check(server: &Server, all: &[Broken], overwrite: &dyn Fn(&str, &Broken), exists: &dyn Fn(&str) -> bool) {
    let (began, mut ann) = (Instant::now(), server.registered("ann"));
    let user = ann.get("/auth/me").json()["user"]["id"].as_str().unwrap().to_owned();
    for Broken { what, text } in all {
        let one = Broken { what, text: text.replace("{user}", &user) };
        let mut browser = server.signed_in("ann");
        let broken = sid(&browser);
        overwrite(&broken, &one);
        assert!(exists(&broken), "{what}");
        assert_eq!(browser.get("/auth/me").status, 401, "{what}: {}", server.log());
        assert_eq!(browser.get("/login").status, 200, "{what}");
        assert_eq!(browser.post("/auth/logout", &json!({})).status, 200, "{what}");
        assert!(!exists(&broken), "{what}: a sign-out left it to Express");
        let mut browser = server.signed_in("ann");
        let broken = sid(&browser);
        overwrite(&broken, &one);
        assert_eq!(browser.post("/auth/login", &credentials("ann")).status, 200, "{what}: {}", server.log());
        assert!(browser.is_signed_in(), "{what}");
        assert!(!exists(&broken), "{what}: a sign-in left it to Express");
    }
    assert!(ann.is_signed_in(), "the others stay");
    let sessions = ann.get("/auth/sessions");
    assert_eq!(sessions.status, 200, "one that cannot be read hides no other");
    let lines = server.log().lines().filter(|line| line.contains("session_user_unreadable")).count();
    let minutes = usize::try_from(began.elapsed().as_secs() / 60).unwrap();
    assert!((1..=1 + minutes).contains(&lines), "said once a minute, not with every request: {lines}");
}

#[test]
fn in_redis() {
    let Some(engine) = engines::redis::start() else { return };
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &engines::redis::url(&engine), &[]);
    let put = |sid: &str, script: &str, text: &str| {
        let words = ["-p", &engine.port.to_string(), "eval", script, "1", &format!("sess:{sid}"), text];
        engines::redis::cli(&words.map(str::to_owned))
    };
    let overwrite = |sid: &str, one: &Broken| {
        let said = put(sid, "return redis.call('SET', KEYS[1], ARGV[1], 'EX', 600)", &one.text);
        assert_eq!(said.trim(), "OK", "{}", one.what);
    };
    // A command line has no zero bytes.
    let texts = no_json().into_iter().filter(|one| !one.text.contains('\0'));
    let exists = |sid: &str| {
        let words = ["-p", &engine.port.to_string(), "exists", &format!("sess:{sid}")];
        engines::redis::cli(&words.map(str::to_owned)).trim() == "1"
    };
    check(&server, &broken(40_000).into_iter().chain(texts).collect::<Vec<_>>(), &overwrite, &exists);
    let mut browser = server.signed_in("ann");
    put(&sid(&browser), "return redis.call('SET', KEYS[1], '{\"a\":\"' .. string.char(255) .. '\"}')", "");
    assert_eq!(browser.get("/auth/me").status, 401, "bytes that are not UTF-8");
    assert_eq!(browser.post("/auth/logout", &json!({})).status, 200);
    put(&sid(&server.signed_in("ann")), "return redis.call('RPUSH', KEYS[1], 'x')", "");
}

#[test]
fn in_postgresql() {
    let Some(engine) = engines::postgres::start() else { return };
    let (folder, runtime) = (TempDir::new().unwrap(), Runtime::new().unwrap());
    let url = engines::postgres::url(&engine);
    let server = serve(&folder, &url, &[("HALLPASS__CONNECT__PG__CREATE_TABLE_IF_MISSING", "true")]);
    let client = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    });
    let overwrite = |sid: &str, one: &Broken| {
        let row = "insert into session (sid, sess, expire) values ($1, $2::text::json, 'infinity')
            on conflict (sid) do update set sess = excluded.sess, expire = excluded.expire";
        runtime.block_on(client.execute(row, &[&sid, &one.text])).unwrap();
    };
    let exists = |sid: &str| {
        let query = "select 1 from session where sid = $1";
        runtime.block_on(client.query_opt(query, &[&sid])).unwrap().is_some()
    };
    check(&server, &broken(1000), &overwrite, &exists);
}

fn mongo(more: &[(&str, &str)], texts: &[Broken]) {
    let runtime = Runtime::new().unwrap();
    let Some(engine) = runtime.block_on(engines::mongodb::start()) else { return };
    let (folder, url) = (TempDir::new().unwrap(), engines::mongodb::url(&engine));
    let server = serve(&folder, &url, more);
    let client = runtime.block_on(mongodb::Client::with_uri_str(&url)).unwrap();
    let rows = client.database("test").collection::<RawDocumentBuf>("sessions");
    let put = |sid: &str, session: mongodb::bson::Bson| {
        let change = doc! { "$set": { "session": session } };
        let written = rows.update_one(doc! { "_id": sid }, change).upsert(true);
        runtime.block_on(written.into_future()).unwrap();
    };
    let exists = |sid: &str| {
        let found = rows.count_documents(doc! { "_id": sid });
        runtime.block_on(found.into_future()).unwrap() == 1
    };
    check(&server, texts, &|sid, one| put(sid, one.text.as_str().into()), &exists);
    check_objects(&server, &put);
    let mut browser = server.signed_in("ann");
    let mut bytes = doc! { "_id": sid(&browser), "session": "{}" };
    runtime.block_on(rows.delete_one(doc! { "_id": sid(&browser) }).into_future()).unwrap();
    bytes.insert("more", 1);
    let mut bytes = mongodb::bson::serialize_to_vec(&bytes).unwrap();
    let at = bytes.windows(2).position(|pair| pair == b"{}").unwrap();
    bytes[at] = 0xff;
    let row = RawDocumentBuf::from_bytes(bytes).unwrap();
    runtime.block_on(rows.insert_one(row).into_future()).unwrap();
    assert_eq!(browser.get("/auth/me").status, 401, "bytes that are not UTF-8: {}", server.log());
    assert_eq!(browser.post("/auth/logout", &json!({})).status, 200);
}

fn check_objects(server: &Server, put: &dyn Fn(&str, mongodb::bson::Bson)) {
    for user in [doc! { "id": 5 }.into(), vec![1, 2].into(), mongodb::bson::Bson::Boolean(true), 5.into()] {
        let mut browser = server.signed_in("ann");
        put(&sid(&browser), doc! { "cookie": { "originalMaxAge": null }, "userId": user }.into());
        assert_eq!(browser.get("/auth/me").status, 401);
        assert_eq!(browser.post("/auth/logout", &json!({})).status, 200);
    }
}

#[test]
fn in_mongodb() {
    mongo(&[], &[broken(40_000), no_json()].into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn in_mongodb_with_objects() {
    mongo(
        &[("HALLPASS__CONNECT__MONGO__STRINGIFY", "false")],
        &[broken(40_000), no_json()].into_iter().flatten().collect::<Vec<_>>(),
    );
}

/// With another secret than Express's nobody is answered with 503, and the log says what to look at, once.
#[test]
fn encrypted_with_another_secret() {
    let runtime = Runtime::new().unwrap();
    let Some(engine) = runtime.block_on(engines::mongodb::start()) else { return };
    let (folder, url) = (TempDir::new().unwrap(), engines::mongodb::url(&engine));
    for (crypto, one, other) in [("webcrypto", "secret one", "secret two"), ("kruptein", "s1", "s2")] {
        let options = |secret| {
            [
                ("HALLPASS__CONNECT__MONGO__CRYPTO", crypto),
                ("HALLPASS__CONNECT__MONGO__CRYPTO_SECRET", secret),
                ("HALLPASS__CONNECT__MONGO__COLLECTION_NAME", crypto),
            ]
        };
        let first = serve(&folder, &url, &options(one));
        let ann = first.registered(&format!("ann{}", crypto.len()));
        drop(first);
        let second = serve(&folder, &url, &options(other));
        let said = second.log_line("sessions_not_decrypted");
        assert!(said.is_some_and(|line| line["reason"].as_str().unwrap().contains("crypto_secret")));
        let mut browser = second.client();
        browser.cookie.clone_from(&ann.cookie);
        assert_eq!(browser.get("/auth/me").status, 401, "{}", second.log());
        assert_eq!(browser.post("/auth/logout", &json!({})).status, 200);
        browser.cookie.clone_from(&ann.cookie);
        let again = credentials(&format!("ann{}", crypto.len()));
        assert_eq!(browser.post("/auth/login", &again).status, 200, "{}", second.log());
        assert!(browser.is_signed_in());
    }
}

//! MongoDB keeps the contracts, also for several servers on one database.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{sync::Arc, time::Duration};

use ::mongodb::bson::{Bson, Document, doc};
use engines::mongodb;
use hallpass_session::{Clock, IdGenerator, RandomIds, SessionStore, SystemClock};
use hallpass_stores::{ConnectMongo, ConnectMongoOptions, ConnectOptions, Mongo, ServerOptions};

async fn connect(url: &str) -> Mongo {
    Mongo::connect(url, &ServerOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions() {
    let Some(server) = mongodb::reach().await else { return };
    hallpass_session::conformance::run(Arc::new(connect(&server.url).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users() {
    let Some(server) = mongodb::reach().await else { return };
    hallpass_auth::conformance::users(Arc::new(connect(&server.url).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records() {
    let Some(server) = mongodb::reach().await else { return };
    hallpass_auth::conformance::records(Arc::new(connect(&server.url).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_at_once_agree_and_a_newer_schema_is_refused() {
    let Some(engine) = mongodb::start().await else { return };
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let url = mongodb::url(&engine);
            tokio::spawn(async move { Mongo::connect(&url, &ServerOptions::default()).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    let client = ::mongodb::Client::with_uri_str(mongodb::url(&engine)).await.unwrap();
    let notes = client.database("test").collection::<Document>("hallpass_schema");
    let version = doc! { "$set": { "version": 99 } };
    notes.update_one(doc! { "_id": "schema" }, version).await.unwrap();
    let refused = Mongo::connect(&mongodb::url(&engine), &ServerOptions::default()).await;
    let sentence = refused.err().unwrap().to_string();
    assert!(sentence.contains("newer Hallpass (schema 99"), "{sentence}");
}

#[tokio::test]
async fn what_cannot_be_reached_or_read_is_said_without_the_password() {
    let options = ServerOptions { timeout: Duration::from_millis(300), ..ServerOptions::default() };
    for (url, expected) in [
        ("mongodb://u:hunter2@127.0.0.1:1/x", "cannot connect to MongoDB"),
        ("mongodb://u:hunter2@host:port/x", "write mongodb://user:password@host/database"),
        ("mongodb://u:hunter2@127.0.0.1/x?w=lots&nonsense=1", "the MongoDB URL cannot be used"),
    ] {
        let sentence = Mongo::connect(url, &options).await.err().unwrap().to_string();
        assert!(sentence.contains(expected) && !sentence.contains("hunter2"), "{sentence}");
    }
}

/// Where the servers are, only the name service knows; what can be known without it is.
#[tokio::test]
async fn srv_urls_are_understood_up_to_their_name() {
    let url =
        "mongodb+srv://margaret:hunter2@cluster.invalid/app?retryWrites=true&w=majority&authSource=admin";
    let parsed = ::mongodb::options::ConnectionString::parse(url).unwrap();
    let ::mongodb::options::HostInfo::DnsRecord(name) = parsed.host_info else {
        panic!("no name to look up")
    };
    assert_eq!((name.as_str(), parsed.default_database.as_deref()), ("cluster.invalid", Some("app")));
    assert_eq!(parsed.retry_writes, Some(true));
    let options = ServerOptions { timeout: Duration::from_millis(500), ..ServerOptions::default() };
    for (url, expected) in [
        (url, "the name service does not know the hosts of the MongoDB URL"),
        ("mongodb+srv://margaret:hunter2@a.invalid:27017/x", "the MongoDB URL cannot be used"),
        ("mongodb+srv://margaret:hunter2@a.b.invalid,b.b.invalid/x", "the MongoDB URL cannot be used"),
    ] {
        let error = Mongo::connect(url, &options).await.err().unwrap();
        let sentence = error.to_string();
        assert!(sentence.contains(expected), "{sentence}");
        for secret in ["hunter2", "margaret"] {
            assert!(!sentence.contains(secret) && !format!("{error:?}").contains(secret), "{error:?}");
        }
    }
}

/// The server that ends a session notes it, then deletes it, and answers that it has ended it. A sweep in between would make that
/// "there was nothing to end", which is a 404.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_leaves_a_session_to_the_server_that_is_ending_it() {
    let Some(engine) = mongodb::start().await else { return };
    let connect = ConnectOptions { guard: false, ..ConnectOptions::default() };
    let options = ConnectMongoOptions { connect, ..ConnectMongoOptions::default() };
    let store = ConnectMongo::connect(&mongodb::url(&engine), &options).await.unwrap();
    let client = ::mongodb::Client::with_uri_str(mongodb::url(&engine)).await.unwrap();
    let [sessions, ended] = ["sessions", "hallpass_ended_sessions"]
        .map(|name| client.database("test").collection::<Document>(name));
    let (id, now) = (RandomIds.generate(), SystemClock.now());
    let day = ::mongodb::bson::DateTime::from_millis(now.as_millis() + 24 * 60 * 60 * 1000);
    let session = doc! { "_id": id.expose(), "session": "{\"cookie\":{}}", "expires": day };
    sessions.insert_one(session).await.unwrap();
    let noted = |ago: i64| {
        let at = doc! { "$subtract": ["$$NOW", ago] };
        vec![doc! { "$set": { "moved": false, "until": day, "ended": at } }]
    };
    let this = doc! { "_id": id.expose() };
    ended.update_one(this.clone(), noted(0)).upsert(true).await.unwrap();
    store.sweep(100, now).await.unwrap();
    let left = sessions.find_one(this.clone()).await.unwrap();
    assert!(left.is_some_and(|left| left.get("session") != Some(&Bson::Null)), "the sweep took it");
    ended.update_one(this.clone(), noted(10_000)).await.unwrap();
    store.sweep(100, now + Duration::from_secs(61)).await.unwrap();
    assert!(sessions.find_one(this).await.unwrap().is_none(), "the server has died in between");
}

//! PostgreSQL keeps the contracts, also for several servers on one database.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::sync::Arc;

use engines::postgres;
use hallpass_session::{Clock, SessionStore, SystemClock};
use hallpass_stores::{Postgres, ServerOptions};

async fn connect(url: &str) -> Postgres {
    Postgres::connect(url, &ServerOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions() {
    let Some(server) = postgres::reach() else { return };
    hallpass_session::conformance::run(Arc::new(connect(&server.url).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users() {
    let Some(server) = postgres::reach() else { return };
    hallpass_auth::conformance::users(Arc::new(connect(&server.url).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records() {
    let Some(server) = postgres::reach() else { return };
    hallpass_auth::conformance::records(Arc::new(connect(&server.url).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_at_once_agree_on_one_schema_and_a_newer_one_is_refused() {
    let Some(engine) = postgres::start() else { return };
    let first = connect(&postgres::url(&engine)).await;
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let url = postgres::url(&engine);
            tokio::spawn(async move { Postgres::connect(&url, &ServerOptions::default()).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap().check(SystemClock.now()).await.unwrap();
    }
    first.check(SystemClock.now()).await.unwrap();
    let (client, connection) =
        tokio_postgres::connect(&postgres::url(&engine), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("insert into hallpass_schema (version) values (99)").await.unwrap();
    let refused = Postgres::connect(&postgres::url(&engine), &ServerOptions::default()).await;
    let sentence = refused.err().unwrap().to_string();
    assert!(
        sentence.contains("newer Hallpass (schema 99") && sentence.contains("start the newer program"),
        "{sentence}"
    );
}

#[tokio::test]
async fn what_cannot_be_reached_or_read_is_said_without_the_password() {
    let options =
        ServerOptions { timeout: std::time::Duration::from_millis(300), ..ServerOptions::default() };
    for (url, expected) in [
        ("postgres://u:hunter2@127.0.0.1:1/x", "cannot connect to PostgreSQL"),
        ("postgres://u:hunter2@host:port/x", "write postgres://user:password@host/database"),
    ] {
        let sentence = Postgres::connect(url, &options).await.err().unwrap().to_string();
        assert!(sentence.contains(expected) && !sentence.contains("hunter2"), "{sentence}");
    }
}

//! Accounts in tables of other applications, whose session epoch is the password's digest alone: what their maker does while the owner of the address comes is gone.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;
#[path = "../../auth/tests/provider/mod.rs"]
mod provider;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use hallpass_auth::{PasswordFormat, UserStore};
use hallpass_stores::{
    Ids, MongoUsers, PostgresUsers, ServerOptions, SqliteOptions, SqliteUsers, UserMap, Verified,
};
use mongodb::bson::doc;
use provider::races::{no_link_to_a_deleted_account_stays, nothing_of_the_maker_lasts};

fn map(table: &str) -> UserMap {
    UserMap {
        table: table.to_owned(),
        ids: Ids::ObjectId,
        verified: Verified::Field("verified".to_owned()),
        passwords: PasswordFormat::Bcrypt { cost: 4 },
        ..UserMap::default()
    }
}

/// A name that no other table has.
fn fresh() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("people_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_maker_does_in_sqlite_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let users = async || {
        let path = folder.path().join(fresh());
        let table = "create table users (id integer primary key autoincrement, email text unique, password text not null, name text, verified integer)";
        rusqlite::Connection::open(&path).unwrap().execute_batch(table).unwrap();
        let users: Arc<dyn UserStore> =
            Arc::new(SqliteUsers::open(path, &map("users"), &SqliteOptions::default()).unwrap());
        users
    };
    nothing_of_the_maker_lasts(&users).await;
    no_link_to_a_deleted_account_stays(&users).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_maker_does_in_postgresql_is_gone() {
    let Some(server) = engines::postgres::reach() else { return };
    let (client, connection) = tokio_postgres::connect(&server.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("create schema takeover").await.unwrap();
    let users = async || {
        let map = UserMap { schema: Some("takeover".to_owned()), ..map(&fresh()) };
        let columns =
            "id serial primary key, email text unique, password varchar(60), name text, verified timestamptz";
        client.batch_execute(&format!("create table takeover.{} ({columns})", map.table)).await.unwrap();
        let users: Arc<dyn UserStore> =
            Arc::new(PostgresUsers::connect(&server.url, &map, &ServerOptions::default()).await.unwrap());
        users
    };
    nothing_of_the_maker_lasts(&users).await;
    no_link_to_a_deleted_account_stays(&users).await;
    client.batch_execute("drop schema takeover cascade").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_maker_does_in_mongodb_is_gone() {
    let Some(server) = engines::mongodb::reach().await else { return };
    let client = mongodb::Client::with_uri_str(&server.url).await.unwrap();
    let database = client.default_database().unwrap();
    let users = async || {
        let map = map(&fresh());
        let index = doc! { "key": { "email": 1 }, "name": "login", "unique": true };
        database.collection::<mongodb::bson::Document>(&map.table).drop().await.unwrap();
        database.run_command(doc! { "createIndexes": &map.table, "indexes": [index] }).await.unwrap();
        let users: Arc<dyn UserStore> =
            Arc::new(MongoUsers::connect(&server.url, &map, &ServerOptions::default()).await.unwrap());
        users
    };
    nothing_of_the_maker_lasts(&users).await;
    no_link_to_a_deleted_account_stays(&users).await;
}

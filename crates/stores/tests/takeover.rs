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
use provider::races::{
    Connect, disconnecting_lasts, no_link_to_a_deleted_account_stays, nothing_of_the_maker_lasts,
    nothing_that_the_application_knows_lasts,
};

fn map(table: &str) -> UserMap {
    UserMap {
        table: table.to_owned(),
        ids: Ids::ObjectId,
        verified: Verified::Field("verified".to_owned()),
        passwords: PasswordFormat::Bcrypt { cost: 4 },
        providers: vec![("login".to_owned(), "login_id".to_owned())],
        ..UserMap::default()
    }
}

/// What holds in every table of another application. `people` makes an empty one whose field for the link is of a kind: in
/// `open` the link can be removed, in those of `kept` it cannot.
async fn nothing_lasts(
    people: impl AsyncFn(&str) -> (Arc<dyn UserStore>, Connect),
    open: &str,
    kept: &[&str],
) {
    let users = async || people(open).await.0;
    nothing_of_the_maker_lasts(&users).await;
    no_link_to_a_deleted_account_stays(&users).await;
    nothing_that_the_application_knows_lasts(async || people(open).await).await;
    for (kind, kept) in [(open, false)].into_iter().chain(kept.iter().map(|kind| (*kind, true))) {
        let (users, connect) = people(kind).await;
        disconnecting_lasts(users, connect, kept).await;
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
    let people = async |kind: &str| {
        let path = folder.path().join(fresh());
        let table = format!(
            "create table users (id integer primary key autoincrement, email text unique, password text not null, name text, verified integer, login_id {kind})"
        );
        rusqlite::Connection::open(&path).unwrap().execute_batch(&table).unwrap();
        let users: Arc<dyn UserStore> =
            Arc::new(SqliteUsers::open(&path, &map("users"), &SqliteOptions::default()).unwrap());
        let connect: Connect = Box::new(move |id, subject| {
            let application = rusqlite::Connection::open(&path).unwrap();
            application.execute("update users set login_id = ?2 where id = ?1", [id, subject]).unwrap();
            Box::pin(async {})
        });
        (users, connect)
    };
    let kept = ["text not null default ''", "text check (login_id is not null) default 'none'"];
    nothing_lasts(people, "text unique", &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_maker_does_in_postgresql_is_gone() {
    let Some(server) = engines::postgres::reach() else { return };
    let (client, connection) = tokio_postgres::connect(&server.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let client = Arc::new(client);
    client.batch_execute("create schema takeover").await.unwrap();
    let people = async |kind: &str| {
        let map = UserMap { schema: Some("takeover".to_owned()), ..map(&fresh()) };
        let columns = format!(
            "id serial primary key, email text unique, password varchar(60), name text, verified timestamptz, login_id {kind}"
        );
        client.batch_execute(&format!("create table takeover.{} ({columns})", map.table)).await.unwrap();
        let users: Arc<dyn UserStore> =
            Arc::new(PostgresUsers::connect(&server.url, &map, &ServerOptions::default()).await.unwrap());
        let (client, table) = (client.clone(), map.table);
        let connect: Connect = Box::new(move |id, subject| {
            let set = format!("update takeover.{table} set login_id = '{subject}' where id = {id}");
            let client = client.clone();
            Box::pin(async move { client.batch_execute(&set).await.unwrap() })
        });
        (users, connect)
    };
    let kept = ["varchar(40) not null default ''", "text check (login_id is not null) default 'none'"];
    nothing_lasts(people, "text unique", &kept).await;
    client.batch_execute("drop schema takeover cascade").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_maker_does_in_mongodb_is_gone() {
    let Some(server) = engines::mongodb::reach().await else { return };
    let client = mongodb::Client::with_uri_str(&server.url).await.unwrap();
    let database = client.default_database().unwrap();
    let people = async || {
        let map = map(&fresh());
        let index = doc! { "key": { "email": 1 }, "name": "login", "unique": true };
        database.collection::<mongodb::bson::Document>(&map.table).drop().await.unwrap();
        database.run_command(doc! { "createIndexes": &map.table, "indexes": [index] }).await.unwrap();
        let users: Arc<dyn UserStore> =
            Arc::new(MongoUsers::connect(&server.url, &map, &ServerOptions::default()).await.unwrap());
        let collection = database.collection::<mongodb::bson::Document>(&map.table);
        let connect: Connect = Box::new(move |id, subject| {
            let id = mongodb::bson::oid::ObjectId::parse_str(id).unwrap();
            let (collection, set) = (collection.clone(), doc! { "$set": { "login_id": subject } });
            Box::pin(async move { drop(collection.update_one(doc! { "_id": id }, set).await.unwrap()) })
        });
        (users, connect, map.table)
    };
    // A link that must not be removed: the collection demands a text from then on.
    let people = async |kind: &str| {
        let (users, connect, collection) = people().await;
        if kind.is_empty() {
            return (users, connect);
        }
        let database = database.clone();
        let strict: Connect = Box::new(move |id, subject| {
            let (connected, database) = (connect(id, subject), database.clone());
            let rule = doc! { "collMod": &collection, "validator": { "login_id": { "$type": "string" } } };
            Box::pin(async move {
                connected.await;
                database.run_command(rule).await.unwrap();
            })
        });
        (users, strict)
    };
    nothing_lasts(people, "", &["strict"]).await;
}

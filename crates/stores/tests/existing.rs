//! Accounts in tables that another application made keep the contract, as far as those have a place for it.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{path::PathBuf, sync::Arc};

use ::mongodb::{
    Client, Collection,
    bson::{Bson, DateTime, Document, doc, oid::ObjectId},
};
use engines::{mongodb, postgres};
use hallpass_auth::{
    Case, Change, Email, LoginKind, Logins, PasswordFormat, PasswordHash, User, UserChanged, UserCreated,
    UserId, UserStore,
    conformance::{CREATED, DISABLING, EPOCHS, OWN_IDS, ROLE_LISTS, ROLES, users, users_without},
};
use hallpass_session::Timestamp;
use hallpass_stores::{
    Flag, Ids, MongoUsers, PostgresUsers, Roles, ServerOptions, SqliteOptions, SqliteUsers, UserMap,
};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);

#[expect(clippy::unnecessary_wraps, reason = "what it stands for is optional")]
fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// With a place for everything.
fn whole() -> UserMap {
    UserMap {
        ids: Ids::Text,
        roles: Some(Roles::List("roles".to_owned())),
        flag: Some(Flag::Disabled("disabled".to_owned())),
        created: some("created"),
        updated: some("updated"),
        session_epoch: some("epoch"),
        passwords: PasswordFormat::Argon2id,
        ..UserMap::default()
    }
}

fn login(kind: LoginKind, case: Case) -> Logins {
    Logins { kind, case }
}

fn typed(text: &str) -> Email {
    Email::verbatim(text)
}

fn password(from: &str, to: &str) -> Change {
    Change::Password { from: Some(PasswordHash::new(from)), to: Some(PasswordHash::new(to)) }
}

async fn closed(store: &dyn UserStore) -> String {
    let user =
        User { password: Some(PasswordHash::new("$2b$x")), ..User::new(typed("new@example.com"), NOW) };
    match store.create(&user).await.unwrap() {
        UserCreated::Closed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

struct Mongo {
    url: String,
    client: Client,
    _server: engines::Reached,
}

impl Mongo {
    async fn start() -> Option<Self> {
        let server = mongodb::reach().await?;
        let url = server.url.clone();
        let client = Client::with_uri_str(&url).await.unwrap();
        Some(Self { url, client, _server: server })
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.default_database().unwrap().collection(name)
    }

    /// A collection as mongoose makes it, with its unique index.
    async fn make(&self, name: &str, login: &str, options: Document) {
        self.collection(name).drop().await.unwrap();
        let mut index = doc! { "key": { login: 1 }, "name": "login", "unique": true };
        index.extend(options);
        let database = self.client.default_database().unwrap();
        database.run_command(doc! { "createIndexes": name, "indexes": [index] }).await.unwrap();
    }

    async fn connect(&self, map: UserMap) -> MongoUsers {
        MongoUsers::connect(&self.url, &map, &ServerOptions::default()).await.unwrap()
    }

    async fn users(&self, name: &str, map: UserMap, options: Document) -> Arc<MongoUsers> {
        self.make(name, &map.login, options).await;
        Arc::new(self.connect(UserMap { table: name.to_owned(), ..map }).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_with_a_place_for_everything() {
    let Some(mongo) = Mongo::start().await else { return };
    users(mongo.users("whole", whole(), doc! {}).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_as_mongoose_has_it() {
    let Some(mongo) = Mongo::start().await else { return };
    let store = mongo.users("mongoose", UserMap::default(), doc! {}).await;
    users_without(store, &[CREATED, DISABLING, EPOCHS, OWN_IDS, ROLES]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_with_nested_fields_user_names_and_uuids() {
    let Some(mongo) = Mongo::start().await else { return };
    let blind = doc! { "collation": { "locale": "en", "strength": 2 } };
    let map = UserMap {
        ids: Ids::Uuid,
        login: "local.username".to_owned(),
        password: "local.hash".to_owned(),
        name: None,
        logins: login(LoginKind::UserName, Case::Insensitive),
        roles: Some(Roles::One("profile.role".to_owned())),
        flag: Some(Flag::Enabled("profile.active".to_owned())),
        ..UserMap::default()
    };
    let store = mongo.users("nested", map, blind).await;
    let found = |name: &'static str| {
        let store = store.clone();
        async move { store.find_by_email(&typed(name)).await.unwrap().map(|user| user.email.to_string()) }
    };
    store.create(&User::new(typed("Ann"), NOW)).await.unwrap();
    assert_eq!(found("aNN").await, some("Ann"));
    assert_eq!(store.create(&User::new(typed("ANN"), NOW)).await.unwrap(), UserCreated::Taken);
    users_without(store, &[CREATED, EPOCHS, OWN_IDS, ROLE_LISTS]).await;
}

/// A user as an application of some age has them.
fn old_user() -> Document {
    doc! {
        "_id": ObjectId::parse_str("0123456789abcdef01234567").unwrap(),
        "email": "Ann@Example.com",
        "int32": 5_i32, "int64": 5_i64, "double": 5.0, "nan": f64::NAN,
        "password": "$2b$10$one",
        "born": DateTime::from_millis(-86_400_000),
        "nested": { "list": [1_i32, 2_i64, [3.0, { "deep": Bson::Null }]], "empty": {} },
        "isActive": true,
        "role": "editor",
        "__v": 3_i32,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_that_is_not_ours_stays() {
    let Some(mongo) = Mongo::start().await else { return };
    let map = UserMap {
        roles: Some(Roles::One("role".to_owned())),
        flag: Some(Flag::Enabled("isActive".to_owned())),
        ..UserMap::default()
    };
    let store = mongo.users("bytes", map, doc! {}).await;
    let rows =
        mongo.client.default_database().unwrap().collection::<::mongodb::bson::RawDocumentBuf>("bytes");
    let mut expected = old_user();
    mongo.collection("bytes").insert_one(&expected).await.unwrap();
    let id = UserId::new("0123456789abcdef01234567");
    let user = store.find_by_email(&typed("Ann@Example.com")).await.unwrap().unwrap();
    assert_eq!((user.id.clone(), user.roles, user.disabled), (id.clone(), vec!["editor".to_owned()], false));
    let changes = [
        (password("$2b$10$one", "$2b$10$two"), "password", Bson::from("$2b$10$two")),
        (Change::Name(some("Ann")), "name", "Ann".into()),
        (Change::Roles(vec!["admin".to_owned()]), "role", "admin".into()),
        (Change::Disabled(true), "isActive", false.into()),
    ];
    for (change, field, value) in changes {
        assert_eq!(store.change(&id, &change).await.unwrap(), UserChanged::Done);
        expected.insert(field, value);
        let found = rows.find_one(doc! {}).await.unwrap().unwrap();
        let expected = ::mongodb::bson::RawDocumentBuf::try_from(&expected).unwrap();
        assert_eq!(found.as_bytes(), expected.as_bytes(), "{change:?}");
    }
    assert!(store.find(&id).await.unwrap().unwrap().disabled);
    let other_spelling = UserId::new("0123456789ABCDEF01234567");
    assert_eq!(store.find(&other_spelling).await.unwrap(), None, "one account has one id");
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_makes_no_account_that_could_be_made_twice() {
    let Some(mongo) = Mongo::start().await else { return };
    let map = UserMap { table: "loose".to_owned(), ..UserMap::default() };
    mongo.collection("loose").drop().await.unwrap();
    mongo.collection("loose").insert_one(old_user()).await.unwrap();
    let store = mongo.connect(map.clone()).await;
    let reason = closed(&store).await;
    assert!(reason.contains("db.loose.createIndex({ \"email\": 1 }, { unique: true })"), "{reason}");
    // Its index is made in the background, as mongoose does: no restart is needed.
    mongo.make("loose", "email", doc! {}).await;
    assert!(matches!(
        store.create(&User::new(typed("b@example.com"), NOW)).await.unwrap(),
        UserCreated::Done(_)
    ));
    // The field of another unique index is missing in all accounts made here.
    mongo.make("loose", "email", doc! {}).await;
    let google = doc! { "key": { "googleId": 1 }, "name": "googleId_1", "unique": true };
    let database = mongo.client.default_database().unwrap();
    database.run_command(doc! { "createIndexes": "loose", "indexes": [google] }).await.unwrap();
    mongo.collection("loose").insert_one(old_user()).await.unwrap();
    let reason = closed(&store).await;
    assert!(reason.contains("googleId_1") && reason.contains("sparse"), "{reason}");
    mongo.make("blind", "email", doc! {}).await;
    let blind =
        UserMap { table: "blind".to_owned(), logins: login(LoginKind::Email, Case::Insensitive), ..map };
    let reason = closed(&mongo.connect(blind).await).await;
    assert!(reason.contains("strength: 2"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_finds_people_by_the_spelling_that_is_stored() {
    let Some(mongo) = Mongo::start().await else { return };
    let store = mongo.users("spelling", UserMap::default(), doc! {}).await;
    for (number, login) in ["Ann@x.org", "ann@x.org", "bob@x.org"].iter().enumerate() {
        let row = doc! { "email": login, "password": format!("$2b${number}") };
        mongo.collection("spelling").insert_one(row).await.unwrap();
    }
    for (typed_as, found) in [
        ("Ann@x.org", some("Ann@x.org")),
        ("ann@x.org", some("ann@x.org")),
        ("ANN@x.org", some("ann@x.org")),
        ("BOB@x.org", some("bob@x.org")),
        ("eve@x.org", None),
    ] {
        let user = store.find_by_email(&typed(typed_as)).await.unwrap();
        assert_eq!(user.map(|user| user.email.to_string()), found, "{typed_as}");
    }
}

const PG_WHOLE: &str = "create table whole (id text primary key, email text not null unique, password text, name text,
    roles text[] not null, disabled boolean not null, created timestamptz not null, updated timestamp not null, epoch bigint, other jsonb)";

/// As Sequelize and Prisma make them, more or less.
const PG_SERIAL: &str = "create schema app; create type app.role as enum ('admin', 'editor', 'a');
    create table app.\"Users\" (id serial primary key, \"userName\" varchar(80) not null, \"passwordHash\" char(60), \"fullName\" varchar(200) not null,
    role text, active smallint not null default 1, \"createdAt\" bigint, kept numeric(9,3) not null default 1.500);
    create unique index on app.\"Users\" (lower(\"userName\"))";

const PG_UUID: &str = "create table accounts (id uuid primary key default gen_random_uuid(), email varchar not null unique, password varchar,
    name text, roles jsonb not null default '[\"user\"]', epoch bigint not null default 0)";

struct Postgres {
    url: String,
    client: tokio_postgres::Client,
    _server: engines::Reached,
}

impl Postgres {
    async fn start() -> Option<Self> {
        let server = postgres::reach()?;
        let (admin, connection) = tokio_postgres::connect(&server.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        // A database of its own, so that a server that others use too stays as it was.
        let name = format!("users_{}", UserId::generate());
        admin.batch_execute(&format!("create database {name}")).await.unwrap();
        let (start, options) = server.url.split_once('?').map_or((&*server.url, ""), |parts| parts);
        let url = format!("{}/{name}?{options}", start.rsplit_once('/').unwrap().0);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        Some(Self { url, client, _server: server })
    }

    async fn try_connect(&self, map: &UserMap) -> Result<PostgresUsers, String> {
        let connected = PostgresUsers::connect(&self.url, map, &ServerOptions::default()).await;
        connected.map_err(|error| error.to_string())
    }

    async fn users(&self, tables: &str, map: UserMap) -> Arc<PostgresUsers> {
        self.client.batch_execute(tables).await.unwrap();
        Arc::new(self.try_connect(&map).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_with_a_place_for_everything() {
    let Some(postgres) = Postgres::start().await else { return };
    users(postgres.users(PG_WHOLE, UserMap { table: "whole".to_owned(), ..whole() }).await).await;
}

fn serial() -> UserMap {
    UserMap {
        schema: some("app"),
        table: "Users".to_owned(),
        login: "userName".to_owned(),
        password: "passwordHash".to_owned(),
        name: some("fullName"),
        logins: login(LoginKind::UserName, Case::Insensitive),
        roles: Some(Roles::One("role".to_owned())),
        flag: Some(Flag::Enabled("active".to_owned())),
        created: some("createdAt"),
        ..UserMap::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_with_numbers_for_ids_and_odd_names() {
    let Some(postgres) = Postgres::start().await else { return };
    let store = postgres.users(PG_SERIAL, serial()).await;
    assert!(store.conventions().numeric_ids);
    let insert = "insert into app.\"Users\" (\"userName\", \"passwordHash\", \"fullName\") values ('Ann', '$2b$x', 'Ann Lee')";
    postgres.client.batch_execute(insert).await.unwrap();
    let ann = store.find_by_email(&typed("aNN")).await.unwrap().unwrap();
    assert_eq!((ann.id.as_str(), ann.email.as_str(), ann.disabled), ("1", "Ann", false));
    for nobody in ["01", "+1", " 1", "x", "99999999999999999999"] {
        assert_eq!(store.find(&UserId::new(nobody)).await.unwrap(), None, "{nobody}");
    }
    let renamed = store.change(&ann.id, &Change::Name(None)).await.unwrap();
    assert_eq!(renamed, UserChanged::Done, "a column that must not be null takes an empty name");
    users_without(store, &[EPOCHS, OWN_IDS, ROLE_LISTS]).await;
    let kept =
        postgres.client.query_one("select kept::text from app.\"Users\" where id = 1", &[]).await.unwrap();
    assert_eq!(kept.get::<_, &str>(0), "1.500");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_with_uuids_and_roles_in_json() {
    let Some(postgres) = Postgres::start().await else { return };
    let map = UserMap {
        table: "accounts".to_owned(),
        roles: Some(Roles::List("roles".to_owned())),
        session_epoch: some("epoch"),
        ..UserMap::default()
    };
    let store = postgres.users(PG_UUID, map).await;
    let UserCreated::Done(id) = store.create(&User::new(typed("ann@example.com"), NOW)).await.unwrap() else {
        panic!("refused")
    };
    let ann = store.find(&id).await.unwrap().unwrap();
    assert_eq!(ann.roles, ["user"], "who is given no role has the table's default");
    assert_eq!(store.find(&UserId::new(&id.as_str().to_uppercase())).await.unwrap(), None);
    postgres
        .client
        .batch_execute("alter table accounts alter roles drop default, alter roles set default '[]'")
        .await
        .unwrap();
    users_without(store, &[CREATED, DISABLING, OWN_IDS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_refuses_what_cannot_be_with_the_reason() {
    let Some(postgres) = Postgres::start().await else { return };
    postgres.client.batch_execute("create table users (id int primary key, email text, password varchar(40), name text, born date not null)").await.unwrap();
    let refused = async |map: UserMap| postgres.try_connect(&map).await.err().unwrap();
    let map = UserMap::default();
    assert!(refused(map.clone()).await.contains("hashes need 60 characters"));
    postgres.client.batch_execute("alter table users alter password type text").await.unwrap();
    assert!(
        refused(UserMap { table: "people".to_owned(), ..map.clone() }).await.contains("there is no table")
    );
    assert!(
        refused(UserMap { login: "mail".to_owned(), ..map.clone() })
            .await
            .contains("no column \"mail\" for the login")
    );
    assert!(
        refused(UserMap { flag: Some(Flag::Disabled("born".to_owned())), ..map.clone() })
            .await
            .contains("cannot be the flag")
    );
    let steps = [
        ("select 1", "nothing gives the numbers"),
        ("alter table users alter id add generated by default as identity", "what to put into born"),
        (
            "alter table users alter born set default '2000-01-01'",
            "create unique index concurrently on \"users\" (\"email\")",
        ),
        ("create unique index on users (email) where born is not null", "keeps email unique"),
    ];
    for (step, reason) in steps {
        postgres.client.batch_execute(step).await.unwrap();
        let store = postgres.try_connect(&map).await.unwrap();
        let said = closed(&store).await;
        assert!(said.contains(reason), "{step}: {said}");
    }
    let store = postgres.try_connect(&map).await.unwrap();
    postgres.client.batch_execute("create unique index on users (email)").await.unwrap();
    assert!(matches!(store.create(&User::new(typed("a@b.c"), NOW)).await.unwrap(), UserCreated::Done(_)));
}

fn sqlite(tables: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(tables).unwrap();
    (folder, path)
}

fn open(path: &PathBuf, map: &UserMap) -> Arc<SqliteUsers> {
    Arc::new(SqliteUsers::open(path, map, &SqliteOptions::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_with_a_place_for_everything() {
    let (_folder, path) = sqlite(
        "create table users (id text primary key, email text not null unique, password text, name text,
            roles text not null, disabled boolean not null, created integer not null, updated text not null, epoch integer)",
    );
    users(open(&path, &whole())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_with_numbers_for_ids_and_dates_as_text() {
    let (_folder, path) = sqlite(
        "create table \"Users\" (\"Id\" integer primary key autoincrement, username varchar(80) unique collate nocase, hash text,
            role text, active integer default 1, createdAt datetime, kept blob default x'00ff')",
    );
    let map = UserMap {
        table: "Users".to_owned(),
        id: "Id".to_owned(),
        login: "username".to_owned(),
        password: "hash".to_owned(),
        name: None,
        logins: login(LoginKind::UserName, Case::Insensitive),
        roles: Some(Roles::One("role".to_owned())),
        flag: Some(Flag::Enabled("active".to_owned())),
        created: some("createdAt"),
        ..UserMap::default()
    };
    let store = open(&path, &map);
    let other = rusqlite::Connection::open(&path).unwrap();
    let sequelize = "insert into Users (username, hash, createdAt) values ('Ann', '$2b$x', '2026-11-23 10:00:00.123 +00:00')";
    other.execute_batch(sequelize).unwrap();
    let ann = store.find_by_email(&typed("aNN")).await.unwrap().unwrap();
    assert_eq!((ann.id.as_str(), ann.roles, ann.disabled), ("1", vec![], false));
    assert_eq!(ann.created.to_string(), "2026-11-23T10:00:00.123Z");
    assert_eq!(store.find(&UserId::new("01")).await.unwrap(), None, "one account has one id");
    other.execute_batch("update Users set role = 'x'").unwrap();
    let journal: String = other.query_row("pragma journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(journal, "delete", "the application's file stays as it is");
    other.execute_batch("delete from Users").unwrap();
    drop(other);
    users_without(store, &[EPOCHS, OWN_IDS, ROLE_LISTS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_refuses_what_cannot_be_with_the_reason() {
    let (_folder, path) = sqlite(
        "create table users (id integer primary key, email text, password text, name text, born text not null)",
    );
    let refused =
        |map: &UserMap| SqliteUsers::open(&path, map, &SqliteOptions::default()).err().unwrap().to_string();
    let map = UserMap::default();
    assert!(refused(&UserMap { table: "people".to_owned(), ..map.clone() }).contains("no such table"));
    assert!(refused(&UserMap { login: "mail".to_owned(), ..map.clone() }).contains("no column \"mail\""));
    let missing = SqliteUsers::open("nowhere.db", &map, &SqliteOptions::default()).err().unwrap().to_string();
    assert!(missing.contains("there is no database"), "{missing}");
    assert!(closed(&*open(&path, &map)).await.contains("what to put into born"));
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("alter table users drop column born").unwrap();
    let store = open(&path, &map);
    let reason = closed(&*store).await;
    let cure = reason.split("run ").nth(1).unwrap().to_owned();
    assert_eq!(cure, "create unique index \"users_email\" on \"users\" (\"email\")");
    other.execute_batch(&cure).unwrap();
    assert!(matches!(store.create(&User::new(typed("a@b.c"), NOW)).await.unwrap(), UserCreated::Done(_)));
}

//! In PostgreSQL.

use std::sync::Arc;

use hallpass_auth::{
    Case, Change, LoginKind, Reuse, User, UserChanged, UserCreated, UserId, UserStore,
    conformance::{CREATED, DISABLING, EPOCHS, OWN_IDS, ROLE_LISTS, users, users_without},
};
use hallpass_stores::{Flag, PostgresUsers, Roles, ServerOptions, UserMap, Verified};

use super::{NOW, PEOPLE, closed, engines, login, one_address_is_one_account, some, typed, whole};

const PG_WHOLE: &str = "create table whole (id text primary key, email text not null unique, password text, name text,
    roles text[] not null, disabled boolean not null, verified timestamptz, created timestamptz not null, updated timestamp not null, epoch bigint, other jsonb)";

/// As Sequelize and Prisma make them, more or less.
const PG_SERIAL: &str = "create schema app; create type app.role as enum ('admin', 'editor', 'a');
    create table app.\"Users\" (id serial primary key, \"userName\" varchar(80) not null, \"passwordHash\" char(60), \"fullName\" varchar(200) not null,
    role text, active smallint not null default 1, \"isVerified\" boolean not null default false, \"googleId\" varchar, \"createdAt\" bigint, kept numeric(9,3) not null default 1.500);
    create unique index on app.\"Users\" (lower(\"userName\"))";

const PG_UUID: &str = "create table accounts (id uuid primary key default gen_random_uuid(), email varchar not null unique, password varchar not null,
    name text, verified bigint, roles jsonb not null default '[\"user\"]', epoch bigint not null default 0)";

pub(super) struct Postgres {
    url: String,
    pub(super) client: tokio_postgres::Client,
    _server: engines::Reached,
}

impl Postgres {
    pub(super) async fn start() -> Option<Self> {
        let server = engines::postgres::reach()?;
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

    pub(super) async fn try_connect(&self, map: &UserMap) -> Result<PostgresUsers, String> {
        let connected = PostgresUsers::connect(&self.url, map, &ServerOptions::default()).await;
        connected.map_err(|error| error.to_string())
    }

    pub(super) async fn users(&self, tables: &str, map: UserMap) -> Arc<PostgresUsers> {
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
        verified: Verified::Field("isVerified".to_owned()),
        created: some("createdAt"),
        providers: vec![("google".to_owned(), "googleId".to_owned())],
        ..UserMap::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_with_numbers_for_ids_and_odd_names() {
    let Some(postgres) = Postgres::start().await else { return };
    let store = postgres.users(PG_SERIAL, serial()).await;
    assert!(store.conventions().numeric_ids);
    let insert = "insert into app.\"Users\" (\"userName\", \"passwordHash\", \"fullName\", \"googleId\") values ('Ann', '$2b$x', 'Ann Lee', '7')";
    postgres.client.batch_execute(insert).await.unwrap();
    let ann = store.find_by_email(&typed("aNN")).await.unwrap().unwrap();
    assert_eq!((ann.id.as_str(), ann.email.as_str(), ann.disabled), ("1", "Ann", false));
    let provided = store.find_by_provider("google", "7").await.unwrap();
    assert_eq!(provided.as_ref(), Some(&ann));
    assert_eq!(store.find_by_provider("google", "8").await.unwrap(), None);
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
        verified: Verified::Field("verified".to_owned()),
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
    postgres.client.batch_execute("create table users (id int primary key, email text, password varchar(40), name text, born date not null, odd interval)").await.unwrap();
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
        refused(UserMap { flag: Some(Flag::Disabled("odd".to_owned())), ..map.clone() })
            .await
            .contains("cannot be the flag")
    );
    for odd in [
        UserMap { providers: vec![("google".to_owned(), "must".to_owned())], ..map.clone() },
        UserMap { session_epoch: some("count"), ..map.clone() },
    ] {
        let table = "drop table if exists others; create table others (id serial, email text unique, password text, name text, must text not null, count bigint not null)";
        let store = postgres.users(table, UserMap { table: "others".to_owned(), ..odd }).await;
        assert!(closed(&*store).await.contains("what to put into must, count"));
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_reads_and_writes_the_mark_of_a_verified_address_in_its_type() {
    let Some(postgres) = Postgres::start().await else { return };
    for (kind, no, yes) in [
        ("boolean", "false", "true"),
        ("smallint not null default 0", "0", "1"),
        ("timestamptz", "null", "'2020-02-02'"),
        ("date", "null", "'2020-02-02'"),
        ("bigint", "null", "1580601600000"),
    ] {
        let table = format!(
            "drop table if exists users; create table users (id serial primary key, email text unique, password text, name text, mark {kind});
            insert into users (email, mark) values ('no@x.org', {no}), ('yes@x.org', {yes})"
        );
        let map = |verified| UserMap { verified, ..UserMap::default() };
        let store = postgres.users(&table, map(Verified::Field("mark".to_owned()))).await;
        let find =
            async |store: &PostgresUsers, name| store.find_by_email(&typed(name)).await.unwrap().unwrap();
        assert_eq!(find(&store, "yes@x.org").await.verified, Some(true), "{kind}");
        let no = find(&store, "no@x.org").await;
        assert_eq!(no.verified, Some(false), "{kind}");
        assert_eq!(store.change(&no.id, &Change::Verified(no.email)).await.unwrap(), UserChanged::Done);
        assert_eq!(find(&store, "no@x.org").await.verified, Some(true), "{kind}");
        let unknown = postgres.try_connect(&map(Verified::Unknown)).await.unwrap();
        assert_eq!(find(&unknown, "yes@x.org").await.verified, None);
        let always = postgres.try_connect(&map(Verified::Always)).await.unwrap();
        assert_eq!(find(&always, "no@x.org").await.verified, Some(true));
    }
    postgres.client.batch_execute("alter table users add code bytea").await.unwrap();
    let code = UserMap { verified: Verified::Field("code".to_owned()), ..UserMap::default() };
    let refused = postgres.try_connect(&code).await.err().unwrap();
    assert!(refused.contains("is bytea, which cannot be the mark of verified addresses"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_has_one_account_for_an_address_in_any_spelling() {
    let Some(postgres) = Postgres::start().await else { return };
    let people = PEOPLE.map(|login| format!("('{login}')")).join(", ");
    for (others, index, searched) in [
        (0, "", true),
        (10_001, "", false),
        (
            10_001,
            "create index on users (email) where email <> ''; create index on users (lower(name))",
            false,
        ),
        (10_001, "create index on users (lower(email))", true),
    ] {
        let tables = format!(
            "drop table if exists users; create table users (id serial primary key, email varchar(90) unique, password text, name text); {index};
            insert into users (email) values {people}; insert into users (email) select n || '@y.org' from generate_series(1, {others}) n"
        );
        one_address_is_one_account(&*postgres.users(&tables, UserMap::default()).await, searched).await;
    }
    let plan = "set enable_seqscan = off; explain select 1 from users where lower(email) = lower('x'::text)";
    let plan = postgres.client.simple_query(plan).await.unwrap();
    assert!(format!("{plan:?}").contains("users_lower_idx"), "{plan:?}");
    let blind = UserMap { logins: login(LoginKind::Email, Case::Insensitive), ..UserMap::default() };
    let found = postgres.try_connect(&blind).await.unwrap().find_by_email(&typed("ANN@x.org")).await.unwrap();
    assert_eq!(found, None, "two are there, and neither can be meant");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_finds_an_id_at_a_provider_and_none_that_is_nearly_the_same() {
    let Some(postgres) = Postgres::start().await else { return };
    let collation =
        "create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    postgres.client.batch_execute(collation).await.unwrap();
    for kind in ["text", "char(40)", "text collate blind"] {
        let tables = format!(
            "drop table if exists users; create table users (id serial primary key, email text, password text, name text, there {kind});
            insert into users (email, there) values ('ann@x.org', 'aBc')"
        );
        let providers = vec![("login".to_owned(), "there".to_owned())];
        let store = postgres.users(&tables, UserMap { providers, ..UserMap::default() }).await;
        assert!(store.find_by_provider("login", "aBc").await.unwrap().is_some(), "{kind}");
        assert_eq!(store.find_by_provider("login", "abc").await.unwrap(), None, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_tells_accounts_apart_where_ids_may_be_given_again() {
    let Some(postgres) = Postgres::start().await else { return };
    for (id, created, reuse) in [
        ("serial primary key", some("made"), Reuse::Never),
        ("bigint generated always as identity", some("made"), Reuse::Never),
        ("uuid primary key", some("made"), Reuse::Never),
        ("integer primary key", None, Reuse::ByLogin),
        ("integer primary key", some("made"), Reuse::ByCreated),
        ("text primary key", None, Reuse::Never),
        ("text primary key", some("made"), Reuse::ByCreated),
    ] {
        let tables = format!(
            "drop table if exists users; create table users (id {id}, email text, password text, name text, made timestamptz)"
        );
        let store = postgres.users(&tables, UserMap { created, ..UserMap::default() }).await;
        assert_eq!(store.conventions().reuse, reuse, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_writes_times_without_a_zone_in_utc() {
    let Some(postgres) = Postgres::start().await else { return };
    let zone = "do $$ begin execute format('alter database %I set timezone = ''America/New_York''', current_database()); end $$";
    postgres.client.batch_execute(zone).await.unwrap();
    let tables = "create table users (id serial primary key, email text unique, password text, name text, made timestamp, touched timestamp, mark timestamp)";
    let map = UserMap {
        created: some("made"),
        updated: some("touched"),
        verified: Verified::Field("mark".to_owned()),
        ..UserMap::default()
    };
    let store = postgres.users(tables, map).await;
    let UserCreated::Done(id) = store.create(&User::new(typed("a@b.c"), NOW)).await.unwrap() else {
        panic!()
    };
    let user = store.find(&id).await.unwrap().unwrap();
    assert_eq!(user.created, NOW);
    assert_eq!(store.change(&id, &Change::Verified(user.email)).await.unwrap(), UserChanged::Done);
    let now = "select greatest(abs(extract(epoch from now() - touched at time zone 'UTC')),
        abs(extract(epoch from now() - mark at time zone 'UTC')))::bigint from users";
    let off: i64 = postgres.client.query_one(now, &[]).await.unwrap().get(0);
    assert!(off < 60, "{off} seconds");
}

//! In SQLite.

use std::{
    fmt::{Debug, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use hallpass_auth::{
    Case, Change, LoginKind, PasswordHash, Reuse, User, UserChanged, UserCreated, UserId, UserStore,
    conformance::{EPOCHS, OWN_IDS, ROLE_LISTS, users, users_without},
};
use hallpass_stores::{Flag, Roles, SqliteOptions, SqliteUsers, UserMap, Verified};
use tempfile::TempDir;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use super::{NOW, PEOPLE, closed, login, one_address_is_one_account, some, typed, whole};

pub(super) fn sqlite(tables: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(tables).unwrap();
    (folder, path)
}

pub(super) fn open(path: &PathBuf, map: &UserMap) -> Arc<SqliteUsers> {
    Arc::new(SqliteUsers::open(path, map, &SqliteOptions::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_with_a_place_for_everything() {
    let (_folder, path) = sqlite(
        "create table users (id text primary key, email text not null unique, password text, name text,
            roles text not null, disabled boolean not null, verified datetime, created integer not null, updated text not null, epoch integer)",
    );
    users(open(&path, &whole())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_with_numbers_for_ids_and_dates_as_text() {
    let (_folder, path) = sqlite(
        "create table \"Users\" (\"Id\" integer primary key autoincrement, username varchar(80) unique collate nocase, hash text not null,
            role text, active integer default 1, verified boolean, createdAt datetime, googleId text, kept blob default x'00ff')",
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
        verified: Verified::Field("verified".to_owned()),
        created: some("createdAt"),
        providers: vec![("google".to_owned(), "googleId".to_owned())],
        ..UserMap::default()
    };
    let store = open(&path, &map);
    let other = rusqlite::Connection::open(&path).unwrap();
    let sequelize = "insert into Users (username, hash, googleId, createdAt) values ('Ann', '$2b$x', '7', '2026-11-23 10:00:00.123 +00:00')";
    other.execute_batch(sequelize).unwrap();
    let ann = store.find_by_email(&typed("aNN")).await.unwrap().unwrap();
    assert_eq!((ann.id.as_str(), ann.roles, ann.disabled), ("1", vec![], false));
    assert_eq!(
        store.find_by_provider("google", "7").await.unwrap().map(|user| user.id),
        Some(ann.id.clone())
    );
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
    let (born, providers) = (some("born"), vec![("google".to_owned(), "born".to_owned())]);
    let provider = UserMap { providers, ..map.clone() };
    assert!(closed(&*open(&path, &provider)).await.contains("what to put into born"));
    let epoch = UserMap { session_epoch: born, ..map.clone() };
    assert!(closed(&*open(&path, &epoch)).await.contains("what to put into born"));
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("alter table users drop column born").unwrap();
    let store = open(&path, &map);
    let reason = closed(&*store).await;
    let cure = reason.split("run ").nth(1).unwrap().to_owned();
    assert_eq!(cure, "create unique index \"users_email\" on \"users\" (\"email\")");
    other.execute_batch(&cure).unwrap();
    assert!(matches!(store.create(&User::new(typed("a@b.c"), NOW)).await.unwrap(), UserCreated::Done(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_text_is_no_password_and_can_become_one() {
    let (_folder, path) = sqlite(
        "create table users (id text primary key, email text not null unique, password text not null);
        insert into users values ('1', 'ann@example.com', '')",
    );
    let map = UserMap {
        table: "users".to_owned(),
        id: "id".to_owned(),
        login: "email".to_owned(),
        password: "password".to_owned(),
        name: None,
        ..UserMap::default()
    };
    let store = open(&path, &map);
    let ann = store.find_by_email(&typed("ann@example.com")).await.unwrap().unwrap();
    assert_eq!(ann.password, None);
    let change = Change::Password { from: None, to: Some(PasswordHash::new("$2b$x")) };
    assert_eq!(store.change(&ann.id, &change).await.unwrap(), UserChanged::Done);
    assert_eq!(store.change(&ann.id, &change).await.unwrap(), UserChanged::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_reads_and_writes_the_mark_of_a_verified_address_in_its_type() {
    for (kind, written) in
        [("boolean", "1"), ("integer", "1"), ("datetime", "20%-%-% %:%"), ("text", "20%-%-% %:%")]
    {
        let (_folder, path) = sqlite(&format!(
            "create table users (id integer primary key autoincrement, email text unique, password text, name text, mark {kind});
            insert into users (email, mark) values ('null@x.org', null), ('zero@x.org', 0), ('one@x.org', 1), ('no@x.org', 'false'),
                ('then@x.org', '2020-02-02 10:00:00'), ('number@x.org', 1580601600000), ('code@x.org', 'f3a9'), ('digits@x.org', '27x33')"
        ));
        let map = |verified| UserMap { verified, ..UserMap::default() };
        let store = open(&path, &map(Verified::Field("mark".to_owned())));
        let find = async |store: &SqliteUsers, name| {
            store.find_by_email(&typed(&format!("{name}@x.org"))).await.unwrap().unwrap()
        };
        for (name, expected) in [
            ("null", Some(false)),
            ("zero", Some(false)),
            ("no", Some(false)),
            ("one", Some(true)),
            ("then", Some(true)),
            ("code", None),
            ("digits", None),
        ] {
            assert_eq!(find(&store, name).await.verified, expected, "{name} in {kind}");
        }
        let null = find(&store, "null").await;
        assert_eq!(store.change(&null.id, &Change::Verified(null.email)).await.unwrap(), UserChanged::Done);
        assert_eq!(find(&store, "null").await.verified, Some(true));
        let other = rusqlite::Connection::open(&path).unwrap();
        let fits = "select mark like ?1 from users where email = 'null@x.org'";
        assert!(other.query_row(fits, [written], |row| row.get::<_, bool>(0)).unwrap(), "{kind}");
        assert_eq!(find(&open(&path, &map(Verified::Unknown)), "one").await.verified, None);
        assert_eq!(find(&open(&path, &map(Verified::Always)), "no").await.verified, Some(true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_has_one_account_for_an_address_in_any_spelling() {
    let people = PEOPLE.map(|login| format!("('{login}')")).join(", ");
    for (others, index, searched) in [
        (0, "", true),
        (10_001, "", false),
        (10_001, "create index i on users (name, email collate nocase)", false),
        (10_001, "create index i on users (email collate nocase, name)", true),
    ] {
        let (_folder, path) = sqlite(&format!(
            "create table users (id integer primary key autoincrement, email text unique, password text, name text); {index};
            insert into users (email) values {people};
            with recursive n(n) as (select 1 where {others} > 0 union all select n + 1 from n where n < {others}) insert into users (email) select n || '@y.org' from n"
        ));
        one_address_is_one_account(&*open(&path, &UserMap::default()), searched).await;
        let blind = UserMap { logins: login(LoginKind::Email, Case::Insensitive), ..UserMap::default() };
        let found = open(&path, &blind).find_by_email(&typed("ANN@x.org")).await.unwrap();
        assert_eq!(found, None, "two are there, and neither can be meant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_tells_an_account_from_a_deleted_one_whose_id_it_has() {
    for (id, created, reuse) in [
        ("integer primary key autoincrement", None, Reuse::Never),
        ("integer primary key autoincrement", some("made"), Reuse::Never),
        ("int primary key", None, Reuse::ByLogin),
        ("int primary key", some("made"), Reuse::ByCreated),
        ("text primary key", some("made"), Reuse::ByCreated),
        ("text primary key default (hex(randomblob(9)))", some("made"), Reuse::Never),
        ("integer primary key", None, Reuse::ByLogin),
        ("integer primary key", some("made"), Reuse::ByCreated),
        ("text primary key", None, Reuse::Never),
    ] {
        let (_folder, path) = sqlite(&format!(
            "create table users (id {id}, email text unique, password text, name text, made text)"
        ));
        let store = open(&path, &UserMap { created, ..UserMap::default() });
        assert_eq!(store.conventions().reuse, reuse, "{id}");
        let other = rusqlite::Connection::open(&path).unwrap();
        let account = async |email: &str, made: &str| {
            let sql = "replace into users (id, email, made) values (7, ?1, ?2)";
            other.execute(sql, [email, made]).unwrap();
            store.find(&UserId::new("7")).await.unwrap().unwrap().session_epoch
        };
        let former = account("ann@x.org", "2020-01-01").await;
        assert_eq!(account("ann@x.org", "2020-01-01").await, former);
        let later = account("bob@x.org", "2021-01-01").await;
        // Nothing but this voids a session of the former account: neither has a password.
        assert_eq!(former == later, reuse == Reuse::Never, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_finds_an_id_at_a_provider_and_none_that_is_nearly_the_same() {
    for (kind, subject, near) in [
        ("text collate nocase", "aBc", "abc"),
        ("integer", "123456789", "0123456789"),
        ("integer", "123456789", "123456789.0"),
        ("text", "123456789012345678901", "123456789012345678902"),
    ] {
        let (_folder, path) = sqlite(&format!(
            "create table users (id integer primary key, email text, password text, name text, there {kind});
            insert into users (email, there) values ('ann@x.org', '{subject}')"
        ));
        let providers = vec![("login".to_owned(), "there".to_owned())];
        let store = open(&path, &UserMap { providers, ..UserMap::default() });
        assert!(store.find_by_provider("login", subject).await.unwrap().is_some(), "{kind}");
        assert_eq!(store.find_by_provider("login", near).await.unwrap(), None, "{kind}");
    }
    let (_folder, path) = sqlite(
        "create table users (id integer primary key, email text, password text, name text, there integer);
        insert into users (email, there) values ('ann@x.org', '123456789012345678901')",
    );
    let providers = vec![("login".to_owned(), "there".to_owned())];
    let store = open(&path, &UserMap { providers, ..UserMap::default() });
    let cut = store.find_by_provider("login", "123456789012345678902").await.unwrap();
    assert_eq!(cut, None, "the column has made another number of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_reads_when_an_account_was_made_whatever_the_column_was_declared_for() {
    for kind in ["datetime", "timestamp", "integer", "text", "real", ""] {
        let (_folder, path) = sqlite(&format!(
            "create table users (id integer primary key, email text, password text, name text, made {kind});
            insert into users (email, made) values ('millis@x', 1580601600000), ('seconds@x', 1580601600), ('text@x', '2020-02-02 00:00:00'),
                ('julian@x', 2458881.5), ('null@x', null), ('odd@x', 'long ago')"
        ));
        let store = open(&path, &UserMap { created: some("made"), ..UserMap::default() });
        let made = async |name: &str| {
            store.find_by_email(&typed(&format!("{name}@x"))).await.unwrap().unwrap().created.as_millis()
        };
        for name in ["millis", "seconds", "text", "julian"] {
            assert_eq!(made(name).await, 1_580_601_600_000, "{name} in {kind:?}");
        }
        assert_eq!((made("null").await, made("odd").await), (0, 0));
    }
}

/// What was said in the log.
#[derive(Clone, Default)]
pub(super) struct Log(pub(super) Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0.lock().unwrap(), "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_says_which_index_a_large_table_lacks_for_a_provider() {
    for (rows, index, warned) in [
        (9, "", false),
        (10_001, "", true),
        (10_001, "create index i on users (email, google)", true),
        (10_001, "create index i on users (GOOGLE) where google is not null", false),
    ] {
        let (_folder, path) = sqlite(&format!(
            "create table users (id integer primary key autoincrement, email text unique, password text, name text, google text); {index};
            with recursive n(n) as (select 1 union all select n + 1 from n where n < {rows}) insert into users (email) select n from n"
        ));
        let map =
            UserMap { providers: vec![("google".to_owned(), "google".to_owned())], ..UserMap::default() };
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), || open(&path, &map));
        let said = log.0.lock().unwrap().clone();
        let cure = "cure=\"create index \\\"users_google\\\" on \\\"users\\\" (\\\"google\\\")\"";
        assert_eq!(said.contains("provider_not_indexed") && said.contains(cure), warned, "{said}");
    }
}

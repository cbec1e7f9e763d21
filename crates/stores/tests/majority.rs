//! What a MongoDB primary says that is cut off from the other servers: after a second, nothing.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::time::{Duration, Instant};

use ::mongodb::bson::doc;
use engines::{Engine, mongodb};
use hallpass_auth::{Email, User, UserCreated, UserStore};
use hallpass_session::{
    Clock, Created, Document, IdGenerator, Lifetime, RandomIds, SessionId, SessionRecord, SessionStore,
    SystemClock,
};
use hallpass_stores::{
    ConnectMongo, ConnectMongoOptions, ConnectOptions, Mongo, MongoUsers, ServerOptions, UserMap,
};
use tokio::{join, time::sleep};

/// How long a primary's plain reads count after a majority has confirmed it.
const BELIEVED: Duration = Duration::from_secs(1);

fn server() -> ServerOptions {
    ServerOptions { timeout: Duration::from_secs(1), ..ServerOptions::default() }
}

/// The primary stays one until it is killed.
async fn patient_set() -> Option<Vec<Engine>> {
    mongodb::start_set_with(3, 120_000).await
}

async fn created(store: &dyn SessionStore) -> SessionId {
    let (id, now) = (RandomIds.generate(), SystemClock.now());
    let record = SessionRecord {
        document: Document::from_json(r#"{"userId":"1"}"#).unwrap(),
        user: Some("1".into()),
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: Lifetime { idle: Duration::from_secs(3600), until: None, persistent: false },
    };
    assert!(matches!(store.create(&id, &record, now).await.unwrap(), Created::Done(_)));
    id
}

/// Waits until the store works again.
async fn back(store: &dyn SessionStore) {
    let end = Instant::now() + Duration::from_secs(60);
    while store.check(SystemClock.now()).await.is_err() {
        assert!(Instant::now() < end, "it does not come back");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The others could have elected another primary, and ended the session there.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_cut_off_opens_no_session_after_a_second() {
    let Some(mut set) = patient_set().await else { return };
    let url = mongodb::set_url(&set);
    let native = Mongo::connect(&url, &server()).await.unwrap();
    let connect = ConnectOptions { server: server(), ..ConnectOptions::default() };
    let options = ConnectMongoOptions { connect, ..ConnectMongoOptions::default() };
    let express = ConnectMongo::connect(&url, &options).await.unwrap();
    let (ours, theirs) = (created(&native).await, created(&express).await);
    let ann = User::new(Email::parse("ann@example.com").unwrap(), SystemClock.now());
    assert_eq!(UserStore::create(&native, &ann).await.unwrap(), UserCreated::Done(ann.id.clone()));
    set[1..].iter_mut().for_each(Engine::kill);
    sleep(BELIEVED + Duration::from_millis(1)).await;
    for _ in 0..2 {
        let now = SystemClock.now();
        let (ours, theirs, user) =
            join!(native.load(&ours, now), express.load(&theirs, now), UserStore::find(&native, &ann.id));
        assert!(ours.is_err(), "a session, by one server's word: {ours:?}");
        assert!(theirs.is_err(), "Express's session, by one server's word: {theirs:?}");
        assert!(user.is_err(), "who is signed in, by one server's word: {user:?}");
    }
    set[1..].iter_mut().for_each(Engine::start);
    back(&native).await;
    back(&express).await;
    let now = SystemClock.now();
    assert!(native.load(&ours, now).await.unwrap().is_some(), "nobody was signed out");
    assert!(express.load(&theirs, now).await.unwrap().is_some(), "nobody was signed out");
}

/// A sign-in is answered with an error, not with "wrong password". It takes the same steps whether
/// there is an account or not.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_looked_up_by_the_word_of_a_majority() {
    let Some(mut set) = patient_set().await else { return };
    let url = mongodb::set_url(&set);
    let [ann, eve] = ["ann@example.com", "eve@example.com"].map(|email| Email::parse(email).unwrap());
    let native = Mongo::connect(&url, &server()).await.unwrap();
    let user = User::new(ann.clone(), SystemClock.now());
    assert_eq!(UserStore::create(&native, &user).await.unwrap(), UserCreated::Done(user.id.clone()));
    let client = ::mongodb::Client::with_uri_str(&url).await.unwrap();
    let theirs = client.default_database().unwrap().collection("users");
    theirs.insert_one(doc! { "email": "ann@example.com", "googleId": "g1" }).await.unwrap();
    let map = UserMap {
        table: "users".to_owned(),
        providers: vec![("google".to_owned(), "googleId".to_owned())],
        ..UserMap::default()
    };
    let existing = MongoUsers::connect(&url, &map, &server()).await.unwrap();
    for store in [&native as &dyn UserStore, &existing] {
        assert!(store.find_by_email(&ann).await.unwrap().is_some());
        assert!(store.find_by_email(&eve).await.unwrap().is_none());
        assert_eq!(store.list(None, 10).await.unwrap().len(), 1);
    }
    assert!(existing.find_by_provider("google", "g1").await.unwrap().is_some());
    set[1..].iter_mut().for_each(Engine::kill);
    for store in [&native as &dyn UserStore, &existing] {
        let (found, missing, listed) =
            join!(store.find_by_email(&ann), store.find_by_email(&eve), store.list(None, 10));
        assert!(missing.is_err(), "no such account, by one server's word: {missing:?}");
        assert!(found.is_err(), "an account is asked for in another way than none: {found:?}");
        assert!(listed.is_err(), "all accounts, by one server's word: {listed:?}");
    }
    let (found, missing) =
        join!(existing.find_by_provider("google", "g1"), existing.find_by_provider("google", "g2"));
    assert!(found.is_err() && missing.is_err(), "nobody of this provider, by one server's word");
}

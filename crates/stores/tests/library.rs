//! The stores as a program of one's own uses them, without the server: they sweep, remember and go by one clock.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use hallpass_auth::{Email, Inserted, Record, RecordKey, User, UserCreated};
use hallpass_session::{
    Clock, Created, Document, IdGenerator, Keys, Lifetime, ManualClock, RandomIds, Session, SessionId,
    SessionOptions, SessionRecord, SystemClock, Timestamp, Touch,
};
use hallpass_stores::{OpenOptions, StoreUrl, Stores, UpkeepOptions};
use http::{Request, header::SET_COOKIE};
use tempfile::TempDir;
use tower::ServiceExt;

const LONG_AGO: Timestamp = Timestamp::from_millis(1_500_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self { path: folder.path().join("app.db"), _folder: folder }
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    async fn open(&self, upkeep: Option<UpkeepOptions>) -> Stores {
        let options = OpenOptions { upkeep, ..OpenOptions::default() };
        let url: StoreUrl = self.url().parse().unwrap();
        Stores::open_with(&url, None, &options).await.unwrap()
    }
}

async fn session(stores: &Stores, from: Timestamp) -> SessionId {
    let record = SessionRecord {
        document: Document::new(),
        user: Some("ann".into()),
        label: None,
        created: from,
        authenticated: None,
        seen: from,
        lifetime: Lifetime { idle: HOUR, until: None, persistent: false },
    };
    let id = RandomIds.generate();
    assert!(matches!(stores.sessions.create(&id, &record, from).await.unwrap(), Created::Done(_)));
    id
}

/// What lies in the file, expired or not.
fn rows(path: &Path) -> (u32, u32) {
    let file = rusqlite::Connection::open(path).unwrap();
    let count =
        |table: &str| file.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).unwrap();
    (count("sessions"), count("records"))
}

/// Waits until it is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..3000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within 30 seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_removed_without_a_server() {
    let place = Place::new();
    let bare = place.open(None).await;
    assert!(!bare.upkeep.is_running());
    session(&bare, LONG_AGO).await;
    let alive = session(&bare, SystemClock.now()).await;
    let key = RecordKey { kind: "test", id: "old".to_owned() };
    let record =
        Record { key, owner: None, body: "{}".to_owned(), expires: Some(LONG_AGO + HOUR), version: 0 };
    assert_eq!(bare.records.insert(&record, LONG_AGO).await.unwrap(), Inserted::Done);
    assert_eq!(rows(&place.path), (2, 1));
    drop(bare);
    let stores = Stores::open(&place.url()).await.unwrap();
    assert!(stores.upkeep.is_running());
    until("the expired ones are gone", async || rows(&place.path) == (1, 0)).await;
    assert!(stores.sessions.load(&alive, SystemClock.now()).await.unwrap().is_some());
    stores.upkeep.stop().await;
    until("nothing runs", async || !stores.upkeep.is_running()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_often_is_answered_from_memory_without_a_server() {
    let (place, now) = (Place::new(), SystemClock.now());
    let stores = Stores::open(&place.url()).await.unwrap();
    let id = session(&stores, now).await;
    let ann = User::new(Email::parse("ann@example.com").unwrap(), now);
    assert_eq!(stores.users.create(&ann).await.unwrap(), UserCreated::Done(ann.id.clone()));
    until("both are in memory", async || {
        stores.sessions.load(&id, now).await.unwrap();
        stores.users.find(&ann.id).await.unwrap();
        stores.sessions.cached(&id, now).is_some() && stores.users.cached(&ann.id).is_some()
    })
    .await;
    let bare = place.open(Some(UpkeepOptions { cache: None, ..UpkeepOptions::default() })).await;
    bare.sessions.load(&id, now).await.unwrap();
    assert!(bare.sessions.cached(&id, now).is_none() && bare.users.cached(&ann.id).is_none());
    // Whatever another program does is seen all the same.
    bare.sessions.delete(&id, now).await.unwrap();
    until("its end is seen", async || stores.sessions.load(&id, now).await.unwrap().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_that_are_in_memory_are_written_when_the_program_stops() {
    let (place, now) = (Place::new(), SystemClock.now());
    let cache = hallpass_session::CacheOptions { flush_every: HOUR, ..Default::default() };
    let stores = place.open(Some(UpkeepOptions { cache: Some(cache), ..UpkeepOptions::default() })).await;
    let bare = place.open(None).await;
    let (id, later) = (session(&stores, now).await, now + Duration::from_secs(300));
    let seen = async || bare.sessions.load(&id, now).await.unwrap().unwrap().record.seen;
    let touch = Touch { id: id.clone(), seen: later, expires: later + HOUR };
    stores.sessions.touch(&[touch], later).await.unwrap();
    assert_eq!(seen().await, now, "it is written with others later");
    stores.upkeep.stop().await;
    assert_eq!(seen().await, later);
}

/// A layer by another clock would let sessions live that the sweepers remove, or the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn the_layer_goes_by_the_clock_of_the_stores_whatever_it_is_given() {
    let stores = Place::new().open(None).await;
    let wrong = SessionOptions::with_clock(ManualClock::new(LONG_AGO));
    let keys = Keys::from_secret("a secret of at least thirty-two bytes").unwrap();
    let layer = stores.session_layer(keys, wrong).unwrap();
    let insert = async |session: Session| session.insert("n", &1).unwrap();
    let app = Router::new().route("/", get(insert)).layer(layer);
    let answer = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert!(answer.headers().contains_key(SET_COOKIE));
    let listed = stores.sessions.list(None, 10, SystemClock.now()).await.unwrap();
    assert_eq!(listed.len(), 1, "by the layer's own clock it would have expired long ago");
}

//! Accounts cached in front of every store: the contract holds, and what another program makes of an account is heard.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engines::{mongodb, postgres};
use hallpass_auth::{CachedUsers, Change, Email, User, UserStore, conformance};
use hallpass_session::{CacheOptions, Clock, SystemClock};
use hallpass_stores::{Mongo, Postgres, ServerOptions, Sqlite, SqliteOptions};
use tokio::time::sleep;

const BOUND: Duration = Duration::from_millis(500);

fn server() -> ServerOptions {
    ServerOptions { timeout: Duration::from_secs(1), ..ServerOptions::default() }
}

/// What is known of an account here, and what another program makes of it.
async fn accounts(ours: Arc<dyn UserStore>, theirs: Arc<dyn UserStore>) {
    let cache =
        Arc::new(CachedUsers::new(ours, &CacheOptions { max_staleness: BOUND, ..CacheOptions::default() }));
    conformance::users(cache.clone()).await;
    let end = Instant::now() + Duration::from_secs(20);
    while !cache.is_proven() {
        assert!(Instant::now() < end, "the feed does not speak");
        sleep(Duration::from_millis(5)).await;
    }
    let user = User::new(Email::parse("ann@example.com").unwrap(), SystemClock.now());
    cache.create(&user).await.unwrap();
    assert_eq!(cache.find(&user.id).await.unwrap().as_ref(), Some(&user));
    assert_eq!(cache.cached(&user.id), Some(user.clone()));
    cache.change(&user.id, &Change::Name(Some("Ann".to_owned()))).await.unwrap();
    assert_eq!(cache.cached(&user.id), None, "one's own change is seen at once");
    let end = Instant::now() + Duration::from_secs(5);
    while cache.cached(&user.id).is_none() {
        // PostgreSQL and MongoDB tell us our own changes too, a little later.
        assert!(cache.find(&user.id).await.unwrap().is_some() && Instant::now() < end);
    }
    theirs.change(&user.id, &Change::Disabled(true)).await.unwrap();
    let changed = Instant::now();
    while cache.cached(&user.id).is_some_and(|user| !user.disabled) {
        assert!(changed.elapsed() < BOUND, "nobody told");
        tokio::task::yield_now().await;
    }
    assert!(cache.find(&user.id).await.unwrap().unwrap().disabled);
    assert!(theirs.delete(&user.id).await.unwrap());
    let deleted = Instant::now();
    while cache.cached(&user.id).is_some() {
        assert!(deleted.elapsed() < BOUND, "nobody told");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        || Arc::new(Sqlite::open(folder.path().join("hallpass.db"), &SqliteOptions::default()).unwrap());
    accounts(open(), open()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_in_postgresql() {
    let Some(engine) = postgres::start() else { return };
    let open = async || Arc::new(Postgres::connect(&postgres::url(&engine), &server()).await.unwrap());
    accounts(open().await, open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_in_mongodb() {
    let Some(engine) = mongodb::start().await else { return };
    let open = async || Arc::new(Mongo::connect(&mongodb::url(&engine), &server()).await.unwrap());
    accounts(open().await, open().await).await;
}

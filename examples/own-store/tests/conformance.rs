//! The store keeps the contract, also over a restart.

use std::{sync::Arc, time::Duration};

use hallpass_session::{
    Clock, Created, Document, IdGenerator, Lifetime, RandomIds, SessionRecord, SessionStore, SystemClock,
    conformance,
};
use own_store::RedbStore;

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("sessions.redb")).unwrap();
    conformance::run(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (path, now) = (folder.path().join("sessions.redb"), SystemClock.now());
    let record = SessionRecord {
        document: Document::from_json(r#"{"n":1}"#).unwrap(),
        user: None,
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: Lifetime { idle: Duration::from_secs(60), until: None, persistent: false },
    };
    let id = RandomIds.generate();
    let store = RedbStore::open(&path).unwrap();
    assert!(matches!(store.create(&id, &record, now).await.unwrap(), Created::Done(_)));
    drop(store);
    let found = RedbStore::open(&path).unwrap().load(&id, now).await.unwrap();
    assert_eq!(*found.unwrap().record, record);
}

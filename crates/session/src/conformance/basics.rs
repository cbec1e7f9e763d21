//! One session, one caller.

use std::time::Duration;

use super::{Contract, IDLE, NOW, SWEEP, Store, fresh_id, load, promises, record, stored};
use crate::{Created, Lifetime, SessionId, SessionRecord, StoreTime, Touch, Updated};

pub(super) fn contracts() -> Vec<Contract> {
    promises! {
        "what is created is found, whole and verbatim" => round_trip,
        "documents survive byte for byte" => verbatim,
        "an unknown id is no session" => unknown,
        "a live id cannot be created again, an expired one can" => taken,
        "a session ends exactly at its deadlines" => deadlines,
        "an update needs the revision that was read" => revisions,
        "an update never creates" => update_never_creates,
        "a rotation moves the session and kills the old id" => rotation,
        "a rotation needs a live session at the revision that was read" => rotation_refused,
        "a touch lengthens, and changes nothing else" => touch,
        "a touch never creates, shortens or goes back" => touch_never,
        "a delete is final, and says whether there was something" => deletion,
        SWEEP => sweep,
        "the store tells its time in milliseconds, or its newest stamp" => time,
        "the store says that it takes changes, and shows nothing of the one it tried" => check,
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

/// So many servers check at once.
const CHECKS: usize = 8;

fn full() -> SessionRecord {
    SessionRecord {
        user: Some("user 1".into()),
        label: Some("{\"agent\":\"Firefox\"}".into()),
        created: NOW,
        authenticated: Some(NOW + MILLI),
        seen: NOW + MILLI * 2,
        lifetime: Lifetime { idle: IDLE, until: Some(NOW + IDLE * 5), persistent: true },
        ..record(r#"{"userId":"1","cart":[1,2]}"#)
    }
}

async fn round_trip(store: Store) {
    for record in [full(), record("{}")] {
        let (id, revision) = stored(&store, &record).await;
        let found = store.load(&id, NOW).await.expect("load").expect("the session");
        assert_eq!((&*found.record, found.revision), (&record, revision));
    }
}

async fn verbatim(store: Store) {
    let big = format!(r#"{{"big":"{}"}}"#, "x".repeat(1 << 20));
    for json in [r#"{"z":1e+21,"a":1.50,"b":-0,"smile":"\ud83d","é 𝄞":{"y":[ 1 ]}}"#, &big, "{}"] {
        let (id, revision) = stored(&store, &record("{}")).await;
        store.update(&id, &record(json), revision, NOW).await.expect("update");
        let found = load(&store, &id, NOW).await.expect("the session");
        assert!(found.document.to_json() == json, "the document came back changed: {json:.80}");
    }
}

async fn unknown(store: Store) {
    assert_eq!(load(&store, &fresh_id(), NOW).await, None);
}

async fn taken(store: Store) {
    let (one, two) = (record(r#"{"n":1}"#), SessionRecord { seen: NOW + IDLE, ..record(r#"{"n":2}"#) });
    let (id, _) = stored(&store, &one).await;
    let again = async |now| store.create(&id, &two, now).await.expect("create");
    assert_eq!(again(NOW + (IDLE.saturating_sub(MILLI))).await, Created::Taken);
    assert_eq!(load(&store, &id, NOW).await, Some(one), "a refused create changed the session");
    assert!(matches!(again(NOW + IDLE).await, Created::Done(_)), "an expired session is none");
    assert_eq!(load(&store, &id, NOW + IDLE).await, Some(two.clone()));
}

async fn deadlines(store: Store) {
    let (idle, _) = stored(&store, &record("{}")).await;
    assert!(load(&store, &idle, NOW + (IDLE.saturating_sub(MILLI))).await.is_some());
    assert!(load(&store, &idle, NOW + IDLE).await.is_none());

    let lifetime = Lifetime { idle: IDLE, until: Some(NOW + MINUTE), persistent: false };
    let (absolute, _) = stored(&store, &SessionRecord { lifetime, ..record("{}") }).await;
    let touch = Touch { id: absolute.clone(), seen: NOW + MILLI, expires: NOW + MINUTE };
    store.touch(&[touch], NOW + MILLI).await.expect("touch");
    assert!(load(&store, &absolute, NOW + (MINUTE.saturating_sub(MILLI))).await.is_some());
    assert!(load(&store, &absolute, NOW + MINUTE).await.is_none(), "use moved the absolute deadline");
}

async fn revisions(store: Store) {
    let (id, first) = stored(&store, &record(r#"{"n":1}"#)).await;
    let update =
        async |json, expected| store.update(&id, &record(json), expected, NOW).await.expect("update");
    let Updated::Done(second) = update(r#"{"n":2}"#, first).await else { panic!("update refused") };
    let Updated::Done(third) = update(r#"{"n":3}"#, second).await else { panic!("update refused") };
    assert!(first != second && second != third && first != third, "revisions repeat");
    for stale in [first, second] {
        assert_eq!(update(r#"{"n":9}"#, stale).await, Updated::Conflict);
    }
    let found = store.load(&id, NOW).await.expect("load").expect("the session");
    assert_eq!((found.record.document.to_json().as_str(), found.revision), (r#"{"n":3}"#, third));
}

async fn update_never_creates(store: Store) {
    let (deleted, revision) = stored(&store, &record("{}")).await;
    store.delete(&deleted, NOW).await.expect("delete");
    assert_eq!(store.update(&deleted, &record("{}"), revision, NOW).await.expect("update"), Updated::Gone);
    assert!(load(&store, &deleted, NOW).await.is_none());

    let (expired, revision) = stored(&store, &record("{}")).await;
    let revived = SessionRecord { seen: NOW + IDLE, ..record("{}") };
    let answer = store.update(&expired, &revived, revision, NOW + IDLE).await.expect("update");
    assert_eq!(answer, Updated::Gone);
    assert!(load(&store, &expired, NOW + IDLE).await.is_none());
}

async fn rotation(store: Store) {
    let (old, revision) = stored(&store, &record(r#"{"n":1}"#)).await;
    let new = fresh_id();
    let answer = store.rotate(&old, revision, &new, &full(), NOW).await.expect("rotate");
    let Updated::Done(moved) = answer else { panic!("rotation refused: {answer:?}") };
    assert_ne!(moved, revision);
    assert!(load(&store, &old, NOW).await.is_none(), "the old id still opens the session");
    assert_eq!(load(&store, &new, NOW).await, Some(full()));
    assert_eq!(store.update(&old, &full(), revision, NOW).await.expect("update"), Updated::Gone);
    assert!(matches!(store.update(&new, &full(), moved, NOW).await.expect("update"), Updated::Done(_)));
}

async fn rotation_refused(store: Store) {
    let (id, first) = stored(&store, &record("{}")).await;
    store.update(&id, &record(r#"{"n":2}"#), first, NOW).await.expect("update");
    let new = fresh_id();
    let rotate = async |id, now| store.rotate(id, first, &new, &full(), now).await.expect("rotate");
    assert_eq!(rotate(&id, NOW).await, Updated::Conflict);
    assert!(load(&store, &id, NOW).await.is_some(), "a refused rotation killed the session");
    assert_eq!(rotate(&id, NOW + IDLE).await, Updated::Gone);
    store.delete(&id, NOW).await.expect("delete");
    assert_eq!(rotate(&id, NOW).await, Updated::Gone);
    assert!(load(&store, &new, NOW).await.is_none(), "a refused rotation made a session");
}

async fn touch(store: Store) {
    let (id, revision) = stored(&store, &full()).await;
    let later = NOW + MINUTE;
    let touch = Touch { id: id.clone(), seen: later, expires: full().expires_if_seen(later) };
    store.touch(&[touch], later).await.expect("touch");
    let found = store.load(&id, NOW + IDLE + MILLI * 3).await.expect("load").expect("it lives longer now");
    assert_eq!(*found.record, SessionRecord { seen: later, ..full() });
    assert_eq!(found.revision, revision, "a touch must not get in a writer's way");
}

async fn touch_never(store: Store) {
    let (id, _) = stored(&store, &full()).await;
    let back = Touch {
        id: id.clone(),
        seen: crate::Timestamp::from_millis(NOW.as_millis() - 60_000),
        expires: NOW + MINUTE,
    };
    let gone = Touch { id: fresh_id(), seen: NOW, expires: NOW + IDLE };
    store.touch(&[gone.clone(), back], NOW).await.expect("touch");
    assert_eq!(load(&store, &id, NOW + MINUTE).await, Some(full()), "a touch shortened the session");
    assert!(load(&store, &gone.id, NOW).await.is_none(), "a touch made a session");

    let end = full().expires();
    let late = Touch { id: id.clone(), seen: end, expires: end + IDLE };
    store.touch(&[late], end).await.expect("touch");
    assert!(load(&store, &id, end).await.is_none(), "a touch revived an expired session");
}

async fn deletion(store: Store) {
    let (id, _) = stored(&store, &record("{}")).await;
    assert!(store.delete(&id, NOW).await.expect("delete"));
    assert!(!store.delete(&id, NOW).await.expect("delete"));
    assert!(!store.delete(&fresh_id(), NOW).await.expect("delete"));
    assert!(load(&store, &id, NOW).await.is_none());
    let (expired, _) = stored(&store, &record("{}")).await;
    assert!(!store.delete(&expired, NOW + IDLE).await.expect("delete"), "an expired session is none");
}

async fn sweep(store: Store) {
    // Long before everything else in the database, so that only these can be expired.
    let early = crate::Timestamp::from_millis(1_000_000);
    // What a check has written is older still.
    while store.sweep(2, crate::Timestamp::from_millis(1)).await.expect("sweep") > 0 {}
    let mut expired = Vec::new();
    for _ in 0..5 {
        let id = fresh_id();
        let record = SessionRecord { seen: early, created: early, ..record("{}") };
        store.create(&id, &record, early).await.expect("create");
        expired.push(id);
    }
    let (alive, _) = stored(&store, &record("{}")).await;
    let mut swept = Vec::new();
    while swept.last() != Some(&0) {
        swept.push(store.sweep(2, early + IDLE).await.expect("sweep"));
    }
    assert!(swept.iter().all(|count| *count <= 2), "more than the limit at once: {swept:?}");
    assert_eq!(swept.iter().sum::<usize>(), 5);
    for id in expired {
        assert!(load(&store, &id, early).await.is_none(), "swept, but still there for an earlier clock");
    }
    assert!(load(&store, &alive, NOW).await.is_some(), "a live session was swept");
}

async fn time(store: Store) {
    // Only a store without a clock answers with this stamp.
    let future = NOW + IDLE * 24 * 365;
    stored(&store, &SessionRecord { created: future, seen: future, ..record("{}") }).await;
    let told = || async { store.time().await.expect("time") };
    match told().await {
        StoreTime::Clock(before) => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let StoreTime::Clock(after) = told().await else { panic!("a clock that is gone") };
            let passed = after.since(before);
            assert!(passed >= Duration::from_millis(25), "no milliseconds: {before} and {after}");
            assert!(passed < MINUTE, "no milliseconds: {before} and {after}");
        }
        StoreTime::Newest(newest) => assert!(newest >= future, "a newer session is stored"),
        StoreTime::Unknown => {}
    }
}

async fn check(store: Store) {
    let id = SessionId::probe();
    for _ in 0..2 {
        store.check(NOW).await.expect("check");
        assert!(load(&store, &id, NOW).await.is_none(), "what a check writes is shown as a session");
        let listed = store.list(None, usize::MAX, NOW).await.expect("list");
        assert!(listed.iter().all(|listed| listed.handle != id.handle()), "and it is listed");
        assert!(!store.delete(&id, NOW).await.expect("delete"), "and it can be ended");
    }
    let checks = (0..CHECKS).map(|_| {
        tokio::spawn({
            let store = store.clone();
            async move { store.check(NOW).await }
        })
    });
    for check in checks.collect::<Vec<_>>() {
        check
            .await
            .expect("a check ends")
            .expect("of many servers that check at once, each is told the truth");
    }
}

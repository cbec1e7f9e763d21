//! One session, many callers.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Barrier, task::JoinSet};

use super::{Contract, IDLE, NOW, Store, fresh_id, load, promises, record, stored};
use crate::{Created, SessionRecord, Touch, Updated};

/// How many callers there are at once.
const CALLERS: usize = 32;

pub(super) fn contracts() -> Vec<Contract> {
    promises! {
        "of many creates of one id, one wins" => creates,
        "no update that was acknowledged is lost" => updates,
        "of many rotations, one wins" => rotations,
        "a delete among updates, touches and rotations is final" => delete_among_writes,
        "ending a user's sessions misses none that is getting a new id" => delete_among_rotations,
    }
}

/// Runs `call` of each caller at the same moment; the answers in no particular order.
async fn at_once<T, Fut>(call: impl Fn(usize) -> Fut) -> Vec<T>
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let gate = Arc::new(Barrier::new(CALLERS));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (gate, call) = (gate.clone(), call(number));
        callers.spawn(async move {
            gate.wait().await;
            call.await
        });
    }
    callers.join_all().await
}

async fn creates(store: Store) {
    let id = fresh_id();
    let answers = at_once(|number| {
        let (store, id) = (store.clone(), id.clone());
        async move { store.create(&id, &record(&format!(r#"{{"n":{number}}}"#)), NOW).await.expect("create") }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Created::Done(_))).count(), 1);
}

async fn updates(store: Store) {
    let (id, _) = stored(&store, &record(r#"{"n":0}"#)).await;
    at_once(|_| {
        let (store, id) = (store.clone(), id.clone());
        async move {
            loop {
                let found = store.load(&id, NOW).await.expect("load").expect("the session");
                let mut next = (*found.record).clone();
                let count: usize = next.document.get("n").expect("a number").expect("a number");
                next.document.insert("n", &(count + 1)).expect("a number");
                match store.update(&id, &next, found.revision, NOW).await.expect("update") {
                    Updated::Done(_) => break,
                    Updated::Conflict => tokio::task::yield_now().await,
                    Updated::Gone => panic!("the session vanished"),
                }
            }
        }
    })
    .await;
    let end = load(&store, &id, NOW).await.expect("the session");
    assert_eq!(end.document.get::<usize>("n").expect("a number"), Some(CALLERS), "updates were lost");
}

async fn rotations(store: Store) {
    let (old, revision) = stored(&store, &record("{}")).await;
    let answers = at_once(|_| {
        let (store, old, new) = (store.clone(), old.clone(), fresh_id());
        async move {
            let answer = store.rotate(&old, revision, &new, &record("{}"), NOW).await.expect("rotate");
            (answer, load(&store, &new, NOW).await.is_some())
        }
    })
    .await;
    for (answer, opens) in &answers {
        assert_eq!(matches!(answer, Updated::Done(_)), *opens, "a loser's id opens the session");
    }
    assert_eq!(answers.iter().filter(|(_, opens)| *opens).count(), 1);
    assert!(load(&store, &old, NOW).await.is_none());
}

async fn delete_among_writes(store: Store) {
    let user = format!("user {}", fresh_id().handle());
    let record = SessionRecord { user: Some(user.as_str().into()), ..record("{}") };
    let (id, revision) = stored(&store, &record).await;
    at_once(|number| {
        let (store, id, record) = (store.clone(), id.clone(), record.clone());
        async move {
            match number % 4 {
                0 if number == 0 => {
                    drop(store.delete_of_user(record.user.as_deref().unwrap_or_default(), None, NOW).await);
                }
                1 => drop(store.delete(&id, NOW).await),
                2 => drop(store.touch(&[Touch { id, seen: NOW, expires: NOW + IDLE }], NOW).await),
                _ => drop(store.update(&id, &record, revision, NOW).await),
            }
        }
    })
    .await;
    assert!(load(&store, &id, NOW).await.is_none(), "the session came back");
    assert!(store.of_user(&user, NOW).await.expect("of_user").is_empty(), "the session is listed again");
}

/// How often the race is run: which of the two comes first is chance.
const ROUNDS: u64 = 12;

async fn delete_among_rotations(store: Store) {
    for round in 0..ROUNDS {
        let user = format!("user {}", fresh_id().handle());
        let record = SessionRecord { user: Some(user.as_str().into()), ..record("{}") };
        let mut sessions = Vec::new();
        for _ in 1..CALLERS {
            sessions.push(stored(&store, &record).await);
        }
        let (kept, _) = stored(&store, &record).await;
        let ids = at_once(|number| {
            let (store, record, user, kept) = (store.clone(), record.clone(), user.clone(), kept.clone());
            let session = sessions.get(number).cloned();
            async move {
                let Some((mut id, mut revision)) = session else {
                    tokio::time::sleep(Duration::from_millis(round)).await;
                    store.delete_of_user(&user, Some(&kept), NOW).await.expect("delete_of_user");
                    return None;
                };
                for _ in 0..4 {
                    let new = fresh_id();
                    match store.rotate(&id, revision, &new, &record, NOW).await.expect("rotate") {
                        Updated::Done(next) => (id, revision) = (new, next),
                        Updated::Conflict | Updated::Gone => return Some(new),
                    }
                }
                Some(id)
            }
        })
        .await;
        for id in ids.iter().flatten() {
            assert!(load(&store, id, NOW).await.is_none(), "a session lives on under its new id");
        }
        let left = store.of_user(&user, NOW).await.expect("of_user");
        assert_eq!(left.iter().map(|one| one.handle).collect::<Vec<_>>(), [kept.handle()]);
    }
}

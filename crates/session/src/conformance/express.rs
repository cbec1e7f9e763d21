//! What a store promises to the Express profile: an Express process saves whole sessions, over nothing too, and none of that brings back
//! a session that was ended here.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{NOW, fresh_id};
use crate::{
    SessionId,
    express::{ExpressStore, Fetched, Got, Over, Rotation, Set, Version, parse},
};

/// The store under test.
pub type Express = Arc<dyn ExpressStore>;

/// The end of the sessions here.
const END: Duration = Duration::from_secs(3600);

/// How often the race is run, and how many sessions get new IDs in it.
const ROUNDS: u64 = 8;
const SESSIONS: usize = 16;

/// Checks what a store promises to the Express profile. Whoever the store lists sessions by is found at `passport.user`, or in what
/// Hallpass notes in a session.
///
/// # Panics
/// At the first promise that is broken.
pub async fn run_express(store: Express) {
    destroyed_stays_ended(&store).await;
    a_rotation_ends_the_old_id(&store).await;
    a_rotation_is_over_one_version(&store).await;
    ending_all_misses_no_rotation(&store).await;
}

fn data(user: &str, n: usize) -> crate::Document {
    let text = format!(
        r#"{{"cookie":{{"originalMaxAge":3600000,"expires":null,"path":"/"}},"n":{n},"passport":{{"user":"{user}"}},"_hallpass":{{"user":"{user}","created":{now},"seen":{now}}}}}"#,
        now = NOW.as_millis()
    );
    parse(&text).expect("JSON").expect("an object")
}

async fn save(store: &Express, id: &SessionId, user: &str, n: usize, over: Over<'_>) -> Set {
    store.set(id, &mut data(user, n), Some(NOW + END), over, NOW).await.expect("set")
}

/// A session that Express stores.
async fn begun(store: &Express, user: &str) -> (SessionId, Version) {
    let id = fresh_id();
    match save(store, &id, user, 0, Over::Anything).await {
        Set::Done(version) => (id, version),
        other => panic!("a new session is refused: {other:?}"),
    }
}

async fn get(store: &Express, id: &SessionId) -> Option<Fetched> {
    match store.get(id, NOW).await.expect("get") {
        Got::Session(fetched) => Some(fetched),
        Got::Missing => None,
        Got::Unreadable => panic!("what was stored cannot be read"),
    }
}

async fn rotate(store: &Express, old: &SessionId, version: &Version, new: &SessionId, user: &str) -> Set {
    let rotation = Rotation { old, version, new, user: Some(user), expires: Some(NOW + END) };
    store.rotate(rotation, &mut data(user, 1), NOW).await.expect("rotate")
}

/// Whatever an Express request writes that loaded the session before: it opens nothing.
async fn stays_ended(store: &Express, id: &SessionId, version: &Version, user: &str) {
    for over in [Over::Anything, Over::Version(version)] {
        let set = save(store, id, user, 2, over).await;
        assert!(matches!(set, Set::Gone), "a save over an ended session is answered with {set:?}");
        assert!(get(store, id).await.is_none(), "an ended session is back");
    }
    let set = rotate(store, id, version, &fresh_id(), user).await;
    assert!(matches!(set, Set::Gone), "an ended session gets a new ID: {set:?}");
    let touched = store.touch(id, &data(user, 0), Some(NOW + END), NOW).await.expect("touch");
    assert!(get(store, id).await.is_none(), "touched: {touched}, an ended session is back");
    let sessions = store.clone().sessions();
    assert!(sessions.load(id, NOW).await.expect("load").is_none(), "the ordinary layer accepts it");
}

async fn destroyed_stays_ended(store: &Express) {
    let user = format!("user {}", fresh_id().handle());
    let (id, version) = begun(store, &user).await;
    store.destroy(&id, NOW).await.expect("destroy");
    stays_ended(store, &id, &version, &user).await;
    let absent = fresh_id();
    store.destroy(&absent, NOW).await.expect("destroy what is not there");
    stays_ended(store, &absent, &version, &user).await;
}

async fn a_rotation_ends_the_old_id(store: &Express) {
    let user = format!("user {}", fresh_id().handle());
    let (old, version) = begun(store, &user).await;
    let new = fresh_id();
    let set = rotate(store, &old, &version, &new, &user).await;
    let Set::Done(written) = set else { panic!("a session gets no new ID: {set:?}") };
    stays_ended(store, &old, &version, &user).await;
    let found = get(store, &new).await.expect("the session under its new ID");
    assert_eq!(found.session.get::<usize>("n").expect("a number"), Some(1));
    assert!(found.version == written, "the version is the one that was answered");
    assert!(matches!(save(store, &new, &user, 2, Over::Version(&written)).await, Set::Done(_)));
}

async fn a_rotation_is_over_one_version(store: &Express) {
    let user = format!("user {}", fresh_id().handle());
    let (old, stale) = begun(store, &user).await;
    let Set::Done(version) = save(store, &old, &user, 7, Over::Version(&stale)).await else {
        panic!("a change is refused");
    };
    let new = fresh_id();
    let set = rotate(store, &old, &stale, &new, &user).await;
    assert!(matches!(set, Set::Conflict), "another request's change is lost: {set:?}");
    assert!(get(store, &new).await.is_none() && get(store, &old).await.is_some(), "nothing has happened");
    let mut racing = JoinSet::new();
    for _ in 0..8 {
        let (store, old, version, user) = (store.clone(), old.clone(), version.clone(), user.clone());
        racing.spawn(async move {
            let new = fresh_id();
            let is_done = matches!(rotate(&store, &old, &version, &new, &user).await, Set::Done(_));
            assert_eq!(get(&store, &new).await.is_some(), is_done, "a loser's ID opens the session");
            is_done
        });
    }
    let done = racing.join_all().await.into_iter().filter(|is_done| *is_done).count();
    assert_eq!(done, 1, "of many rotations one wins");
}

async fn ending_all_misses_no_rotation(store: &Express) {
    for round in 0..ROUNDS {
        let user = format!("user {}", fresh_id().handle());
        let (kept, _) = begun(store, &user).await;
        let mut racing = JoinSet::new();
        for _ in 0..SESSIONS {
            let (mut id, mut version) = begun(store, &user).await;
            let (store, user) = (store.clone(), user.clone());
            racing.spawn(async move {
                for _ in 0..4 {
                    let new = fresh_id();
                    let Set::Done(next) = rotate(&store, &id, &version, &new, &user).await else { break };
                    (id, version) = (new, next);
                }
                id
            });
        }
        tokio::time::sleep(Duration::from_millis(round * 2)).await;
        let sessions = store.clone().sessions();
        sessions.delete_of_user(&user, Some(&kept), NOW).await.expect("delete_of_user");
        for id in racing.join_all().await {
            assert!(get(store, &id).await.is_none(), "a session lives on under its new ID");
        }
        assert!(get(store, &kept).await.is_some(), "the one that was to stay");
    }
}

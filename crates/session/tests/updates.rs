//! Changes that depend on the old value: updates, and values that are taken.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use common::{app, at_once};
use hallpass_session::*;
use serde_json::json;
use tokio::sync::Notify;

const VISITS: Slot<u32> = Slot::new("visits");
const CART: Slot<Vec<usize>> = Slot::new("cart");

fn one_more(visits: Option<u32>) -> u32 {
    visits.unwrap_or(0) + 1
}

#[tokio::test]
async fn of_thirty_two_updates_at_once_each_counts() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let answers = at_once(&app, &cookie, 32, async |session, number| {
        VISITS.update(&session, one_more).unwrap();
        CART.update(&session, move |cart| {
            let mut cart = cart.unwrap_or_default();
            cart.push(number);
            cart
        })
        .unwrap();
        200
    })
    .await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(app.read(&cookie, "visits").await, Some(json!(32)));
    let mut cart: Vec<usize> = serde_json::from_value(app.read(&cookie, "cart").await.unwrap()).unwrap();
    cart.sort_unstable();
    assert_eq!(cart, (0..32).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_update_is_applied_once_whatever_is_saved_and_loaded_between() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    at_once(&app, &cookie, 8, async |session, number| {
        VISITS.update(&session, one_more).unwrap();
        match number % 4 {
            0 => drop(session.save().await.unwrap()),
            1 => {
                let (one, two) = tokio::join!(session.save(), session.save());
                assert!(one.unwrap() && two.unwrap());
            }
            2 => {
                assert!(session.save().await.unwrap() && session.reload().await.unwrap());
                VISITS.update(&session, |visits| visits.unwrap_or(0) + 100).unwrap();
            }
            _ => {
                let (saved, ()) = tokio::join!(session.save(), async {
                    tokio::task::yield_now().await;
                    VISITS.update(&session, |visits| visits.unwrap_or(0) + 1000).unwrap();
                });
                assert!(saved.unwrap());
            }
        }
        200
    })
    .await;
    assert_eq!(app.read(&cookie, "visits").await, Some(json!(8 + 200 + 2000)));
}

#[tokio::test]
async fn a_reload_drops_an_update_that_was_not_saved() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    app.request(Some(&cookie), |session: Session| async move {
        VISITS.update(&session, one_more).unwrap();
        session.reload().await.unwrap();
        assert_eq!(VISITS.get(&session).unwrap(), None);
    })
    .await;
    assert_eq!(app.read(&cookie, "visits").await, None);
}

#[tokio::test]
async fn updates_follow_the_other_changes_of_their_request() {
    let app = app(SessionOptions::default());
    let act = |act: fn(&Session)| move |session: Session| async move { act(&session) };
    for (expected, change) in [
        (
            json!(7),
            act(|session| {
                VISITS.insert(session, &6).unwrap();
                VISITS.update(session, one_more).unwrap();
            }),
        ),
        (
            json!(9),
            act(|session| {
                VISITS.update(session, one_more).unwrap();
                VISITS.insert(session, &9).unwrap();
            }),
        ),
        (
            json!(1),
            act(|session| {
                VISITS.update(session, one_more).unwrap();
                session.clear();
                VISITS.update(session, one_more).unwrap();
            }),
        ),
        (
            json!(1),
            act(|session| {
                VISITS.remove(session);
                VISITS.update(session, one_more).unwrap();
            }),
        ),
        (
            json!(1),
            act(|session| {
                session.destroy();
                VISITS.update(session, one_more).unwrap();
            }),
        ),
        (
            json!(42),
            act(|session| {
                session.establish("ann");
                VISITS.update(session, one_more).unwrap();
                VISITS.update(session, one_more).unwrap();
            }),
        ),
    ] {
        let start = |session: Session| async move { VISITS.insert(&session, &20).unwrap() };
        let cookie = app.request(None, start).await.cookie();
        let other = |session: Session| async move { VISITS.insert(&session, &40).unwrap() };
        let (loaded, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (loaded_too, go_too) = (loaded.clone(), go.clone());
        let slow = move |session: Session| {
            let (loaded, go, change) = (loaded_too.clone(), go_too.clone(), change);
            async move {
                change(session).await;
                loaded.notify_one();
                go.notified().await;
            }
        };
        let (answer, ()) = tokio::join!(app.request(Some(&cookie), slow), async {
            loaded.notified().await;
            app.request(Some(&cookie), other).await;
            go.notify_one();
        });
        let cookie = if answer.set_cookie.is_some() { answer.cookie() } else { cookie };
        assert_eq!(app.read(&cookie, "visits").await, Some(expected));
    }
}

#[tokio::test]
async fn a_value_of_another_shape_is_an_error_and_stays() {
    let app = app(SessionOptions::default());
    let cookie = app.request(None, |session: Session| async move { session.insert("visits", "x").unwrap() });
    let cookie = cookie.await.cookie();
    app.request(Some(&cookie), |session: Session| async move {
        assert!(VISITS.update(&session, one_more).is_err());
        assert!(matches!(VISITS.take(&session).await, Err(TakeError::Value(_))));
    })
    .await;
    assert_eq!(app.read(&cookie, "visits").await, Some(json!("x")));
}

#[tokio::test]
async fn contention_without_end_is_a_503_and_not_a_loss() {
    tokio::time::pause();
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    app.store.contended.store(true, Ordering::SeqCst);
    let update = |session: Session| async move { VISITS.update(&session, one_more).unwrap() };
    let answer = app.request(Some(&cookie), update).await;
    assert_eq!((answer.status, answer.set_cookie), (503, None));
    app.store.contended.store(false, Ordering::SeqCst);
    assert_eq!(app.request(Some(&cookie), update).await.status, 200);
    assert_eq!(app.read(&cookie, "visits").await, Some(json!(1)));
}

#[tokio::test]
async fn an_update_whose_write_was_not_answered_is_never_applied_twice() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    app.store.lost.lock().unwrap().insert("update");
    let answer = app
        .request(Some(&cookie), {
            let store = app.store.clone();
            move |session: Session| {
                let store = store.clone();
                async move {
                    VISITS.update(&session, one_more).unwrap();
                    assert!(session.save().await.is_err());
                    store.lost.lock().unwrap().clear();
                }
            }
        })
        .await;
    assert_eq!(answer.status, 503, "whether it was stored is not known");
    assert_eq!(app.read(&cookie, "visits").await, Some(json!(1)));
}

#[tokio::test]
async fn of_many_that_take_a_value_one_gets_it() {
    let app = app(SessionOptions::default());
    let start = |session: Session| async move { session.insert("ticket", "gold").unwrap() };
    let cookie = app.request(None, start).await.cookie();
    let got = Arc::new(AtomicU32::new(0));
    let got_too = got.clone();
    at_once(&app, &cookie, 20, move |session, number| {
        let got = got_too.clone();
        async move {
            if number % 2 == 0 {
                session.insert(&format!("key {number}"), &1).unwrap();
            }
            if let Some(ticket) = session.take::<String>("ticket").await.unwrap() {
                assert_eq!(ticket, "gold");
                got.fetch_add(1, Ordering::SeqCst);
            }
            200
        }
    })
    .await;
    assert_eq!(got.load(Ordering::SeqCst), 1);
    assert_eq!(app.read(&cookie, "ticket").await, None);
    assert_eq!(app.read(&cookie, "key 18").await, Some(json!(1)), "and nothing else was lost");
}

#[tokio::test]
async fn what_could_not_be_taken_stays() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    app.break_store(&["update"]);
    let store = app.store.clone();
    app.request(Some(&cookie), move |session: Session| {
        let store = store.clone();
        async move {
            assert!(matches!(session.take::<u32>("n").await, Err(TakeError::Store(_))));
            store.broken.lock().unwrap().clear();
        }
    })
    .await;
    assert_eq!(app.read(&cookie, "n").await, Some(json!(1)));
}

/// The write was refused because another came first, and what that wrote could not be read: so nothing was taken.
#[tokio::test]
async fn what_was_not_taken_is_not_taken_at_the_end_of_the_request_either() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let store = app.store.clone();
    let answer = app
        .request(Some(&cookie), move |session: Session| {
            let store = store.clone();
            async move {
                store.contended.store(true, Ordering::SeqCst);
                store.broken.lock().unwrap().insert("load");
                assert!(matches!(session.take::<u32>("n").await, Err(TakeError::Store(_))));
                store.broken.lock().unwrap().clear();
                store.contended.store(false, Ordering::SeqCst);
                assert_eq!(session.get::<u32>("n").unwrap(), Some(1));
                session.insert("other", &2).unwrap();
            }
        })
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(app.read(&cookie, "n").await, Some(json!(1)));
    assert_eq!(app.read(&cookie, "other").await, Some(json!(2)));
}

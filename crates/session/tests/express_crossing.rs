//! Requests of one session that cross, in the Express profile: nothing is lost, and what has ended stays ended.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::sync::Arc;

use common::{
    express::{ExpressAnswer, ExpressApp, app, app_over, fixed, id_of, options},
    hours,
};
use hallpass_session::{express::*, *};
use serde_json::json;

/// A request that has loaded its session, then waits until `meanwhile` is done before it changes `slow`.
async fn crossing<Fut: Future<Output = ()>>(app: &ExpressApp, cookie: &str, meanwhile: Fut) -> ExpressAnswer {
    let (loaded, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let handler = {
        let (loaded, go) = (loaded.clone(), go.clone());
        move |session: Session| {
            let (loaded, go) = (loaded.clone(), go.clone());
            async move {
                loaded.notify_one();
                go.notified().await;
                session.insert("slow", &1).unwrap();
            }
        }
    };
    let other = async {
        loaded.notified().await;
        meanwhile.await;
        go.notify_one();
    };
    tokio::join!(app.get(cookie, handler), other).0
}

#[tokio::test]
async fn crossing_changes_both_last() {
    let app = app(options());
    let cookie = app.begin().await;
    let quick = async {
        let handler = |session: Session| async move {
            session.insert("quick", &1).unwrap();
            session.remove("a");
        };
        app.get(&cookie, handler).await;
    };
    crossing(&app, &cookie, quick).await;
    for (key, value) in [("slow", Some(json!(1))), ("quick", Some(json!(1))), ("a", None)] {
        assert_eq!(app.read(&cookie, key).await, value, "{key}");
    }
}

#[tokio::test]
async fn a_logout_during_a_slow_request_stays_a_logout() {
    let app = app(options());
    let cookie = app.begin().await;
    let logout = async {
        app.express(&cookie, |session| async move { session.destroy().await.unwrap() }).await;
    };
    let answer = crossing(&app, &cookie, logout).await;
    assert_eq!((answer.status, answer.set_cookie), (200, vec![]));
    assert!(app.store.rows.lock().unwrap().is_empty());
}

#[tokio::test]
async fn as_express_the_last_writer_wins_and_brings_ended_sessions_back() {
    let app = app(ExpressOptions { races: Races::AsExpress, ..options() });
    let cookie = app.begin().await;
    let logout = async {
        app.express(&cookie, |session| async move { session.destroy().await.unwrap() }).await;
    };
    crossing(&app, &cookie, logout).await;
    assert_eq!(app.read(&cookie, "slow").await, Some(json!(1)));
}

#[tokio::test]
async fn a_sign_in_over_a_session_that_ended_meanwhile_begins_with_nothing_of_it() {
    let app = app(options());
    let cookie = app.begin().await;
    let (other, same) = (app.clone(), cookie.clone());
    let handler = move |session: Session| {
        let (other, same) = (other.clone(), same.clone());
        async move {
            session.establish("ann");
            other.get(&same, |session| async move { session.destroy() }).await;
        }
    };
    let answer = app.get(&cookie, handler).await;
    let ann = answer.cookie();
    assert_eq!(answer.asked.last(), Some(&"set"), "{:?}", answer.asked);
    assert_eq!(app.read(&ann, "a").await, None);
    assert_eq!(app.read(&ann, "passport").await, Some(json!({ "user": "ann" })));
    assert_eq!(app.store.rows.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_renewal_keeps_what_others_changed_and_does_not_undo_their_logout() {
    let app = app(options());
    let cookie = app.get("", |session| async move { session.establish("ann") }).await.cookie();
    let other = app.clone();
    let same = cookie.clone();
    let handler = move |session: Session| {
        let (other, same) = (other.clone(), same.clone());
        async move {
            session.renew();
            // Express's logout, before it destroys: the session is saved without its user.
            let emptied = |session: Session| async move {
                session.insert("passport", &json!({})).unwrap();
                session.insert("cart", &3).unwrap();
            };
            other.get(&same, emptied).await;
        }
    };
    let renewed = app.get(&cookie, handler).await.cookie();
    assert_ne!(id_of(&renewed), id_of(&cookie));
    assert_eq!(app.read(&renewed, "cart").await, Some(json!(3)));
    assert_eq!(app.read(&renewed, "passport").await, Some(json!({})), "nobody is signed in again");
}

#[tokio::test]
async fn a_session_keeps_its_stored_id_until_it_is_renewed() {
    let app = app(options());
    let cookie = app.get("", |session| async move { session.establish("ann") }).await.cookie();
    let stored = id_of(&cookie);
    let handler = move |session: Session| {
        let stored = stored.clone();
        async move {
            session.reauthenticate();
            assert_eq!(
                session.id().unwrap().expose(),
                stored,
                "whoever ends all others must not end this one"
            );
        }
    };
    assert_ne!(id_of(&app.get(&cookie, handler).await.cookie()), id_of(&cookie));
}

#[tokio::test]
async fn a_logout_that_the_store_could_not_do_stays_due() {
    let app = app(options());
    let cookie = app.begin().await;
    app.store.fail_once("destroy");
    let handler = |session: Session| async move {
        session.destroy();
        assert!(session.save().await.is_err());
    };
    let answer = app.get(&cookie, handler).await;
    assert!(answer.set_cookie[0].contains("1970"), "{:?}", answer.set_cookie);
    assert_eq!(app.read(&cookie, "a").await, None);
}

#[tokio::test]
async fn a_logout_while_the_body_is_made_is_a_logout() {
    let app = app(options());
    let cookie = app.begin().await;
    let handler = |session: ExpressSession| async move {
        let finish = session.finish_later();
        session.session().destroy();
        finish.finish().await.unwrap();
    };
    app.express(&cookie, handler).await;
    assert_eq!(app.read(&cookie, "a").await, None);
}

#[tokio::test]
async fn remember_me_lasts_although_another_request_knew_nothing_of_it() {
    let app = app(options());
    let cookie = app.begin().await;
    let (other, same) = (app.clone(), cookie.clone());
    let handler = move |session: Session| {
        let (other, same) = (other.clone(), same.clone());
        async move {
            other.get(&same, |session| async move { session.remember_for(hours(720)) }).await;
            session.insert("cart", &1).unwrap();
        }
    };
    assert_eq!(app.get(&cookie, handler).await.status, 200);
    app.clock.advance(hours(48));
    assert_eq!(app.read(&cookie, "cart").await, Some(json!(1)));
}

#[tokio::test]
async fn a_lifetime_begins_anew_with_a_sign_in_and_can_be_shortened() {
    let app = app(options());
    let visitor = app.begin().await;
    app.get(&visitor, |session| async move { session.remember_for(hours(720)) }).await;
    let ann = app.get(&visitor, |session| async move { session.establish("ann") }).await.cookie();
    let handler = |session: Session| async move {
        assert!(session.lifetime().idle <= hours(24), "{:?}", session.lifetime());
        session.set_lifetime(Lifetime { idle: hours(1) / 6, until: None, persistent: false });
    };
    app.get(&ann, handler).await;
    app.clock.advance(hours(1));
    assert_eq!(app.read(&ann, "a").await, None);
}

#[tokio::test]
async fn a_logout_does_not_fail_for_a_cookie_that_cannot_be_made() {
    let app = app(options());
    let cookie = app.begin().await;
    let broken = ExpressOptions { cookie: fixed(r#"{"maxAge":"soon"}"#), ..options() };
    let app = app_over(app.store.clone(), app.clock.clone(), broken);
    assert_eq!(app.get(&cookie, |session| async move { session.destroy() }).await.status, 200);
    assert!(app.store.rows.lock().unwrap().is_empty());
}

/// Twenty requests at the same moment that have all loaded the session; the value of `n` afterwards, which begins with 1.
async fn twenty<Fut>(
    options: ExpressOptions,
    handler: impl Fn(Session) -> Fut + Clone + Send + Sync + 'static,
) -> Option<serde_json::Value>
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let app = app(options);
    let cookie = app.get("", async |session: Session| session.insert("n", &1).unwrap()).await.cookie();
    let gate = std::sync::Arc::new(tokio::sync::Barrier::new(20));
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (app, cookie, gate, handler) = (app.clone(), cookie.clone(), gate.clone(), handler.clone());
        requests.spawn(async move {
            let handler = move |session: Session| {
                let (gate, handler) = (gate.clone(), handler.clone());
                async move {
                    gate.wait().await;
                    handler(session).await;
                }
            };
            assert_eq!(app.get(&cookie, handler).await.status, 200);
        });
    }
    requests.join_all().await;
    assert_eq!(app.read(&cookie, "hallpass.hold").await, None);
    app.read(&cookie, "n").await
}

fn one_more(n: Option<u32>) -> u32 {
    n.unwrap() + 1
}

#[tokio::test]
async fn of_twenty_updates_at_once_each_counts_in_either_mode() {
    for races in [Races::Settled, Races::AsExpress] {
        let options = ExpressOptions { races, ..options() };
        let n = twenty(options, async |session: Session| session.update("n", one_more).unwrap()).await;
        assert_eq!(n, Some(json!(21)), "{races:?}");
    }
}

#[tokio::test]
async fn an_update_is_applied_once_also_when_it_is_saved_and_loaded_between() {
    let act = async |session: Session| {
        session.update("n", one_more).unwrap();
        let (one, two) = tokio::join!(session.save(), session.save());
        assert!(one.unwrap() && two.unwrap() && session.reload().await.unwrap());
        session.update("n", |n: Option<u32>| n.unwrap() + 100).unwrap();
    };
    assert_eq!(twenty(options(), act).await, Some(json!(1 + 20 + 2000)));
}

#[tokio::test]
async fn of_twenty_that_take_a_value_one_gets_it() {
    let act = async |session: Session| {
        if session.take::<u32>("n").await.unwrap().is_some() {
            session.update("n", |n: Option<u32>| n.unwrap_or(0) + 7).unwrap();
        }
    };
    assert_eq!(twenty(options(), act).await, Some(json!(7)));
}

#[tokio::test]
async fn twenty_that_hold_the_session_come_one_after_the_other() {
    for races in [Races::Settled, Races::AsExpress] {
        let act = async |session: Session| {
            session.hold().await.unwrap();
            let n = session.get("n").unwrap();
            tokio::task::yield_now().await;
            session.insert("n", &one_more(n)).unwrap();
        };
        assert_eq!(twenty(ExpressOptions { races, ..options() }, act).await, Some(json!(21)), "{races:?}");
    }
}

#[tokio::test]
async fn a_held_session_is_free_again_whatever_its_request_did_with_it() {
    let app = app(options());
    for act in [
        (|_| {}) as fn(&Session),
        |session| session.clear(),
        |session| session.unset(),
        |session| session.renew(),
        |session| session.destroy(),
        |_| panic!("the handler is broken"),
    ] {
        let first = app.begin().await;
        let holds = move |session: Session| async move {
            session.hold().await.unwrap();
            act(&session);
        };
        let (app_too, cookie) = (app.clone(), first.clone());
        let answer = tokio::spawn(async move { app_too.get(&cookie, holds).await }).await;
        let cookie = answer.ok().filter(|answer| !answer.set_cookie.is_empty()).map(|answer| answer.cookie());
        let after = app.get(cookie.as_ref().unwrap_or(&first), |session: Session| async move {
            tokio::time::timeout(hours(1), session.hold()).await.unwrap().unwrap();
        });
        assert_eq!(after.await.status, 200);
    }
}

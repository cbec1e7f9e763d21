//! Requests of one session beside each other, and a store that fails beneath them.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::sync::Arc;

use common::{Answer, App, app, hours, insert, log_in, nothing};
use hallpass_session::*;
use http::StatusCode;
use serde_json::json;
use tokio::sync::Notify;

/// Runs `slow` up to its gate, then `quick` from start to end, then the rest of `slow`.
async fn interleave<F>(app: &App, cookie: &str, slow: F, quick: impl AsyncFnOnce()) -> Answer
where
    F: Fn(Session) + Send + Sync + 'static,
{
    let (loaded, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (loaded_too, go_too) = (loaded.clone(), go.clone());
    let slow = Arc::new(slow);
    let handler = move |session: Session| {
        let (loaded, go, slow) = (loaded_too.clone(), go_too.clone(), slow.clone());
        async move {
            loaded.notify_one();
            go.notified().await;
            slow(session);
        }
    };
    let (app, cookie) = (app.clone(), cookie.to_owned());
    let slow_request = tokio::spawn(async move { app.request(Some(&cookie), handler).await });
    loaded.notified().await;
    quick().await;
    go.notify_one();
    slow_request.await.unwrap()
}

#[tokio::test]
async fn requests_that_change_different_keys_both_win() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let slow = |session: Session| session.insert("slow", &1).unwrap();
    interleave(&app, &cookie, slow, async || drop(app.request(Some(&cookie), insert("quick", 2)).await))
        .await;
    assert_eq!(app.read(&cookie, "slow").await, Some(json!(1)));
    assert_eq!(app.read(&cookie, "quick").await, Some(json!(2)));
}

#[tokio::test]
async fn a_change_is_carried_into_a_renewal_that_runs_beside_it() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let slow = |session: Session| session.renew();
    let answer =
        interleave(&app, &cookie, slow, async || drop(app.request(Some(&cookie), insert("quick", 2)).await))
            .await;
    assert_eq!(app.read(&answer.cookie(), "quick").await, Some(json!(2)));
}

#[tokio::test]
async fn a_logout_during_a_slow_request_stays_a_logout() {
    let app = app(SessionOptions::default());
    for slow in [
        |session: Session| session.insert("n", &2).unwrap(),
        |session: Session| session.renew(),
        |session: Session| session.touch(),
    ] {
        let cookie = app.request(None, log_in("ann")).await.cookie();
        let log_out = async || {
            app.request(Some(&cookie), |session| async move { session.destroy() }).await;
        };
        let answer = interleave(&app, &cookie, slow, log_out).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.set_cookie, None);
        assert_eq!(app.read(&cookie, "userId").await, None);
        let left = app.store.of_user("ann", app.clock.now()).await.unwrap();
        assert_eq!(left, [], "nothing came back");
    }
}

#[tokio::test]
async fn a_slow_request_never_disturbs_a_login_beside_it() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let logged_in = std::cell::OnceCell::new();
    let slow = |session: Session| session.insert("n", &2).unwrap();
    let answer = interleave(&app, &cookie, slow, async || {
        logged_in.set(app.request(Some(&cookie), log_in("ann")).await.cookie()).unwrap();
    })
    .await;
    assert_eq!(answer.set_cookie, None, "neither the old id again nor a cleared cookie");
    assert_eq!(app.read(logged_in.get().unwrap(), "userId").await, Some(json!("ann")));
}

#[tokio::test]
async fn a_login_whose_old_session_ended_meanwhile_takes_nothing_of_it_along() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let slow = |session: Session| {
        session.establish("ann");
        session.insert("userId", "ann").unwrap();
    };
    let log_out = async || drop(app.request(Some(&cookie), |session| async move { session.destroy() }).await);
    let answer = interleave(&app, &cookie, slow, log_out).await;
    assert_eq!(app.read(&answer.cookie(), "userId").await, Some(json!("ann")));
    assert_eq!(app.read(&answer.cookie(), "n").await, None);
}

#[tokio::test]
async fn thirty_two_requests_at_once_lose_no_change() {
    const KEYS: [&str; 32] = {
        let mut keys = [""; 32];
        let letters = "abcdefghijklmnopqrstuvwxyz012345";
        let mut at = 0;
        while at < 32 {
            keys[at] = letters.split_at(at).1.split_at(1).0;
            at += 1;
        }
        keys
    };
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let gate = Arc::new(tokio::sync::Barrier::new(KEYS.len()));
    let requests = KEYS.map(|key| {
        let (app, cookie, gate) = (app.clone(), cookie.clone(), gate.clone());
        tokio::spawn(async move {
            let handler = move |session: Session| {
                let gate = gate.clone();
                async move {
                    gate.wait().await;
                    session.insert(key, &1).unwrap();
                }
            };
            assert_eq!(app.request(Some(&cookie), handler).await.status, 200);
        })
    });
    for request in requests {
        request.await.unwrap();
    }
    for key in KEYS {
        assert_eq!(app.read(&cookie, key).await, Some(json!(1)), "{key}");
    }
}

#[tokio::test]
async fn an_error_of_the_handler_loses_nothing_and_breaks_no_renewal() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let failing = |session: Session| async move {
        session.insert("tries", &1).unwrap();
        session.renew();
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let answer = app.request(Some(&cookie), failing).await;
    assert_eq!(answer.status, 500);
    assert_eq!(app.read(&answer.cookie(), "tries").await, Some(json!(1)));
    assert_eq!(app.read(&answer.cookie(), "n").await, Some(json!(1)));
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_never_a_cookie() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    for (operation, cookie, handler) in [
        ("load", Some(&cookie), "read"),
        ("create", None, "login"),
        ("rotate", Some(&cookie), "login"),
        ("update", Some(&cookie), "insert"),
        ("delete", Some(&cookie), "destroy"),
    ] {
        app.break_store(&[operation]);
        let act = move |session: Session| async move {
            match handler {
                "login" => session.establish("ann"),
                "insert" => session.insert("x", &1).unwrap(),
                "destroy" => session.destroy(),
                _ => {}
            }
            "done"
        };
        let answer = app.request(cookie.map(String::as_str), act).await;
        assert_eq!((answer.status, answer.set_cookie), (503, None), "{operation}");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    app.break_store(&[]);
    assert_eq!(app.read(&cookie, "n").await, Some(json!(1)), "and nobody was logged out by it");
}

#[tokio::test]
async fn a_use_that_cannot_be_noted_does_not_fail_the_request() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    app.break_store(&["touch"]);
    app.clock.advance(hours(1));
    let answer = app.request(Some(&cookie), nothing).await;
    assert_eq!((answer.status, answer.asked.as_slice()), (200, ["load", "touch"].as_slice()));
}

#[tokio::test]
async fn a_503_of_the_handler_leaves_everything_as_it_was() {
    let app = app(SessionOptions { rolling: true, ..SessionOptions::default() });
    let cookie = app.begin().await;
    for act in [
        (|session| session.insert("n", &2).unwrap()) as fn(&Session),
        |session| session.renew(),
        |session| session.establish("ann"),
        |session| session.destroy(),
        |session| session.remember_for(hours(1)),
    ] {
        for cookie in [None, Some(cookie.as_str())] {
            let fails = move |session: Session| async move {
                act(&session);
                StatusCode::SERVICE_UNAVAILABLE
            };
            let answer = app.request(cookie, fails).await;
            assert_eq!((answer.status, answer.set_cookie), (503, None));
            assert!(answer.asked.iter().all(|operation| *operation == "load"), "{:?}", answer.asked);
        }
    }
    assert_eq!(app.read(&cookie, "n").await, Some(json!(1)));
}

//! Sessions that a request has for itself until its response leaves.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::IntoResponse};
use common::{App, app, at_once};
use hallpass_session::*;
use http::{Request, StatusCode, header::COOKIE};
use serde_json::json;
use tokio::sync::Notify;

const VISITS: Slot<u32> = Slot::new("visits");

fn one_more(visits: Option<u32>) -> u32 {
    visits.unwrap_or(0) + 1
}

async fn read_and_write(session: &Session) {
    let visits = VISITS.get(session).unwrap();
    tokio::task::yield_now().await;
    VISITS.insert(session, &one_more(visits)).unwrap();
}

#[tokio::test]
async fn requests_that_hold_the_session_wait_for_each_other() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let answers = at_once(&app, &cookie, 20, async |session, number| {
        session.hold().await.unwrap();
        session.hold().await.unwrap();
        read_and_write(&session).await;
        if number % 2 == 0 {
            session.save().await.unwrap();
            read_and_write(&session).await;
        }
        if number == 7 { 500 } else { 200 }
    })
    .await;
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 500)));
    assert_eq!(app.read(&cookie, "visits").await, Some(json!(30)));
    app.request(Some(&cookie), |session: Session| async move {
        assert_eq!(session.keys(), ["n", "visits"], "no lease is left");
        session.with_raw("hallpass.hold", |json| assert_eq!(json, None));
    })
    .await;
}

fn patient(hold_for: u64, hold_wait: u64) -> SessionOptions {
    let (hold_for, hold_wait) = (Duration::from_secs(hold_for), Duration::from_secs(hold_wait));
    SessionOptions { hold_for, hold_wait, ..SessionOptions::default() }
}

#[tokio::test]
async fn a_held_session_is_free_again_whatever_its_request_did() {
    let app = app(patient(600, 20));
    for act in [
        (|_| 200) as fn(&Session) -> u16,
        |_| 503,
        |session| {
            session.insert("x", &1).unwrap();
            503
        },
        |session| {
            session.clear();
            200
        },
        |session| {
            session.unset();
            200
        },
        |session| {
            session.renew();
            200
        },
        |session| {
            session.destroy();
            200
        },
        |_| panic!("the handler is broken"),
    ] {
        let first = app.begin().await;
        let holds = move |session: Session| async move {
            session.hold().await.unwrap();
            StatusCode::from_u16(act(&session)).unwrap()
        };
        let (app_too, cookie) = (app.clone(), first.clone());
        let answer = tokio::spawn(async move { app_too.request(Some(&cookie), holds).await }).await;
        let cookie = answer.ok().filter(|answer| answer.set_cookie.is_some()).map(|answer| answer.cookie());
        let holds_too = |session: Session| async move { session.hold().await.unwrap() };
        let after = app.request(Some(cookie.as_ref().unwrap_or(&first)), holds_too).await;
        assert_eq!(after.status, 200);
    }
}

#[tokio::test]
async fn a_request_that_was_cut_short_holds_nothing() {
    let app = app(patient(600, 20));
    let cookie = app.begin().await;
    let held = Arc::new(Notify::new());
    let held_too = held.clone();
    let never_done = move |session: Session| {
        let held = held_too.clone();
        async move {
            session.hold().await.unwrap();
            held.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let (app_too, cookie_too) = (app.clone(), cookie.clone());
    let request = tokio::spawn(async move { app_too.request(Some(&cookie_too), never_done).await });
    held.notified().await;
    request.abort();
    let holds = |session: Session| async move { session.hold().await.unwrap() };
    assert_eq!(app.request(Some(&cookie), holds).await.status, 200);
}

#[tokio::test]
async fn the_lease_of_a_server_that_died_runs_out() {
    let app = app(patient(30, 0));
    let cookie = app.begin().await;
    let store = app.store.clone();
    app.request(Some(&cookie), move |session: Session| {
        let store = store.clone();
        async move {
            session.hold().await.unwrap();
            // From here on nothing of this server reaches the store.
            store.broken.lock().unwrap().insert("update");
        }
    })
    .await;
    app.break_store(&[]);
    let answer = async || {
        let holds = |session: Session| async move {
            match session.hold().await {
                Ok(()) => StatusCode::OK.into_response(),
                Err(error) => error.into_response(),
            }
        };
        app.request(Some(&cookie), holds).await
    };
    let waited = answer().await;
    assert_eq!((waited.status, waited.headers["retry-after"].to_str().unwrap()), (503, "1"));
    app.clock.advance(Duration::from_secs(31));
    assert_eq!(answer().await.status, 200);
}

#[tokio::test]
async fn whoever_lost_the_lease_writes_nothing() {
    let app = app(patient(30, 20));
    let cookie = app.begin().await;
    let (held, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (held_too, go_too) = (held.clone(), go.clone());
    let slow = move |session: Session| {
        let (held, go) = (held_too.clone(), go_too.clone());
        async move {
            session.hold().await.unwrap();
            held.notify_one();
            go.notified().await;
            read_and_write(&session).await;
        }
    };
    let quick = |session: Session| async move {
        session.hold().await.unwrap();
        VISITS.insert(&session, &10).unwrap();
    };
    let (answer, ()) = tokio::join!(app.request(Some(&cookie), slow), async {
        held.notified().await;
        app.clock.advance(Duration::from_secs(31));
        assert_eq!(app.request(Some(&cookie), quick).await.status, 200);
        go.notify_one();
    });
    assert_eq!((answer.status, answer.set_cookie), (503, None));
    assert_eq!(app.read(&cookie, "visits").await, Some(json!(10)));
}

#[tokio::test]
async fn a_lease_ends_with_the_write_of_its_request() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let holds = |session: Session| async move { session.hold().await.unwrap() };
    let answer = app.request(Some(&cookie), holds).await;
    assert_eq!(answer.asked, ["load", "update", "update"], "whoever waits need not wait for longer");
}

#[tokio::test]
async fn whoever_empties_the_session_ends_no_lease() {
    let app = app(patient(30, 20));
    let cookie = app.begin().await;
    let (held, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (held_too, go_too) = (held.clone(), go.clone());
    let slow = move |session: Session| {
        let (held, go) = (held_too.clone(), go_too.clone());
        async move {
            session.hold().await.unwrap();
            held.notify_one();
            go.notified().await;
            read_and_write(&session).await;
        }
    };
    let (answer, ()) = tokio::join!(app.request(Some(&cookie), slow), async {
        held.notified().await;
        app.request(Some(&cookie), |session: Session| async move { session.clear() }).await;
        go.notify_one();
    });
    assert_eq!(answer.status, 200);
    assert_eq!(app.read(&cookie, "visits").await, Some(json!(1)));
}

/// Twenty requests of this method at once, which hold the session if the layer does so.
async fn twenty(method: &'static str, options: SessionOptions) -> (App, String) {
    let app = app(options);
    let cookie = app.begin().await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (app, cookie) = (app.clone(), cookie.clone());
        requests.spawn(async move {
            let request = Request::builder().method(method).uri("/").header(COOKIE, cookie);
            let work = |session: Session| async move { read_and_write(&session).await };
            app.send_with(request.body(Body::empty()).unwrap(), work).await.status
        });
    }
    assert!(requests.join_all().await.iter().all(|status| *status == 200));
    (app, cookie)
}

#[tokio::test(start_paused = true)]
async fn a_layer_holds_for_all_requests_that_may_change_something() {
    let options = || SessionOptions { hold: Hold::UnsafeMethods, ..SessionOptions::default() };
    for method in ["POST", "PUT", "PATCH", "DELETE", "MOVE"] {
        let (app, cookie) = twenty(method, options()).await;
        assert_eq!(app.read(&cookie, "visits").await, Some(json!(20)), "{method}");
        app.request(Some(&cookie), |_| async {}).await;
        let answer = app.request(Some(&cookie), |_| async {}).await;
        assert_eq!(answer.asked, ["load"], "who only looks waits for nobody");
    }
    let (app, cookie) = twenty("POST", SessionOptions::default()).await;
    assert_ne!(app.read(&cookie, "visits").await, Some(json!(20)), "nobody asked for it");
}

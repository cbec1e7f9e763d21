//! How long a session and its cookie live, and how long a proof of identity stays fresh.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{num::NonZeroUsize, time::Duration};

use common::{START, app, hours, insert, log_in, nothing};
use hallpass_session::*;
use serde_json::json;

#[tokio::test]
async fn idle_and_absolute_deadlines_both_hold() {
    let options = SessionOptions {
        idle_timeout: Some(hours(2)),
        absolute_timeout: Some(hours(5)),
        ..Default::default()
    };
    let app = app(options);
    let idle = app.begin().await;
    app.clock.advance(hours(2).saturating_sub(Duration::from_millis(1)));
    assert_eq!(app.read(&idle, "n").await, Some(json!(1)), "one millisecond before the idle deadline");
    app.clock.advance(hours(2));
    assert_eq!(app.read(&idle, "n").await, None, "exactly at it");

    let busy = app.begin().await;
    for _ in 0..4 {
        app.clock.advance(hours(1));
        assert_eq!(app.read(&busy, "n").await, Some(json!(1)));
    }
    app.clock.advance(hours(1));
    assert_eq!(app.read(&busy, "n").await, None, "use does not move the absolute deadline");
}

#[tokio::test]
async fn remember_me_survives_the_next_write_and_keeps_the_cookie_across_restarts() {
    let app = app(SessionOptions::default());
    let remembered = app
        .request(None, |session| async move {
            session.establish("ann");
            session.remember_for(hours(24 * 20));
        })
        .await;
    let cookie = remembered.set_cookie.clone().unwrap();
    assert!(cookie.contains("; Max-Age=1728000; Expires="), "{cookie}");
    let written = app.request(Some(&remembered.cookie()), insert("n", 1)).await;
    assert!(written.set_cookie.unwrap().contains("; Max-Age=1728000;"), "re-sent with its own lifetime");
    app.clock.advance(hours(24 * 19));
    assert_eq!(app.read(&remembered.cookie(), "n").await, Some(json!(1)));
}

#[tokio::test]
async fn max_age_is_cookie_life_and_idle_timeout_in_one_as_in_express() {
    let cookie = CookieOptions { max_age: Some(hours(24 * 7)), ..Default::default() };
    let app = app(SessionOptions { cookie, rolling: true, ..Default::default() });
    let first = app.request(None, insert("n", 1)).await;
    assert!(first.set_cookie.clone().unwrap().contains("; Max-Age=604800; Expires=Mon, 30 Nov 2026"));
    app.clock.advance(hours(24 * 6));
    let rolled = app.request(Some(&first.cookie()), nothing).await.set_cookie.unwrap();
    assert!(rolled.contains("; Max-Age=604800; Expires=Sun, 06 Dec 2026"), "{rolled}");
    app.clock.advance(hours(24 * 6));
    assert_eq!(app.read(&first.cookie(), "n").await, Some(json!(1)));
}

#[tokio::test]
async fn a_fixed_end_ends_cookie_and_session() {
    let cookie = CookieOptions { expires: Some(START + hours(3)), ..Default::default() };
    let app = app(SessionOptions { cookie, ..Default::default() });
    let answer = app.request(None, insert("n", 1)).await;
    assert!(answer.set_cookie.clone().unwrap().contains("; Max-Age=10800;"));
    app.clock.advance(hours(3));
    assert_eq!(app.read(&answer.cookie(), "n").await, None);
}

#[tokio::test]
async fn a_proof_of_identity_stays_fresh_for_a_while_only() {
    let app = app(SessionOptions { fresh_for: hours(1), ..Default::default() });
    let cookie = app.request(None, log_in("ann")).await.cookie();
    let fresh = |expected: bool| {
        move |session: Session| async move {
            assert_eq!(session.is_fresh(), expected);
            assert_eq!(session.authenticated(), Some(START));
        }
    };
    assert_eq!(app.request(Some(&cookie), fresh(true)).await.status, 200);
    app.clock.advance(hours(1));
    assert_eq!(app.request(Some(&cookie), fresh(false)).await.status, 200);
    let anonymous = app.begin().await;
    assert_eq!(app.request(Some(&anonymous), |s| async move { assert!(!s.is_fresh()) }).await.status, 200);
}

#[tokio::test]
async fn a_proof_that_somebody_else_accepted_is_as_old_as_it_is() {
    let app = app(SessionOptions { fresh_for: hours(1), ..Default::default() });
    let opened = |at: Option<Timestamp>| {
        move |session: Session| async move {
            session.establish("ann");
            session.proved_at(at);
        }
    };
    let (long_ago, second) = (Timestamp::from_millis(0), Duration::from_secs(1));
    for (at, fresh, noted) in [
        (Some(long_ago), false, long_ago),
        // Not None: that says that nobody ever proved it here.
        (None, false, long_ago),
        (Some(START + second * 60), true, START),
        (Some(START + second * 61), false, long_ago),
    ] {
        let cookie = app.request(None, opened(at)).await.cookie();
        let seen = move |session: Session| async move {
            assert_eq!(session.user().as_deref(), Some("ann"));
            assert_eq!(session.is_fresh(), fresh, "{at:?}");
            assert_eq!(session.authenticated(), Some(noted), "{at:?}");
        };
        assert_eq!(app.request(Some(&cookie), seen).await.status, 200);
    }
}

/// The users whom these cookies open.
async fn users(app: &common::App, cookies: &[String]) -> Vec<Option<serde_json::Value>> {
    let mut users = Vec::new();
    for cookie in cookies {
        users.push(app.read(cookie, "userId").await);
    }
    users
}

#[tokio::test(start_paused = true)]
async fn the_sessions_used_longest_ago_end_when_a_user_has_too_many() {
    let app = app(SessionOptions { max_per_user: NonZeroUsize::new(2), ..SessionOptions::default() });
    let (ann, gone) = (Some(json!("ann")), None);
    let bob = app.request(None, log_in("bob")).await.cookie();
    let mut cookies: Vec<String> = Vec::new();
    for sign_in in 0..4 {
        app.clock.advance(Duration::from_secs(120));
        if sign_in == 2 {
            // A store that fails costs nobody a sign-in, and the next one counts again.
            app.break_store(&["trim_user"]);
        }
        if sign_in == 3 {
            // What is used is not what was used longest ago.
            app.read(&cookies[0], "userId").await;
        }
        cookies.push(app.request(None, log_in("ann")).await.cookie());
        tokio::time::sleep(Duration::from_secs(5)).await;
        if sign_in == 2 {
            assert_eq!(app.store.inner.of_user("ann", app.clock.now()).await.unwrap().len(), 3);
            app.break_store(&[]);
        }
    }
    assert_eq!(users(&app, &cookies).await, [ann.clone(), gone.clone(), gone, ann]);
    assert_eq!(app.read(&bob, "userId").await, Some(json!("bob")), "each has so many");
    // Those that come together are counted together, and the newest stays.
    let many: Vec<_> = (0..4).map(|_| app.request(None, log_in("ann"))).collect();
    let mut newest: Vec<String> = Vec::new();
    for request in many {
        newest.push(request.await.cookie());
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(app.store.inner.of_user("ann", app.clock.now()).await.unwrap().len(), 2);
    assert_eq!(app.read(&newest[3], "userId").await, Some(json!("ann")));
}

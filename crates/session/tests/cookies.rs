//! Several cookies of one name in a request: twins for other paths and domains, and what a neighbour tossed in.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::{App, app, log_in};
use hallpass_session::*;
use serde_json::json;

async fn signed_in(app: &App, user: &'static str) -> String {
    app.request(None, log_in(user)).await.cookie()
}

async fn ended(app: &App) -> String {
    let cookie = signed_in(app, "ann").await;
    sign_out(app, &cookie).await;
    cookie
}

async fn sign_out(app: &App, cookies: &str) -> common::Answer {
    app.request(Some(cookies), |session: Session| async move { session.destroy() }).await
}

#[tokio::test]
async fn signing_out_ends_every_session_that_was_sent_under_the_name() {
    let app = app(SessionOptions::default());
    for destroy in [true, false] {
        let cookies = [
            ended(&app).await,
            signed_in(&app, "ann").await,
            signed_in(&app, "ann").await,
            ended(&app).await,
            signed_in(&app, "bob").await,
        ];
        let elsewhere = signed_in(&app, "ann").await;
        let answer = if destroy {
            sign_out(&app, &cookies.join("; ")).await
        } else {
            // A message for the next page begins a new session.
            let act = |session: Session| async move {
                session.destroy();
                session.insert("flash", "You are signed out.").unwrap();
            };
            app.request(Some(&cookies.join("; ")), act).await
        };
        assert_eq!(answer.status, 200);
        for cookie in &cookies {
            assert_eq!(app.read(cookie, "userId").await, None);
        }
        assert_eq!(app.read(&elsewhere, "userId").await, Some(json!("ann")), "not those of other browsers");
    }
}

/// Where Express shares the store, it may read a session that this program cannot.
#[tokio::test]
async fn what_is_not_found_is_ended_too_by_a_sign_out_and_a_sign_in() {
    let app = app(SessionOptions::default());
    let cookie = ended(&app).await;
    assert_eq!(sign_out(&app, &cookie).await.asked, ["load", "delete"]);
    assert_eq!(app.request(Some(&cookie), log_in("ann")).await.asked, ["load", "delete", "create"]);
    assert_eq!(app.request(Some(&cookie), common::nothing).await.asked, ["load"]);
    let live = signed_in(&app, "ann").await;
    assert_eq!(
        sign_out(&app, &format!("{cookie}; {live}")).await.asked,
        ["load", "load", "delete", "delete"]
    );
    app.break_store(&["delete"]);
    let answer = sign_out(&app, &cookie).await;
    assert_eq!((answer.status, answer.set_cookie), (503, None));
}

#[tokio::test]
async fn a_sign_out_that_failed_can_be_repeated() {
    let app = app(SessionOptions::default());
    let cookies = [signed_in(&app, "ann").await, signed_in(&app, "ann").await].join("; ");
    app.break_store(&["delete"]);
    assert_eq!(sign_out(&app, &cookies).await.status, 503);
    app.break_store(&[]);
    assert_eq!(app.read(&cookies, "userId").await, Some(json!("ann")), "nobody is told that they are out");
    assert_eq!(sign_out(&app, &cookies).await.status, 200);
    assert_eq!(app.read(&cookies, "userId").await, None);
}

#[tokio::test]
async fn as_many_ended_cookies_as_a_browser_keeps_do_not_hide_the_live_one() {
    let app = app(SessionOptions::default());
    let mut cookies = Vec::new();
    for _ in 0..200 {
        cookies.push(ended(&app).await);
    }
    cookies.push(signed_in(&app, "ann").await);
    assert_eq!(app.read(&cookies.join("; "), "userId").await, Some(json!("ann")));
}

#[tokio::test]
async fn a_cookie_that_is_repeated_counts_once_and_their_number_is_bounded() {
    let app = app(SessionOptions::default());
    let (gone, live) = (ended(&app).await, signed_in(&app, "ann").await);
    let cookies = format!("{}; {live}", vec![gone; 1000].join("; "));
    let answer = app.request(Some(&cookies), common::nothing).await;
    assert_eq!(answer.asked, ["load", "load"]);
    let mut many = Vec::new();
    for _ in 0..300 {
        many.push(ended(&app).await);
    }
    let answer = app.request(Some(&many.join("; ")), common::nothing).await;
    assert_eq!(answer.asked.len(), 256, "a request costs the store no more than that");
}

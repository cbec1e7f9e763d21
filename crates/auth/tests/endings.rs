//! What a browser learns about the end of its session.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::{App, app};
use hallpass_auth::Ending;
use hallpass_session::SessionStore;

/// Two browsers of ann.
async fn two_browsers(app: &App) -> (String, String) {
    (app.log_in("ann", "").await.cookie(), app.log_in("ann", "").await.cookie())
}

async fn why(app: &App, cookie: &str) -> String {
    app.get("/why", cookie).await.body
}

#[tokio::test]
async fn a_session_that_ended_elsewhere_says_why() {
    let app = app().await;
    let ann = app.user("ann").await;
    let (here, there) = two_browsers(&app).await;
    assert_eq!(why(&app, &there).await, "None", "it has not ended");
    assert_eq!(app.post("/logout-everywhere", &here, "").await.body, "1");
    assert_eq!(why(&app, &there).await, "Some(User)");

    let (here, _) = two_browsers(&app).await;
    let sessions = app.sessions.as_ref();
    app.auth.end_sessions_of(sessions, &ann.id, None, Ending::Password, app.now()).await.unwrap();
    assert_eq!(why(&app, &here).await, "Some(Password)");

    let (here, there) = two_browsers(&app).await;
    let listed = app.sessions.of_user(ann.id.as_str(), app.now()).await.unwrap();
    for session in listed.iter().take(1) {
        let one = app.auth.end_session_of(sessions, None, session.handle, Ending::Provider, app.now());
        assert!(one.await.unwrap());
    }
    let mut said = [why(&app, &here).await, why(&app, &there).await];
    said.sort();
    assert_eq!(said, ["None", "Some(Provider)"], "the other one goes on");

    let (here, _) = two_browsers(&app).await;
    app.auth.set_disabled(&ann, true, sessions, app.now()).await.unwrap();
    assert_eq!(why(&app, &here).await, "Some(Operator)");
}

#[tokio::test]
async fn a_cookie_that_never_opened_anything_says_nothing() {
    let app = app().await;
    assert_eq!(why(&app, "").await, "None");
    let cookie = app.log_in("ann", "").await.cookie();
    let (forged, _) = cookie.rsplit_once('.').unwrap();
    assert_eq!(why(&app, &format!("{forged}.forged")).await, "None");
    assert_eq!(app.log_in("ann", &cookie).await.body, "in");
    assert_eq!(why(&app, &cookie).await, "Some(Unknown)", "its ID was renewed");
}

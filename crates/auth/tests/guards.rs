//! Guards for routers and routes: who gets through, and what the others are told.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::post};
use common::{App, app, app_with};
use hallpass_auth::{AuthOptions, Change, LoginKey, UserStore};
use hallpass_session::{Keys, MemoryStore, Session, SessionLayer, SessionOptions};
use http::{Request, StatusCode};
use tower::ServiceExt;

async fn with_sign_in() -> App {
    app_with(AuthOptions { sign_in_path: Some("/login".into()), ..common::options() }).await
}

#[tokio::test]
async fn programs_get_401_as_express_apps_say_it() {
    let app = with_sign_in().await;
    for path in ["/who", "/guarded", "/id"] {
        let answer = app.get(path, "").await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (StatusCode::UNAUTHORIZED, r#"{"message":"Unauthorized"}"#),
            "{path}"
        );
        assert_eq!(answer.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn page_loads_are_led_to_sign_in_and_back() {
    let app = with_sign_in().await;
    for (path, location) in [
        ("/who", "/login?next=/who"),
        ("/who?a=1&b=%26#x", "/login?next=/who%3Fa%3D1%26b%3D%2526"),
        ("/guarded?u=https://evil.test", "/login?next=/guarded%3Fu%3Dhttps://evil.test"),
    ] {
        let answer = app.send("GET", path, &[("accept", "text/html,*/*;q=0.8")], "").await;
        assert_eq!(
            (answer.status, answer.headers["location"].to_str().unwrap()),
            (StatusCode::SEE_OTHER, location)
        );
    }
    let navigation = app.send("GET", "/who", &[("sec-fetch-mode", "navigate")], "").await;
    assert_eq!(navigation.status, StatusCode::SEE_OTHER);
    for headers in
        [[("accept", "text/html"), ("sec-fetch-mode", "cors")], [("accept", "application/json"), ("x", "y")]]
    {
        assert_eq!(app.send("GET", "/who", &headers, "").await.status, StatusCode::UNAUTHORIZED);
    }
    let post = app.send("POST", "/guarded", &[("accept", "text/html")], "").await;
    assert_eq!(post.status, StatusCode::UNAUTHORIZED, "a form would be lost on the way");
    let nowhere = app_with(common::options()).await;
    assert_eq!(
        nowhere.send("GET", "/who", &[("accept", "text/html")], "").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn the_way_back_has_the_whole_path_below_a_nested_router() {
    let app = with_sign_in().await;
    let nested = Router::new().nest("/admin", app.router.clone());
    for (path, location) in [
        ("/admin/who?a=1", "/login?next=/admin/who%3Fa%3D1"),
        ("/admin/guarded", "/login?next=/admin/guarded"),
    ] {
        let request = Request::get(path).header("accept", "text/html").body(Body::empty()).unwrap();
        let answer = nested.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["location"], location);
    }
}

#[test]
fn what_cannot_be_read_is_500_wherever_it_is_met() {
    use axum::response::IntoResponse;
    let document = hallpass_session::Document::from_json(r#"{"n":"text"}"#).unwrap();
    let error = document.get::<u32>("n").unwrap_err();
    let answer = hallpass_auth::Error::from(error).into_response();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!answer.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn roles_are_asked_for_one_by_one() {
    let app = app().await;
    let cookie = app.log_in("ann", "").await.cookie();
    assert_eq!(app.get("/guarded", &cookie).await.status, StatusCode::OK);
    let refused = app.get("/admin", &cookie).await;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (StatusCode::FORBIDDEN, r#"{"message":"Forbidden","code":"forbidden"}"#)
    );
    let id = app.user("ann").await.id;
    app.users.change(&id, &Change::Roles(vec!["editor".into(), "admin".into()])).await.unwrap();
    assert_eq!(app.get("/admin", &cookie).await.status, StatusCode::OK, "with the next request");
    app.users.change(&id, &Change::Roles(vec!["administrator".into()])).await.unwrap();
    assert_eq!(app.get("/admin", &cookie).await.status, StatusCode::FORBIDDEN);
    assert_eq!(app.get("/admin", "").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn some_things_need_a_fresh_proof() {
    let app = app().await;
    let cookie = app.log_in("ann", "").await.cookie();
    assert_eq!(app.get("/fresh", &cookie).await.status, StatusCode::OK);
    app.clock.advance(Duration::from_secs(3600));
    let stale = app.get("/fresh", &cookie).await;
    assert_eq!(stale.status, StatusCode::FORBIDDEN);
    assert!(stale.body.contains("reauth_required"));
    assert_eq!(app.get("/who", &cookie).await.status, StatusCode::OK);
    let again = app.log_in("ann", &cookie).await.cookie();
    assert_eq!(app.get("/fresh", &again).await.status, StatusCode::OK);
}

#[tokio::test]
async fn who_asks_optionally_is_told_nobody() {
    let app = app().await;
    assert_eq!(app.get("/maybe", "").await.body, "nobody");
    let cookie = app.log_in("ann", "").await.cookie();
    assert_eq!(app.get("/maybe", &cookie).await.body, "ann@example.com");
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_never_logged_out() {
    let app = app().await;
    let cookie = app.log_in("ann", "").await.cookie();
    app.users.break_down(true);
    for path in ["/who", "/guarded", "/admin", "/fresh", "/maybe"] {
        let answer = app.get(path, &cookie).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.set_cookie, None, "the cookie is left alone");
        assert!(!answer.body.contains("connection refused"), "the cause goes to the log only");
    }
    let login = app.log_in("ann", "").await;
    assert_eq!((login.status, login.set_cookie), (StatusCode::SERVICE_UNAVAILABLE, None));
    app.users.break_down(false);
    assert_eq!(app.get("/who", &cookie).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_text_where_passport_has_an_object_signs_nobody_in() {
    let who = async |session: Session, value: String| {
        session.establish("ann");
        session.insert_raw("passport", serde_json::from_str(&value).unwrap());
        format!("{:?}", LoginKey::passport().user(&session).map(|user| user.to_string()))
    };
    let keys = Keys::from_secret("a secret of at least thirty-two bytes").unwrap();
    let layer = SessionLayer::new(Arc::new(MemoryStore::new()), keys, SessionOptions::default()).unwrap();
    let router = Router::new().route("/", post(who)).layer(layer);
    for (value, user) in
        [(r#"{"user":"ann"}"#, r#"Some("ann")"#), (r#""ann""#, "None"), (r#"{"user":"bob"}"#, "None")]
    {
        let response = router.clone().oneshot(Request::post("/").body(Body::from(value)).unwrap()).await;
        let body = axum::body::to_bytes(response.unwrap().into_body(), usize::MAX).await.unwrap();
        assert_eq!(body, user, "{value}");
    }
}

#[tokio::test]
async fn a_users_id_in_the_session_alone_signs_nobody_in() {
    for accept in [false, true] {
        let options = AuthOptions { accept_foreign_sign_ins: accept, ..common::options() };
        let app = app_with(options).await;
        let id = app.user("ann").await.id;
        let keys = Keys::from_secret("a secret of at least thirty-two bytes").unwrap();
        let layer = SessionLayer::new(app.sessions.clone(), keys, SessionOptions::default()).unwrap();
        let (auth, written) = (app.auth.clone(), id.clone());
        let router = Router::new()
            .route(
                "/write",
                post(async move |session: Session| session.insert("userId", written.as_str()).unwrap()),
            )
            .route(
                "/who",
                post(async move |session: Session| {
                    format!("{}", auth.current_user(&session).await.unwrap().is_some())
                }),
            )
            .layer(layer);
        let written =
            router.clone().oneshot(Request::post("/write").body(Body::empty()).unwrap()).await.unwrap();
        let cookie = written.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let request = Request::post("/who").header("cookie", cookie).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert_eq!(body, accept.to_string());
    }
}

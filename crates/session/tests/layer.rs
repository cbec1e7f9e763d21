//! The session layer as an application and its browsers see it.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use common::{App, SECRET, START, Spy, app, app_with, insert, log_in, nothing};
use hallpass_session::*;
use http::Request;
use serde_json::json;

#[tokio::test]
async fn a_request_that_never_asks_never_reaches_the_store() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let request = Request::get("/untouched").header("cookie", &cookie).body(Body::empty()).unwrap();
    let answer = app.send(request).await;
    assert_eq!((answer.status, answer.asked.as_slice()), (200, [].as_slice()));
    assert!(answer.set_cookie.is_none() && !answer.headers.contains_key("vary"));
}

#[tokio::test]
async fn a_visitor_who_changes_nothing_gets_no_cookie_and_no_row() {
    let app = app(SessionOptions::default());
    let answer = app.request(None, nothing).await;
    assert_eq!(answer.asked, [""; 0]);
    assert!(answer.set_cookie.is_none());
    assert_eq!(answer.headers["vary"], "Cookie");
}

#[tokio::test]
async fn the_first_change_makes_a_session_that_the_next_request_finds() {
    let app = app(SessionOptions::default());
    let answer = app.request(None, insert("n", 1)).await;
    assert_eq!(answer.asked, ["create"]);
    assert_eq!(answer.headers["cache-control"], "private, no-cache=\"Set-Cookie\"");
    let cookie = answer.set_cookie.clone().unwrap();
    assert!(cookie.starts_with("session=s%3A"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; Secure; SameSite=Lax"), "{cookie}");
    assert_eq!(app.read(&answer.cookie(), "n").await, Some(json!(1)));
}

#[tokio::test]
async fn reading_costs_one_load_and_noting_the_use_is_throttled() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    assert_eq!(app.request(Some(&cookie), nothing).await.asked, ["load"]);
    app.clock.advance(Duration::from_secs(61));
    assert_eq!(app.request(Some(&cookie), nothing).await.asked, ["load", "touch"]);
    assert_eq!(app.request(Some(&cookie), nothing).await.asked, ["load"]);
    let touching = |session: Session| async move { session.touch() };
    assert_eq!(app.request(Some(&cookie), touching).await.asked, ["load", "touch"]);
}

#[tokio::test]
async fn a_change_is_written_once_and_sends_no_new_cookie() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let answer = app.request(Some(&cookie), insert("n", 2)).await;
    assert_eq!(answer.asked, ["load", "update"]);
    assert!(answer.set_cookie.is_none());
    assert_eq!(app.read(&cookie, "n").await, Some(json!(2)));
    assert_eq!(
        app.request(Some(&cookie), insert("n", 2)).await.asked,
        ["load"],
        "the same value is no change"
    );
}

#[tokio::test]
async fn options_of_express_session_do_what_they_say() {
    let eager = app(SessionOptions { save_uninitialized: true, ..Default::default() });
    let answer = eager.request(None, nothing).await;
    assert_eq!(answer.asked, ["create"]);
    assert!(answer.set_cookie.is_some());

    let resaving = app(SessionOptions { resave: true, ..Default::default() });
    let cookie = resaving.begin().await;
    assert_eq!(resaving.request(Some(&cookie), nothing).await.asked, ["load", "update"]);

    let rolling = app(SessionOptions { rolling: true, ..Default::default() });
    let cookie = rolling.begin().await;
    let answer = rolling.request(Some(&cookie), nothing).await;
    assert_eq!(answer.cookie(), cookie);

    for (unset, asked, lives) in
        [(Unset::Keep, vec!["load"], true), (Unset::Destroy, vec!["load", "delete"], false)]
    {
        let app = app(SessionOptions { unset, ..Default::default() });
        let cookie = app.begin().await;
        let letting_go = |session: Session| async move {
            session.insert("n", &9).unwrap();
            session.unset();
            session.insert("n", &10).unwrap();
        };
        assert_eq!(app.request(Some(&cookie), letting_go).await.asked, asked);
        assert_eq!(app.read(&cookie, "n").await, lives.then(|| json!(1)));
    }
}

struct Numbered;

impl IdGenerator for Numbered {
    fn generate(&self) -> SessionId {
        SessionId::new("my very own id/1+2").unwrap()
    }
}

#[tokio::test]
async fn the_id_generator_is_configurable_and_a_repeated_id_is_an_error() {
    let app = app(SessionOptions { ids: Arc::new(Numbered), ..Default::default() });
    let cookie = app.begin().await;
    assert!(cookie.contains("my%20very%20own%20id%2F1%2B2"), "{cookie}");
    assert_eq!(app.read(&cookie, "n").await, Some(json!(1)));
    assert_eq!(app.request(None, insert("n", 1)).await.status, 503);
}

#[tokio::test]
async fn secrets_rotate_without_logging_anyone_out() {
    let spy = Arc::new(Spy::default());
    let clock = ManualClock::new(START);
    let old = Keys::new([SECRET]).unwrap();
    let both = Keys::new(["a-new-secret-of-at-least-32-bytes!", SECRET]).unwrap();
    let before = App::on(spy.clone(), clock.clone(), old, &mut SessionOptions::default());
    let after = App::on(spy, clock, both, &mut SessionOptions::default());

    let cookie = before.begin().await;
    let answer = after.request(Some(&cookie), nothing).await;
    let renewed = answer.cookie();
    assert_ne!(renewed, cookie, "signed anew with the first secret");
    assert_eq!(after.read(&renewed, "n").await, Some(json!(1)));
    assert!(after.request(Some(&renewed), nothing).await.set_cookie.is_none());
    assert_eq!(before.read(&renewed, "n").await, None, "the old app does not know the new secret");
}

#[tokio::test]
async fn destroy_deletes_the_row_and_clears_the_cookie_with_its_own_attributes() {
    let cookie_options =
        CookieOptions { domain: Some("example.com".into()), path: "/app".into(), ..Default::default() };
    let app = app(SessionOptions { cookie: cookie_options, ..Default::default() });
    let cookie = app.begin().await;
    let destroy = |session: Session| async move { session.destroy() };
    let answer = app.request(Some(&cookie), destroy).await;
    assert_eq!(answer.asked, ["load", "delete"]);
    let cleared = answer.set_cookie.unwrap();
    assert!(
        cleared.starts_with("session=; Domain=example.com; Path=/app; Max-Age=0; Expires=Thu, 01 Jan 1970")
    );
    assert_eq!(app.read(&cookie, "n").await, None);
    for cookie in [Some(cookie.as_str()), None] {
        let again = app.request(cookie, destroy).await;
        assert_eq!(again.status, 200, "a second or anonymous logout is harmless");
        assert!(again.set_cookie.unwrap().contains("Max-Age=0"));
    }
}

#[tokio::test]
async fn what_is_written_after_destroy_begins_a_new_session() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let leave_a_note = |session: Session| async move {
        session.destroy();
        assert_eq!(session.get::<i32>("n").unwrap(), None);
        session.insert("note", "signed out").unwrap();
    };
    let answer = app.request(Some(&cookie), leave_a_note).await;
    assert_eq!(answer.asked, ["load", "delete", "create"]);
    assert_ne!(answer.cookie(), cookie);
    assert_eq!(app.read(&answer.cookie(), "note").await, Some(json!("signed out")));
    assert_eq!(app.read(&answer.cookie(), "n").await, None);
    assert_eq!(app.read(&cookie, "n").await, None);
}

#[tokio::test]
async fn renewing_changes_the_id_and_keeps_the_data() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let answer = app.request(Some(&cookie), |session| async move { session.renew() }).await;
    assert_eq!(answer.asked, ["load", "rotate"]);
    assert_eq!(app.read(&answer.cookie(), "n").await, Some(json!(1)));
    assert_eq!(app.read(&cookie, "n").await, None, "the old id is dead");
}

#[tokio::test]
async fn a_login_changes_the_id_and_keeps_an_anonymous_cart() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let answer = app.request(Some(&cookie), log_in("ann")).await;
    assert_eq!(answer.asked, ["load", "rotate"]);
    assert_eq!(app.read(&cookie, "n").await, None);
    assert_eq!(app.read(&answer.cookie(), "n").await, Some(json!(1)));
    assert_eq!(app.read(&answer.cookie(), "userId").await, Some(json!("ann")));
}

#[tokio::test]
async fn another_users_login_inherits_neither_id_nor_data() {
    let app = app(SessionOptions::default());
    let ann = app.request(None, log_in("ann")).await.cookie();
    app.request(Some(&ann), insert("salary", 7)).await;
    let bob = app.request(Some(&ann), log_in("bob")).await.cookie();
    assert_ne!(ann, bob);
    assert_eq!(app.read(&bob, "salary").await, None);
    assert_eq!(app.read(&bob, "userId").await, Some(json!("bob")));
    assert_eq!(app.read(&ann, "userId").await, None);
    let again = app.request(Some(&bob), insert("n", 1)).await;
    assert!(again.set_cookie.is_none());
    let bob_again = app.request(Some(&bob), log_in("bob")).await.cookie();
    assert_eq!(app.read(&bob_again, "n").await, Some(json!(1)), "one's own data stays at a second login");
}

#[tokio::test]
async fn secure_follows_the_connection_when_told_to() {
    let cookie = CookieOptions { secure: Secure::Auto, ..Default::default() };
    let app = app(SessionOptions { cookie, save_uninitialized: true, ..Default::default() });
    for (scheme, secure) in [(Some(Scheme::Https), true), (Some(Scheme::Http), false), (None, false)] {
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        let handler = |_: Session| std::future::ready(());
        if let Some(scheme) = scheme {
            let client = Client { addr: [192, 0, 2, 1].into(), scheme, host: None };
            request.extensions_mut().insert(client);
        }
        let answer = app.send_with(request, handler).await;
        assert_eq!(answer.set_cookie.unwrap().contains("; Secure"), secure, "{scheme:?}");
    }
}

#[tokio::test]
async fn every_cookie_of_the_name_is_tried() {
    let app = app(SessionOptions::default());
    let good = app.begin().await;
    let dead = app.begin().await;
    app.request(Some(&dead), |session| async move { session.destroy() }).await;
    let header = format!("session=s%3Aforged.signature; {dead}; other=1; {good}");
    assert_eq!(app.read(&header, "n").await, Some(json!(1)));
}

#[tokio::test]
async fn forged_cookies_never_reach_the_store_and_foreign_ids_are_not_adopted() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let tampered = cookie.replacen("s%3A", "s%3Ax", 1);
    for forged in ["session=", "session=abc", "session=s%3Aabc", "session=s%3Aabc.def", &tampered] {
        assert_eq!(app.request(Some(forged), nothing).await.asked, [""; 0], "{forged}");
    }
    let other = app_with(Keys::from_secret(SECRET).unwrap(), SessionOptions::default());
    let answer = other.request(Some(&cookie), insert("n", 5)).await;
    assert_eq!(answer.asked, ["load", "create"]);
    assert_ne!(answer.cookie(), cookie, "an unknown id gets a fresh one");
}

#[tokio::test]
async fn save_writes_at_once_and_the_response_still_sets_the_cookie() {
    let app = app(SessionOptions::default());
    let saving = |session: Session| async move {
        session.insert("n", &1).unwrap();
        assert!(session.is_new());
        assert!(session.save().await.unwrap());
        assert!(!session.is_new() && session.handle().is_some());
    };
    let answer = app.request(None, saving).await;
    assert_eq!(answer.asked, ["create"]);
    assert_eq!(app.read(&answer.cookie(), "n").await, Some(json!(1)));

    let twice = |session: Session| async move {
        session.insert("n", &2).unwrap();
        session.save().await.unwrap();
        session.insert("n", &3).unwrap();
    };
    assert_eq!(app.request(Some(&answer.cookie()), twice).await.asked, ["load", "update", "update"]);
    assert_eq!(app.read(&answer.cookie(), "n").await, Some(json!(3)));

    let let_go = |session: Session| async move {
        session.renew();
        session.save().await.unwrap();
        session.unset();
    };
    let answer = app.request(Some(&answer.cookie()), let_go).await;
    assert_eq!(answer.set_cookie, None, "whoever let go of the session does not hand it out");
}

#[tokio::test]
async fn reload_shows_what_others_wrote_and_drops_own_changes() {
    let app = app(SessionOptions::default());
    let cookie = app.begin().await;
    let (other, other_cookie) = (app.clone(), cookie.clone());
    let handler = move |session: Session| {
        let (other, cookie) = (other.clone(), other_cookie.clone());
        async move {
            session.insert("mine", &1).unwrap();
            other.request(Some(&cookie), insert("n", 7)).await;
            assert!(session.reload().await.unwrap());
            assert_eq!(session.get("n").unwrap(), Some(7));
            assert_eq!(session.get::<i32>("mine").unwrap(), None);
            other.request(Some(&cookie), |session| async move { session.destroy() }).await;
            assert!(!session.reload().await.unwrap());
        }
    };
    assert_eq!(app.request(Some(&cookie), handler).await.status, 200);
}

#[tokio::test]
async fn typed_and_untyped_access_agree() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Cart {
        items: Vec<String>,
    }
    const CART: Slot<Cart> = Slot::new("cart");
    let app = app(SessionOptions::default());
    let handler = |session: Session| async move {
        CART.insert(&session, &Cart { items: vec!["pear".into()] }).unwrap();
        assert_eq!(session.get_raw("cart").unwrap().get(), r#"{"items":["pear"]}"#);
        assert!(session.get::<u8>("cart").is_err());
        session.insert("n", &1).unwrap();
        assert_eq!(session.keys(), ["cart", "n"]);
        assert!(session.remove("n") && !session.remove("n"));
        assert!(CART.get(&session).unwrap().is_some() && CART.remove(&session));
        session.insert("gone", &1).unwrap();
        session.clear();
        session.insert("left", &1).unwrap();
        assert_eq!(session.keys(), ["left"]);
    };
    let answer = app.request(None, handler).await;
    assert_eq!(answer.status, 200);
    assert_eq!(app.read(&answer.cookie(), "gone").await, None);
}

#[tokio::test]
async fn without_a_layer_the_error_says_what_to_do() {
    let router = axum::Router::new().route("/", axum::routing::get(nothing));
    let request = Request::get("/").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
    assert_eq!(response.status(), 500);
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert!(std::str::from_utf8(&body).unwrap().contains("add a SessionLayer"));
}

#[tokio::test]
async fn further_cookies_come_with_the_sessions_and_never_with_a_503() {
    let app = app(SessionOptions::default());
    let further = |session: Session| async move {
        session.append_cookie("device=1".parse().unwrap());
        session.insert("n", &1).unwrap();
    };
    let cookies = |answer: &common::Answer| -> Vec<String> {
        let all = answer.headers.get_all("set-cookie").iter();
        all.map(|cookie| cookie.to_str().unwrap().split('=').next().unwrap().to_owned()).collect()
    };
    assert_eq!(cookies(&app.request(None, further).await), ["session", "device"]);
    let alone = |session: Session| async move { session.append_cookie("device=1".parse().unwrap()) };
    let answer = app.request(None, alone).await;
    assert_eq!(cookies(&answer), ["device"]);
    assert_eq!(answer.headers["cache-control"], "private, no-cache=\"Set-Cookie\"");
    let dropped = |session: Session| async move {
        session.append_cookie("device=1".parse().unwrap());
        session.unset();
    };
    assert!(cookies(&app.request(None, dropped).await).is_empty());
    app.store.broken.lock().unwrap().insert("create");
    let answer = app.request(None, further).await;
    assert_eq!((answer.status, cookies(&answer).len()), (503, 0));
}

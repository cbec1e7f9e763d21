//! Who a session belongs to in the Express profile: signing in and out, new IDs, lifetimes of a sign-in.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::sync::Arc;

use common::{
    express::{app, fixed, id_of, options},
    hours,
};
use hallpass_session::{express::*, *};
use serde_json::json;

#[tokio::test]
async fn a_login_gets_a_new_id_and_names_the_user_where_express_does() {
    for (path, stored) in [("passport.user", r#""passport":{"user":"ann"}"#), ("userId", r#""userId":"ann""#)]
    {
        let app = app(ExpressOptions { user_path: path.to_owned(), ..options() });
        let visitor = app.begin().await;
        let ann = app.get(&visitor, |session| async move { session.establish("ann") }).await.cookie();
        assert_ne!(id_of(&ann), id_of(&visitor));
        assert!(app.text().contains(stored), "{}", app.text());
        assert_eq!(app.read(&visitor, "a").await, None, "the old id is dead");
        assert_eq!(app.read(&ann, "a").await, Some(json!(1)), "what the visitor had comes along");
        let ben = app.get(&ann, |session| async move { session.establish("ben") }).await.cookie();
        assert_eq!(app.read(&ben, "a").await, None, "another user inherits nothing");
        let handler = |session: Session| async move { assert_eq!(session.user().as_deref(), Some("ben")) };
        assert_eq!(app.get(&ben, handler).await.status, 200);
    }
}

/// A crash between an end and a new beginning would lose the session, and who ends all sessions meanwhile would miss it.
#[tokio::test]
async fn a_new_id_is_one_operation_of_the_store() {
    for resave in [true, false] {
        let app = app(ExpressOptions { resave, ..options() });
        let cookie = app.begin().await;
        let answer = app.get(&cookie, |session| async move { session.establish("ann") }).await;
        assert_eq!(answer.asked, ["get", "rotate"], "{resave}");
        let answer = app.get(&answer.cookie(), |session| async move { session.renew() }).await;
        assert_eq!(answer.asked, ["get", "rotate"], "{resave}");
        let saved = |session: Session| async move {
            session.renew();
            assert!(session.reload().await.unwrap(), "it is found under the ID that it still has");
            assert!(session.save().await.unwrap());
            assert!(session.reload().await.unwrap(), "and under its new one");
            session.insert("late", &1).unwrap();
        };
        let answer = app.get(&answer.cookie(), saved).await;
        assert_eq!(answer.asked, ["get", "get", "rotate", "get", "set"], "{resave}");
        assert_eq!(app.read(&answer.cookie(), "late").await, Some(json!(1)));
        assert_eq!(app.read(&answer.cookie(), "a").await, Some(json!(1)));
    }
}

#[tokio::test]
async fn a_new_id_of_a_response_that_goes_on_is_stored_before_its_head_leaves() {
    let app = app(options());
    let cookie = app.begin().await;
    let (send, receive) = std::sync::mpsc::channel();
    let handler = move |session: ExpressSession| {
        session.session().establish("ann");
        send.send((session.finish_later(), session.clone())).unwrap();
        async {}
    };
    let answer = app.express(&cookie, handler).await;
    assert_eq!(app.read(&answer.cookie(), "a").await, Some(json!(1)), "the browser may use it at once");
    let (finish, session) = receive.recv().unwrap();
    session.session().insert("late", &1).unwrap();
    finish.finish().await.unwrap();
    assert_eq!(app.read(&answer.cookie(), "late").await, Some(json!(1)));
    assert_eq!(app.read(&cookie, "a").await, None);
}

#[tokio::test]
async fn a_renewal_moves_everything() {
    let app = app(options());
    let cookie = app.begin().await;
    let answer = app.get(&cookie, |session| async move { session.renew() }).await;
    assert_eq!(app.read(&cookie, "a").await, None);
    assert_eq!(app.read(&answer.cookie(), "a").await, Some(json!(1)));
    let logged_out = app.begin().await;
    let logout = async {
        app.express(&logged_out, |session| async move { session.destroy().await.unwrap() }).await;
    };
    let (loaded, handler) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let slow = {
        let (loaded, go) = (loaded.clone(), handler.clone());
        move |session: Session| {
            let (loaded, go) = (loaded.clone(), go.clone());
            async move {
                loaded.notify_one();
                go.notified().await;
                session.renew();
            }
        }
    };
    let other = async {
        loaded.notified().await;
        logout.await;
        handler.notify_one();
    };
    let (answer, ()) = tokio::join!(app.get(&logged_out, slow), other);
    assert_eq!(answer.set_cookie, Vec::<String>::new(), "what has ended is not moved");
    assert_eq!(app.store.rows.lock().unwrap().len(), 1, "the other session alone");
}

#[tokio::test]
async fn a_destroyed_session_takes_its_cookie_along() {
    let app =
        app(ExpressOptions { cookie: fixed(r#"{"domain":"d.com","path":"/","maxAge":1000}"#), ..options() });
    let cookie = app.begin().await;
    let answer = app.get(&cookie, |session| async move { session.destroy() }).await;
    let line = "connect.sid=; Domain=d.com; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly";
    assert_eq!(answer.set_cookie, [line]);
    assert!(app.store.rows.lock().unwrap().is_empty());
    let handler = |session: Session| async move {
        session.destroy();
        session.insert("notice", &"signed out").unwrap();
    };
    let cookie = app.begin().await;
    let answer = app.get(&cookie, handler).await;
    assert_ne!(id_of(&answer.cookie()), id_of(&cookie), "what is set afterwards begins another");
    assert_eq!(app.read(&answer.cookie(), "a").await, None);
}

#[tokio::test]
async fn remembering_and_labels_are_stored_where_express_carries_them_along() {
    let app = app(ExpressOptions { cookie: fixed("{}"), ..options() });
    let handler = |session: Session| async move {
        session.establish("ann");
        session.remember_for(hours(48));
        session.set_label("laptop");
    };
    let answer = app.get("", handler).await;
    assert!(
        answer.set_cookie[0].contains("; Expires=Wed, 25 Nov 2026 09:01:13 GMT"),
        "{:?}",
        answer.set_cookie
    );
    let text = app.text();
    assert!(text.contains(r#""originalMaxAge":172800000"#) && text.contains(r#""label":"laptop""#), "{text}");
    let cookie = answer.cookie();
    let seen = app.get(&cookie, |session| async move {
        assert_eq!(session.keys(), ["passport"], "ours is not shown");
        assert_eq!(session.lifetime().idle, hours(48));
        assert!(session.is_fresh() && !session.is_new());
    });
    assert_eq!(seen.await.status, 200);
    app.clock.advance(hours(49));
    assert_eq!(app.read(&cookie, "passport").await, None);
}

#[tokio::test]
async fn a_proof_that_somebody_else_accepted_is_as_old_as_it_is() {
    let app = app(options());
    let old = |session: Session| async move {
        session.establish("ann");
        session.proved_at(None);
    };
    let cookie = app.get("", old).await.cookie();
    let seen = app.get(&cookie, |session| async move {
        assert_eq!(session.user().as_deref(), Some("ann"));
        assert!(!session.is_fresh());
        assert!(session.authenticated().is_some(), "this is no session that Express opened");
    });
    assert_eq!(seen.await.status, 200);
}

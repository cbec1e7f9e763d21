//! Requests of one session that cross, in the Express profile: nothing is lost, and what has ended stays ended.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::{
    express::{app, app_over, fixed, id_of, options},
    hours,
};
use hallpass_session::{express::*, *};
use serde_json::json;

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

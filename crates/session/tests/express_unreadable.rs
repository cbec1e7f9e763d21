//! Stored sessions that cannot be read, in the Express profile. express-session answers every request with 500 until the row
//! expires; here the visitor has no session, and can sign in and out.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::express::{ExpressAnswer, ExpressApp, app, id_of, options};
use hallpass_session::express::*;
use serde_json::json;

/// Texts that make no session, and one that has reached its absolute end.
fn broken() -> Vec<String> {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cookie = r#""cookie":{"originalMaxAge":null,"expires":null,"path":"/"}"#;
    vec![
        "{nope".to_owned(),
        String::new(),
        "[1]".to_owned(),
        "5".to_owned(),
        r#"{"a":1}"#.to_owned(),
        r#"{"cookie":null,"a":1}"#.to_owned(),
        r#"{"cookie":{"originalMaxAge":"60000","path":"/"},"a":1}"#.to_owned(),
        r#"{"cookie":{"maxAge":"soon"},"a":1}"#.to_owned(),
        format!(r#"{{{cookie},"deep":{deep}}}"#),
        format!(r#"{{"cookie":{deep}}}"#),
        format!(r#"{{{cookie},"_hallpass":{{"until":1}}}}"#),
    ]
}

/// A browser whose session was overwritten with this text, and its ID.
async fn overwritten(app: &ExpressApp, text: &str) -> (String, String) {
    let cookie = app.begin().await;
    let id = id_of(&cookie);
    text.clone_into(&mut app.store.rows.lock().unwrap().get_mut(&id).unwrap().0);
    (cookie, id)
}

fn is_stored(app: &ExpressApp, id: &str) -> bool {
    app.store.rows.lock().unwrap().contains_key(id)
}

/// What each answer to `act` must be, and whether it leaves the row.
async fn each<Fut>(
    act: impl Fn(ExpressSession) -> Fut + Clone + Send + Sync + 'static,
    check: impl Fn(&ExpressApp, &str, &str, ExpressAnswer),
) where
    Fut: Future<Output = ()> + Send + 'static,
{
    for text in broken() {
        let shown = text.chars().take(60).collect::<String>();
        let app = app(options());
        let (cookie, id) = overwritten(&app, &text).await;
        let answer = app.express(&cookie, act.clone()).await;
        assert_eq!(answer.status, 200, "{shown}");
        check(&app, &id, &shown, answer);
    }
}

#[tokio::test]
async fn whoever_only_looks_is_nobody_and_leaves_it() {
    let look = |session: ExpressSession| async move {
        assert!(session.session().keys().is_empty() && session.session().user().is_none());
        assert!(session.session().is_new());
    };
    each(look, |app, id, shown, answer| {
        assert!(answer.set_cookie.is_empty() && is_stored(app, id), "{shown}");
    })
    .await;
}

#[tokio::test]
async fn a_sign_out_ends_it_whichever_way() {
    let clears = |session: ExpressSession| async move { session.session().destroy() };
    each(clears, |app, id, shown, answer| {
        assert!(!is_stored(app, id), "{shown}: it is left to Express");
        assert!(answer.set_cookie[0].contains("1970"), "{shown}: {:?}", answer.set_cookie);
    })
    .await;
    let gone = |app: &ExpressApp, id: &str, shown: &str, _: ExpressAnswer| {
        assert!(!is_stored(app, id), "{shown}: it is left to Express");
    };
    each(|session| async move { session.destroy().await.unwrap() }, gone).await;
    each(|session| async move { session.regenerate().await.unwrap() }, gone).await;
}

#[tokio::test]
async fn a_sign_in_replaces_it() {
    for text in broken() {
        let app = app(options());
        let (cookie, id) = overwritten(&app, &text).await;
        let answer = app.get(&cookie, |session| async move { session.establish("ann") }).await;
        assert_eq!(answer.status, 200);
        let ann = answer.cookie();
        assert_ne!(id_of(&ann), id);
        assert_eq!(app.read(&ann, "passport").await, Some(json!({ "user": "ann" })));
        assert!(!is_stored(&app, &id), "it is left to Express");
    }
}

#[tokio::test]
async fn so_does_any_session_that_begins_and_one_that_cannot_be_ended_is_a_503() {
    let insert = |session: ExpressSession| async move { session.session().insert("b", &2).unwrap() };
    each(insert, |app, id, shown, answer| {
        assert!(!is_stored(app, id) && is_stored(app, &id_of(&answer.cookie())), "{shown}");
    })
    .await;
    let app = app(options());
    let (cookie, id) = overwritten(&app, "{nope").await;
    app.break_store(&["destroy"]);
    let answer = app.express(&cookie, insert).await;
    assert_eq!((answer.status, answer.set_cookie), (503, vec![]));
    let answer = app.get(&cookie, |session| async move { session.destroy() }).await;
    assert_eq!((answer.status, answer.set_cookie), (503, vec![]));
    assert!(is_stored(&app, &id));
}

/// It breaks while a request is under way: what the request changed is dropped, as if the session had ended.
#[tokio::test]
async fn one_that_breaks_during_a_request_has_ended() {
    let app = app(options());
    let cookie = app.begin().await;
    let (store, id) = (app.store.clone(), id_of(&cookie));
    let handler = move |session: ExpressSession| {
        store.rows.lock().unwrap().get_mut(&id).unwrap().0 = "{nope".to_owned();
        async move {
            assert_eq!(session.reload().await.unwrap_err().to_string(), "failed to load session");
            session.session().insert("b", &2).unwrap();
        }
    };
    let answer = app.express(&cookie, handler).await;
    assert_eq!((answer.status, answer.set_cookie), (200, vec![]));
}

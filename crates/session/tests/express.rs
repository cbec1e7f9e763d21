//! The Express profile without Node: what its layer and its handles do. That it is what express-session does, interop/express shows.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use common::{
    START,
    express::{app, fixed, id_of, options},
    hours,
};
use hallpass_session::{Unset, express::*, *};
use http::{Request, header};
use serde_json::json;

async fn noop<T>(_: T) {}

fn request(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request =
        headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

async fn set_b(session: ExpressSession) {
    session.session().insert("b", &2).unwrap();
}

#[tokio::test]
async fn a_new_session_is_stored_and_sent_as_express_does_it() {
    let app = app(options());
    let answer = app.express("", set_b).await;
    let (cookie, id) = (answer.cookie(), id_of(&answer.cookie()));
    assert_eq!(id.len(), 32);
    assert!(cookie.starts_with("connect.sid=s%3A"));
    assert_eq!(
        answer.set_cookie[0],
        format!("{cookie}; Path=/; Expires=Mon, 23 Nov 2026 10:01:13 GMT; HttpOnly")
    );
    assert_eq!(
        app.text(),
        r#"{"cookie":{"originalMaxAge":3600000,"expires":"2026-11-23T10:01:13.000Z","httpOnly":true,"path":"/"},"b":2}"#
    );
    assert_eq!(app.store.rows.lock().unwrap()[&id].1, Some(START + hours(1)));
    assert_eq!(answer.asked, ["set"]);
}

#[tokio::test]
async fn a_request_that_never_asks_never_reaches_the_store() {
    let app = app(options());
    let cookie = app.begin().await;
    let answer = app.send(request("/untouched", &[("cookie", &cookie)]), noop).await;
    assert_eq!((answer.asked, answer.set_cookie), (vec![], vec![]));
}

#[tokio::test]
async fn a_path_covers_what_begins_with_it() {
    let app = app(ExpressOptions { cookie: fixed(r#"{"path":"/admin","maxAge":1000}"#), ..options() });
    for (path, covered) in
        [("/admin", true), ("/admin/x", true), ("/adminfoo", true), ("/", false), ("/Admin", false)]
    {
        let answer = app.send(request(path, &[]), set_b).await;
        assert_eq!(answer.status, if covered { 200 } else { 500 }, "{path}: outside there is no session");
        assert_eq!(answer.set_cookie.len(), usize::from(covered), "{path}");
    }
}

#[tokio::test]
async fn the_first_cookie_of_the_name_counts_and_strangers_ids_are_not_adopted() {
    let app = app(options());
    let cookie = app.begin().await;
    for (header, known) in [
        (format!("connect.sid=bad; {cookie}"), false),
        (format!("{cookie}; connect.sid=bad"), true),
        (format!("Connect.sid=bad; {cookie}"), true),
        (cookie.replace("connect.sid=s%3A", "connect.sid="), false),
    ] {
        assert_eq!(app.read(&header, "a").await, known.then(|| json!(1)), "{header}");
    }
    let unknown = Keys::of_express(["s1"]).unwrap().sign(&SessionId::new("chosen-by-somebody").unwrap());
    let answer = app.express(&format!("connect.sid={unknown}"), set_b).await;
    assert_ne!(id_of(&answer.cookie()), "chosen-by-somebody");
}

#[tokio::test]
async fn cookies_may_depend_on_the_request() {
    let by_host: CookieFunction = Arc::new(|parts| {
        let host = parts.headers[header::HOST].to_str().unwrap();
        json!({ "domain": host, "maxAge": 1000 }).as_object().unwrap().clone()
    });
    let app = app(ExpressOptions { cookie: CookieSource::PerRequest(by_host), ..options() });
    for host in ["a.example", "b.example"] {
        let answer = app.send(request("/", &[("host", host)]), set_b).await;
        assert!(answer.set_cookie[0].contains(&format!("; Domain={host}; ")), "{:?}", answer.set_cookie);
    }
}

#[tokio::test]
async fn secure_and_auto_go_by_how_the_request_came() {
    let https = |value: &'static str| request("/", &[("x-forwarded-proto", value)]);
    for (secure, proxy, proto, sent) in [
        ("true", Proxy::Always, "https", Some("; Secure")),
        ("true", Proxy::Always, "HTTPS, http", Some("; Secure")),
        ("true", Proxy::Always, "http", None),
        ("true", Proxy::Never, "https", None),
        ("true", Proxy::App, "https", None),
        ("\"auto\"", Proxy::Always, "https", Some("; Secure")),
        ("\"auto\"", Proxy::Always, "http", Some("")),
    ] {
        let cookie = fixed(&format!(r#"{{"secure":{secure},"maxAge":1000}}"#));
        let app = app(ExpressOptions { cookie, proxy, ..options() });
        let answer = app.send(https(proto), set_b).await;
        let seen =
            answer.set_cookie.first().map(|line| if line.contains("; Secure") { "; Secure" } else { "" });
        assert_eq!(seen, sent, "{secure} {proxy:?} {proto}");
        assert_eq!(answer.asked, ["set"], "it is saved all the same");
    }
}

#[tokio::test]
async fn regenerate_destroys_and_begins_anew() {
    let app = app(options());
    let cookie = app.begin().await;
    let handler = |session: ExpressSession| async move {
        let old = session.id();
        session.regenerate().await.unwrap();
        assert_ne!(session.id(), old);
        assert!(session.session().keys().is_empty());
        session.session().insert("new", &true).unwrap();
    };
    let answer = app.express(&cookie, handler).await;
    assert_eq!(answer.asked, ["get", "destroy", "set"]);
    assert_eq!(app.read(&answer.cookie(), "new").await, Some(json!(true)));
    assert_eq!(app.read(&cookie, "a").await, None, "the old id is dead");
}

#[tokio::test]
async fn save_reload_and_destroy_are_done_at_once() {
    let app = app(options());
    let cookie = app.begin().await;
    let store = app.store.clone();
    let handler = move |session: ExpressSession| {
        let store = store.clone();
        async move {
            set_b(session.clone()).await;
            assert!(session.save().await.unwrap());
            let text = store.rows.lock().unwrap()[&session.id()].0.clone();
            assert!(text.ends_with(r#""a":1,"b":2}"#), "{text}");
            session.session().insert("c", &3).unwrap();
            session.reload().await.unwrap();
            assert_eq!(session.session().keys(), ["a", "b"], "the change is dropped");
            session.destroy().await.unwrap();
            assert!(!session.exists() && store.rows.lock().unwrap().is_empty());
            let again = session.save().await.unwrap_err();
            assert_eq!(again.to_string(), "no session");
        }
    };
    let answer = app.express(&cookie, handler).await;
    assert_eq!(answer.asked, ["get", "set", "get", "destroy"]);
    assert!(answer.set_cookie.is_empty(), "the browser keeps its cookie, as with Express");
    let answer = app.express(&cookie, |session| async move {
        assert_eq!(session.reload().await.unwrap_err().to_string(), "failed to load session");
    });
    assert_eq!(answer.await.asked, ["get", "get"]);
}

#[tokio::test]
async fn letting_go_keeps_or_ends_as_unset_says() {
    for (unset, left) in [(Unset::Keep, 1), (Unset::Destroy, 0)] {
        let app = app(ExpressOptions { unset, ..options() });
        let cookie = app.begin().await;
        let handler = |session: ExpressSession| async move {
            set_b(session.clone()).await;
            session.unset();
            set_b(session).await;
        };
        let answer = app.express(&cookie, handler).await;
        assert!(answer.set_cookie.is_empty());
        assert_eq!(app.store.rows.lock().unwrap().len(), left, "{unset:?}");
        assert_eq!(app.read(&cookie, "b").await, None, "changes are lost either way");
    }
}

#[tokio::test]
async fn what_is_written_behind_the_head_is_saved_when_the_response_ends() {
    let app = app(options());
    let cookie = app.begin().await;
    let (send, receive) = std::sync::mpsc::channel();
    let handler = move |session: ExpressSession| {
        send.send((session.finish_later(), session.clone())).unwrap();
        set_b(session)
    };
    let answer = app.express(&cookie, handler).await;
    assert_eq!((answer.asked, answer.set_cookie.len()), (vec!["get"], 1), "the cookie goes with the head");
    let (finish, session) = receive.recv().unwrap();
    session.session().insert("late", &1).unwrap();
    finish.finish().await.unwrap();
    assert_eq!(app.read(&cookie, "b").await, Some(json!(2)));
    assert_eq!(app.read(&cookie, "late").await, Some(json!(1)));
}

#[tokio::test]
async fn names_that_express_keeps_for_itself_are_no_data() {
    let app = app(options());
    let handler = |session: Session| async move {
        for name in ["cookie", "id", "save", "toString", "__proto__"] {
            session.insert(name, &1).unwrap();
        }
        session.insert("kept", &1).unwrap();
        assert_eq!(session.keys(), ["kept"]);
    };
    let cookie = app.get("", handler).await.cookie();
    assert!(app.text().contains(r#""cookie":{"originalMaxAge""#), "{}", app.text());
    let text = app.text().replace("\"kept\"", "\"save\":1,\"kept\"");
    app.store.rows.lock().unwrap().get_mut(&id_of(&cookie)).unwrap().0 = text;
    app.get(&cookie, |_| async {}).await;
    assert!(!app.text().contains("save"), "stored ones are dropped when it is saved, as in Express");
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_never_a_cookie() {
    for (operation, with_cookie) in [("get", true), ("set", true), ("set", false)] {
        let app = app(ExpressOptions { unset: Unset::Destroy, ..options() });
        let cookie = app.begin().await;
        app.break_store(&[operation]);
        let answer = app.express(if with_cookie { &cookie } else { "" }, set_b).await;
        assert_eq!((answer.status, answer.set_cookie), (503, vec![]), "{operation}");
        app.break_store(&[]);
        assert_eq!(app.read(&cookie, "a").await, Some(json!(1)), "nobody is logged out");
    }
    let app = app(options());
    let cookie = app.begin().await;
    app.break_store(&["touch"]);
    assert_eq!(app.express(&cookie, noop).await.status, 200, "a use that is not noted is no failure");
    app.break_store(&["destroy"]);
    assert_eq!(app.get(&cookie, |session| async move { session.destroy() }).await.status, 503);
    app.break_store(&["rotate"]);
    for act in [(|session| session.establish("ann")) as fn(&Session), Session::renew] {
        let answer = app.get(&cookie, move |session| async move { act(&session) }).await;
        assert_eq!((answer.status, answer.set_cookie), (503, vec![]));
        app.break_store(&[]);
        assert_eq!(app.read(&cookie, "a").await, Some(json!(1)), "the session is where it was");
        app.break_store(&["rotate"]);
    }
}

#[tokio::test]
async fn lifetimes_are_the_sessions_own_and_begin_anew_with_every_use() {
    let app = app(ExpressOptions { rolling: true, ..options() });
    let cookie = app.begin().await;
    app.clock.advance(Duration::from_secs(3599));
    let answer = app.express(&cookie, noop).await;
    assert!(
        answer.set_cookie[0].contains("Expires=Mon, 23 Nov 2026 11:01:12 GMT"),
        "{:?}",
        answer.set_cookie
    );
    app.clock.advance(Duration::from_secs(3599));
    assert_eq!(app.read(&cookie, "a").await, Some(json!(1)));
    app.clock.advance(hours(1));
    assert_eq!(app.read(&cookie, "a").await, None);
}

/// `maxAge: 1e15` is how some apps write "for ever".
#[tokio::test]
async fn ends_behind_the_year_9999_are_written_as_javascript_does() {
    let app = app(ExpressOptions { cookie: fixed(r#"{"maxAge":1e15}"#), ..options() });
    let answer = app.express("", set_b).await;
    assert!(answer.set_cookie[0].contains("; Expires=Tue, 20 Aug 33715 "), "{:?}", answer.set_cookie);
    assert!(app.text().contains(r#""expires":"+033715-08-20T"#), "{}", app.text());
    assert_eq!(app.read(&answer.cookie(), "b").await, Some(json!(2)));
}

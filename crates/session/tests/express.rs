//! The Express profile without Node: what its layer and its handles do. That it is what express-session does, interop/express shows.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use common::{
    START,
    express::{ExpressApp, app, fixed, id_of, options},
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

/// A request that has loaded its session, then waits until `meanwhile` is done before it changes `slow`.
async fn crossing<Fut: Future<Output = ()>>(
    app: &ExpressApp,
    cookie: &str,
    meanwhile: Fut,
) -> common::express::ExpressAnswer {
    let (loaded, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let handler = {
        let (loaded, go) = (loaded.clone(), go.clone());
        move |session: Session| {
            let (loaded, go) = (loaded.clone(), go.clone());
            async move {
                loaded.notify_one();
                go.notified().await;
                session.insert("slow", &1).unwrap();
            }
        }
    };
    let other = async {
        loaded.notified().await;
        meanwhile.await;
        go.notify_one();
    };
    tokio::join!(app.get(cookie, handler), other).0
}

#[tokio::test]
async fn crossing_changes_both_last() {
    let app = app(options());
    let cookie = app.begin().await;
    let quick = async {
        let handler = |session: Session| async move {
            session.insert("quick", &1).unwrap();
            session.remove("a");
        };
        app.get(&cookie, handler).await;
    };
    crossing(&app, &cookie, quick).await;
    for (key, value) in [("slow", Some(json!(1))), ("quick", Some(json!(1))), ("a", None)] {
        assert_eq!(app.read(&cookie, key).await, value, "{key}");
    }
}

#[tokio::test]
async fn a_logout_during_a_slow_request_stays_a_logout() {
    let app = app(options());
    let cookie = app.begin().await;
    let logout = async {
        app.express(&cookie, |session| async move { session.destroy().await.unwrap() }).await;
    };
    let answer = crossing(&app, &cookie, logout).await;
    assert_eq!((answer.status, answer.set_cookie), (200, vec![]));
    assert!(app.store.rows.lock().unwrap().is_empty());
}

#[tokio::test]
async fn as_express_the_last_writer_wins_and_brings_ended_sessions_back() {
    let app = app(ExpressOptions { races: Races::AsExpress, ..options() });
    let cookie = app.begin().await;
    let logout = async {
        app.express(&cookie, |session| async move { session.destroy().await.unwrap() }).await;
    };
    crossing(&app, &cookie, logout).await;
    assert_eq!(app.read(&cookie, "slow").await, Some(json!(1)));
}

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
    assert_eq!(app.get(&cookie, |session| async move { session.establish("ann") }).await.status, 503);
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

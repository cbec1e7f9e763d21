//! Answers of providers that come twice, in another form, or only in part; and links when a provider's name changes.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod provider;

use std::{pin::pin, task::Poll, time::Duration};

use hallpass_auth::{
    Record, RecordStore, UserId,
    oauth::{FieldMap, OAuth2, Protocol, Rekeyed},
};
use hallpass_session::{Clock, SessionStore};
use http::{HeaderValue, header::SET_COOKIE};
use provider::{
    ISSUER,
    app::{App, app, app_with, state, text},
};
use serde_json::json;
use url::Url;

/// Somebody who is back from the provider: the query, and the cookie of the attempt.
async fn back(app: &App) -> (String, String) {
    let (location, cookie) = app.begin().await;
    let code = app.provider.agree(&location);
    (format!("state={}&code={code}", state(&location)), pair(&cookie))
}

fn pair(cookie: &HeaderValue) -> String {
    cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
}

async fn sessions(app: &App, user: &str) -> usize {
    app.sessions.of_user(user, app.clock.now()).await.unwrap().len()
}

#[tokio::test]
async fn a_repeat_within_a_minute_gets_what_came_of_the_first() {
    let app = app();
    let (query, cookie) = back(&app).await;
    let first = app.send("/", &query, &cookie).await;
    let session = pair(&first.headers()[SET_COOKIE]);
    let ann = text(first).await;
    // The answer has arrived: it is the same session.
    let both = format!("{cookie}; {session}");
    let again = app.send("/", &query, &both).await;
    assert!(!again.headers().contains_key(SET_COOKIE));
    assert_eq!((text(again).await, sessions(&app, &ann).await), (ann.clone(), 1));
    // It has not: the person gets a session all the same, and the other one, which nobody has, is gone.
    let again = app.send("/", &query, &cookie).await;
    let second = pair(&again.headers()[SET_COOKIE]);
    assert_ne!(session, second);
    assert_eq!((text(again).await, sessions(&app, &ann).await), (ann.clone(), 1));
    assert_eq!(text(app.send("/who", "", &second).await).await, ann);
    assert_eq!(text(app.send("/fresh", "", &second).await).await, "true");
    assert_eq!(app.provider.change(|provider| provider.asked.len()), 1, "the code was used once");
    let (_, other) = back(&app).await;
    for cookies in ["", &second, &other] {
        assert_eq!(text(app.send("/", &query, cookies).await).await, "failed unexpected", "another browser");
    }
    app.clock.advance(Duration::from_secs(61));
    assert_eq!(text(app.send("/", &query, &cookie).await).await, "failed unexpected", "later");
}

#[tokio::test]
async fn who_has_signed_out_is_not_signed_in_by_a_repeat() {
    let app = app();
    let (query, cookie) = back(&app).await;
    let ann = text(app.send("/", &query, &cookie).await).await;
    app.sessions.delete_of_user(&ann, None, app.clock.now()).await.unwrap();
    assert_eq!(text(app.send("/", &query, &cookie).await).await, "failed unexpected");
    let (query, cookie) = back(&app).await;
    app.send("/", &query, &cookie).await;
    app.auth.users().delete(&UserId::new(&ann)).await.unwrap();
    assert_eq!(text(app.send("/", &query, &cookie).await).await, "failed unexpected", "nor who is deleted");
}

#[tokio::test]
async fn a_failure_is_repeated_too() {
    let app = app();
    let (location, cookie) = app.begin().await;
    let query = format!("state={}&error=access_denied", state(&location));
    for _ in 0..2 {
        assert_eq!(app.back(&query, &cookie).await, "failed denied");
    }
}

#[tokio::test]
async fn of_many_at_once_one_asks_the_provider_and_all_are_signed_in() {
    let app = app();
    let (query, cookie) = back(&app).await;
    let ask = async || {
        let response = app.send("/", &query, &cookie).await;
        let session = pair(&response.headers()[SET_COOKIE]);
        (text(response).await, session)
    };
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    assert_eq!(app.provider.change(|provider| provider.asked.len()), 1);
    for (user, session) in [&one, &two, &three] {
        assert_eq!(*user, one.0);
        assert_eq!(text(app.send("/who", "", session).await).await, one.0, "whichever answer arrives last");
    }
}

#[tokio::test]
async fn who_goes_away_meanwhile_finds_the_sign_in_done() {
    let app = app();
    let (query, cookie) = back(&app).await;
    {
        let mut first = pin!(app.send("/", &query, &cookie));
        let begun = std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await;
        assert!(begun.is_pending(), "the connection breaks while the provider is asked");
    }
    let second = app.send("/", &query, &cookie).await;
    let session = pair(&second.headers()[SET_COOKIE]);
    let ann = text(second).await;
    assert_eq!(text(app.send("/who", "", &session).await).await, ann);
}

#[tokio::test]
async fn answers_are_read_as_they_are_sent() {
    let app = app();
    let ann = app.sign_in().await;
    app.provider.change(|provider| provider.form = true);
    assert_eq!(app.sign_in().await, ann, "a form");
    app.provider.change(|provider| provider.mark = true);
    assert_eq!(app.sign_in().await, ann, "with a byte order mark");
    app.clock.advance(Duration::from_secs(3 * 24 * 3600));
    let later = provider::NOW + 3 * 24 * 3600;
    app.provider.change(|provider| {
        provider.form = false;
        provider.claims = json!({ "iat": later, "exp": later + 600, "auth_time": later });
    });
    assert_eq!(app.sign_in().await, ann, "metadata and keys with one, too");
}

#[tokio::test]
async fn a_profile_that_nobody_needs_may_fail_and_is_named_where_it_is_needed() {
    let app = app();
    let ann = app.sign_in().await;
    let without = json!({ "email": null, "email_verified": null });
    for (status, body, failure) in [
        (500, "{}", "failed unavailable"),
        (429, "{}", "failed unavailable"),
        (404, "{}", "failed misconfigured"),
        (302, "", "failed misconfigured"),
        (200, "<html>", "failed provider"),
        (200, "[]", "failed provider"),
        (200, r#"{"sub":"eve","email":"eve@example.com","email_verified":true}"#, "failed untrusted"),
    ] {
        app.provider.change(|provider| provider.instead.insert("/me", (status, body)));
        assert_eq!(app.with_claims(without.clone()).await, ann, "{status} {body}");
        let mut stranger = without.clone();
        stranger["sub"] = "bob".into();
        assert_eq!(app.with_claims(stranger).await, failure, "{status} {body}");
    }
}

#[tokio::test]
async fn what_was_reached_is_not_called_unreachable() {
    let app = app();
    app.sign_in().await;
    for (status, body, failure) in [
        (503, "", "unavailable"),
        (200, "<html>", "provider"),
        (200, "", "provider"),
        (200, "error=server_error", "unavailable"),
        (400, r#"{"error":"invalid_client"}"#, "misconfigured"),
        (301, "", "misconfigured"),
    ] {
        app.provider.change(|provider| provider.instead.insert("/token", (status, body)));
        assert_eq!(app.sign_in().await, format!("failed {failure}"), "{status} {body}");
    }
    app.provider.change(|provider| provider.down = true);
    let (query, cookie) = back(&app).await;
    assert_eq!(text(app.send("/", &query, &cookie).await).await, "failed unreachable");
}

/// Plain OAuth 2.0, called `issuer`.
fn plain(issuer: &str, expected: Option<&str>) -> App {
    let url = |path: &str| Url::parse(&format!("{ISSUER}{path}")).unwrap();
    let oauth = OAuth2 {
        issuer: issuer.to_owned(),
        expected_issuer: expected.map(str::to_owned),
        authorize_url: url("/auth"),
        token_url: url("/token"),
        userinfo_url: url("/me"),
        emails_url: None,
        fields: FieldMap::default(),
    };
    let app = app_with(|provider| {
        provider.reauth = hallpass_auth::oauth::Reauth::Never;
        provider.protocol = Protocol::OAuth2(Box::new(oauth));
    });
    let ann = json!({ "sub": "ann", "email": "ann@example.com", "email_verified": true });
    app.provider.change(|provider| provider.userinfo = ann);
    app
}

#[tokio::test]
async fn an_issuer_that_is_not_known_is_not_looked_at() {
    for (expected, sent, signs_in) in [
        (None, None, true),
        (None, Some("https://anything.example"), true),
        (Some(ISSUER), None, true),
        (Some(ISSUER), Some(ISSUER), true),
        (Some(ISSUER), Some("https://anything.example"), false),
    ] {
        let app = plain("key", expected);
        let (query, cookie) = back(&app).await;
        let query = sent.map_or(query.clone(), |sent| format!("{query}&iss={sent}"));
        let answer = text(app.send("/", &query, &cookie).await).await;
        assert_eq!(answer != "failed untrusted", signs_in, "{expected:?} {sent:?}: {answer}");
    }
}

#[tokio::test]
async fn links_follow_a_provider_that_changes_its_name() {
    let app = plain("new name", None);
    let ann = app.sign_in().await;
    let now = app.clock.now();
    let link = |records: Vec<Record>| records.into_iter().next().unwrap();
    let new = link(app.records.export("oauth_link", None, 10, now).await.unwrap());
    assert_eq!(app.providers.rekey("login", "new name", now).await.unwrap(), Some(Rekeyed::default()));
    // The link as it was made under another name.
    let old = plain("old name", None);
    old.sign_in().await;
    let old = link(old.records.export("oauth_link", None, 10, now).await.unwrap());
    app.records.take(&new.key, now).await.unwrap();
    let old = Record { owner: new.owner.clone(), ..old };
    app.records.insert(&old, now).await.unwrap();
    assert_eq!(app.providers.rekey("elsewhere", "old name", now).await.unwrap(), None);
    let moved = app.providers.rekey("login", "old name", now).await.unwrap();
    assert_eq!(moved, Some(Rekeyed { moved: 1, taken: 0 }));
    app.provider.change(|provider| provider.userinfo = json!({ "sub": "ann" }));
    assert_eq!(app.sign_in().await, ann, "without an address: by the link alone");
    app.records.insert(&Record { owner: Some(UserId::new("another")), ..old }, now).await.unwrap();
    let left = app.providers.rekey("login", "old name", now).await.unwrap();
    assert_eq!(left, Some(Rekeyed { moved: 0, taken: 1 }), "a person has one account");
}

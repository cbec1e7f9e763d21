//! Signing in anew with a provider, and how fresh a session is that a provider opened.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod provider;

use hallpass_auth::oauth::Reauth;
use provider::{
    NOW,
    app::{App, app, app_with},
};
use serde_json::{Value, json};

/// Signs in with these claims, anew or not: what came of it, and whether the session is fresh.
async fn come(app: &App, anew: bool, claims: Value) -> (String, Option<bool>) {
    app.provider.change(|provider| provider.claims = claims);
    let begun = if anew { app.begin_anew().await } else { app.begin().await };
    let (answer, session) = app.come_back(begun).await;
    let Some(session) = session else { return (answer, None) };
    (answer, Some(app.post("/fresh", "", &session).await == "true"))
}

#[tokio::test]
async fn an_old_sign_in_at_the_provider_is_no_new_one() {
    let app = app();
    let (location, _) = app.begin_anew().await;
    assert!(location.contains("&prompt=login&max_age=60"), "{location}");
    let (ann, _) = come(&app, false, json!({})).await;
    for (what, claims) in [
        ("signed in there long ago", json!({ "auth_time": NOW - 61 })),
        ("it does not say when", json!({ "auth_time": null })),
        ("it says no time", json!({ "auth_time": "now" })),
        ("it says a time that is still to come", json!({ "auth_time": NOW * 1000 })),
    ] {
        assert_eq!(come(&app, true, claims).await, ("failed stale_sign_in".to_owned(), None), "{what}");
    }
    for claims in [json!({ "auth_time": NOW - 60 }), json!({ "auth_time": NOW })] {
        assert_eq!(come(&app, true, claims.clone()).await, (ann.clone(), Some(true)), "{claims}");
    }
}

#[tokio::test]
async fn a_session_is_as_fresh_as_the_sign_in_at_the_provider() {
    let app = app();
    assert!(app.begin().await.0.contains("&max_age=31536000"), "the provider is to say when");
    for (what, claims, fresh) in [
        ("a moment ago", json!({ "auth_time": NOW - 10 }), true),
        ("more than an hour ago", json!({ "auth_time": NOW - 3601 }), false),
        ("nobody knows when", json!({ "auth_time": null }), false),
        ("in a moment, by another clock", json!({ "auth_time": NOW + 60 }), true),
        ("in the future", json!({ "auth_time": NOW + 61 }), false),
        ("in milliseconds", json!({ "auth_time": NOW * 1000 }), false),
    ] {
        assert_eq!(come(&app, false, claims).await.1, Some(fresh), "{what}");
    }
}

#[tokio::test]
async fn of_a_provider_that_proves_nothing_no_more_is_demanded() {
    let ask = app_with(|provider| provider.reauth = Reauth::Ask);
    assert!(!ask.begin().await.0.contains("max_age"));
    assert!(ask.begin_anew().await.0.contains("&prompt=login&max_age=60"));
    for (what, anew, auth_time, fresh) in [
        ("the provider knows them still, and whoever sits there now", false, json!(null), false),
        ("it says that they signed in long ago", false, json!(NOW - 86400), false),
        ("it says that they signed in a moment ago", false, json!(NOW - 10), true),
        ("they were to sign in anew", true, json!(null), true),
        ("they did, as it says", true, json!(NOW), true),
    ] {
        assert_eq!(come(&ask, anew, json!({ "auth_time": auth_time })).await.1, Some(fresh), "{what}");
    }
    let old = come(&ask, true, json!({ "auth_time": NOW - 61 })).await;
    assert_eq!(old, ("failed stale_sign_in".to_owned(), None), "what it does say counts");

    let never = app_with(|provider| provider.reauth = Reauth::Never);
    assert!(!never.begin_anew().await.0.contains("prompt"));
    assert_eq!(come(&never, true, json!({ "auth_time": NOW - 86400 })).await.1, Some(true));
}

#[tokio::test]
async fn a_session_of_an_unknown_time_is_none_that_express_opened() {
    let app = app();
    app.provider.change(|provider| provider.claims = json!({ "auth_time": null }));
    let (ann, session) = app.session().await;
    assert_eq!(app.post("/who", "", &session).await, ann);
    assert_eq!(app.post("/lose-stamp", "", &session).await, "true");
    assert_eq!(app.post("/who", "", &session).await, "nobody", "without a stamp, ours count for nothing");
}

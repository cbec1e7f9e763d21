//! What a provider may send, and what is believed of it. The table of attacks: RFC 9700, ASVS 5.0 V10, RFC 8725.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod provider;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_auth::{
    RecordStore, UserId,
    oauth::{Begun, ClientAuth, ClientKey, Failure, LogoutRefused},
};
use hallpass_session::{Clock, Secret, SessionStore};
use http::HeaderMap;
use provider::{
    ISSUER, NOW, Signing,
    app::{app, app_with, state},
};
use serde_json::{Value, json};

/// The left half of the SHA-256 of the access token, for ES256.
const AT_HASH: &str = "9MKET0Y7WpOlF96BtnoJyA";

#[tokio::test]
async fn tokens_that_prove_nothing_are_refused() {
    let app = app();
    for signing in [Signing::None, Signing::Confused, Signing::Stranger, Signing::Changed] {
        app.provider.change(|provider| provider.signing = signing);
        assert_eq!(app.sign_in().await, "failed untrusted", "{signing:?}");
    }
    app.provider.change(|provider| provider.signing = Signing::Honest);
    for (what, claims) in [
        ("another issuer", json!({ "iss": "https://evil.example.com" })),
        ("nearly the issuer", json!({ "iss": format!("{ISSUER}/") })),
        ("no issuer", json!({ "iss": null })),
        ("another audience", json!({ "aud": "another app" })),
        ("audiences without us", json!({ "aud": ["one", "two"] })),
        ("several audiences, issued to none", json!({ "aud": ["app", "another app"] })),
        ("issued to another", json!({ "azp": "another app" })),
        ("a stale nonce", json!({ "nonce": "of another request" })),
        ("no nonce", json!({ "nonce": null })),
        ("nobody", json!({ "sub": "" })),
        ("a number for a name", json!({ "sub": 7 })),
        ("an endless name", json!({ "sub": "x".repeat(256) })),
        ("no times", json!({ "exp": null })),
        // Of another access token (OpenID Connect Core 1.0, appendix A.3), and what is no hash at all.
        ("beside a token of another", json!({ "at_hash": "77QmUPtjPfzWtF2AnpK9RQ" })),
        ("half a hash", json!({ "at_hash": &AT_HASH[..20] })),
        ("a number for a hash", json!({ "at_hash": 7 })),
    ] {
        assert_eq!(app.with_claims(claims).await, "failed untrusted", "{what}");
    }
    for (what, claims) in [
        ("expired", json!({ "exp": NOW - 61 })),
        ("from the future", json!({ "iat": NOW + 61 })),
        ("not valid yet", json!({ "nbf": NOW + 61 })),
    ] {
        assert_eq!(app.with_claims(claims).await, "failed clock", "{what}");
    }
    // Within a minute clocks may differ, and these are all fine.
    for claims in [
        json!({ "exp": NOW - 59, "iat": NOW + 59 }),
        json!({ "aud": ["app", "another app"], "azp": "app" }),
        json!({ "aud": ["app"] }),
        json!({ "at_hash": AT_HASH }),
        json!({}),
    ] {
        assert!(!app.with_claims(claims.clone()).await.starts_with("failed"), "{claims}");
    }
}

#[tokio::test]
async fn metadata_of_somebody_else_is_refused() {
    for (field, value) in [
        ("issuer", "https://evil.example.com"),
        ("token_endpoint", "http://login.example.com/token"),
        ("jwks_uri", "http://evil.example.com/jwks"),
        ("jwks_uri", "http://127.0.0.1:8500/v1/kv"),
        ("userinfo_endpoint", "https://localhost/me"),
        ("authorization_endpoint", "javascript:alert(1)"),
    ] {
        let app = app();
        app.provider.change(|provider| provider.metadata[field] = value.into());
        let begun = app.providers.begin("login", &HeaderMap::new(), None, app.clock.now()).await.unwrap();
        assert!(matches!(begun, Begun::Failed(Failure::Misconfigured)), "{field}: {begun:?}");
    }
}

#[tokio::test]
async fn a_profile_about_somebody_else_is_refused() {
    let app = app();
    let missing = json!({ "email": null, "email_verified": null });
    app.provider.change(|provider| provider.userinfo = json!({ "sub": "eve", "email": "eve@example.com" }));
    assert_eq!(app.with_claims(missing.clone()).await, "failed untrusted");
    app.provider.change(|provider| {
        provider.userinfo = json!({ "sub": "ann", "email": "ann@example.com", "email_verified": true });
    });
    let id = app.with_claims(missing).await;
    let user = app.auth.users().find(&UserId::new(&id)).await.unwrap().unwrap();
    assert_eq!(user.email.as_str(), "ann@example.com");
}

#[tokio::test]
async fn new_keys_are_fetched_when_they_sign_and_strangers_cause_no_flood() {
    let app = app();
    let ann = app.sign_in().await;
    assert_eq!(app.sign_in().await, ann);
    assert_eq!(app.provider.change(|provider| provider.jwks), 1, "keys are kept");
    app.clock.advance(Duration::from_secs(10));
    app.provider.rotate();
    assert_eq!(app.sign_in().await, ann);
    assert_eq!(app.provider.change(|provider| provider.jwks), 2);
    // Whoever posts tokens by unknown keys makes nobody ask the provider again and again.
    let flood = async || {
        for number in 0..20 {
            let header = json!({ "alg": "ES256", "kid": format!("made up {number}") });
            let encode = |value: &Value| {
                use base64::Engine;
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
            };
            let token = format!("{}.{}.AAAA", encode(&header), encode(&json!({ "iss": ISSUER })));
            let answer =
                app.providers.back_channel_logout("login", &token, &*app.sessions, app.clock.now()).await;
            assert!(answer.unwrap().is_err());
        }
    };
    flood().await;
    assert_eq!(app.provider.change(|provider| provider.jwks), 2);
    app.clock.advance(Duration::from_secs(10));
    app.provider.change(|provider| provider.has_keys = false);
    flood().await;
    assert_eq!(app.provider.change(|provider| provider.jwks), 3, "one that fails counts too");
    app.provider.change(|provider| provider.has_keys = true);
    assert_eq!(app.sign_in().await, ann, "known keys go on");
}

#[tokio::test]
async fn a_provider_that_is_down_is_known_for_a_day_still() {
    let app = app();
    let ann = app.sign_in().await;
    app.clock.advance(Duration::from_secs(2 * 3600));
    app.provider.change(|provider| provider.claims = json!({ "iat": NOW + 7200, "exp": NOW + 7800 }));
    let (location, cookie) = app.begin().await;
    app.provider.change(|provider| provider.down = true);
    let (again, _) = app.begin().await;
    assert!(again.starts_with(ISSUER), "its addresses are known");
    assert_eq!(app.back(&format!("state={}&code=x", state(&location)), &cookie).await, "failed unreachable");
    app.provider.change(|provider| provider.down = false);
    assert_eq!(app.sign_in().await, ann);
}

#[tokio::test]
async fn an_attempt_ends_after_a_while_and_its_record_holds_no_state() {
    let app = app();
    let (location, cookie) = app.begin().await;
    let records = app.records.export("oauth_attempt", None, 10, app.clock.now()).await.unwrap();
    let secret = cookie.to_str().unwrap().split(['.', ';']).nth(1).unwrap().to_owned();
    assert!(
        records
            .iter()
            .all(|record| !record.body.contains(&state(&location)) && !record.body.contains(&secret))
    );
    let code = app.provider.agree(&location);
    app.clock.advance(Duration::from_secs(20 * 60));
    assert_eq!(
        app.back(&format!("state={}&code={code}", state(&location)), &cookie).await,
        "failed unexpected"
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_put_right_holds_nobody_up_and_prolongs_nothing() {
    let app = app();
    let (day, right) = (Duration::from_secs(24 * 3600), app.clock.now());
    app.clock.set(right + day);
    let times = json!({ "iat": NOW + 86_400, "exp": NOW + 86_400 + 600 });
    let ann = app.with_claims(times).await;
    let (location, cookie) = app.begin().await;
    let code = app.provider.agree(&location);
    app.clock.set(right);
    // Made a day ahead, it would be good for a day and twenty minutes.
    app.provider.change(|provider| provider.claims = json!({}));
    let back = app.back(&format!("state={}&code={code}", state(&location)), &cookie).await;
    assert_eq!(back, "failed unexpected");
    // Keys that were fetched tomorrow are fetched again, and nobody waits until then.
    app.provider.rotate();
    let begun = tokio::time::Instant::now();
    assert_eq!(app.sign_in().await, ann);
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_provider_ends_the_sessions_it_opened_and_only_with_a_proper_token() {
    let app = app();
    let sign_in = async |sid: &str| app.with_claims(json!({ "sid": sid })).await;
    let (id, _) = (sign_in("one").await, sign_in("two").await);
    let count = async || app.sessions.of_user(&id, app.clock.now()).await.unwrap().len();
    assert_eq!(count().await, 2);
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let honest = json!({ "iss": ISSUER, "aud": "app", "iat": NOW, "exp": NOW + 120, "jti": "1", "sid": "one", "sub": "ann", "events": event });
    let post = async |kind: &str, changes: Value| {
        let mut claims = honest.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            }
        }
        let token = app.provider.sign(kind, &claims);
        app.providers.back_channel_logout("login", &token, &*app.sessions, app.clock.now()).await.unwrap()
    };
    for (what, kind, changes) in [
        ("an ID token", "JWT", json!({ "events": null, "nonce": "x" })),
        ("with a nonce", "logout+jwt", json!({ "nonce": "x" })),
        ("no event", "logout+jwt", json!({ "events": {} })),
        ("another type", "at+jwt", json!({})),
        ("another issuer", "logout+jwt", json!({ "iss": "https://evil.example.com" })),
        ("another audience", "logout+jwt", json!({ "aud": "another app" })),
        ("too old", "logout+jwt", json!({ "iat": NOW - 181 })),
        ("expired", "logout+jwt", json!({ "exp": NOW - 61 })),
        ("without an end", "logout+jwt", json!({ "exp": null })),
        ("from the future", "logout+jwt", json!({ "iat": NOW + 61 })),
        ("of an ID token's type, with its claims", "JWT", json!({ "auth_time": NOW })),
        ("without a type, with an ID token's claims", "", json!({ "at_hash": "x" })),
        ("no name", "logout+jwt", json!({ "jti": null })),
        ("nobody", "logout+jwt", json!({ "sid": null, "sub": null })),
    ] {
        assert_eq!(post(kind, changes).await, Err(LogoutRefused::Invalid), "{what}");
        assert_eq!(count().await, 2, "{what}");
    }
    assert_eq!(post("logout+jwt", json!({})).await, Ok(1), "that session");
    let again = sign_in("one").await;
    assert_eq!((again, post("logout+jwt", json!({})).await), (id.clone(), Ok(0)), "a repeat ends nothing");
    assert_eq!(count().await, 2);
    assert_eq!(post("logout+jwt", json!({ "jti": "1b" })).await, Ok(1));
    assert_eq!(
        post("logout+jwt", json!({ "jti": "2", "sub": null, "sid": "two" })).await,
        Ok(1),
        "found by its name alone"
    );
    assert_eq!(count().await, 0);
    sign_in("three").await;
    sign_in("four").await;
    assert_eq!(post("logout+jwt", json!({ "jti": "3", "sid": null })).await, Ok(2), "all of the person");
    sign_in("five").await;
    assert_eq!(post("", json!({ "jti": "5", "sid": "five" })).await, Ok(1), "its claims tell what it is");
    assert_eq!(post("", json!({ "jti": "5", "sid": "five" })).await, Ok(0), "once");
    app.clock.advance(Duration::from_secs(25 * 3600));
    app.provider.change(|provider| provider.down = true);
    assert_eq!(post("logout+jwt", json!({ "jti": "4" })).await, Err(LogoutRefused::Unavailable));
}

#[tokio::test]
async fn microsofts_many_tenants_are_many_issuers() {
    let tenant = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";
    let template = format!("{ISSUER}/{{tenantid}}/v2.0");
    let app = app_with(|provider| {
        if let hallpass_auth::oauth::Protocol::OpenId(openid) = &mut provider.protocol {
            openid.tenants = true;
        }
    });
    app.provider.change(|provider| provider.metadata["issuer"] = template.clone().into());
    let of = |tenant: &str| format!("{ISSUER}/{tenant}/v2.0");
    let id = app.with_claims(json!({ "iss": of(tenant), "tid": tenant })).await;
    assert_eq!(id.len(), 32, "{id}");
    for (what, claims) in [
        (
            "the issuer of another tenant",
            json!({ "iss": of("11111111-2222-3333-4444-555555555555"), "tid": tenant }),
        ),
        ("no tenant", json!({ "iss": template })),
        (
            "no real tenant",
            json!({ "iss": of("../evil/aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "tid": "../evil/aaaaaaaaaaaaaaaaaaaaaaaaaaaaa" }),
        ),
    ] {
        assert_eq!(app.with_claims(claims).await, "failed untrusted", "{what}");
    }
    // The same name in another tenant is somebody else.
    let other = "11111111-2222-3333-4444-555555555555";
    let second =
        app.with_claims(json!({ "iss": of(other), "tid": other, "email": "other@example.com" })).await;
    assert_ne!(second, id);
}

#[tokio::test]
async fn a_signature_instead_of_a_secret_is_for_this_issuer_alone() {
    let pem = Secret::new(include_str!("keys/p256.pem").to_owned());
    let key = ClientKey::new(None, &pem).unwrap();
    let app = app_with(|provider| provider.client_auth = ClientAuth::PrivateKey(key));
    app.sign_in().await;
    let asked = app.provider.change(|provider| provider.asked.last().unwrap().clone());
    let claims = URL_SAFE_NO_PAD.decode(asked["client_assertion"].split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((claims["aud"].as_str(), claims["sub"].as_str()), (Some(ISSUER), Some("app")));
    assert!(!asked.contains_key("client_secret"));
}

//! What a provider may send, and what is believed of it. The table of attacks: RFC 9700, ASVS 5.0 V10, RFC 8725.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod provider;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::State, response::Response, routing::post};
use hallpass_auth::{
    Argon2Params, Auth, AuthOptions, Change, MemoryRecords, MemoryUsers, Origin, Record, RecordStore, UserId,
    UserStore,
    oauth::{Begun, Callback, ClientAuth, Failure, Outcome, Providers, ProvidersOptions, SealKeys},
};
use hallpass_session::{
    Clock, CookieOptions, Keys, ManualClock, MemoryStore, Secret, Session, SessionLayer, SessionOptions,
    SessionStore, Timestamp,
};
use http::{
    HeaderMap, HeaderValue, Request,
    header::{COOKIE, SET_COOKIE},
};
use provider::{ISSUER, NOW, Provider, Signing, ids::OwnIds};
use serde_json::{Value, json};
use tower::ServiceExt;

/// An application whose people come from the provider.
#[derive(Clone)]
struct App {
    auth: Auth,
    provider: Provider,
    providers: Providers,
    records: MemoryRecords,
    sessions: Arc<MemoryStore>,
    clock: ManualClock,
    router: Router,
}

#[derive(Clone)]
struct Shared(Providers, Auth);

/// The body is a callback, as a browser would bring it; the answer says what came of it.
async fn finish(State(shared): State<Shared>, session: Session, headers: HeaderMap, body: String) -> String {
    let origin = Origin { addr: Ipv4Addr::LOCALHOST.into(), user_agent: None };
    let callback = Callback::parse(&body).unwrap();
    let finished = shared.0.finish("login", &session, &headers, &callback, &origin).await.unwrap();
    match finished.outcome {
        Outcome::SignedIn { user, .. } => user.id.to_string(),
        Outcome::Linked => "linked".to_owned(),
        Outcome::Failed(failure) => format!("failed {}", failure.code()),
    }
}

/// The body is a user and a link, which the user removes.
async fn unlink(State(shared): State<Shared>, session: Session, body: String) -> String {
    let (user, link) = body.split_once(' ').unwrap();
    let user = shared.1.users().find(&UserId::new(user)).await.unwrap().unwrap();
    format!("{:?}", shared.0.unlink(&session, &user, link).await.unwrap())
}

/// The body is a user who sets a first password, while the owner of the address takes the account over.
async fn set_password_too_late(State(shared): State<Shared>, session: Session, body: String) -> String {
    let users = shared.1.users();
    let user = users.find(&UserId::new(&body)).await.unwrap().unwrap();
    users.change(&user.id, &Change::Password { from: None, to: None }).await.unwrap();
    let origin = Origin { addr: Ipv4Addr::LOCALHOST.into(), user_agent: None };
    let new = Secret::new("quite a long passphrase".to_owned());
    format!("{:?}", shared.1.set_password(&session, &user, new, &origin).await.unwrap())
}

fn app_with(change: impl FnOnce(&mut hallpass_auth::oauth::Provider)) -> App {
    app_of(Arc::new(MemoryUsers::new()), change)
}

fn app_of(users: Arc<dyn UserStore>, change: impl FnOnce(&mut hallpass_auth::oauth::Provider)) -> App {
    let provider = Provider::new();
    let records = MemoryRecords::new();
    let options = AuthOptions { argon2: Argon2Params::insecure_for_tests(), ..AuthOptions::default() };
    let auth = Auth::new(users, Arc::new(records.clone()), options).unwrap();
    let secret = ClientAuth::Post(Secret::new("secret".to_owned()));
    let mut described = hallpass_auth::oauth::Provider::openid("login", "Login", ISSUER, "app", secret);
    change(&mut described);
    let seal = SealKeys::new(["a secret of at least thirty-two bytes"]);
    let options = ProvidersOptions { seal, ..ProvidersOptions::new("https://app.example.com") };
    let fetch = Arc::new(provider.clone());
    let providers = Providers::new(auth.clone(), fetch, vec![described], options).unwrap();
    let clock = ManualClock::new(Timestamp::from_millis(NOW * 1000));
    let session_options = SessionOptions {
        cookie: CookieOptions { name: "id".into(), ..CookieOptions::default() },
        clock: Arc::new(clock.clone()),
        ..SessionOptions::default()
    };
    let keys = Keys::from_secret("a secret of at least thirty-two bytes").unwrap();
    let sessions = Arc::new(MemoryStore::new());
    let layer = SessionLayer::new(sessions.clone(), keys, session_options).unwrap();
    let router = Router::new()
        .route("/", post(finish))
        .route("/unlink", post(unlink))
        .route("/set-password-too-late", post(set_password_too_late))
        .layer(layer)
        .with_state(Shared(providers.clone(), auth.clone()));
    App { auth, provider, providers, records, sessions, clock, router }
}

fn app() -> App {
    app_with(|_| {})
}

impl App {
    /// Goes to the provider: the address there, and the cookie that came along.
    async fn begin(&self) -> (String, HeaderValue) {
        let begun = self.providers.begin("login", &HeaderMap::new(), None, self.clock.now()).await.unwrap();
        let Begun::Away { location, cookies } = begun else { panic!("{begun:?}") };
        (location, cookies[0].clone())
    }

    async fn back(&self, query: &str, cookie: &HeaderValue) -> String {
        self.post("/", query, cookie).await
    }

    async fn post(&self, path: &str, body: &str, cookie: &HeaderValue) -> String {
        text(self.respond(path, body, cookie).await).await
    }

    async fn respond(&self, path: &str, body: &str, cookie: &HeaderValue) -> Response {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        let request = Request::post(path).header(COOKIE, pair).body(Body::from(body.to_owned())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// There and back; the user's id and the session's cookie.
    async fn session(&self) -> (String, HeaderValue) {
        let (location, cookie) = self.begin().await;
        let code = self.provider.agree(&location);
        let query = format!("state={}&code={code}", state(&location));
        let response = self.respond("/", &query, &cookie).await;
        let session = response.headers()[SET_COOKIE].clone();
        (text(response).await, session)
    }

    /// There and back; the user's id, or what failed.
    async fn sign_in(&self) -> String {
        let (location, cookie) = self.begin().await;
        let code = self.provider.agree(&location);
        let state = state(&location);
        self.back(&format!("state={state}&code={code}"), &cookie).await
    }

    /// There and back with other claims than usual.
    async fn with_claims(&self, claims: Value) -> String {
        self.provider.change(|provider| provider.claims = claims);
        self.sign_in().await
    }
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn state(location: &str) -> String {
    let url = url::Url::parse(location).unwrap();
    url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
}

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

#[tokio::test]
async fn tokens_are_kept_when_asked_for_and_refreshed_when_used() {
    assert!(app().sign_in().await.len() == 32);
    let app = app_with(|provider| provider.keep_tokens = true);
    let id = app.sign_in().await;
    let user = app.auth.users().find(&UserId::new(&id)).await.unwrap().unwrap();
    let token = async || {
        let token = app.providers.access_token(&user, "login", app.clock.now()).await.unwrap();
        token.map(|token| token.expose().clone())
    };
    assert_eq!(token().await.as_deref(), Some("access-1"));
    let kept = || app.records.export("oauth_tokens", None, 10, Timestamp::from_millis(0));
    let record: Record = kept().await.unwrap().remove(0);
    assert!(!record.body.contains("access-1") && !record.body.contains("refresh-1"), "{}", record.body);
    app.clock.advance(Duration::from_secs(3600 - 59));
    let renewed = token().await.unwrap();
    assert_ne!(renewed, "access-1", "it was about to end");
    assert_eq!(token().await, Some(renewed), "and the new one is kept");
    // Many providers give a refresh token once only: a later sign-in without one does not throw it away.
    app.provider.change(|provider| {
        provider.gives_refresh = false;
        provider.claims = json!({ "iat": NOW + 3600, "exp": NOW + 4200 });
    });
    assert_eq!(app.sign_in().await, id);
    app.clock.advance(Duration::from_secs(3600));
    assert!(token().await.is_some(), "refreshed still");
    // The person takes the permission back.
    app.clock.advance(Duration::from_secs(3600));
    app.provider.change(|provider| provider.refreshes = false);
    assert_eq!(token().await, None);
    assert!(kept().await.unwrap().is_empty(), "what is no use is not kept");
}

#[tokio::test]
async fn two_tabs_get_one_account_from_a_database_that_gives_ids() {
    let app = app_of(Arc::new(OwnIds(MemoryUsers::new())), |_| {});
    app.provider.change(|provider| provider.claims = json!({ "email_verified": false }));
    let (one, other) = tokio::join!(app.sign_in(), app.sign_in());
    assert_eq!((one.as_str(), other.as_str()), ("1", "1"));
    assert_eq!(app.sign_in().await, "1", "and the link lasts");
    // An account that was deleted gives way to a new one.
    assert!(app.auth.users().delete(&UserId::new("1")).await.unwrap());
    app.clock.advance(Duration::from_secs(10));
    assert_eq!(app.sign_in().await, "1");
}

#[tokio::test]
async fn the_last_link_that_works_stays() {
    let app = app();
    let (id, session) = app.session().await;
    let mut link = app.records.export("oauth_link", None, 10, app.clock.now()).await.unwrap().remove(0);
    let works = link.key.id.clone();
    link.key.id = "of a provider that is no longer configured".to_owned();
    link.body = link.body.replace(ISSUER, "https://former.example.com");
    app.records.insert(&link, app.clock.now()).await.unwrap();
    let body = format!("{id} {works}");
    assert_eq!(app.post("/unlink", &body, &session).await, "LastWayIn", "the other one opens nothing");
    assert_eq!(app.post("/unlink", &format!("{id} {}", link.key.id), &session).await, "Done");
    assert_eq!(app.sign_in().await, id);
}

#[tokio::test]
async fn a_password_that_comes_after_a_takeover_does_not_last() {
    let app = app();
    let (id, session) = app.session().await;
    assert_eq!(app.post("/set-password-too-late", &id, &session).await, "NotFresh");
    let user = app.auth.users().find(&UserId::new(&id)).await.unwrap().unwrap();
    assert_eq!(user.password, None);
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
        ("too old", "logout+jwt", json!({ "iat": NOW - 181, "exp": null })),
        ("expired", "logout+jwt", json!({ "exp": NOW - 61 })),
        ("no name", "logout+jwt", json!({ "jti": null })),
        ("nobody", "logout+jwt", json!({ "sid": null, "sub": null })),
    ] {
        assert!(post(kind, changes).await.is_err(), "{what}");
        assert_eq!(count().await, 2, "{what}");
    }
    assert_eq!(post("logout+jwt", json!({})).await, Ok(1), "that session");
    assert!(post("logout+jwt", json!({})).await.is_err(), "once");
    assert_eq!(
        post("logout+jwt", json!({ "jti": "2", "sub": null, "sid": "two" })).await,
        Ok(1),
        "found by its name alone"
    );
    assert_eq!(count().await, 0);
    sign_in("three").await;
    sign_in("four").await;
    assert_eq!(post("logout+jwt", json!({ "jti": "3", "sid": null })).await, Ok(2), "all of the person");
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

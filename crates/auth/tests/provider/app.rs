//! An application whose people come from the provider.

use std::{net::Ipv4Addr, sync::Arc};

use axum::{Router, body::Body, extract::State, response::Response, routing::post};
use hallpass_auth::{
    Argon2Params, Auth, AuthOptions, Change, Error, MemoryRecords, MemoryUsers, Origin, RecordStore,
    RegisterOutcome, Registration, UserId, UserStore,
    oauth::{Begun, Callback, ClientAuth, Outcome, Providers, ProvidersOptions, SealKeys},
};
use hallpass_session::{
    Clock, CookieOptions, Keys, ManualClock, MemoryStore, Secret, Session, SessionLayer, SessionOptions,
    SessionStore, Timestamp,
};
use http::{
    HeaderMap, HeaderValue, Request,
    header::{COOKIE, SET_COOKIE},
};
use serde_json::Value;
use tower::ServiceExt;

use super::{ISSUER, NOW, Provider};

/// An application whose people come from the provider.
#[derive(Clone)]
pub struct App {
    pub auth: Auth,
    pub provider: Provider,
    pub providers: Providers,
    pub records: MemoryRecords,
    pub sessions: Arc<MemoryStore>,
    pub clock: ManualClock,
    pub router: Router,
}

#[derive(Clone)]
pub struct Shared(Providers, Auth);

/// The body is a callback, as a browser would bring it; the answer says what came of it.
pub async fn finish(
    State(shared): State<Shared>,
    session: Session,
    headers: HeaderMap,
    body: String,
) -> Result<String, Error> {
    let origin = Origin::new(Ipv4Addr::LOCALHOST.into());
    let callback = Callback::parse(&body).unwrap();
    let finished = shared.0.finish("login", &session, &headers, &callback, &origin).await?;
    Ok(match finished.outcome {
        Outcome::SignedIn { user, .. } => user.id.to_string(),
        Outcome::Linked => "linked".to_owned(),
        Outcome::Failed(failure) => format!("failed {}", failure.code()),
    })
}

/// The body is a user and a link, which the user removes.
pub async fn unlink(State(shared): State<Shared>, session: Session, body: String) -> Result<String, Error> {
    let (user, link) = body.split_once(' ').unwrap();
    let user = shared.1.users().find(&UserId::new(user)).await?.unwrap();
    Ok(format!("{:?}", shared.0.unlink(&session, &user, link).await?))
}

/// The body is a user who sets a first password, while the owner of the address takes the account over.
pub async fn set_password_too_late(State(shared): State<Shared>, session: Session, body: String) -> String {
    let users = shared.1.users();
    let user = users.find(&UserId::new(&body)).await.unwrap().unwrap();
    users.change(&user.id, &Change::Password { from: None, to: None }).await.unwrap();
    let origin = Origin::new(Ipv4Addr::LOCALHOST.into());
    let new = Secret::new("quite a long passphrase".to_owned());
    format!("{:?}", shared.1.set_password(&session, &user, new, &origin).await.unwrap())
}

fn origin() -> Origin {
    Origin::new(Ipv4Addr::LOCALHOST.into())
}

/// The body is an address; the answer, the new account's id.
async fn register(State(shared): State<Shared>, session: Session, email: String) -> String {
    let password = Secret::new("correct horse battery staple".to_owned());
    let registration = Registration { email, password, name: None };
    match shared.1.register(&session, registration, &origin()).await.unwrap() {
        RegisterOutcome::Registered(user) => user.id.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Whoever is signed in connects the provider; the answer leads there.
async fn begin_link(State(shared): State<Shared>, session: Session, headers: HeaderMap) -> Response {
    let user = shared.1.current_user(&session).await.unwrap().unwrap();
    let begun = shared.0.begin_link("login", &headers, &session, &user).await.unwrap();
    let Begun::Away { location, cookies } = begun else { panic!("{begun:?}") };
    let mut response = Response::new(Body::from(location));
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// Whoever is signed in sets a first password.
async fn set_password(State(shared): State<Shared>, session: Session) -> Result<String, Error> {
    let Some(user) = shared.1.current_user(&session).await? else { return Ok("nobody".to_owned()) };
    let new = Secret::new("quite a long passphrase".to_owned());
    Ok(format!("{:?}", shared.1.set_password(&session, &user, new, &origin()).await?))
}

/// How many other sessions ended, and what remains.
async fn log_out_everywhere(State(shared): State<Shared>, session: Session) -> Result<String, Error> {
    let ended = shared.1.log_out_everywhere(&session).await?;
    Ok(format!("{} {:?}", ended.count, ended.remains))
}

async fn who(State(shared): State<Shared>, session: Session) -> String {
    let user = shared.1.current_user(&session).await.unwrap();
    user.map_or_else(|| "nobody".to_owned(), |user| user.id.to_string())
}

pub fn app_with(change: impl FnOnce(&mut hallpass_auth::oauth::Provider)) -> App {
    app_of(Arc::new(MemoryUsers::new()), change)
}

pub fn app_of(users: Arc<dyn UserStore>, change: impl FnOnce(&mut hallpass_auth::oauth::Provider)) -> App {
    app_on(users, |records| records, change)
}

/// The same, with something in front of the records.
pub fn app_on(
    users: Arc<dyn UserStore>,
    before: impl FnOnce(Arc<dyn RecordStore>) -> Arc<dyn RecordStore>,
    change: impl FnOnce(&mut hallpass_auth::oauth::Provider),
) -> App {
    app_over(users, before, |sessions| sessions, change)
}

/// The same, with something in front of the sessions.
pub fn app_over(
    users: Arc<dyn UserStore>,
    before: impl FnOnce(Arc<dyn RecordStore>) -> Arc<dyn RecordStore>,
    before_sessions: impl FnOnce(Arc<dyn SessionStore>) -> Arc<dyn SessionStore>,
    change: impl FnOnce(&mut hallpass_auth::oauth::Provider),
) -> App {
    let provider = Provider::new();
    let records = MemoryRecords::new();
    let options = AuthOptions { argon2: Argon2Params::insecure_for_tests(), ..AuthOptions::default() };
    let auth = Auth::new(users, before(Arc::new(records.clone())), options).unwrap();
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
    let layer = SessionLayer::new(before_sessions(sessions.clone()), keys, session_options).unwrap();
    let router = Router::new()
        .route("/", post(finish))
        .route("/unlink", post(unlink))
        .route("/fresh", post(async |session: Session| session.is_fresh().to_string()))
        .route("/lose-stamp", post(async |session: Session| session.remove("hallpass").to_string()))
        .route("/set-password-too-late", post(set_password_too_late))
        .route("/register", post(register))
        .route("/begin-link", post(begin_link))
        .route("/set-password", post(set_password))
        .route("/log-out-everywhere", post(log_out_everywhere))
        .route("/who", post(who))
        .layer(layer)
        .with_state(Shared(providers.clone(), auth.clone()));
    App { auth, provider, providers, records, sessions, clock, router }
}

pub fn app() -> App {
    app_with(|_| {})
}

impl App {
    /// Goes to the provider: the address there, and the cookie that came along.
    pub async fn begin(&self) -> (String, HeaderValue) {
        away(self.providers.begin("login", &HeaderMap::new(), None, self.clock.now()).await.unwrap())
    }

    /// The same by somebody who must sign in there once more.
    pub async fn begin_anew(&self) -> (String, HeaderValue) {
        away(self.providers.begin_anew("login", &HeaderMap::new(), None, self.clock.now()).await.unwrap())
    }

    pub async fn back(&self, query: &str, cookie: &HeaderValue) -> String {
        self.post("/", query, cookie).await
    }

    pub async fn post(&self, path: &str, body: &str, cookie: &HeaderValue) -> String {
        text(self.respond(path, body, cookie).await).await
    }

    pub async fn respond(&self, path: &str, body: &str, cookie: &HeaderValue) -> Response {
        self.send(path, body, cookie.to_str().unwrap().split(';').next().unwrap()).await
    }

    pub async fn send(&self, path: &str, body: &str, cookies: &str) -> Response {
        let request = Request::post(path).header(COOKIE, cookies).body(Body::from(body.to_owned())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// The person with these claims goes there and comes back.
    pub async fn come(&self, claims: Value) -> Response {
        let (location, cookie) = self.begin().await;
        let code = self.provider.agree_as(&location, claims);
        self.respond("/", &format!("state={}&code={code}", state(&location)), &cookie).await
    }

    /// There and back; the user's id and the session's cookie.
    pub async fn session(&self) -> (String, HeaderValue) {
        let (answer, session) = self.come_back(self.begin().await).await;
        (answer, session.unwrap())
    }

    /// Back from where `begin` led; what came of it, and the session's cookie if there is one.
    pub async fn come_back(
        &self,
        (location, cookie): (String, HeaderValue),
    ) -> (String, Option<HeaderValue>) {
        let code = self.provider.agree(&location);
        let query = format!("state={}&code={code}", state(&location));
        let response = self.respond("/", &query, &cookie).await;
        let session = response.headers().get(SET_COOKIE).cloned();
        (text(response).await, session)
    }

    /// There and back; the user's id, or what failed.
    pub async fn sign_in(&self) -> String {
        let (location, cookie) = self.begin().await;
        let code = self.provider.agree(&location);
        let state = state(&location);
        self.back(&format!("state={state}&code={code}"), &cookie).await
    }

    /// There and back with other claims than usual.
    pub async fn with_claims(&self, claims: Value) -> String {
        self.provider.change(|provider| provider.claims = claims);
        self.sign_in().await
    }
}

fn away(begun: Begun) -> (String, HeaderValue) {
    assert!(!format!("{begun:?}").contains("state"), "secrets stay out of logs");
    let Begun::Away { location, cookies } = begun else { panic!("{begun:?}") };
    (location, cookies[0].clone())
}

pub async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

pub fn state(location: &str) -> String {
    let url = url::Url::parse(location).unwrap();
    url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
}

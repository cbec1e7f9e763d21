//! A small application with three accounts, ann, bob and eve, and a user store that can break down.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hallpass_auth::{
    Argon2Params, Attempt, Auth, AuthOptions, Change, CurrentUser, CurrentUserId, Email, Error, FreshUser,
    Inserted, LoginOutcome, MemoryRecords, MemoryUsers, Origin, Record, RecordKey, RecordStore,
    RegisterOutcome, Registration, Replaced, RequireLogin, User, UserChanged, UserCreated, UserId, UserStore,
};
use hallpass_session::{
    Clock, CookieOptions, Keys, ManualClock, MemoryStore, Secret, Session, SessionLayer, SessionOptions,
    StoreError, Timestamp,
};
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

pub const PASSWORD: &str = "correct horse battery staple";

/// The password as bcryptjs hashes it.
pub const BCRYPTJS: &str = "$2b$10$V6/xnb/C2nXRuocGh2CaT.IYSXJSBqFMrxHQjtWfEATvFn9Khyriu";

#[derive(Clone)]
pub struct App {
    pub auth: Auth,
    pub users: Arc<Users>,
    pub records: Arc<Records>,
    pub sessions: Arc<MemoryStore>,
    pub clock: ManualClock,
    pub router: Router,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub set_cookie: Option<String>,
    pub body: String,
}

impl Answer {
    pub fn cookie(&self) -> String {
        let cookie =
            self.set_cookie.as_deref().unwrap_or_else(|| panic!("no cookie: {} {}", self.status, self.body));
        cookie.split(';').next().unwrap().to_owned()
    }
}

/// Hashes as cheap as they can be.
pub fn options() -> AuthOptions {
    AuthOptions { argon2: Argon2Params::insecure_for_tests(), ..AuthOptions::default() }
}

pub async fn app() -> App {
    app_with(options()).await
}

pub async fn app_with(options: AuthOptions) -> App {
    let (users, records) = (Arc::new(Users::default()), Arc::new(Records::default()));
    let auth = Auth::new(users.clone(), records.clone(), options).unwrap();
    let sessions = Arc::new(MemoryStore::new());
    let clock = ManualClock::new(Timestamp::from_millis(1_795_424_473_000));
    let session_options = SessionOptions {
        cookie: CookieOptions { name: "id".into(), ..CookieOptions::default() },
        clock: Arc::new(clock.clone()),
        ..SessionOptions::default()
    };
    let keys = Keys::from_secret("a secret of at least thirty-two bytes").unwrap();
    let layer = SessionLayer::new(sessions.clone(), keys, session_options).unwrap();
    for name in ["ann", "bob", "eve"] {
        let account = Registration {
            email: format!("{name}@example.com"),
            password: Secret::new(PASSWORD.into()),
            name: Some(name.into()),
        };
        let outcome = auth.create_user(account, Vec::new(), clock.now()).await.unwrap();
        assert!(matches!(outcome, RegisterOutcome::Registered(_)));
    }
    let router = routes(&auth).layer(layer).with_state(auth.clone());
    App { auth, users, records, sessions, clock, router }
}

fn routes(auth: &Auth) -> Router<Auth> {
    let guarded = Router::new()
        .route("/guarded", get(|| async { "in" }).post(|| async { "in" }))
        .route_layer(RequireLogin::new(auth.clone()));
    Router::new()
        .merge(guarded)
        .route("/admin", get(|| async { "in" }).layer(RequireLogin::new(auth.clone()).with_role("admin")))
        .route("/login", post(log_in))
        .route("/code/{user}", post(log_in_verified))
        .route("/logout-everywhere", post(log_out_everywhere))
        .route("/who", get(async |CurrentUser(user): CurrentUser| user.email.as_str().to_owned()))
        .route("/id", get(async |CurrentUserId(id): CurrentUserId| id.to_string()))
        .route("/fresh", get(async |FreshUser(user): FreshUser| user.email.as_str().to_owned()))
        .route("/maybe", get(maybe))
        .route("/cart", get(cart))
        .route("/cart/{item}", post(put))
        .route("/data", get(data))
        .route("/why", get(why))
}

async fn log_in(
    State(auth): State<Auth>,
    session: Session,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Error> {
    let (email, password) = body.split_once('\n').unwrap();
    let attempt = Attempt {
        email: email.to_owned(),
        password: Secret::new(password.to_owned()),
        remember: query.is_some(),
        origin: Origin::new(peer(&headers)).with_headers(&headers),
    };
    Ok(match auth.log_in(&session, attempt).await? {
        LoginOutcome::LoggedIn(_) => "in".into_response(),
        LoginOutcome::Refused => (StatusCode::BAD_REQUEST, "refused").into_response(),
        LoginOutcome::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS.into_response(),
        LoginOutcome::Locked => StatusCode::FORBIDDEN.into_response(),
    })
}

/// As if the application had sent a code to this user, and it was typed.
async fn log_in_verified(
    State(auth): State<Auth>,
    session: Session,
    Path(user): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let origin = Origin::new(peer(&headers)).with_headers(&headers);
    Ok(match auth.log_in_verified(&session, &UserId::new(&user), &origin).await? {
        LoginOutcome::LoggedIn(user) => user.email.as_str().to_owned().into_response(),
        other => (StatusCode::BAD_REQUEST, format!("{other:?}")).into_response(),
    })
}

/// The address that a test says it has.
fn peer(headers: &HeaderMap) -> IpAddr {
    let addr = headers.get("x-addr").map(|addr| addr.to_str().unwrap().parse().unwrap());
    addr.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

async fn log_out_everywhere(State(auth): State<Auth>, session: Session) -> Result<String, Error> {
    Ok(auth.log_out_everywhere(&session).await?.count.to_string())
}

async fn maybe(user: Option<CurrentUser>) -> String {
    user.map_or_else(|| "nobody".to_owned(), |user| user.email.as_str().to_owned())
}

async fn cart(session: Session) -> String {
    session.get::<Value>("cart").unwrap().unwrap_or_default().to_string()
}

async fn put(session: Session, Path(item): Path<String>) {
    session.insert("cart", &item).unwrap();
}

async fn why(State(auth): State<Auth>, session: Session) -> String {
    format!("{:?}", auth.why_ended(&session).await)
}

async fn data(session: Session) -> String {
    let pairs = session.keys().into_iter().map(|key| (key.clone(), session.get(&key).unwrap().unwrap()));
    Value::Object(pairs.collect()).to_string()
}

pub fn credentials(name: &str, password: &str) -> String {
    format!("{name}@example.com\n{password}")
}

impl App {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub async fn user(&self, name: &str) -> User {
        self.auth.user_by_email(&format!("{name}@example.com")).await.unwrap().unwrap()
    }

    pub async fn log_in(&self, name: &str, cookie: &str) -> Answer {
        self.post("/login", cookie, &credentials(name, PASSWORD)).await
    }

    pub async fn get(&self, path: &str, cookie: &str) -> Answer {
        self.send("GET", path, &[("cookie", cookie)], "").await
    }

    pub async fn post(&self, path: &str, cookie: &str, body: &str) -> Answer {
        self.send("POST", path, &[("cookie", cookie)], body).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let set_cookie = headers.get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
        Answer { status, headers, set_cookie, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

/// Users in memory; broken down on demand.
#[derive(Default)]
pub struct Users {
    inner: MemoryUsers,
    broken: AtomicBool,
}

impl Users {
    pub fn break_down(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    fn reach(&self) -> Result<&MemoryUsers, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::new("find a user", "connection refused"));
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl UserStore for Users {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.reach()?.find(id).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.reach()?.find_by_email(email).await
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        self.reach()?.create(user).await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        self.reach()?.change(id, change).await
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        self.reach()?.delete(id).await
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.reach()?.list(after, limit).await
    }
}

/// Records in memory that on demand cannot be taken any more.
#[derive(Default)]
pub struct Records {
    inner: MemoryRecords,
    stuck: AtomicBool,
}

impl Records {
    pub fn get_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::SeqCst);
    }
}

#[async_trait]
impl RecordStore for Records {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        self.inner.insert(record, now).await
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        self.inner.get(key, now).await
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        self.inner.replace(record, now).await
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(StoreError::new("take a record", "disk full"));
        }
        self.inner.take(key, now).await
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.list(kind, owner, now).await
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.delete_owned(owner, now).await
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.export(kind, after, limit, now).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.inner.sweep(limit, now).await
    }
}

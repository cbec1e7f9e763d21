//! `bench-hallpass STORE [--rolling] [--cold]`: a server on a free port, which it prints. STORE: `bare` (no sessions at all), `memory`, or the URL
//! of a store; Redis keeps sessions beside users in memory.
//!
//! `--cold` caches nothing, so that every read is the first. Signing in checks no password: hashing is the same everywhere, and hides the rest.

use std::{env, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRef, State},
    http::StatusCode,
    routing::{get, post},
};
use hallpass_auth::{Auth, AuthOptions, CachedUsers, CurrentUser, CurrentUserId, Email, MemoryRecords, MemoryUsers, User, UserId, UserStore};
use hallpass_session::{
    CacheOptions, CachedSessions, Clock, Keys, MemoryStore, Session, SessionLayer, SessionOptions, SessionStore,
    SystemClock,
};
use hallpass_stores::{OpenOptions, StoreUrl, Stores, open_sessions};
use tokio::net::TcpListener;

#[derive(Clone)]
struct App {
    auth: Auth,
    user: UserId,
}

impl FromRef<App> for Auth {
    fn from_ref(app: &App) -> Self {
        app.auth.clone()
    }
}

type Failed = (StatusCode, String);

fn failed(error: impl ToString) -> Failed {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let store = arguments.first().expect("bench-hallpass STORE");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    let router = if store == "bare" { bare() } else { with_sessions(store, has("--rolling"), has("--cold")).await };
    axum::serve(listener, router).await.unwrap();
}

fn bare() -> Router {
    Router::new().route("/anonymous", get(async || "hello nobody")).route("/read", get(async || "hello ann"))
}

async fn stores(store: &str) -> Stores {
    let memory = || Stores {
        sessions: Arc::new(MemoryStore::new()),
        users: Arc::new(MemoryUsers::new()),
        records: Arc::new(MemoryRecords::new()),
    };
    if store == "memory" {
        return memory();
    }
    let url: StoreUrl = store.parse().unwrap();
    match url {
        StoreUrl::Redis(_) => {
            Stores { sessions: open_sessions(&url, &OpenOptions::default()).await.unwrap(), ..memory() }
        }
        _ => Stores::open(store).await.unwrap(),
    }
}

async fn with_sessions(store: &str, rolling: bool, cold: bool) -> Router {
    let stores = stores(store).await;
    let size = if cold { 0 } else { CacheOptions::default().size };
    let sessions: Arc<dyn SessionStore> = if store == "memory" {
        stores.sessions
    } else {
        Arc::new(CachedSessions::new(stores.sessions, &CacheOptions { size, ..CacheOptions::default() }))
    };
    let users: Arc<dyn UserStore> =
        Arc::new(CachedUsers::new(stores.users, &CacheOptions { size, ..CacheOptions::default() }));
    let email = Email::parse("ann@example.com").unwrap();
    let mut user = User::new(email.clone(), SystemClock.now());
    users.create(&user).await.unwrap();
    user = users.find_by_email(&email).await.unwrap().unwrap();
    let options = SessionOptions { rolling, ..SessionOptions::default() };
    let keys = Keys::from_secret("a secret of at least 32 bytes, for measuring").unwrap();
    let layer = SessionLayer::new(sessions, keys, options).unwrap();
    let auth = Auth::new(users, stores.records, AuthOptions::default()).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    Router::new()
        .route("/anonymous", get(async || "hello nobody"))
        .route("/read", get(async |CurrentUserId(id): CurrentUserId| format!("hello {id}")))
        .route("/user", get(async |user: CurrentUser| format!("hello {}", user.email)))
        .route("/write", post(write))
        .route("/login", post(log_in))
        .route("/logout", post(async |session: Session| session.destroy()))
        .layer(layer)
        .with_state(App { auth, user: user.id })
}

async fn write(session: Session) -> Result<String, Failed> {
    let count = session.get::<u64>("count").map_err(failed)?.unwrap_or(0) + 1;
    session.insert("count", &count).map_err(failed)?;
    Ok(count.to_string())
}

/// The session's part of a sign-in: a new id, the user, the epoch of the account.
async fn log_in(State(app): State<App>, session: Session) -> Result<&'static str, Failed> {
    session.establish(app.user.as_str());
    session.insert("userId", app.user.as_str()).map_err(failed)?;
    session.insert("hallpass", &serde_json::json!({ "epoch": 0 })).map_err(failed)?;
    Ok("hello ann")
}

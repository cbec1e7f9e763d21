//! Hallpass on each store as a router to measure, and the same routes without sessions.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use hallpass_auth::{
    Argon2Params, Auth, AuthOptions, CachedUsers, CurrentUser, CurrentUserId, Email, HashPool, HashPoolOptions,
    MemoryRecords, MemoryUsers, Requester, User, UserId, UserStore,
};
use hallpass_session::{
    CacheOptions, CachedSessions, Clock, Keys, MemoryStore, Session, SessionLayer, SessionOptions,
    SessionStore, StoreClock, SystemClock,
};
use hallpass_stores::{OpenOptions, StoreUrl, Stores, open_sessions};

/// Whom everybody signs in as.
const ANN: &str = "a11ce0000000000000000000000000aa";

type Failed = (StatusCode, String);

fn failed(error: impl ToString) -> Failed {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// The floor: handlers alone.
pub fn bare() -> Router {
    let hello = || get(async || "hello ann");
    Router::new().route("/anonymous", hello()).route("/read", hello()).route("/user", hello())
}

/// The stores behind STORE: `memory`, or a URL; Redis keeps sessions beside users in memory.
pub async fn stores(store: &str) -> Stores {
    let memory = || Stores {
        sessions: Arc::new(MemoryStore::new()),
        users: Arc::new(MemoryUsers::new()),
        records: Arc::new(MemoryRecords::new()),
        clock: StoreClock::of_machine(),
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

/// The routes with sessions in STORE; `cold` caches nothing, so that every read is the first.
pub async fn with_sessions(store: &str, rolling: bool, cold: bool) -> Router {
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
    users.create(&User { id: UserId::new(ANN), ..User::new(email, SystemClock.now()) }).await.unwrap();
    let clock = Arc::new(stores.clock.clone());
    let options = SessionOptions { rolling, clock, ..SessionOptions::default() };
    let keys = Keys::from_secret("a secret of at least 32 bytes, for measuring").unwrap();
    let layer = SessionLayer::new(sessions, keys, options).unwrap();
    let auth = Auth::new(users, stores.records, AuthOptions::default()).unwrap();
    let hashing = HashPool::new(Argon2Params::default(), HashPoolOptions::default());
    tokio::time::sleep(Duration::from_millis(300)).await;
    Router::new()
        .route("/anonymous", get(async || "hello ann"))
        .route("/read", get(async |_: CurrentUserId| "hello ann"))
        .route("/user", get(async |_: CurrentUser| "hello ann"))
        .route("/write", post(write))
        .route("/login", post(log_in))
        .route("/logout", post(async |session: Session| session.destroy()))
        .route("/hash", post(move || hash(hashing.clone())))
        .layer(layer)
        .with_state(auth)
}

async fn write(session: Session) -> Result<String, Failed> {
    let count = session.get::<u64>("count").map_err(failed)?.unwrap_or(0) + 1;
    session.insert("count", &count).map_err(failed)?;
    Ok(count.to_string())
}

/// The session's part of a sign-in: a new id, the user, the epoch of the account.
async fn log_in(session: Session) -> Result<&'static str, Failed> {
    session.establish(ANN);
    session.insert("userId", ANN).map_err(failed)?;
    session.insert("hallpass", &serde_json::json!({ "epoch": 0 })).map_err(failed)?;
    Ok("hello ann")
}

/// What a sign-in with a wrong password costs.
async fn hash(pool: HashPool) -> Result<(), hallpass_auth::Error> {
    pool.verify("a guess".to_owned().into(), None, Requester::operator()).await.map(drop)
}

//! tower-sessions and axum-login.

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use axum_login::{AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend, UserId};
use tokio::net::TcpListener;
use tower_sessions::{
    Expiry, MemoryStore, Session, SessionManagerLayer, SessionStore,
    cookie::time::Duration,
};
use tower_sessions_redis_store::{
    RedisStore,
    fred::prelude::{ClientLike, Config, Pool},
};
use tower_sessions_sqlx_store::{PostgresStore, SqliteStore, sqlx};

#[derive(Clone, Debug)]
struct User;

impl AuthUser for User {
    type Id = i64;

    fn id(&self) -> i64 {
        1
    }

    fn session_auth_hash(&self) -> &[u8] {
        b"$argon2id$v=19$m=19456,t=2,p=1$VE0e3g7DalWHgDwou3nuRA$uC6TER156UQpk0lNQ5+jHM0l5poVjPA1he/Tyn9J4Zw"
    }
}

/// One user, in memory.
#[derive(Clone)]
struct Users;

impl AuthnBackend for Users {
    type User = User;
    type Credentials = ();
    type Error = std::convert::Infallible;

    async fn authenticate(&self, (): ()) -> Result<Option<User>, Self::Error> {
        Ok(Some(User))
    }

    async fn get_user(&self, _: &UserId<Self>) -> Result<Option<User>, Self::Error> {
        Ok(Some(User))
    }
}

pub async fn serve(stack: &str, url: &str, rolling: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let router = router_of(stack, url, rolling).await;
    println!("{}", listener.local_addr().unwrap().port());
    axum::serve(listener, router).await.unwrap();
}

/// The routes with sessions in the store that STACK names.
pub async fn router_of(stack: &str, url: &str, rolling: bool) -> Router {
    match stack {
        "tower-memory" => router(MemoryStore::default(), rolling),
        "tower-sqlite" => {
            let options = url.parse::<sqlx::sqlite::SqliteConnectOptions>().unwrap().create_if_missing(true);
            // As durable as Hallpass: WAL, every commit on disk.
            let options = options
                .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
            let store = SqliteStore::new(sqlx::SqlitePool::connect_with(options).await.unwrap());
            store.migrate().await.unwrap();
            router(store, rolling)
        }
        "tower-postgres" => {
            let pool = sqlx::postgres::PgPoolOptions::new().max_connections(16).connect(url).await.unwrap();
            let store = PostgresStore::new(pool);
            store.migrate().await.unwrap();
            router(store, rolling)
        }
        "tower-redis" => {
            let pool = Pool::new(Config::from_url(url).unwrap(), None, None, None, 4).unwrap();
            pool.connect();
            pool.wait_for_connect().await.unwrap();
            router(RedisStore::new(pool), rolling)
        }
        other => panic!("no stack {other}"),
    }
}

fn router<S: SessionStore + Clone>(store: S, rolling: bool) -> Router {
    let layer = SessionManagerLayer::new(store).with_secure(false);
    let layer = layer.with_expiry(Expiry::OnInactivity(Duration::hours(24))).with_always_save(rolling);
    let auth = AuthManagerLayerBuilder::new(Users, layer.clone()).build();
    let with_users = Router::new()
        .route("/user", get(user))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(auth);
    Router::new()
        .route("/anonymous", get(async || "hello ann"))
        .route("/read", get(read))
        .route("/write", post(write))
        .layer(layer)
        .merge(with_users)
}

async fn read(session: Session) -> Result<&'static str, StatusCode> {
    let id: Option<String> = session.get("userId").await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    id.map(|_| "hello ann").ok_or(StatusCode::UNAUTHORIZED)
}

async fn user(auth: AuthSession<Users>) -> Result<&'static str, StatusCode> {
    auth.user.map(|_| "hello ann").ok_or(StatusCode::UNAUTHORIZED)
}

async fn write(session: Session) -> Result<String, StatusCode> {
    let broken = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let count = session.get::<u64>("count").await.map_err(broken)?.unwrap_or(0) + 1;
    session.insert("count", count).await.map_err(broken)?;
    Ok(count.to_string())
}

async fn log_in(mut auth: AuthSession<Users>, session: Session) -> Result<&'static str, StatusCode> {
    auth.login(&User).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    session.insert("userId", "1").await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok("hello ann")
}

async fn log_out(mut auth: AuthSession<Users>) -> StatusCode {
    match auth.logout().await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

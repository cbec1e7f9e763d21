//! [`Stores`]: from URLs to everything that is kept.

use std::{path::Path, sync::Arc};

use hallpass_auth::{RecordKey, RecordStore, UserStore};
use hallpass_session::{SessionStore, StoreError, Timestamp};

use crate::{ServerOptions, StoreUrl, StoreUrlError};

/// The three stores of a program.
#[derive(Clone)]
pub struct Stores {
    /// Sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Users.
    pub users: Arc<dyn UserStore>,
    /// Records.
    pub records: Arc<dyn RecordStore>,
}

/// How to open stores.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Whether a file that is not there is made. Default: yes.
    pub make: bool,
    /// How to talk to servers.
    pub server: ServerOptions,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { make: true, server: ServerOptions::default() }
    }
}

/// The URLs lead to no stores.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// One makes no sense.
    #[error(transparent)]
    Url(#[from] StoreUrlError),
    /// The program was built without this kind of database.
    #[error(
        "this program was built without {kind}; build it with the feature {feature:?} of hallpass-stores"
    )]
    NotBuilt {
        /// Which database.
        kind: &'static str,
        /// What it takes.
        feature: &'static str,
    },
    /// Accounts would be lost.
    #[error("Redis keeps sessions, not accounts; give it as the store of sessions, beside a database")]
    SessionsOnly,
    /// The file cannot be opened.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Open(#[from] crate::OpenError),
    /// The server cannot be used.
    #[error(transparent)]
    Connect(#[from] crate::ConnectError),
}

impl Stores {
    /// Opens the stores at `sqlite:PATH`, `mongodb://…` or `postgres://…`, and makes what is missing.
    pub async fn open(url: &str) -> Result<Self, StoresError> {
        Self::open_with(&url.parse()?, None, &OpenOptions::default()).await
    }

    /// The same with options, and with sessions in a store of their own if one is given.
    pub async fn open_with(
        database: &StoreUrl,
        sessions: Option<&StoreUrl>,
        options: &OpenOptions,
    ) -> Result<Self, StoresError> {
        let stores = match database {
            StoreUrl::Sqlite(path) => sqlite(path, options)?,
            StoreUrl::Mongo(url) => mongodb(url.expose(), options).await?,
            StoreUrl::Postgres(url) => postgres(url.expose(), options).await?,
            StoreUrl::Redis(_) => return Err(StoresError::SessionsOnly),
        };
        let Some(sessions) = sessions else { return Ok(stores) };
        let sessions = open_sessions(sessions, options).await?;
        Ok(Self { sessions, ..stores })
    }

    /// Asks whether all can serve.
    pub async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        self.sessions.check().await?;
        let nothing = RecordKey { kind: "check", id: String::new() };
        self.records.get(&nothing, now).await.map(drop)
    }
}

/// Opens a store of sessions alone.
pub async fn open_sessions(
    url: &StoreUrl,
    options: &OpenOptions,
) -> Result<Arc<dyn SessionStore>, StoresError> {
    match url {
        StoreUrl::Sqlite(path) => Ok(sqlite(path, options)?.sessions),
        StoreUrl::Mongo(url) => Ok(mongodb(url.expose(), options).await?.sessions),
        StoreUrl::Postgres(url) => Ok(postgres(url.expose(), options).await?.sessions),
        StoreUrl::Redis(url) => redis(url.expose(), options).await,
    }
}

/// One database that keeps everything.
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
fn all(database: impl SessionStore + UserStore + RecordStore + 'static) -> Stores {
    let database = Arc::new(database);
    Stores { sessions: database.clone(), users: database.clone(), records: database }
}

#[cfg(feature = "sqlite")]
fn sqlite(path: &Path, options: &OpenOptions) -> Result<Stores, StoresError> {
    let (make, timeout) = (options.make, options.server.timeout);
    let options = crate::SqliteOptions { make, timeout, ..crate::SqliteOptions::default() };
    Ok(all(crate::Sqlite::open(path, &options)?))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &Path, _: &OpenOptions) -> Result<Stores, StoresError> {
    Err(StoresError::NotBuilt { kind: "SQLite", feature: "sqlite" })
}

#[cfg(feature = "mongodb")]
async fn mongodb(url: &str, options: &OpenOptions) -> Result<Stores, StoresError> {
    Ok(all(crate::Mongo::connect(url, &options.server).await?))
}

#[cfg(not(feature = "mongodb"))]
async fn mongodb(_: &str, _: &OpenOptions) -> Result<Stores, StoresError> {
    Err(StoresError::NotBuilt { kind: "MongoDB", feature: "mongodb" })
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str, options: &OpenOptions) -> Result<Stores, StoresError> {
    Ok(all(crate::Postgres::connect(url, &options.server).await?))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_: &str, _: &OpenOptions) -> Result<Stores, StoresError> {
    Err(StoresError::NotBuilt { kind: "PostgreSQL", feature: "postgres" })
}

#[cfg(feature = "redis")]
async fn redis(url: &str, options: &OpenOptions) -> Result<Arc<dyn SessionStore>, StoresError> {
    let options = crate::RedisOptions { server: options.server.clone(), ..crate::RedisOptions::default() };
    Ok(Arc::new(crate::Redis::connect(url, &options).await?))
}

#[cfg(not(feature = "redis"))]
async fn redis(_: &str, _: &OpenOptions) -> Result<Arc<dyn SessionStore>, StoresError> {
    Err(StoresError::NotBuilt { kind: "Redis", feature: "redis" })
}

//! [`Stores`]: from a URL to everything that is kept.

use std::{path::Path, sync::Arc};

use hallpass_auth::{RecordStore, UserStore};
use hallpass_session::SessionStore;

use crate::{DatabaseUrl, DatabaseUrlError};

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

/// The URL leads to no stores.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// It makes no sense.
    #[error(transparent)]
    Url(#[from] DatabaseUrlError),
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
    /// The file cannot be opened.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Open(#[from] crate::OpenError),
    /// The server cannot be used.
    #[cfg(any(feature = "mongodb", feature = "postgres"))]
    #[error(transparent)]
    Connect(#[from] crate::ConnectError),
}

impl Stores {
    /// Opens the stores at `sqlite:PATH`, `mongodb://…` or `postgres://…`, and makes what is missing.
    pub async fn open(url: &str) -> Result<Self, StoresError> {
        Self::open_at(&url.parse()?, true).await
    }

    /// The same; without `make`, a file that is not there is an error.
    pub async fn open_at(url: &DatabaseUrl, make: bool) -> Result<Self, StoresError> {
        match url {
            DatabaseUrl::Sqlite(path) => sqlite(path, make),
            DatabaseUrl::Mongo(url) => mongodb(url.expose()).await,
            DatabaseUrl::Postgres(url) => postgres(url.expose()).await,
        }
    }
}

/// One database that keeps everything.
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
fn all(database: impl SessionStore + UserStore + RecordStore + 'static) -> Stores {
    let database = Arc::new(database);
    Stores { sessions: database.clone(), users: database.clone(), records: database }
}

#[cfg(feature = "sqlite")]
fn sqlite(path: &Path, make: bool) -> Result<Stores, StoresError> {
    let options = crate::SqliteOptions { make, ..crate::SqliteOptions::default() };
    Ok(all(crate::Sqlite::open(path, &options)?))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &Path, _: bool) -> Result<Stores, StoresError> {
    Err(StoresError::NotBuilt { kind: "SQLite", feature: "sqlite" })
}

#[cfg(feature = "mongodb")]
async fn mongodb(url: &str) -> Result<Stores, StoresError> {
    Ok(all(crate::Mongo::connect(url, &crate::ServerOptions::default()).await?))
}

#[cfg(not(feature = "mongodb"))]
async fn mongodb(_: &str) -> Result<Stores, StoresError> {
    Err(StoresError::NotBuilt { kind: "MongoDB", feature: "mongodb" })
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str) -> Result<Stores, StoresError> {
    Ok(all(crate::Postgres::connect(url, &crate::ServerOptions::default()).await?))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_: &str) -> Result<Stores, StoresError> {
    Err(StoresError::NotBuilt { kind: "PostgreSQL", feature: "postgres" })
}

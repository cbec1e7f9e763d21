//! Accounts in a table or collection that another application made and may go on using: mongoose's `users`, say.
//!
//! A [`UserMap`] says which field is what. Only mapped fields are read, only the one that changes is set, and a document is never
//! written back: every other byte stays as it is. Nothing is ever made or altered there, neither table nor index.
//!
//! What such a table has no place for is refused ([`UserChanged::NoPlace`](hallpass_auth::UserChanged::NoPlace)), not dropped.
//! [`session_epoch`](hallpass_auth::User::session_epoch) needs none: it is a digest of the password hash, so a password that the other
//! application changes ends our sessions too. A column for it, if there is one, is added to that: disabling then moves it on, and
//! it makes up for a hash that is replaced by a better one of the same password.

mod epoch;
mod map;
#[cfg(feature = "mongodb")]
mod mongo;
mod placeholder;
#[cfg(feature = "postgres")]
mod postgres;
mod reading;
mod spelling;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "mongodb", feature = "postgres"))]
mod uuid;

use std::sync::Arc;

use hallpass_auth::{User, UserStore};

pub use self::map::{Flag, FlagClock, Ids, Roles, UserMap, UserMapError, Verified};
#[cfg(feature = "mongodb")]
pub use self::mongo::MongoUsers;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresUsers;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteUsers;
use crate::{ConnectError, OpenOptions, StoreUrl, Stores, StoresError};

/// The existing accounts cannot be used. Says why and what to do.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The map makes no sense by itself.
    #[error(transparent)]
    Map(#[from] UserMapError),
    /// The table is not what the map says.
    #[error("the accounts in {table:?} cannot be used: {reason}")]
    Table {
        /// Which table.
        table: String,
        /// What is wrong.
        reason: String,
    },
    /// The server cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The file cannot be used.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Open(#[from] crate::OpenError),
}

impl Stores {
    /// These stores with the existing accounts in a database instead of accounts of their own. Flags that are times go by the clock
    /// of these stores. Nothing is made there.
    ///
    /// # Errors
    /// The map makes no sense, the table is not what the map says, or the database cannot be used.
    pub async fn with_users(
        self,
        url: &StoreUrl,
        map: &UserMap,
        options: &OpenOptions,
    ) -> Result<Self, StoresError> {
        let map = UserMap { clock: FlagClock::new(self.clock.clone()), ..map.clone() };
        Ok(Self { users: open_users(url, &map, options).await?, ..self })
    }
}

/// Opens the existing accounts in a database. Nothing is made there. The map names the clock: [`Stores::with_users`] sets it.
pub async fn open_users(
    url: &StoreUrl,
    map: &UserMap,
    options: &OpenOptions,
) -> Result<Arc<dyn UserStore>, StoresError> {
    match url {
        #[cfg(feature = "mongodb")]
        StoreUrl::Mongo(url) => Ok(Arc::new(MongoUsers::connect(url.expose(), map, &options.server).await?)),
        #[cfg(feature = "postgres")]
        StoreUrl::Postgres(url) => {
            Ok(Arc::new(PostgresUsers::connect(url.expose(), map, &options.server).await?))
        }
        #[cfg(feature = "sqlite")]
        StoreUrl::Sqlite(path) => {
            let (path, map, timeout) = (path.clone(), map.clone(), options.server.timeout);
            let options = crate::SqliteOptions { timeout, ..crate::SqliteOptions::default() };
            Ok(Arc::new(SqliteUsers::open(path, &map, &options)?))
        }
        StoreUrl::Redis(_) => Err(StoresError::SessionsOnly),
        #[cfg(not(feature = "mongodb"))]
        StoreUrl::Mongo(_) => Err(StoresError::NotBuilt { kind: "MongoDB", feature: "mongodb" }),
        #[cfg(not(feature = "postgres"))]
        StoreUrl::Postgres(_) => Err(StoresError::NotBuilt { kind: "PostgreSQL", feature: "postgres" }),
        #[cfg(not(feature = "sqlite"))]
        StoreUrl::Sqlite(_) => Err(StoresError::NotBuilt { kind: "SQLite", feature: "sqlite" }),
    }
}

/// Of several accounts with one id at a provider, none can be meant.
fn only(mut users: Vec<User>, provider: &str) -> Option<User> {
    if users.len() > 1 {
        tracing::warn!(
            event = "provider_ambiguous",
            provider,
            "several accounts have the same id at this provider"
        );
        return None;
    }
    users.pop()
}

/// What is to be done where nothing keeps logins unique.
fn no_unique_index(table: &str, login: &str, cure: &str) -> String {
    format!(
        "no new accounts: nothing in {table} keeps {login} unique, so two could be made at once for one person; run {cure}"
    )
}

/// Says which account nobody can use: its row cannot be read, and is left out.
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
fn warn_unreadable(map: &UserMap, login: Option<&str>, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(event = "user_unreadable", table = map.table, login, error, "the account is left out");
}

//! The contracts of [`hallpass_session`] and `hallpass_auth` on real databases, one feature each.
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | `Sqlite`: everything in one file, embedded |
//! | `mongodb` | `Mongo`: everything in MongoDB |
//! | `postgres` | `Postgres`: everything in PostgreSQL |
//! | `auth` | users and records beside sessions; without it, sessions alone |

#[cfg(any(feature = "mongodb", feature = "postgres"))]
mod connect;
#[cfg(feature = "mongodb")]
mod mongo;
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
mod native;
#[cfg(feature = "auth")]
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod url;

#[cfg(any(feature = "mongodb", feature = "postgres"))]
pub use connect::{ConnectError, ServerOptions};
#[cfg(feature = "mongodb")]
pub use mongo::Mongo;
#[cfg(feature = "auth")]
pub use open::{Stores, StoresError};
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, Sqlite, SqliteOptions};
pub use url::{DatabaseUrl, DatabaseUrlError};

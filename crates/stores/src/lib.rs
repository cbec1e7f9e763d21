//! The contracts of [`hallpass_session`] and `hallpass_auth` on real databases, one feature each.
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | `Sqlite`: everything in one file, embedded |
//! | `postgres` | `Postgres`: everything in PostgreSQL |
//! | `auth` | users and records beside sessions; without it, sessions alone |

#[cfg(feature = "postgres")]
mod connect;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod native;
#[cfg(all(feature = "auth", feature = "sqlite"))]
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "postgres")]
pub use connect::{ConnectError, ServerOptions};
#[cfg(all(feature = "auth", feature = "sqlite"))]
pub use open::{Stores, StoresError};
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, Sqlite, SqliteOptions};

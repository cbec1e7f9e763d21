//! The contracts of [`hallpass_session`] and `hallpass_auth` on real databases, one feature each.
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | `Sqlite`: everything in one file, embedded |
//! | `auth` | users and records beside sessions; without it, sessions alone |

#[cfg(all(feature = "auth", feature = "sqlite"))]
mod open;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(all(feature = "auth", feature = "sqlite"))]
pub use open::{Stores, StoresError};
#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, Sqlite, SqliteOptions};

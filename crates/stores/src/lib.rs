//! The contracts of [`hallpass_session`] and `hallpass_auth` on real databases, one feature each.
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | `Sqlite`: everything in one file, embedded |
//! | `mongodb` | `Mongo`: everything in MongoDB |
//! | `postgres` | `Postgres`: everything in PostgreSQL |
//! | `redis` | `Redis`: sessions in Redis or Valkey |
//! | `auth` | users and records beside sessions; without it, sessions alone. With it also accounts in tables that another application made: `MongoUsers`, `PostgresUsers`, `SqliteUsers` |

#[cfg(any(feature = "mongodb", feature = "postgres", feature = "redis"))]
mod connect;
mod durability;
#[cfg(all(feature = "auth", any(feature = "mongodb", feature = "postgres", feature = "sqlite")))]
mod existing;
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "redis"))]
mod feed;
#[cfg(feature = "auth")]
mod inspect;
#[cfg(feature = "mongodb")]
mod mongo;
#[cfg(feature = "auth")]
mod moving;
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "redis", feature = "sqlite"))]
mod native;
#[cfg(feature = "auth")]
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod server;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "auth")]
mod upkeep;
mod url;

#[cfg(feature = "mongodb")]
pub use connect::{
    AutoRemove, Cipher, ConnectMongo, ConnectMongoOptions, Crypto, Encoding, TransformId, WebCrypto,
};
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "redis"))]
pub use connect::{Connect, ConnectOptions};
#[cfg(feature = "postgres")]
pub use connect::{ConnectPg, ConnectPgOptions};
#[cfg(feature = "redis")]
pub use connect::{ConnectRedis, ConnectRedisOptions};
pub use durability::DurabilityWarning;
#[cfg(all(feature = "auth", feature = "mongodb"))]
pub use existing::MongoUsers;
#[cfg(all(feature = "auth", feature = "postgres"))]
pub use existing::PostgresUsers;
#[cfg(all(feature = "auth", feature = "sqlite"))]
pub use existing::SqliteUsers;
#[cfg(all(feature = "auth", any(feature = "mongodb", feature = "postgres", feature = "sqlite")))]
pub use existing::{Flag, FlagClock, Ids, Roles, UserMap, UserMapError, UsersError, Verified, open_users};
#[cfg(feature = "auth")]
pub use inspect::inspect;
#[cfg(feature = "mongodb")]
pub use mongo::Mongo;
#[cfg(feature = "auth")]
pub use moving::{Extent, Moved, Mover, Step};
#[cfg(feature = "auth")]
pub use open::{ConnectLayouts, Layout, OpenOptions, Stores, StoresError, open_sessions, read_clock};
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisOptions};
pub use server::{ConnectError, ServerOptions};
#[cfg(feature = "sqlite")]
pub use sqlite::{BackupError, OpenError, Sqlite, SqliteOptions, backup};
#[cfg(feature = "auth")]
pub use upkeep::{Upkeep, UpkeepOptions};
pub use url::{StoreUrl, StoreUrlError};

/// For the fuzzer: what is read from databases that others write to.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::connect::{
        arbitrary::text,
        mongo::arbitrary::{object, sealed},
    };
}

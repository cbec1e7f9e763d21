//! The layouts of connect-mongo, connect-redis and connect-pg-simple, for sessions that an Express app uses at the same time.
//!
//! Ids are as Express has them, not hashed. The data is Express's JSON; what it has no place for (who a session is listed under, when it
//! was made, its absolute end) stands under the key `_hallpass`, which Express carries along. The row's own end decides how long a session
//! lives, as with Express. Nobody numbers versions there: a change is written only over the very bytes that were read.
//!
//! One store for all ([`Connect`]), which knows sessions; below it a database each ([`Rows`]), which knows keys, bytes and ends.

#[cfg(any(fuzzing, test))]
pub mod arbitrary;
mod ended;
mod exact;
#[cfg(feature = "mongodb")]
pub(crate) mod mongo;
mod pages;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod rows;
mod sessions;
mod sweep;
mod text;
mod user_index;
mod users;

use std::time::Duration;

use hallpass_session::CookieOptions;

#[cfg(feature = "mongodb")]
pub use self::mongo::{
    AutoRemove, Cipher, ConnectMongo, ConnectMongoOptions, Crypto, Encoding, TransformId, WebCrypto,
};
#[cfg(all(feature = "auth", feature = "postgres"))]
pub(crate) use self::postgres::durability as pg_durability;
#[cfg(feature = "postgres")]
pub use self::postgres::{ConnectPg, ConnectPgOptions};
#[cfg(feature = "redis")]
pub use self::redis::{ConnectRedis, ConnectRedisOptions};
pub use self::sessions::Connect;
use crate::ServerOptions;

/// What all layouts shared with Express need to know.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// How to talk to the server.
    pub server: ServerOptions,
    /// How long a session lives whose cookie ends with the browser; give Express's store the same.
    pub ttl: Duration,
    /// The cookie attributes of sessions that begin here. Express takes them from the session, not from its configuration.
    pub cookie: CookieOptions,
    /// Where the data of a session names its user, such as `userId` or `passport.user`. Then sessions that Express opened are listed
    /// and ended with the others, and Express finds the user of those that began here. `None`: Express's sessions are nobody's.
    pub user_path: Option<String>,
    /// Whether this process listens for what Express saves over ended sessions, and removes it within milliseconds. Programs that run for
    /// a moment need not. Default: yes.
    pub guard: bool,
}

impl Default for ConnectOptions {
    /// A `ttl` of a day.
    fn default() -> Self {
        Self::with_ttl(1)
    }
}

impl ConnectOptions {
    /// These defaults with the `ttl` of a layout.
    fn with_ttl(days: u64) -> Self {
        Self {
            server: ServerOptions::default(),
            ttl: Duration::from_secs(days * 24 * 60 * 60),
            cookie: CookieOptions::default(),
            user_path: None,
            guard: true,
        }
    }
}

//! [`Stores`]: from URLs to everything that is kept.

use std::{path::Path, sync::Arc};

use hallpass_auth::{RecordStore, UserStore};
use hallpass_session::{
    ClockOptions, Keys, OptionsError, SessionLayer, SessionOptions, SessionStore, StoreClock, StoreError,
    StoreTime, Timestamp,
};

use crate::{ServerOptions, StoreUrl, StoreUrlError, Upkeep, UpkeepOptions};

/// The three stores of a program, and what time it is there.
#[derive(Clone)]
pub struct Stores {
    /// Sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Users.
    pub users: Arc<dyn UserStore>,
    /// Records.
    pub records: Arc<dyn RecordStore>,
    /// The time by which sessions and records expire. [`session_layer`](Self::session_layer) and [`Upkeep`] go by it. Give it to layers
    /// and [sweepers](hallpass_session::Sweeper::clock) that you make yourself, so that all servers on these stores agree.
    pub clock: StoreClock,
    /// What runs in the background for them.
    pub upkeep: Upkeep,
}

/// How to open stores.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Whether a file that is not there is made. Default: yes.
    pub make: bool,
    /// How to talk to servers; also to those of the `connect` layouts.
    pub server: ServerOptions,
    /// How sessions are stored. Default: native.
    pub layout: Layout,
    /// How the clock of the stores is followed.
    pub clock: ClockOptions,
    /// What is done for the stores in the background. `None`: nothing. Default: caches and sweeps, as the server has them.
    pub upkeep: Option<UpkeepOptions>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            make: true,
            server: ServerOptions::default(),
            layout: Layout::default(),
            clock: ClockOptions::default(),
            upkeep: Some(UpkeepOptions::default()),
        }
    }
}

/// How sessions are stored. Users and records are always stored our way.
#[derive(Clone, Debug, Default)]
pub enum Layout {
    /// Our way: ids are hashed, everything has its column.
    #[default]
    Native,
    /// As Express's stores do it, so that an Express app shares the sessions: connect-mongo in MongoDB, connect-pg-simple in PostgreSQL,
    /// connect-redis in Redis.
    Connect(Box<ConnectLayouts>),
}

/// What each of Express's stores is configured with; the kind of the database decides which one counts.
#[derive(Clone, Debug, Default)]
pub struct ConnectLayouts {
    /// connect-mongo.
    #[cfg(feature = "mongodb")]
    pub mongo: crate::ConnectMongoOptions,
    /// connect-pg-simple.
    #[cfg(feature = "postgres")]
    pub pg: crate::ConnectPgOptions,
    /// connect-redis.
    #[cfg(feature = "redis")]
    pub redis: crate::ConnectRedisOptions,
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
    /// Express has no store of its own there.
    #[error(
        "sessions in SQLite have the native layout; the layout \"connect\" is for MongoDB, PostgreSQL and Redis, where an Express app keeps its sessions"
    )]
    NativeOnly,
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
    /// The database's clock cannot be read.
    #[error("cannot read the clock of the database: {}", cause(.0))]
    Clock(#[source] StoreError),
    /// The existing accounts cannot be used.
    #[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
    #[error(transparent)]
    Users(#[from] crate::UsersError),
}

/// Why an operation failed, without what was being done.
fn cause(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl Stores {
    /// Opens the stores at `sqlite:PATH`, `mongodb://…` or `postgres://…`, and makes what is missing. Expired sessions are removed in the
    /// background, and what is read often is answered from memory; see [`Upkeep`].
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
        let sessions = match (sessions, &options.layout) {
            (None, Layout::Native) => return Ok(stores.follow(options).await),
            (None, Layout::Connect(_)) => database,
            (Some(sessions), _) => sessions,
        };
        let sessions = open_sessions(sessions, options).await?;
        Ok(Self { sessions, ..stores }.follow(options).await)
    }

    /// With its clock, and what is done in the background.
    async fn follow(self, options: &OpenOptions) -> Self {
        let stores = self.with_clock(&options.clock).await;
        match &options.upkeep {
            Some(upkeep) => stores.with_upkeep(upkeep),
            None => stores,
        }
    }

    /// Follows the clock of the sessions' store; that of the records', if it has none.
    async fn with_clock(self, options: &ClockOptions) -> Self {
        let (sessions, records) = (self.sessions.clone(), self.records.clone());
        let read = move || {
            let (sessions, records) = (sessions.clone(), records.clone());
            async move {
                match sessions.time().await? {
                    StoreTime::Clock(time) => Ok(StoreTime::Clock(time)),
                    local => match records.time().await? {
                        StoreTime::Clock(time) => Ok(StoreTime::Clock(time)),
                        _ => Ok(local),
                    },
                }
            }
        };
        Self { clock: StoreClock::start(read, options.clone()).await, ..self }
    }

    /// A session layer over these sessions. It goes by the clock of these stores, whatever clock `options` names, so that all servers
    /// on these stores agree when a session ends.
    ///
    /// # Errors
    /// The options contradict each other.
    pub fn session_layer(&self, keys: Keys, options: SessionOptions) -> Result<SessionLayer, OptionsError> {
        let options = SessionOptions { clock: Arc::new(self.clock.clone()), ..options };
        SessionLayer::new(self.sessions.clone(), keys, options)
    }

    /// Whether all accept changes now: makes a small one in each. See [`SessionStore::check`], [`RecordStore::check`] and
    /// [`UserStore::check`].
    pub async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        let checks = (self.sessions.check(now), self.records.check(now), self.users.check());
        tokio::try_join!(checks.0, checks.1, checks.2).map(drop)
    }
}

/// Opens a store of sessions alone.
pub async fn open_sessions(
    url: &StoreUrl,
    options: &OpenOptions,
) -> Result<Arc<dyn SessionStore>, StoresError> {
    if let Layout::Connect(layouts) = &options.layout {
        return open_connect(url, layouts, &options.server).await;
    }
    match url {
        StoreUrl::Sqlite(path) => Ok(sqlite(path, options)?.sessions),
        StoreUrl::Mongo(url) => Ok(mongodb(url.expose(), options).await?.sessions),
        StoreUrl::Postgres(url) => Ok(postgres(url.expose(), options).await?.sessions),
        StoreUrl::Redis(url) => redis(url.expose(), options).await,
    }
}

/// Reads the clock of the store at `url`, and neither makes nor changes anything there. SQLite has none.
pub async fn read_clock(url: &StoreUrl, server: &ServerOptions) -> Result<StoreTime, StoresError> {
    let _ = server;
    match url {
        StoreUrl::Sqlite(_) => Ok(StoreTime::Unknown),
        #[cfg(feature = "mongodb")]
        StoreUrl::Mongo(url) => {
            let mongo = crate::Mongo::reach(url.expose(), server, None, "hallpass").await?;
            mongo.clock().await.map_err(StoresError::Clock)
        }
        #[cfg(feature = "postgres")]
        StoreUrl::Postgres(url) => {
            let postgres = crate::Postgres::reach(url.expose(), server, None)?;
            postgres.clock().await.map_err(StoresError::Clock)
        }
        #[cfg(feature = "redis")]
        StoreUrl::Redis(url) => {
            let options = crate::RedisOptions { server: server.clone(), ..crate::RedisOptions::default() };
            let redis = crate::Redis::reach(url.expose(), &options).await?;
            redis.clock().await.map_err(StoresError::Clock)
        }
        #[cfg(not(all(feature = "mongodb", feature = "postgres", feature = "redis")))]
        _ => Err(StoresError::NotBuilt { kind: "this database", feature: "mongodb, postgres or redis" }),
    }
}

/// Opens the store of sessions that Express has in a database of this kind.
async fn open_connect(
    url: &StoreUrl,
    layouts: &ConnectLayouts,
    server: &ServerOptions,
) -> Result<Arc<dyn SessionStore>, StoresError> {
    match url {
        StoreUrl::Sqlite(_) => Err(StoresError::NativeOnly),
        StoreUrl::Mongo(url) => connect_mongo(url.expose(), layouts, server).await,
        StoreUrl::Postgres(url) => connect_pg(url.expose(), layouts, server).await,
        StoreUrl::Redis(url) => connect_redis(url.expose(), layouts, server).await,
    }
}

/// One database that keeps everything.
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
fn all(database: impl SessionStore + UserStore + RecordStore + 'static) -> Stores {
    let database = Arc::new(database);
    let clock = StoreClock::of_machine();
    Stores {
        sessions: database.clone(),
        users: database.clone(),
        records: database,
        clock,
        upkeep: Upkeep::default(),
    }
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

#[cfg(feature = "mongodb")]
async fn connect_mongo(
    url: &str,
    layouts: &ConnectLayouts,
    server: &ServerOptions,
) -> Result<Arc<dyn SessionStore>, StoresError> {
    let mut options = layouts.mongo.clone();
    options.connect.server = server.clone();
    Ok(Arc::new(crate::ConnectMongo::connect(url, &options).await?))
}

#[cfg(not(feature = "mongodb"))]
async fn connect_mongo(
    _: &str,
    _: &ConnectLayouts,
    _: &ServerOptions,
) -> Result<Arc<dyn SessionStore>, StoresError> {
    Err(StoresError::NotBuilt { kind: "MongoDB", feature: "mongodb" })
}

#[cfg(feature = "postgres")]
async fn connect_pg(
    url: &str,
    layouts: &ConnectLayouts,
    server: &ServerOptions,
) -> Result<Arc<dyn SessionStore>, StoresError> {
    let mut options = layouts.pg.clone();
    options.connect.server = server.clone();
    Ok(Arc::new(crate::ConnectPg::connect(url, &options).await?))
}

#[cfg(not(feature = "postgres"))]
async fn connect_pg(
    _: &str,
    _: &ConnectLayouts,
    _: &ServerOptions,
) -> Result<Arc<dyn SessionStore>, StoresError> {
    Err(StoresError::NotBuilt { kind: "PostgreSQL", feature: "postgres" })
}

#[cfg(feature = "redis")]
async fn connect_redis(
    url: &str,
    layouts: &ConnectLayouts,
    server: &ServerOptions,
) -> Result<Arc<dyn SessionStore>, StoresError> {
    let mut options = layouts.redis.clone();
    options.connect.server = server.clone();
    Ok(Arc::new(crate::ConnectRedis::connect(url, &options).await?))
}

#[cfg(not(feature = "redis"))]
async fn connect_redis(
    _: &str,
    _: &ConnectLayouts,
    _: &ServerOptions,
) -> Result<Arc<dyn SessionStore>, StoresError> {
    Err(StoresError::NotBuilt { kind: "Redis", feature: "redis" })
}

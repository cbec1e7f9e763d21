//! [`Postgres`]: sessions, users and records in PostgreSQL.
//!
//! Every operation is one prepared statement, so one round trip, and atomic by itself. What is answered is committed.

mod durability;
mod feed;
mod migrate;
#[cfg(feature = "auth")]
mod records;
mod sessions;
#[cfg(feature = "auth")]
mod users;

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use hallpass_session::{StoreError, StoreTime, Timestamp};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{
    Config, Error, NoTls, Row,
    config::{SslMode, TargetSessionAttrs},
    error::SqlState,
    types::ToSql,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::durability::Commits;
pub(crate) use self::feed::Told;
use crate::{ConnectError, ServerOptions, durability::report, server::waiting};

pub(crate) const KIND: &str = "PostgreSQL";
const EXAMPLE: &str = "postgres://user:password@host/database";

/// A database that keeps sessions (layout `native`), and with the feature `auth` users and records too.
/// Clones share its connections.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    /// For connections beside the pool.
    config: Arc<Config>,
    timeout: Duration,
    commits: Commits,
}

/// How long a server that was reached may take to take a client, at start.
const ANSWER: Duration = Duration::from_secs(1);

/// The tables of our own.
pub(crate) const TABLES: [&str; 3] = ["sessions", "users", "records"];

/// A statement's values.
pub(crate) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Postgres {
    /// Connects and brings the schema up to date. The URL takes `sslmode=disable`, `prefer` or `require`; certificates are always
    /// checked against the authorities that this system trusts.
    pub async fn connect(url: &str, options: &ServerOptions) -> Result<Self, ConnectError> {
        let postgres = Self::reach(url, options, None)?;
        migrate::migrate(&postgres).await?;
        report(KIND, postgres.durability(&TABLES).await);
        Ok(postgres)
    }

    /// The connections alone, with what they are to set when they begin (`-c name=value`).
    pub(crate) fn reach(
        url: &str,
        options: &ServerOptions,
        settings: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| ConnectError::Url {
            kind: KIND,
            reason: error.to_string(),
            example: EXAMPLE,
        })?;
        config.connect_timeout(options.timeout);
        if config.get_application_name().is_none() {
            config.application_name("hallpass");
        }
        // Of several servers, the one that is no standby.
        if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if let Some(settings) = settings {
            let settings =
                config.get_options().map_or_else(|| settings.to_owned(), |url| format!("{url} {settings}"));
            config.options(settings);
        }
        // Fast: a query before each use would double the round trips; a dead connection is noticed by its own task.
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = manager(config.clone(), recycling)?;
        let commits = Commits::default();
        let pool = Pool::builder(manager)
            .max_size(options.connections)
            .runtime(Runtime::Tokio1)
            .post_create(commits.hook())
            .build()
            .map_err(|error| ConnectError::Unreachable { kind: KIND, source: error.into() })?;
        Ok(Self { pool, config: Arc::new(config), timeout: options.timeout, commits })
    }

    /// A connection, to see whether there can be one.
    pub(crate) async fn client(&self) -> Result<Object, ConnectError> {
        // Each address may use up its time to be reached; then this one's answer is waited for.
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX);
        let patience = self.timeout.saturating_mul(hosts.max(1)) + ANSWER;
        match waiting(KIND, "a connection", timeout(patience, self.pool.get())).await {
            Ok(client) => {
                client.map_err(|error| ConnectError::Unreachable { kind: KIND, source: error.into() })
            }
            Err(_) => Err(ConnectError::Silent { kind: KIND, patience }),
        }
    }

    /// The server's clock, not that of the transaction, in milliseconds.
    pub(crate) async fn clock(&self) -> Result<StoreTime, StoreError> {
        let doing = "read the clock of the database";
        let now = "select (extract(epoch from clock_timestamp()) * 1000)::bigint as now";
        let row = self.query_one(doing, now, &[]).await?;
        Ok(StoreTime::Clock(Timestamp::from_millis(column(&row, doing, "now")?)))
    }

    /// Runs one statement.
    pub(crate) async fn query(
        &self,
        doing: &'static str,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        self.try_query(sql, values).await.map_err(|failure| StoreError::new(doing, failure))
    }

    /// The same for a statement that answers with exactly one row.
    async fn query_one(
        &self,
        doing: &'static str,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Row, StoreError> {
        let row = self.query(doing, sql, values).await?.into_iter().next();
        row.ok_or_else(|| StoreError::new(doing, "the database gave no answer"))
    }

    /// Runs several statements without values as one transaction.
    pub(crate) async fn batch(&self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        let failed = |failure: Failure| StoreError::new(doing, failure);
        let deadline = Instant::now() + self.timeout;
        let late = |_| failed(Failure::Timeout(self.timeout));
        let client = timeout_at(deadline, self.pool.get()).await.map_err(late)?;
        let client = client.map_err(|error| failed(error.into()))?;
        let Ok(done) = timeout_at(deadline, client.batch_execute(sql)).await else {
            drop(Object::take(client));
            return Err(failed(Failure::Timeout(self.timeout)));
        };
        done.map_err(|error| failed(error.into()))
    }

    async fn try_query(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, Failure> {
        let deadline = Instant::now() + self.timeout;
        let late = |_| Failure::Timeout(self.timeout);
        let client = timeout_at(deadline, self.pool.get()).await.map_err(late)??;
        let answer = timeout_at(deadline, async {
            let statement = client.prepare_cached(sql).await?;
            self.commits.run(&client, sql, &statement, values).await
        });
        let Ok(rows) = answer.await else {
            // Whoever gets this connection next would wait behind the answer that has not come.
            drop(Object::take(client));
            return Err(Failure::Timeout(self.timeout));
        };
        let read_only = |error: &Error| error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION);
        if rows.as_ref().is_err_and(read_only) {
            // The server became a standby; where there are several, another connection leads to the one that can be written.
            drop(Object::take(client));
        }
        Ok(rows?)
    }
}

/// With TLS, unless the URL forbids it. A system that trusts no authority can only do without.
fn manager(config: Config, recycling: ManagerConfig) -> Result<Manager, ConnectError> {
    if config.get_ssl_mode() == SslMode::Disable {
        return Ok(Manager::from_config(config, NoTls, recycling));
    }
    let (tls, _) = MakeRustlsConnect::with_native_certs().map_err(|_| ConnectError::Url {
        kind: KIND,
        reason: "this system has no certificates of authorities to check the server's with; install ca-certificates"
            .to_owned(),
        example: "sslmode=disable if the way to the server is safe",
    })?;
    Ok(Manager::from_config(config, tls, recycling))
}

/// Why an operation has no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("the database did not answer within {0:?}")]
    Timeout(Duration),
}

/// A value that has another type than our schema says is an error of the database, not of the program.
pub(crate) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    doing: &'static str,
    name: &str,
) -> Result<T, StoreError> {
    row.try_get(name).map_err(|error| StoreError::new(doing, error))
}

/// What a constraint of a table has said.
#[cfg(feature = "auth")]
pub(crate) fn refusal(error: &StoreError) -> Option<&tokio_postgres::error::DbError> {
    const INTEGRITY: &str = "23";
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<tokio_postgres::error::DbError>() {
            return Some(error).filter(|error| error.code().code().starts_with(INTEGRITY));
        }
        cause = error.source();
    }
    None
}

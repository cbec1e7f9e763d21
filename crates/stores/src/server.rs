//! What database servers have in common: how to reach them, and why that fails.

use std::{error::Error, time::Duration};

#[cfg(any(feature = "mongodb", feature = "postgres", feature = "redis"))]
use hallpass_session::StoreError;
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "redis"))]
use tokio::time::{Instant, timeout};

/// How to talk to a database server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// The most connections at once. Default: 16.
    pub connections: usize,
    /// How long an operation may take, waiting for a connection included, before it fails. Default: 5 seconds.
    pub timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { connections: 16, timeout: Duration::from_secs(5) }
    }
}

/// The database server cannot be used. Says why and what to do; never shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL makes no sense.
    #[error("the {kind} URL cannot be used: {reason}; write {example}")]
    Url {
        /// Which kind of database.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
        /// One that is right.
        example: &'static str,
    },
    /// The name service does not say where the servers are.
    #[error(
        "the name service does not know the hosts of the {kind} URL: {source}; check its host name, or name the hosts with mongodb://"
    )]
    NoHosts {
        /// Which kind of database.
        kind: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nobody answers, or not to us.
    #[error(
        "cannot connect to {kind}: {source}; check that the server runs and that address, user and password are right"
    )]
    Unreachable {
        /// Which kind of database.
        kind: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Something accepts connections and does not answer.
    #[error(
        "{kind} accepted the connection and did not answer within {patience:?}; check that the address is a {kind} server's, that the server is not stopped or overloaded, and that no firewall drops its answers"
    )]
    Silent {
        /// Which kind of database.
        kind: &'static str,
        /// How long was waited for an answer.
        patience: Duration,
    },
    /// The server lacks a command that is needed.
    #[error("this {kind} server is too old; use {kind} {needed}")]
    TooOld {
        /// Which kind of database.
        kind: &'static str,
        /// What has it.
        needed: &'static str,
    },
    /// The schema is from the future.
    #[error(
        "the {kind} database was written by a newer Hallpass (schema {found}, this program knows {known}); start the newer program"
    )]
    Newer {
        /// Which kind of database.
        kind: &'static str,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The server refuses what we ask of it.
    #[error("cannot prepare the {kind} database: {source}")]
    Prepare {
        /// Which kind of database.
        kind: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

#[cfg(any(feature = "mongodb", feature = "postgres", feature = "redis"))]
impl ConnectError {
    /// A question to a server that was reached has failed.
    pub(crate) fn asking(kind: &'static str, error: StoreError) -> Self {
        Self::Prepare { kind, source: error.into() }
    }
}

/// After so long, the log says what the start waits for; and again each time as much later as it has waited already.
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "redis"))]
const NOTE_AFTER: Duration = Duration::from_secs(2);

/// How long a database may take to be prepared: to build indexes on a large table, or to wait for another program that does.
#[cfg(any(feature = "mongodb", feature = "postgres"))]
const PREPARE_WITHIN: Duration = Duration::from_secs(600);

/// Does something at start, and says in the log what is waited for when it takes long.
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "redis"))]
pub(crate) async fn waiting<T>(
    database: &'static str,
    what: &'static str,
    operation: impl Future<Output = T>,
) -> T {
    let (begun, mut pause) = (Instant::now(), NOTE_AFTER);
    tokio::pin!(operation);
    loop {
        if let Ok(done) = timeout(pause, &mut operation).await {
            return done;
        }
        pause = begun.elapsed();
        let seconds = pause.as_secs();
        tracing::warn!(event = "waiting_for_store", database, what, seconds);
    }
}

/// Prepares a database, not for ever.
#[cfg(any(feature = "mongodb", feature = "postgres"))]
pub(crate) async fn preparing(
    kind: &'static str,
    what: &'static str,
    steps: impl Future<Output = Result<(), ConnectError>>,
) -> Result<(), ConnectError> {
    if let Ok(done) = waiting(kind, what, timeout(PREPARE_WITHIN, steps)).await {
        return done;
    }
    let reason = format!(
        "not done within {PREPARE_WITHIN:?}; another program may hold a lock, or the server has stopped to answer"
    );
    Err(ConnectError::Prepare { kind, source: reason.into() })
}

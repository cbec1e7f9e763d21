//! What database servers have in common: how to reach them, and why that fails.

use std::{error::Error, time::Duration};

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

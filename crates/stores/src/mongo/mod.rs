//! [`Mongo`]: sessions, users and records in MongoDB, in collections of our own (`hallpass_sessions`, …).
//!
//! Every operation that changes something is a change of one document, so it needs no transaction and no replica set; with one, it
//! is answered when a majority has it. Only moving a session to a new id takes two: the old one is deleted first, so that
//! a crash between the two signs somebody out, never in.

#[cfg(feature = "auth")]
mod records;
mod sessions;
#[cfg(feature = "auth")]
mod users;

use std::{error::Error as _, time::Duration};

use hallpass_session::StoreError;
use mongodb::{
    Client, Collection, Database, IndexModel,
    bson::{DateTime, Document, doc},
    error::{Error, ErrorKind, WriteFailure},
    options::{ClientOptions, IndexOptions, ReadConcern, WriteConcern},
};
use tokio::time::timeout;

use crate::{ConnectError, ServerOptions};

const KIND: &str = "MongoDB";
const EXAMPLE: &str = "mongodb://user:password@host/database";

/// The version of documents and indexes. A program that finds a higher one does not start.
const SCHEMA: u32 = 1;

/// A database that keeps sessions (layout `native`), and with the feature `auth` users and records too.
/// Clones share its connections.
#[derive(Clone)]
pub struct Mongo {
    database: Database,
    timeout: Duration,
}

impl Mongo {
    /// Connects and makes the indexes. `mongodb://` and `mongodb+srv://` URLs with all the driver's options; the database is the
    /// URL's, else `hallpass`.
    pub async fn connect(url: &str, options: &ServerOptions) -> Result<Self, ConnectError> {
        let mut config = ClientOptions::parse(url).await.map_err(|error| ConnectError::Url {
            kind: KIND,
            reason: reason(&error),
            example: EXAMPLE,
        })?;
        config.app_name.get_or_insert_with(|| "hallpass".to_owned());
        config.max_pool_size.get_or_insert(u32::try_from(options.connections).unwrap_or(u32::MAX));
        config.server_selection_timeout.get_or_insert(options.timeout);
        config.connect_timeout.get_or_insert(options.timeout);
        // A logout that a failed-over primary forgets would be none.
        config.write_concern.get_or_insert_with(WriteConcern::majority);
        config.read_concern.get_or_insert_with(ReadConcern::local);
        let name = config.default_database.clone().unwrap_or_else(|| "hallpass".to_owned());
        let unreachable =
            |error: Error| ConnectError::Unreachable { kind: KIND, source: reason(&error).into() };
        let client = Client::with_options(config).map_err(unreachable)?;
        let mongo = Self { database: client.database(&name), timeout: options.timeout };
        mongo.database.run_command(doc! { "ping": 1 }).await.map_err(unreachable)?;
        mongo.prepare().await?;
        Ok(mongo)
    }

    /// Makes the indexes that are missing, and notes the schema.
    async fn prepare(&self) -> Result<(), ConnectError> {
        let failed = |error: Error| ConnectError::Prepare { kind: KIND, source: reason(&error).into() };
        let notes = self.collection("schema");
        let note = notes.find_one(doc! { "_id": "schema" }).await.map_err(failed)?;
        let found = note.and_then(|note| note.get_i32("version").ok()).unwrap_or(0).cast_unsigned();
        if found > SCHEMA {
            return Err(ConnectError::Newer { kind: KIND, found, known: SCHEMA });
        }
        for (collection, keys, unique) in [
            ("sessions", doc! { "expires": 1 }, false),
            ("sessions", doc! { "user": 1 }, false),
            ("users", doc! { "email": 1 }, true),
            ("records", doc! { "expires": 1 }, false),
            ("records", doc! { "owner": 1 }, false),
            ("records", doc! { "_id.kind": 1, "_id.id": 1 }, false),
        ] {
            let index =
                IndexModel::builder().keys(keys).options(IndexOptions::builder().unique(unique).build());
            self.collection(collection).create_index(index.build()).await.map_err(failed)?;
        }
        if found < SCHEMA {
            let version = doc! { "$max": { "version": SCHEMA.cast_signed() } };
            let noted = notes.update_one(doc! { "_id": "schema" }, version).upsert(true).await;
            // Of several servers that start at once, another has noted it.
            noted
                .map(drop)
                .or_else(|error| if is_duplicate(&error) { Ok(()) } else { Err(failed(error)) })?;
            tracing::info!(event = "database_migrated", from = found, to = SCHEMA);
        }
        Ok(())
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(&format!("hallpass_{name}"))
    }

    /// Waits for the answer of an operation, not for ever.
    async fn run<T>(
        &self,
        doing: &'static str,
        operation: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        match timeout(self.timeout, operation.into_future()).await {
            Ok(answer) => answer.map_err(|error| StoreError::new(doing, error)),
            Err(_) => {
                Err(StoreError::new(doing, format!("MongoDB did not answer within {:?}", self.timeout)))
            }
        }
    }
}

/// What the driver says, without the URL it may repeat.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    let text =
        if text.contains('@') { "the server cannot be reached with this URL".to_owned() } else { text };
    error.source().map_or_else(|| text.clone(), |source| format!("{text}: {source}"))
}

/// Whether a unique index refused the document.
fn is_duplicate(error: &Error) -> bool {
    const DUPLICATE_KEY: i32 = 11000;
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

fn date(time: hallpass_session::Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millis())
}

fn time(date: DateTime) -> hallpass_session::Timestamp {
    hallpass_session::Timestamp::from_millis(date.timestamp_millis())
}

//! [`Mongo`]: sessions, users and records in MongoDB, in collections of our own (`hallpass_sessions`, …).
//!
//! Every operation that changes something is a change of one document, so it needs no transaction and no replica set; with one, it
//! is answered when a majority has it, and so is an answer that says there was nothing to change (`confirm.rs`). Only moving
//! a session to a new id takes two: the old one is made useless first, so that
//! a crash between the two signs somebody out, never in.

mod confirm;
mod durability;
mod feed;
mod majority;
#[cfg(feature = "auth")]
mod records;
mod sessions;
#[cfg(feature = "auth")]
mod users;

use std::{error::Error as _, time::Duration};

use hallpass_session::{StoreError, StoreTime, Timestamp};
use mongodb::{
    Client, Collection, Database, IndexModel,
    bson::{DateTime, Document, doc},
    error::{Error, ErrorKind, WriteFailure},
    options::{ClientOptions, Hint, IndexOptions, ReadPreference, SelectionCriteria, WriteConcern},
};
use tokio::time::timeout;

use self::majority::Majority;
pub(crate) use self::{
    confirm::{TRIES, disagreement},
    feed::{Told, refused, said},
};
use crate::{
    ConnectError, ServerOptions,
    durability::report,
    server::{preparing, waiting},
};

pub(crate) const KIND: &str = "MongoDB";
/// How long a connection may take to be made. Shorter than an operation may take, so that attempts begun while the network was down
/// do not hold up those after it.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How often each server is asked how it is; the least that the driver allows.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a server that was reached may take to answer, at start.
const ANSWER: Duration = Duration::from_secs(1);

const EXAMPLE: &str = "mongodb://user:password@host/database";

/// The version of documents and indexes. A program that finds a higher one does not start.
const SCHEMA: u32 = 1;

/// A database that keeps sessions (layout `native`), and with the feature `auth` users and records too.
/// Clones share its connections.
#[derive(Clone)]
pub struct Mongo {
    database: Database,
    timeout: Duration,
    /// Whether other servers have the data too, so that what one of them shows may be taken back.
    replicated: bool,
    /// Whether a write can wait until it is in the journal.
    journaled: bool,
    /// Whether a linearizable read may ask for a flush of the journal. With one connection that would
    /// wait for the read.
    flushes: bool,
    majority: Majority,
}

impl Mongo {
    /// Connects and makes the indexes. `mongodb://` and `mongodb+srv://` URLs with all the driver's options; the database is the
    /// URL's, else `hallpass`.
    pub async fn connect(url: &str, options: &ServerOptions) -> Result<Self, ConnectError> {
        let mongo = Self::reach(url, options, None, "hallpass").await?;
        preparing(KIND, "the indexes", mongo.prepare()).await?;
        report(KIND, mongo.durability().await);
        Ok(mongo)
    }

    /// The connections alone; to this database, else the URL's, else the `usual` one.
    pub(crate) async fn reach(
        url: &str,
        options: &ServerOptions,
        database: Option<&str>,
        usual: &str,
    ) -> Result<Self, ConnectError> {
        let mut config = parsed(url, options.timeout).await?;
        config.app_name.get_or_insert_with(|| "hallpass".to_owned());
        config.max_pool_size.get_or_insert(u32::try_from(options.connections).unwrap_or(u32::MAX));
        config.server_selection_timeout.get_or_insert(options.timeout);
        config.connect_timeout.get_or_insert(options.timeout.min(CONNECT_WITHIN));
        // What has failed is noticed, and what works again is used, in this time.
        config.heartbeat_freq.get_or_insert(HEARTBEAT);
        let is_single = config.max_pool_size == Some(1);
        let majority = Majority::default();
        config.sdam_event_handler = Some(majority.watch());
        let name = database.map(str::to_owned).or_else(|| config.default_database.clone());
        let name = name.unwrap_or_else(|| usual.to_owned());
        let unreachable =
            |error: Error| ConnectError::Unreachable { kind: KIND, source: reason(&error).into() };
        let client = Client::with_options(config).map_err(unreachable)?;
        let plain = client.database(&name);
        let patience = options.timeout + ANSWER;
        let hello = timeout(patience, plain.run_command(doc! { "hello": 1 }).into_future());
        let hello = match waiting(KIND, "a connection", hello).await {
            Ok(hello) => hello.map_err(unreachable)?,
            Err(_) => return Err(ConnectError::Silent { kind: KIND, patience }),
        };
        let replicated =
            hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        let journaled = durability::can_wait_for_the_journal(&plain, patience).await;
        let how = confirm::options(&plain, replicated, journaled);
        let database = client.database_with_options(&name, how);
        let flushes = journaled && !is_single;
        Ok(Self { database, timeout: options.timeout, replicated, journaled, flushes, majority })
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
        let hour = IndexOptions::builder().expire_after(Duration::from_secs(3600)).build();
        let moved = IndexModel::builder().keys(doc! { sessions::MOVED_AT: 1 }).options(hour).build();
        self.collection("sessions").create_index(moved).await.map_err(failed)?;
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

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Waits for the answer of an operation, not for ever.
    pub(crate) async fn run<T>(
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

impl Mongo {
    /// The primary's clock.
    pub(crate) async fn clock(&self) -> Result<StoreTime, StoreError> {
        let doing = "read the clock of the database";
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let hello = self.database.run_command(doc! { "hello": 1 }).selection_criteria(primary);
        let hello = self.run(doing, hello).await?;
        let now = hello.get_datetime("localTime").map_err(|error| StoreError::new(doing, error))?;
        Ok(StoreTime::Clock(time(*now)))
    }

    /// Whether a document could be written; `false` when its id is taken.
    pub(crate) async fn unless_taken<T>(
        &self,
        doing: &'static str,
        operation: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<bool, StoreError> {
        let operation = async {
            match operation.await {
                Err(error) if is_duplicate(&error) => Ok(false),
                answer => answer.map(|_| true),
            }
        };
        self.run(doing, operation).await
    }

    /// Notes something in many documents with one command. A note that a failover forgets is no loss, so one server's word will do.
    pub(crate) async fn note(
        &self,
        doing: &'static str,
        collection: &str,
        updates: Vec<Document>,
    ) -> Result<(), StoreError> {
        let concern = mongodb::bson::serialize_to_bson(&WriteConcern::builder().w(Some(1.into())).build());
        let concern = concern.map_err(|error| StoreError::new(doing, error))?;
        let command =
            doc! { "update": collection, "updates": updates, "ordered": false, "writeConcern": concern };
        self.run(doing, self.database.run_command(command)).await.map(drop)
    }

    /// Removes at most `limit` expired documents, found by their index.
    pub(crate) async fn sweep_collection(
        &self,
        collection: &Collection<Document>,
        limit: usize,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let doing = "remove what has expired";
        let expired = doc! { "expires": { "$lte": date(now) } };
        let found = collection
            .find(expired.clone())
            .sort(doc! { "expires": 1 })
            .limit(crate::native::limit_of(limit));
        let mut found = self.run(doing, found.projection(doc! { "_id": 1 })).await?;
        let mut ids = Vec::new();
        while self.run(doing, found.advance()).await? {
            let row = found.deserialize_current().map_err(|error| StoreError::new(doing, error))?;
            ids.extend(row.get("_id").cloned());
        }
        if ids.is_empty() {
            return Ok(0);
        }
        let mut filter = expired;
        filter.insert("_id", doc! { "$in": ids });
        // Left to itself the server may look through all that has expired, which after a long pause is most of the collection.
        let delete = collection.delete_many(filter).hint(Hint::Keys(doc! { "_id": 1 }));
        let deleted = self.run(doing, delete).await?.deleted_count;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }
}

/// What a URL says. For `mongodb+srv://` the name service says the rest, in this time.
async fn parsed(url: &str, patience: Duration) -> Result<ClientOptions, ConnectError> {
    let unknown =
        |source: Box<dyn std::error::Error + Send + Sync>| ConnectError::NoHosts { kind: KIND, source };
    match timeout(patience, ClientOptions::parse(url)).await {
        Ok(Ok(config)) => Ok(config),
        Ok(Err(error)) if matches!(&*error.kind, ErrorKind::DnsResolve { .. }) => {
            Err(unknown(reason(&error).into()))
        }
        Ok(Err(error)) => Err(ConnectError::Url { kind: KIND, reason: reason(&error), example: EXAMPLE }),
        Err(_) => Err(unknown(format!("no answer within {patience:?}").into())),
    }
}

/// What the driver says, without the URL it may repeat.
pub(crate) fn reason(error: &Error) -> String {
    let text = error.kind.to_string();
    let text =
        if text.contains('@') { "the server cannot be reached with this URL".to_owned() } else { text };
    error.source().map_or_else(|| text.clone(), |source| format!("{text}: {source}"))
}

/// Whether a unique index refused the document.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    const DUPLICATE_KEY: i32 = 11000;
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

pub(crate) fn date(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millis())
}

pub(crate) fn time(date: DateTime) -> Timestamp {
    Timestamp::from_millis(date.timestamp_millis())
}

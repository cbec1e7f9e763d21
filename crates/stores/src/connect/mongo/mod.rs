//! The collection of connect-mongo: `{_id, session, expires}`, where `session` is a text, an object, or an encrypted text.
//!
//! Only these fields are set, never a whole document: what others keep beside them stays. While a session gets a new ID, its document has
//! a field `hallpass_moved` too. IDs that ended are remembered in a collection of our own, `hallpass_ended_sessions`.

#[cfg(any(fuzzing, test))]
pub mod arbitrary;
mod bson;
mod crypto;
mod documents;
mod ended;
mod guard;
mod kruptein;
mod places;
mod rows;
mod sealing;
mod watched;

use std::{sync::Arc, time::Duration};

use hallpass_session::{IdHash, SessionId, unhex};
use mongodb::{
    IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};

pub use self::crypto::{Cipher, Crypto, Encoding, WebCrypto};
use self::{crypto::Sealer, ended::Ended, rows::Collection};
use super::{ConnectOptions, sessions::Connect, sweep::Turn};
use crate::{
    ConnectError,
    durability::report,
    mongo::{KIND, Mongo, reason},
    server::preparing,
};

/// Sessions in a collection of connect-mongo 6.
pub type ConnectMongo = Connect<Collection>;

/// What connect-mongo is configured with.
#[derive(Clone, Debug)]
pub struct ConnectMongoOptions {
    /// What all layouts need. Default `ttl`: 14 days, as there.
    pub connect: ConnectOptions,
    /// `dbName`. Default: the URL's, else `test`, as with Node's driver.
    pub database: Option<String>,
    /// `collectionName`. Default: `sessions`.
    pub collection: String,
    /// `autoRemove`. Default: native.
    pub auto_remove: AutoRemove,
    /// `touchAfter`: how long after a use the next one is noted. Default: every one is.
    pub touch_after: Duration,
    /// `stringify`: whether sessions are written as texts, not as objects. Both are read. Default: yes.
    pub stringify: bool,
    /// `timestamps`: whether `createdAt` and `updatedAt` are written. Default: no.
    pub timestamps: bool,
    /// `transformId`. Default: ids are stored as they are.
    pub transform_id: TransformId,
    /// `crypto` or `cryptoAdapter`. Default: none.
    pub crypto: Option<Crypto>,
}

impl Default for ConnectMongoOptions {
    fn default() -> Self {
        Self {
            connect: ConnectOptions::with_ttl(14),
            database: None,
            collection: "sessions".to_owned(),
            auto_remove: AutoRemove::Native,
            touch_after: Duration::ZERO,
            stringify: true,
            timestamps: false,
            transform_id: TransformId::None,
            crypto: None,
        }
    }
}

/// Who removes expired sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoRemove {
    /// MongoDB, by an index (`expires_1`) that is made if it is missing.
    Native,
    /// This program, in this interval (`autoRemoveInterval`).
    Interval(Duration),
    /// Somebody else.
    Disabled,
}

/// What `transformId` makes of an id. A function that is none of these cannot be shared: from what is stored, the session must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransformId {
    /// Nothing.
    None,
    /// `sid => prefix + sid`.
    Prefix(String),
    /// `sid => createHash("sha256").update(sid).digest("hex")`: a stolen database opens no session, as in the native layout.
    Sha256,
}

impl TransformId {
    /// The session of a key.
    pub(super) fn id(&self, key: &str) -> Option<SessionId> {
        match self {
            Self::None => SessionId::new(key),
            Self::Prefix(prefix) => SessionId::new(key.strip_prefix(prefix)?),
            Self::Sha256 => unhex(key).map(IdHash).map(SessionId::from_hash),
        }
    }
}

impl ConnectMongo {
    /// Connects and makes the index, if MongoDB is to remove expired sessions. URLs as in [`Mongo::connect`](crate::Mongo::connect).
    pub async fn connect(url: &str, options: &ConnectMongoOptions) -> Result<Self, ConnectError> {
        let ConnectMongoOptions { connect, database, collection, .. } = options.clone();
        let mongo = Mongo::reach(url, &connect.server, database.as_deref(), "test").await?;
        let sealer = match options.crypto.clone() {
            Some(crypto) => Some(tokio::task::spawn_blocking(move || Sealer::new(&crypto)).await),
            None => None,
        };
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| ConnectError::Prepare { kind: KIND, source };
        let ended = Ended::prepare(&mongo, &collection, connect.guard)
            .await
            .map_err(|error| failed(reason(&error).into()))?;
        let rows = Collection {
            sessions: mongo.database().collection::<Document>(&collection),
            mongo,
            auto_remove: options.auto_remove,
            touch_after: options.touch_after,
            stringify: options.stringify,
            timestamps: options.timestamps,
            transform_id: options.transform_id.clone(),
            sealer: sealer.transpose().map_err(|error| failed(error.into()))?.map(Arc::new),
            user_path: connect.user_path.clone(),
            ttl: connect.ttl,
            turn: Turn::default(),
            ended,
        };
        if options.auto_remove == AutoRemove::Native {
            let ttl = IndexOptions::builder().expire_after(Duration::ZERO).build();
            let index = IndexModel::builder().keys(doc! { "expires": 1 }).options(ttl).build();
            let made = async { rows.sessions.create_index(index).await.map(drop) };
            let made = async { made.await.map_err(|error| failed(reason(&error).into())) };
            preparing(KIND, "the index of sessions", made).await?;
        }
        rows.warn_of_another_secret().await.map_err(|error| failed(error.into()))?;
        report(KIND, rows.mongo.durability().await);
        Ok(Self::new(rows, &connect))
    }
}

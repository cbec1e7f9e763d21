//! Rows in a collection.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_session::{ChangeFeed, SessionHandle, SessionId, StoreError, StoreTime, Timestamp, hex};
use mongodb::{
    Cursor,
    bson::{Bson, Document, RawDocumentBuf, doc},
    error::{Error, ErrorKind},
};
use serde_json::Value;
use tokio::try_join;

use super::{
    AutoRemove, TransformId, bson,
    crypto::Sealer,
    documents::{OBJECT, TEXT, bytes, live, row, shown, value},
    ended::Ended,
    places::places,
};
use crate::{
    connect::{
        ended,
        rows::{Change, End, Move, Row, Rows, Unreadable, Use},
        sweep::Turn,
    },
    mongo::{Mongo, TRIES, Told, date, disagreement},
};

/// How deeply a text may be nested that is to be stored as an object: MongoDB takes 100 levels.
const MOST_NESTED: usize = 96;

/// What Node says when it reads an object as a text, and the other way round.
const OBJECT_NOT_TEXT: Unreadable = Unreadable("\"[object Object]\" is not valid JSON");
const TEXT_NOT_OBJECT: Unreadable = Unreadable("Cannot read properties of undefined (reading 'expires')");

const TOO_DEEP: Unreadable = Unreadable("the session is nested too deeply to be stored as an object");

/// A collection of connect-mongo.
pub struct Collection {
    pub(super) mongo: Mongo,
    pub(super) sessions: mongodb::Collection<Document>,
    pub(super) auto_remove: AutoRemove,
    pub(super) touch_after: std::time::Duration,
    pub(super) stringify: bool,
    pub(super) timestamps: bool,
    pub(super) transform_id: TransformId,
    pub(super) sealer: Option<Arc<Sealer>>,
    pub(super) user_path: Option<String>,
    pub(super) ttl: std::time::Duration,
    pub(super) turn: Turn,
    pub(super) ended: Ended,
}

impl Collection {
    /// What to set beside `$set`, as connect-mongo does.
    fn stamps(&self, mut change: Document) -> Document {
        if self.timestamps {
            change.insert("$currentDate", doc! { "updatedAt": true });
        }
        change
    }

    fn set(&self, bytes: &[u8], now: Timestamp) -> Document {
        let mut set = doc! { "session": value(bytes) };
        if !self.touch_after.is_zero() {
            set.insert("lastModified", date(now));
        }
        set
    }

    /// What makes a document, as connect-mongo does.
    pub(super) fn made(&self, bytes: &[u8], expires: Timestamp, now: Timestamp) -> Document {
        let mut set = self.set(bytes, now);
        set.insert("expires", date(expires));
        let mut change = self.stamps(doc! { "$set": set });
        if self.timestamps {
            change.insert("$setOnInsert", doc! { "createdAt": date(now) });
        }
        change
    }

    /// The documents as they arrive: one whose texts are not UTF-8 is no reason to fail.
    pub(super) fn raw(&self) -> mongodb::Collection<RawDocumentBuf> {
        self.sessions.clone_with_type()
    }

    async fn rows(&self, doing: &'static str, filter: Document) -> Result<Vec<Row>, StoreError> {
        self.rows_by(doing, filter, true).await
    }

    /// The rows that match; with `confirmed`, none is missing by the word of a majority.
    async fn rows_by(
        &self,
        doing: &'static str,
        filter: Document,
        confirmed: bool,
    ) -> Result<Vec<Row>, StoreError> {
        let options = self.mongo.aggregation(confirmed);
        let found = self.sessions.aggregate(self.ended.living(filter)).with_options(options);
        let mut found: Cursor<RawDocumentBuf> =
            self.mongo.read(doing, confirmed, found.with_type::<RawDocumentBuf>()).await?;
        let mut rows = Vec::new();
        while self.mongo.advance(doing, &mut found, confirmed).await? {
            rows.extend(row(found.current()));
        }
        Ok(rows)
    }
}

/// Whether the server has answered, and the driver cannot read the answer.
fn is_unreadable(error: &StoreError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    source.is_some_and(|error| {
        matches!(
            &*error.kind,
            ErrorKind::Bson(_) | ErrorKind::BsonDeserialization(_) | ErrorKind::InvalidResponse { .. }
        )
    })
}

#[async_trait]
impl Rows for Collection {
    fn key(&self, id: &SessionId) -> Option<String> {
        match &self.transform_id {
            TransformId::Sha256 => Some(hex(&id.hash().0)),
            _ if id.is_hash() => None,
            TransformId::None => Some(id.expose().to_owned()),
            TransformId::Prefix(prefix) => Some(format!("{prefix}{}", id.expose())),
        }
    }

    fn id(&self, key: &str) -> Option<SessionId> {
        self.transform_id.id(key)
    }

    async fn encode(&self, text: String, old: Option<&[u8]>) -> Result<Vec<u8>, Unreadable> {
        if self.stringify || self.sealer.is_some() {
            let plain = text.clone();
            let sealed = self.crypto(move |sealer| sealer.seal(&plain)).await?;
            return Ok([&[TEXT][..], sealed.unwrap_or(text).as_bytes()].concat());
        }
        let new: Value = serde_json::from_str(&bson::without_halves(&text)).map_err(|_| TOO_DEEP)?;
        let object = bson::merged(old.map(value).as_ref(), &new);
        let session = object.as_document().ok_or(Unreadable("a session must be an object"))?;
        bytes(&bson::session(session).into()).ok_or(Unreadable("the session cannot be stored as an object"))
    }

    async fn decode(&self, bytes: &[u8]) -> Result<String, Unreadable> {
        match value(bytes) {
            Bson::Document(session) => Ok(bson::object(&session).to_string()),
            Bson::String(text) => {
                let sealed = text.clone();
                match self.crypto(move |sealer| sealer.open(&sealed)).await? {
                    Some(opened) => opened,
                    None if !self.stringify && bson::is_nested(&text, MOST_NESTED) => Err(TOO_DEEP),
                    None => Ok(text),
                }
            }
            _ => Err(Unreadable("the stored session is neither text nor object")),
        }
    }

    /// A text where objects are configured, or the other way round, is an error to connect-mongo.
    async fn decode_own(&self, bytes: &[u8]) -> Result<String, Unreadable> {
        match (bytes.first(), self.stringify || self.sealer.is_some()) {
            (Some(&OBJECT), true) if self.sealer.is_none() => Err(OBJECT_NOT_TEXT),
            (Some(&TEXT), false) => Err(TEXT_NOT_OBJECT),
            _ => self.decode(bytes).await,
        }
    }

    fn touch_after(&self) -> std::time::Duration {
        self.touch_after
    }

    async fn put(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let written =
            self.sessions.update_one(doc! { "_id": key }, self.made(bytes, expires, now)).upsert(true);
        let (_, has_ended) =
            try_join!(self.mongo.run(doing, written), self.ended.has(&self.mongo, doing, key))?;
        if has_ended {
            self.mongo.run(doing, self.sessions.delete_one(doc! { "_id": key })).await?;
        }
        Ok(!has_ended)
    }

    async fn prolong(
        &self,
        doing: &'static str,
        key: &str,
        expires: Timestamp,
        noted: Option<Timestamp>,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut set = doc! { "expires": date(expires) };
        if let Some(noted) = noted {
            set.insert("lastModified", date(noted));
        }
        let change = self.stamps(doc! { "$set": set });
        self.mongo.update_confirmed(doing, &self.sessions, &doc! { "_id": key }, &change).await
    }

    async fn get(&self, doing: &'static str, key: &str, now: Timestamp) -> Result<Option<Row>, StoreError> {
        let filter = live(doc! { "_id": key }, now);
        let mut row = None;
        let believed = self.mongo.believes();
        if let Some(begun) = believed {
            let found = self.rows_by(doing, filter.clone(), false).await?.pop();
            row = found.filter(|_| self.mongo.still_believes(begun));
        }
        if row.is_none() && self.mongo.is_replicated() {
            row = self.rows_by(doing, filter, true).await?.pop();
        }
        let touch_after = self.touch_after;
        Ok(row.map(|row| Row { last_modified: row.last_modified.filter(|_| !touch_after.is_zero()), ..row }))
    }

    async fn insert(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        // Replaces an expired session; a live one does not match, and its id refuses the second document.
        let filter = doc! { "_id": key, "expires": { "$lte": date(now) } };
        let write = || {
            let change = self.made(bytes, expires, now);
            self.mongo.unless_taken(doing, self.sessions.update_one(filter.clone(), change).upsert(true))
        };
        let (mut made, has_ended) = try_join!(write(), self.ended.has(&self.mongo, doing, key))?;
        if !has_ended {
            for _ in 0..TRIES {
                if made || self.mongo.is_there(doing, &self.sessions, live(doc! { "_id": key }, now)).await? {
                    return Ok(made);
                }
                // What refused it is gone already.
                made = write().await?;
            }
            return if made { Ok(true) } else { Err(disagreement(doing)) };
        }
        // What is there now is ours, or Express wrote it from a stale copy.
        let is_lifted = self.ended.lift(&self.mongo, doing, key).await?;
        self.mongo.run(doing, self.sessions.delete_one(doc! { "_id": key })).await?;
        Ok(is_lifted && write().await?)
    }

    async fn replace(&self, key: &str, change: Change<'_>, now: Timestamp) -> Result<bool, StoreError> {
        let filter = live(doc! { "_id": key, "session": value(change.old) }, now);
        let mut set = self.set(change.new, now);
        let update = if change.keep_later {
            doc! { "$set": set, "$max": { "expires": date(change.expires) } }
        } else {
            set.insert("expires", date(change.expires));
            doc! { "$set": set }
        };
        let written = self.sessions.update_one(filter, self.stamps(update));
        let doing = "save a session";
        let (written, has_ended) =
            try_join!(self.mongo.run(doing, written), self.ended.has(&self.mongo, doing, key))?;
        Ok(written.matched_count == 1 && !has_ended)
    }

    async fn rotate(
        &self,
        doing: &'static str,
        rotation: Move<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.rotate_in_steps(doing, rotation, now).await
    }

    async fn announced(&self, doing: &'static str, user: &str) -> Result<Vec<String>, StoreError> {
        self.moving_to(doing, user).await
    }

    /// A document without `lastModified` is touched every time and never gains one, as with connect-mongo.
    async fn touch(&self, uses: &[Use], now: Timestamp) -> Result<(), StoreError> {
        let mut updates = Vec::new();
        for one in uses {
            let lengthen = |filter: Document, mut change: Document| {
                change.insert("$max", doc! { "expires": date(one.expires) });
                let mut filter = filter;
                filter.insert("_id", &one.key);
                filter.insert("expires", doc! { "$gt": date(now) });
                doc! { "q": filter, "u": self.stamps(change) }
            };
            if self.touch_after.is_zero() {
                updates.push(lengthen(doc! {}, doc! {}));
                continue;
            }
            let last = i64::try_from(self.touch_after.as_millis()).unwrap_or(i64::MAX);
            let last = Timestamp::from_millis(now.as_millis().saturating_sub(last));
            updates.push(lengthen(doc! { "lastModified": { "$exists": false } }, doc! {}));
            let noted = doc! { "$set": { "lastModified": date(now) } };
            updates.push(lengthen(doc! { "lastModified": { "$lte": date(last) } }, noted));
        }
        self.mongo.note("note the use of sessions", self.sessions.name(), updates).await
    }

    async fn remove(
        &self,
        doing: &'static str,
        key: &str,
        end: End,
        now: Timestamp,
    ) -> Result<Option<Row>, StoreError> {
        let until = ended::until(Some(now), self.ttl, now);
        let is_first = self.ended.note(&self.mongo, doing, key, end, until).await?;
        let raw = self.raw();
        let removed = raw.find_one_and_delete(doc! { "_id": key });
        let removed = match self.mongo.run(doing, removed.projection(shown())).await {
            // Its text is not UTF-8, which the driver refuses in an answer. It is deleted, or will be.
            Err(error) if is_unreadable(&error) => {
                self.mongo.run(doing, self.sessions.delete_one(doc! { "_id": key })).await?;
                None
            }
            removed => removed?,
        };
        if end == End::Ended {
            self.ended.watch(key);
        }
        let row = removed.and_then(|removed| row(&removed)).filter(|_| is_first);
        Ok(row.filter(|row| row.expires.is_none_or(|expires| expires > now)))
    }

    async fn remember(&self, doing: &'static str, key: &str, until: Timestamp) -> Result<(), StoreError> {
        self.ended.remember(&self.mongo, doing, key, until).await
    }

    /// Encrypted texts do not tell: all of them may.
    async fn naming(&self, doing: &'static str, user: &str, now: Timestamp) -> Result<Vec<Row>, StoreError> {
        if self.sealer.is_some() {
            return self.rows(doing, live(doc! {}, now)).await;
        }
        let places = places(user, self.user_path.as_deref());
        self.rows(doing, doc! { "$and": [{ "$or": places }, live(doc! {}, now)] }).await
    }

    async fn keys(&self, doing: &'static str) -> Result<Vec<String>, StoreError> {
        let found = self.sessions.find(doc! {}).with_options(self.mongo.listing());
        let found = found.projection(doc! { "_id": 1 });
        let mut found: Cursor<Document> = self.mongo.read(doing, true, found).await?;
        let mut keys = Vec::new();
        while self.mongo.advance(doing, &mut found, true).await? {
            let document = found.deserialize_current().map_err(|error| StoreError::new(doing, error))?;
            keys.extend(document.get_str("_id").ok().map(str::to_owned));
        }
        Ok(keys)
    }

    async fn get_all(
        &self,
        doing: &'static str,
        keys: &[String],
        now: Timestamp,
    ) -> Result<Vec<Row>, StoreError> {
        self.rows(doing, live(doc! { "_id": { "$in": keys } }, now)).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.ended.sweep(&self.mongo, now).await?;
        let AutoRemove::Interval(interval) = self.auto_remove else { return Ok(0) };
        if !self.turn.has_come(interval, now) {
            return Ok(0);
        }
        let swept = self.mongo.sweep_collection(&self.sessions, limit, now).await?;
        if swept < limit {
            self.turn.is_done(now);
        }
        Ok(swept)
    }

    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        let ids = self.transform_id.clone();
        self.mongo.feed(Told {
            collection: self.sessions.name().to_owned(),
            key_of: Arc::new(move |id| Some(ids.id(id.as_str()?)?.handle())),
            // Express's touch sets the end alone, and so does whoever ends a session by hand: better a copy too few.
            is_use: |_| false,
        })
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.mongo.clock().await
    }
}

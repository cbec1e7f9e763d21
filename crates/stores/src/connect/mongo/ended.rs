//! [`Ended`]: the collection `hallpass_ended_sessions`, and what a session that gets a new ID does in several steps.
//!
//! MongoDB changes one document at a time, so an ID is remembered before its document is deleted; and a document that Express's upsert makes
//! again is one whose ID is remembered, which every read leaves out in the same command.

use std::time::Duration;

use hallpass_session::{StoreError, Timestamp};
use mongodb::{
    Collection as Documents, Cursor, IndexModel,
    bson::{Bson, Document, doc},
    error::{Error, ErrorKind, WriteFailure},
};
use tokio::try_join;

use super::{
    documents::{live, shown, value},
    guard::Guard,
    rows::Collection,
};
use crate::{
    connect::{
        ended::RECENT,
        rows::{End, Move},
        sweep::Turn,
    },
    mongo::{Mongo, date},
};

/// The field of a document whose session is getting a new ID: what it will be stored under, and whose it is.
pub(super) const MOVED: &str = "hallpass_moved";

/// How many ended sessions are forgotten at once.
const AT_ONCE: i64 = 1000;

/// How often a sweep looks at ended sessions.
const EVERY: Duration = Duration::from_secs(30);

/// How long after a session was noted as ended its document is left to the server that noted it.
/// That one deletes the document next, and answers that it has ended the session.
const ENDING: Duration = Duration::from_secs(2);

/// Remembers which IDs have ended.
pub(super) struct Ended {
    sessions: Documents<Document>,
    /// `None`: this user of MongoDB may not have the collection.
    noted: Option<Documents<Document>>,
    turn: Turn,
    guard: Option<Guard>,
}

impl Ended {
    /// Makes the indexes, and starts the guard.
    pub(super) async fn prepare(mongo: &Mongo, collection: &str, listens: bool) -> Result<Self, Error> {
        let sessions = mongo.database().collection::<Document>(collection);
        let ended = mongo.database().collection::<Document>(&format!("hallpass_ended_{collection}"));
        for keys in [doc! { "until": 1 }, doc! { "ended": 1 }] {
            let made = ended.create_index(IndexModel::builder().keys(keys).build()).await;
            if made.as_ref().is_err_and(is_unauthorized) {
                let meaning = "a session that is ended here lives again if an Express request under way saves it; \
                               give this user readWrite on the database";
                tracing::warn!(event = "ended_sessions_not_remembered", meaning);
                return Ok(Self { sessions, noted: None, turn: Turn::default(), guard: None });
            }
            made?;
        }
        let guard = listens.then(|| Guard::start(mongo.clone(), sessions.clone(), ended.clone()));
        Ok(Self { sessions, noted: Some(ended), turn: Turn::default(), guard })
    }

    /// Reads the documents that match and whose IDs have not ended.
    pub(super) fn living(&self, filter: Document) -> Vec<Document> {
        let mut stages = vec![doc! { "$match": filter }];
        if let Some(ended) = &self.noted {
            stages.push(doc! { "$lookup": {
                "from": ended.name(), "localField": "_id", "foreignField": "_id", "as": "hallpass_ended",
            } });
            stages.push(doc! { "$match": { "hallpass_ended": { "$size": 0 } } });
        }
        stages.push(doc! { "$project": shown() });
        stages
    }

    /// Remembers that this ID has ended; whether it is new that it has.
    pub(super) async fn note(
        &self,
        mongo: &Mongo,
        doing: &'static str,
        key: &str,
        end: End,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let change = match end {
            End::Ended => doc! { "$set": { "moved": false } },
            End::Moved => doc! { "$setOnInsert": { "moved": true } },
        };
        self.upsert(mongo, doing, key, change, until).await
    }

    /// The same for a session that gets a new ID: where it goes, and whose it is. `false`: it has ended.
    async fn note_rotation(
        &self,
        mongo: &Mongo,
        doing: &'static str,
        (old, new, user): (&str, &str, Option<&str>),
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let change = doc! { "$set": { "moved": false, "to": new, "user": user } };
        self.upsert(mongo, doing, old, change, until).await
    }

    async fn upsert(
        &self,
        mongo: &Mongo,
        doing: &'static str,
        key: &str,
        mut change: Document,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(ended) = &self.noted else { return Ok(true) };
        change.insert("$max", doc! { "until": date(until) });
        change.insert("$currentDate", doc! { "ended": true });
        let noted = mongo.run(doing, ended.update_one(doc! { "_id": key }, change).upsert(true)).await?;
        Ok(noted.upserted_id.is_some())
    }

    /// Remembers it for longer.
    pub(super) async fn remember(
        &self,
        mongo: &Mongo,
        doing: &'static str,
        key: &str,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(ended) = &self.noted else { return Ok(()) };
        let longer = doc! { "$max": { "until": date(until) } };
        mongo.run(doing, ended.update_one(doc! { "_id": key }, longer)).await.map(drop)
    }

    /// Whether it has ended, or another store holds it.
    pub(super) async fn has(
        &self,
        mongo: &Mongo,
        doing: &'static str,
        key: &str,
    ) -> Result<bool, StoreError> {
        let Some(ended) = &self.noted else { return Ok(false) };
        let found = mongo.find_recent(doing, ended, doc! { "_id": key }, Some(doc! { "_id": 1 })).await?;
        Ok(found.is_some())
    }

    /// The document of a session that has ended for good was deleted. From now on a stale save is
    /// removed at once.
    pub(super) fn watch(&self, key: &str) {
        if let Some(guard) = &self.guard {
            guard.watch(key);
        }
    }

    /// Forgets that another store held it; whether one did.
    pub(super) async fn lift(
        &self,
        mongo: &Mongo,
        doing: &'static str,
        key: &str,
    ) -> Result<bool, StoreError> {
        let Some(ended) = &self.noted else { return Ok(false) };
        let lifted = ended.delete_one(doc! { "_id": key, "moved": true });
        Ok(mongo.run(doing, lifted).await?.deleted_count == 1)
    }

    /// Removes what was written over ended sessions, and forgets those whose stale copies have expired.
    pub(super) async fn sweep(&self, mongo: &Mongo, now: Timestamp) -> Result<(), StoreError> {
        let Some(ended) = self.noted.as_ref().filter(|_| self.turn.has_come(EVERY, now)) else {
            return Ok(());
        };
        remove_again(mongo, &self.sessions, ended).await?;
        while self.forget(mongo, ended, now).await? == AT_ONCE {}
        self.turn.is_done(now);
        Ok(())
    }

    /// Forgets some that could not live any more, but none that is there again: that one is removed, and remembered longer.
    async fn forget(
        &self,
        mongo: &Mongo,
        ended: &Documents<Document>,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let doing = "forget ended sessions";
        let due = doc! { "until": { "$lte": date(now) } };
        let due = vec![doc! { "$match": due }, doc! { "$sort": { "until": 1 } }, doc! { "$limit": AT_ONCE }];
        let all = ids(mongo, doing, ended, due.clone()).await?;
        if all.is_empty() {
            return Ok(0);
        }
        let back = ids(mongo, doing, ended, [due, back_again(&self.sessions)].concat()).await?;
        if !back.is_empty() {
            let day = Duration::from_secs(24 * 60 * 60);
            let longer = doc! { "$max": { "until": date(now + day) } };
            mongo.run(doing, ended.update_many(doc! { "_id": { "$in": &back } }, longer)).await?;
            mongo.run(doing, self.sessions.delete_many(doc! { "_id": { "$in": &back } })).await?;
        }
        let gone = doc! { "_id": { "$in": &all }, "until": { "$lte": date(now) } };
        mongo.run(doing, ended.delete_many(gone)).await?;
        Ok(i64::try_from(all.len()).unwrap_or(AT_ONCE))
    }
}

/// Removes what was written over sessions that ended lately, by the clock of the database.
pub(super) async fn remove_again(
    mongo: &Mongo,
    sessions: &Documents<Document>,
    ended: &Documents<Document>,
) -> Result<(), StoreError> {
    let doing = "remove what was written over ended sessions";
    let back =
        ids(mongo, doing, ended, [noted_before(ENDING), recent(), back_again(sessions)].concat()).await?;
    if back.is_empty() {
        return Ok(());
    }
    mongo.run(doing, sessions.delete_many(doc! { "_id": { "$in": back } })).await.map(drop)
}

/// Those that ended lately.
pub(super) fn recent() -> Vec<Document> {
    noted("$gt", RECENT)
}

/// Those that were noted so long ago.
fn noted_before(ago: Duration) -> Vec<Document> {
    noted("$lt", ago)
}

fn noted(comparison: &str, ago: Duration) -> Vec<Document> {
    let millis = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    let compared = doc! { comparison: ["$ended", { "$subtract": ["$$NOW", millis] }] };
    vec![doc! { "$match": { "$expr": compared } }]
}

/// Those of which there are documents again.
fn back_again(sessions: &Documents<Document>) -> Vec<Document> {
    vec![
        doc! { "$lookup": {
            "from": sessions.name(), "localField": "_id", "foreignField": "_id", "as": "back",
        } },
        doc! { "$match": { "back.0": { "$exists": true } } },
    ]
}

/// The IDs of the documents that stages find.
pub(super) async fn ids(
    mongo: &Mongo,
    doing: &'static str,
    collection: &Documents<Document>,
    stages: Vec<Document>,
) -> Result<Vec<Bson>, StoreError> {
    ids_by(mongo, doing, collection, stages, false).await
}

/// The same; if `confirmed`, none is missing by the word of a majority.
async fn ids_by(
    mongo: &Mongo,
    doing: &'static str,
    collection: &Documents<Document>,
    mut stages: Vec<Document>,
    confirmed: bool,
) -> Result<Vec<Bson>, StoreError> {
    stages.push(doc! { "$project": { "_id": 1 } });
    let found = collection.aggregate(stages).with_options(mongo.aggregation(confirmed));
    let mut found: Cursor<Document> = mongo.read(doing, confirmed, found).await?;
    let mut ids = Vec::new();
    while mongo.advance(doing, &mut found, confirmed).await? {
        let document = found.deserialize_current().map_err(|error| StoreError::new(doing, error))?;
        ids.extend(document.get("_id").cloned());
    }
    Ok(ids)
}

fn is_unauthorized(error: &Error) -> bool {
    const UNAUTHORIZED: i32 = 13;
    match &*error.kind {
        ErrorKind::Command(error) => error.code == UNAUTHORIZED,
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == UNAUTHORIZED,
        _ => false,
    }
}

impl Collection {
    /// Gives a session a new ID. The document is marked first, over the very version that was read: from then on the old ID opens nothing here,
    /// and whoever ends the user's sessions finds where this one goes. It is deleted last, when the new one is there. A crash in between ends the session.
    pub(super) async fn rotate_in_steps(
        &self,
        doing: &'static str,
        rotation: Move<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Move { old, old_bytes, old_idle, new, bytes, expires, user } = rotation;
        let filter = live(doc! { "_id": old, "session": value(old_bytes) }, now);
        // To Express it has expired.
        let mark = doc! { "$set": { MOVED: { "to": new, "user": user }, "expires": date(now) } };
        let marked = self.mongo.run(doing, self.sessions.update_one(filter, mark));
        let (marked, has_ended) = try_join!(marked, self.ended.has(&self.mongo, doing, old))?;
        if marked.matched_count == 0 {
            return Ok(false);
        }
        let until = crate::connect::ended::until(Some(now), old_idle.max(self.ttl), now);
        // If the user's sessions are ended at this moment, the new ID is noted as ended, before or after this.
        let made = async {
            let new = self.sessions.update_one(doc! { "_id": new }, self.made(bytes, expires, now));
            if has_ended { Ok(()) } else { self.mongo.run(doing, new.upsert(true)).await.map(drop) }
        };
        let noted = self.ended.note_rotation(&self.mongo, doing, (old, new, user), until);
        let ((), is_first) = try_join!(made, noted)?;
        let mut gone = vec![old];
        if !is_first {
            // It was ended since it was marked, and that request may have looked for the new ID too early.
            self.ended.note(&self.mongo, doing, new, End::Ended, until).await?;
            gone.push(new);
        }
        self.mongo.run(doing, self.sessions.delete_many(doc! { "_id": { "$in": gone } })).await?;
        self.ended.watch(old);
        Ok(is_first && !has_ended)
    }

    /// What sessions of this user are being moved to, or were lately: a search that went on meanwhile may have seen neither the old document
    /// nor the new one. Whose marks are gone when they are read are noted by then. One that is marked or noted later than it is read here
    /// finds the old session ended.
    pub(super) async fn moving_to(&self, doing: &'static str, user: &str) -> Result<Vec<String>, StoreError> {
        let confirmed = self.mongo.believes().is_none();
        let marked = vec![
            doc! { "$match": { "hallpass_moved.user": user } },
            doc! { "$project": { "_id": "$hallpass_moved.to" } },
        ];
        let mut keys = ids_by(&self.mongo, doing, &self.sessions, marked, confirmed).await?;
        if let Some(ended) = &self.ended.noted {
            let mut noted = recent();
            noted.push(doc! { "$match": { "user": user } });
            noted.push(doc! { "$project": { "_id": "$to" } });
            keys.extend(ids_by(&self.mongo, doing, ended, noted, confirmed).await?);
        }
        Ok(keys.iter().filter_map(Bson::as_str).map(str::to_owned).collect())
    }
}

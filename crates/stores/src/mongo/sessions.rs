//! Sessions, layout `native`: the fields are the record, `_id` is the id's hash.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_session::{
    ChangeFeed, Created, IdHash, Lifetime, Listed, Recent, Revision, SessionHandle, SessionId, SessionRecord,
    SessionStore, StoreError, StoreTime, Stored, Timestamp, Touch, Updated,
};
use mongodb::{
    Collection,
    bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype},
};
use serde::Deserialize;

use super::{Mongo, TRIES, Told, date, disagreement, time};
use crate::native;

/// The id that the session of this document has now. Such documents, and those that keep an id from being stored, have no `expires`, so
/// they are no sessions.
const MOVED_TO: &str = "moved_to";

/// When that was. The database removes them an hour later.
pub(super) const MOVED_AT: &str = "moved_at";

/// A session as it is stored.
#[derive(Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    id: Binary,
    user: Option<Arc<str>>,
    label: Option<Arc<str>>,
    created: DateTime,
    authenticated: Option<DateTime>,
    seen: DateTime,
    idle: i64,
    until: Option<DateTime>,
    persistent: bool,
    expires: DateTime,
    revision: i64,
    /// Left out of listings.
    document: Option<String>,
}

impl Mongo {
    fn sessions(&self) -> Collection<Document> {
        self.collection("sessions")
    }

    /// The live sessions that match, without their data.
    async fn listed(&self, filter: Document, order: Document, limit: i64) -> Result<Vec<Listed>, StoreError> {
        let doing = "list sessions";
        let sessions = self.database.collection::<Row>("hallpass_sessions");
        let found = sessions.find(filter).with_options(self.listing());
        let found = found.sort(order).limit(limit).projection(doc! { "document": 0 });
        let mut rows = self.read(doing, true, found).await?;
        let mut listed = Vec::new();
        while self.advance(doing, &mut rows, true).await? {
            listed.push(
                rows.deserialize_current().map_err(|error| StoreError::new(doing, error))?.listed(doing)?,
            );
        }
        Ok(listed)
    }

    /// Ends the sessions of a user that are getting new ids at this moment: deletes them, or keeps their new ids from being stored.
    async fn end_moving(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (doing, sessions) = ("end a user's sessions", self.sessions());
        let mut seen: HashSet<Vec<u8>> = except.map(|id| id.hash().0.to_vec()).into_iter().collect();
        let mut ended = 0;
        loop {
            let moving = sessions.find(doc! { "user": user, MOVED_TO: { "$exists": true } });
            let moving = moving.with_options(self.listing()).projection(doc! { MOVED_TO: 1 });
            let mut moving = self.read(doing, true, moving).await?;
            let mut ids = Vec::new();
            while self.advance(doing, &mut moving, true).await? {
                let row = moving.deserialize_current().map_err(|error| StoreError::new(doing, error))?;
                let id = row.get(MOVED_TO).cloned();
                let is_new = |id: &Bson| matches!(id, Bson::Binary(id) if seen.insert(id.bytes.clone()));
                ids.extend(id.filter(is_new));
            }
            if ids.is_empty() {
                return Ok(ended);
            }
            for id in ids {
                let blocked = doc! { "_id": &id, MOVED_AT: { "$exists": true } };
                let block = doc! { "$currentDate": { MOVED_AT: true } };
                if !self.unless_taken(doing, sessions.update_one(blocked, block).upsert(true)).await? {
                    let live = doc! { "_id": id, "user": user, "expires": { "$gt": date(now) } };
                    ended += self.run(doing, sessions.delete_one(live)).await?.deleted_count;
                }
            }
        }
    }

    /// Whether the session lives; asked when a change found nothing to change.
    async fn answer_for(&self, id: &SessionId, now: Timestamp) -> Result<Updated, StoreError> {
        let filter = doc! { "_id": binary(id.hash().0), "expires": { "$gt": date(now) } };
        let live = self.is_there("save a session", &self.sessions(), filter).await?;
        Ok(if live { Updated::Conflict } else { Updated::Gone })
    }
}

#[async_trait]
impl SessionStore for Mongo {
    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        self.feed(Told {
            collection: "hallpass_sessions".to_owned(),
            key_of: Arc::new(|id| match id {
                Bson::Binary(hash) => hash.bytes.as_slice().try_into().ok().map(|hash| IdHash(hash).handle()),
                _ => None,
            }),
            // A use that was noted moves both at most; an end that somebody moved by hand stands alone.
            is_use: |fields| {
                fields.contains(&"seen") && fields.iter().all(|field| ["seen", "expires"].contains(field))
            },
        })
    }

    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        let filter = doc! { "_id": binary(id.hash().0), "expires": { "$gt": date(now) } };
        let sessions = self.database.collection::<Row>("hallpass_sessions");
        let row = self.find_confirmed("load a session", &sessions, filter, None).await?;
        Ok(row.and_then(Row::stored))
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        let id = binary(id.hash().0);
        // Replaces an expired session; a live one does not match, and its id refuses the second document.
        let expired = doc! { "_id": id.clone(), "expires": { "$lte": date(now) } };
        let live = doc! { "_id": id.clone(), "expires": { "$gt": date(now) } };
        let (doing, sessions) = ("create a session", self.sessions());
        for _ in 0..TRIES {
            let new = row(id.clone(), record, Revision(1));
            let written = sessions.replace_one(expired.clone(), new).upsert(true);
            if self.unless_taken(doing, written).await? {
                return Ok(Created::Done(Revision(1)));
            }
            if self.is_there(doing, &sessions, live.clone()).await? {
                return Ok(Created::Taken);
            }
        }
        Err(disagreement(doing))
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let filter = doc! {
            "_id": binary(id.hash().0), "revision": expected.0.cast_signed(), "expires": { "$gt": date(now) },
        };
        let revision = Revision(expected.0 + 1);
        let sessions = self.sessions();
        let changed =
            self.run("save a session", sessions.update_one(filter, changes(record, revision))).await?;
        if changed.matched_count == 1 { Ok(Updated::Done(revision)) } else { self.answer_for(id, now).await }
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let doing = "move a session to a new id";
        let filter = doc! {
            "_id": binary(old.hash().0), "revision": expected.0.cast_signed(), "expires": { "$gt": date(now) },
        };
        // What is left of the old session opens nothing, and says where it goes to whoever ends the user's sessions at this moment.
        let new = binary(new.hash().0);
        let moved = doc! {
            "$set": { "user": record.user.as_deref(), MOVED_TO: new.clone() },
            "$unset": { "expires": "", "document": "" },
            "$currentDate": { MOVED_AT: true },
        };
        let sessions = self.sessions();
        if self.run(doing, sessions.update_one(filter, moved)).await?.matched_count == 0 {
            return self.answer_for(old, now).await;
        }
        let revision = Revision(expected.0 + 1);
        // A taken id is one that was kept from being stored.
        let stored = self.unless_taken(doing, sessions.insert_one(row(new, record, revision))).await?;
        Ok(if stored { Updated::Done(revision) } else { Updated::Gone })
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        let update = |touch: &Touch| {
            doc! {
                "q": { "_id": binary(touch.id.hash().0), "expires": { "$gt": date(now) } },
                "u": { "$max": { "seen": date(touch.seen), "expires": date(touch.expires) } },
            }
        };
        if batch.is_empty() {
            return Ok(());
        }
        let updates: Vec<Document> = batch.iter().map(update).collect();
        self.note("note the use of sessions", "hallpass_sessions", updates).await
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let filter = doc! { "_id": binary(id.hash().0), MOVED_AT: { "$exists": false } };
        let end = doc! { "expires": 1 };
        let deleted = self.take_one("end a session", &self.sessions(), filter, Some(end)).await?;
        Ok(deleted
            .and_then(|row| row.get_datetime("expires").ok().copied())
            .is_some_and(|end| time(end) > now))
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let filter = doc! { "user": user, "expires": { "$gt": date(now) } };
        self.listed(filter, doc! { "seen": -1, "_id": 1 }, 0).await
    }

    async fn recent_of_user(&self, user: &str, limit: usize, now: Timestamp) -> Result<Recent, StoreError> {
        let filter = doc! { "user": user, "expires": { "$gt": date(now) } };
        let first =
            self.listed(filter.clone(), doc! { "seen": -1, "_id": 1 }, native::limit_of(limit)).await?;
        if first.len() < limit {
            return Ok(Recent { listed: first, more: 0 });
        }
        let all = self.run("count a user's sessions", self.sessions().count_documents(filter)).await?;
        Ok(native::recent(first, i64::try_from(all).unwrap_or(i64::MAX)))
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut filter = doc! { "user": user, "expires": { "$gt": date(now) } };
        if let Some(except) = except {
            filter.insert("_id", doc! { "$ne": binary(except.hash().0) });
        }
        let deleted = self.delete_all("end a user's sessions", &self.sessions(), filter).await?;
        Ok(deleted + self.end_moving(user, except, now).await?)
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (first, last) = native::ids_of(handle);
        let mut filter = doc! {
            "_id": { "$gte": binary(first), "$lte": binary(last) }, "expires": { "$gt": date(now) },
        };
        if let Some(user) = user {
            filter.insert("user", user);
        }
        let ended = self.take_one("end a session", &self.sessions(), filter, Some(doc! { "_id": 1 })).await?;
        Ok(ended.is_some())
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut filter = doc! { "expires": { "$gt": date(now) } };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": binary(native::ids_of(after).1) });
        }
        self.listed(filter, doc! { "_id": 1 }, native::limit_of(limit)).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.sweep_collection(&self.sessions(), limit, now).await
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let doing = "export sessions";
        let mut filter = doc! { "expires": { "$gt": date(now) } };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": binary(native::ids_of(after).1) });
        }
        let sessions = self.database.collection::<Row>("hallpass_sessions");
        let page = sessions.find(filter).with_options(self.listing());
        let page = page.sort(doc! { "_id": 1 }).limit(native::limit_of(limit));
        let mut rows = self.read(doing, true, page).await?;
        let mut found = Vec::new();
        while self.advance(doing, &mut rows, true).await? {
            let row = rows.deserialize_current().map_err(|error| StoreError::new(doing, error))?;
            let id = SessionId::from_hash(row.hash(doing)?);
            found.extend(row.stored().map(|stored| (id, stored)));
        }
        Ok(found)
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.clock().await
    }
}

fn binary(bytes: [u8; 32]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

fn row(id: Binary, record: &SessionRecord, revision: Revision) -> Document {
    doc! {
        "_id": id,
        "user": record.user.as_deref(),
        "label": record.label.as_deref(),
        "created": date(record.created),
        "authenticated": record.authenticated.map(date),
        "seen": date(record.seen),
        "idle": native::idle_millis(record.lifetime.idle),
        "until": record.lifetime.until.map(date),
        "persistent": record.lifetime.persistent,
        "expires": date(record.expires()),
        "revision": revision.0.cast_signed(),
        "document": record.document.to_json(),
    }
}

/// An update as a pipeline, because the end follows from the stored `seen`, which never moves back.
fn changes(record: &SessionRecord, revision: Revision) -> Vec<Document> {
    let literal = |value: Option<&str>| doc! { "$literal": value };
    let idle = native::idle_millis(record.lifetime.idle);
    let until = record.lifetime.until.map_or(Bson::Null, |until| date(until).into());
    vec![
        doc! { "$set": {
            "user": literal(record.user.as_deref()),
            "label": literal(record.label.as_deref()),
            "created": date(record.created),
            "authenticated": record.authenticated.map(date),
            "seen": { "$max": ["$seen", date(record.seen)] },
            "idle": idle,
            "until": until.clone(),
            "persistent": record.lifetime.persistent,
            "revision": revision.0.cast_signed(),
            "document": literal(Some(&record.document.to_json())),
        } },
        // `$min` passes over null.
        doc! { "$set": { "expires": { "$min": [{ "$add": ["$seen", idle] }, until] } } },
    ]
}

impl Row {
    fn stored(self) -> Option<Stored> {
        let record = SessionRecord {
            document: native::document(self.document.as_deref().unwrap_or_default())?,
            user: self.user,
            label: self.label,
            created: time(self.created),
            authenticated: self.authenticated.map(time),
            seen: time(self.seen),
            lifetime: Lifetime {
                idle: Duration::from_millis(self.idle.cast_unsigned()),
                until: self.until.map(time),
                persistent: self.persistent,
            },
        };
        Some(Stored { record: Arc::new(record), revision: Revision(self.revision.cast_unsigned()) })
    }

    fn hash(&self, doing: &'static str) -> Result<IdHash, StoreError> {
        let id = self.id.bytes.as_slice().try_into();
        id.map(IdHash).map_err(|_| StoreError::new(doing, "an id that is no hash"))
    }

    fn listed(self, doing: &'static str) -> Result<Listed, StoreError> {
        Ok(Listed {
            handle: self.hash(doing)?.handle(),
            user: self.user,
            label: self.label,
            created: time(self.created),
            authenticated: self.authenticated.map(time),
            seen: time(self.seen),
            expires: time(self.expires),
        })
    }
}

//! What happens to a collection, as MongoDB tells it: a change stream, on a replica set or a sharded cluster.
//!
//! An empty batch proves nothing: a primary that has lost its majority would go on sending them. So a mark is written to `hallpass_feed` with a
//! majority's word, and heard again through the same stream; everything acknowledged before it has been heard then.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_session::{CacheKey, ChangeFeed, Listener, Moment, hex, random};
use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
    change_stream::ChangeStream,
    error::{Error, ErrorKind},
    options::{ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};
use tokio::time::{sleep, timeout};

use super::{Mongo, majority::Majority, reason};
use crate::feed::{Ended, Pauses};

/// Where marks are written.
const MARKS: &str = "hallpass_feed";

/// Whose document it is, told by its `_id`.
pub(crate) type KeyOf<K> = Arc<dyn Fn(&Bson) -> Option<K> + Send + Sync>;

/// A collection whose changes are told.
pub(crate) struct Told<K> {
    pub(crate) collection: String,
    pub(crate) key_of: KeyOf<K>,
    /// Whether a change of these fields alone makes no difference, as of those that lengthen a session.
    pub(crate) is_use: fn(&[&str]) -> bool,
}

impl Mongo {
    /// `None` when reads go to secondaries, which may not know yet what the stream has told.
    pub(crate) fn feed<K: CacheKey>(&self, told: Told<K>) -> Option<ChangeFeed<K>> {
        match self.database.selection_criteria() {
            None | Some(SelectionCriteria::ReadPreference(ReadPreference::Primary)) => {}
            Some(_) => return None,
        }
        let mongo = self.clone();
        Some(ChangeFeed::new(move |listener| async move {
            let mut pauses = Pauses::default();
            loop {
                let ended = mongo.listen(&told, &listener).await;
                if let Some(never) = pauses.after(ended).await {
                    return never;
                }
            }
        }))
    }

    async fn listen<K: CacheKey>(&self, told: &Told<K>, listener: &Listener<K>) -> Ended {
        let stream = match timeout(self.timeout, self.watch(&told.collection)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return refused(&error),
            Err(late) => return Ended::early(late),
        };
        // What was loaded before the stream began is void, and what is loaded from here on is as new
        // as the stream.
        self.majority.void();
        listener.everything();
        let marks = Marks {
            majority: &self.majority,
            collection: self.database.collection(MARKS),
            by: hex(&random::<8>()),
            timeout: self.timeout,
        };
        let hears = Hears { told, listener, by: &marks.by };
        // The stream is read and marks are made at the same time: a mark must not wait for silence.
        let asked = Asked::default();
        tokio::select! {
            ended = hears.read(stream, &asked) => ended,
            ended = marks.make(&asked, listener) => ended,
        }
    }

    /// Everything that happens to the collection, and the marks.
    async fn watch(&self, collection: &str) -> Result<ChangeStream<Document>, Error> {
        let pipeline = [
            doc! { "$match": { "$or": [
                { "ns.coll": { "$in": [collection, MARKS] } },
                { "operationType": { "$in": ["dropDatabase", "invalidate"] } },
            ] } },
            doc! { "$project": {
                "operationType": 1, "ns": 1, "documentKey": 1,
                "updated": { "$objectToArray": { "$ifNull": ["$updateDescription.updatedFields", {}] } },
                "removed": { "$ifNull": ["$updateDescription.removedFields", []] },
                "mark": "$updateDescription.updatedFields.mark",
            } },
            doc! { "$set": { "updated": "$updated.k" } },
        ];
        let stream = self.database.watch().pipeline(pipeline).read_concern(ReadConcern::majority());
        let stream = stream.max_await_time(Duration::from_millis(500)).await?;
        Ok(stream.with_type())
    }
}

/// What we write to hear it.
struct Marks<'a> {
    majority: &'a Majority,
    collection: Collection<Document>,
    by: String,
    timeout: Duration,
}

impl Marks<'_> {
    async fn make<K: CacheKey>(&self, asked: &Asked, listener: &Listener<K>) -> Ended {
        let majority = WriteConcern::majority();
        for number in 1_i64.. {
            let begun = self.majority.begin();
            asked.note(number, listener.now());
            // One text that is new each time: MongoDB tells only of fields that a change makes different.
            let mark = doc! { "$set": { "mark": format!("{} {number}", self.by) } };
            let written = self.collection.update_one(doc! { "_id": "mark" }, mark).upsert(true);
            match timeout(self.timeout, written.write_concern(majority.clone()).into_future()).await {
                Ok(Ok(_)) => {
                    self.majority.confirm(begun);
                    sleep(listener.pace()).await;
                }
                Ok(Err(error)) if number == 1 => return refused(&error),
                Ok(Err(error)) => return Ended::late(said(&error)),
                Err(late) => return if number == 1 { Ended::early(late) } else { Ended::late(late) },
            }
        }
        Ended::late("all numbers are used up")
    }
}

/// When the marks were made that are not heard yet.
#[derive(Default)]
struct Asked(Mutex<VecDeque<(i64, Moment)>>);

impl Asked {
    fn all(&self) -> MutexGuard<'_, VecDeque<(i64, Moment)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, number: i64, made: Moment) {
        self.all().push_back((number, made));
    }

    /// When this one was made; those before it are not waited for any more.
    fn when(&self, number: i64) -> Option<Moment> {
        let mut all = self.all();
        while all.front().is_some_and(|(first, _)| *first < number) {
            all.pop_front();
        }
        let made = all.front().filter(|(first, _)| *first == number).map(|(_, made)| *made);
        if made.is_some() {
            all.pop_front();
        }
        made
    }
}

struct Hears<'a, K> {
    told: &'a Told<K>,
    listener: &'a Listener<K>,
    by: &'a str,
}

impl<K: CacheKey> Hears<'_, K> {
    async fn read(&self, mut stream: ChangeStream<Document>, asked: &Asked) -> Ended {
        loop {
            match stream.next_if_any().await {
                Ok(Some(event)) => self.hear(&event, asked),
                Ok(None) if stream.is_alive() => {}
                Ok(None) => return Ended::late("the change stream has ended"),
                Err(error) => return Ended::late(said(&error)),
            }
        }
    }

    fn hear(&self, event: &Document, asked: &Asked) {
        let collection = event.get_document("ns").and_then(|ns| ns.get_str("coll")).unwrap_or_default();
        if collection == MARKS {
            let mark = event.get_str("mark").ok().and_then(|mark| mark.split_once(' '));
            let number = mark.filter(|(by, _)| *by == self.by).and_then(|(_, number)| number.parse().ok());
            if let Some(asked) = number.and_then(|number| asked.when(number)) {
                self.listener.alive(asked);
            }
            return;
        }
        match event.get_str("operationType") {
            Ok("insert") => {}
            Ok("update" | "replace" | "delete") => self.hear_change(event),
            _ => self.listener.everything(),
        }
    }

    fn hear_change(&self, event: &Document) {
        let texts = |name: &str| event.get_array(name).map(Vec::as_slice).unwrap_or_default();
        let updated: Vec<&str> = texts("updated").iter().filter_map(Bson::as_str).collect();
        let is_update = event.get_str("operationType").is_ok_and(|operation| operation == "update");
        if is_update && texts("removed").is_empty() && (self.told.is_use)(&updated) {
            return;
        }
        let id = event.get_document("documentKey").ok().and_then(|key| key.get("_id"));
        match id.map(|id| (self.told.key_of)(id)) {
            Some(Some(key)) => self.listener.changed(&key),
            // A document of another make.
            Some(None) => {}
            None => self.listener.everything(),
        }
    }
}

/// A single server has no change streams, and who may not read them will not do so later.
pub(crate) fn refused(error: &Error) -> Ended {
    const UNAUTHORIZED: i32 = 13;
    const ONLY_ON_REPLICA_SETS: i32 = 40573;
    match &*error.kind {
        ErrorKind::Command(refused) if refused.code == ONLY_ON_REPLICA_SETS => Ended::Never(
            "a MongoDB without a replica set cannot tell what happens to sessions; a set of one can: start mongod with --replSet".to_owned(),
        ),
        ErrorKind::Command(refused) if refused.code == UNAUTHORIZED => Ended::Never(format!(
            "this user of MongoDB may not watch the database or write to {MARKS}; give it readWrite on the database"
        )),
        _ => Ended::early(said(error)),
    }
}

/// The server's own words, without the documents around them.
pub(crate) fn said(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Command(refused) => refused.message.clone(),
        _ => reason(error),
    }
}

//! [`Guard`]: removes what stale copies of Express write over ended sessions.
//!
//! A document that Express writes again is inserted, because the ended session's was deleted. So the guard hears of every insertion, whoever
//! makes it and whether sessions are cached or not, and removes what has an ID that ended lately. For ten
//! seconds after the end it does not wait to hear of it (`watched.rs`). A sweep finds what it missed. A MongoDB
//! without a replica set has no change stream, so there is nothing else.

use std::{sync::Arc, time::Duration};

use hallpass_session::StoreError;
use mongodb::{
    Collection as Documents,
    bson::{Bson, Document, doc},
    change_stream::ChangeStream,
    error::Error,
    options::{ReadConcern, WriteConcern},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use super::{
    ended::{ids, recent, remove_again},
    watched::Watched,
};
use crate::{
    connect::ended::Recent,
    feed::{Ended as Broken, Pauses},
    mongo::{Mongo, refused, said},
};

/// How many documents are removed with one command.
const AT_ONCE: usize = 500;

/// How long to wait after an error.
const PAUSE: Duration = Duration::from_secs(1);

const DOING: &str = "remove what was written over ended sessions";

/// Ends with this value.
pub(super) struct Guard {
    state: Arc<State>,
    tasks: [JoinHandle<()>; 3],
}

impl Guard {
    /// Must be called within a Tokio runtime.
    pub(super) fn start(mongo: Mongo, sessions: Documents<Document>, ended: Documents<Document>) -> Self {
        let (sender, found) = unbounded_channel();
        let state = Arc::new(State {
            mongo,
            sessions,
            ended,
            recent: Recent::default(),
            watched: Watched::default(),
        });
        let tasks = [
            tokio::spawn(listen(state.clone(), sender)),
            tokio::spawn(remove_found(state.clone(), found)),
            tokio::spawn(remove_watched(state.clone())),
        ];
        Self { state, tasks }
    }

    /// This session has ended here for good, and its document was deleted.
    pub(super) fn watch(&self, key: &str) {
        self.state.watched.insert(key);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct State {
    mongo: Mongo,
    sessions: Documents<Document>,
    ended: Documents<Document>,
    recent: Recent,
    watched: Watched,
}

async fn listen(state: Arc<State>, found: UnboundedSender<String>) {
    let mut pauses = Pauses::default();
    loop {
        let broken = state.listen(&found).await;
        if let Some(never) = pauses.after(broken).await {
            let meaning = "what Express saves over ended sessions is removed for ten seconds after the end, \
                           and then once a minute; Hallpass refuses it at once";
            tracing::warn!(event = "ended_sessions_not_watched", reason = %never, meaning);
            return;
        }
    }
}

impl State {
    async fn listen(&self, found: &UnboundedSender<String>) -> Broken {
        let mut stream = match self.watch().await {
            Ok(stream) => stream,
            Err(error) => return refused(&error),
        };
        if let Err(error) = self.catch_up().await {
            return Broken::late(error);
        }
        loop {
            match stream.next_if_any().await {
                Ok(Some(event)) => self.hear(&event, found),
                Ok(None) if stream.is_alive() => {}
                Ok(None) => return Broken::late("the change stream has ended"),
                Err(error) => return Broken::late(said(&error)),
            }
        }
    }

    /// What is inserted and deleted, and what ends.
    async fn watch(&self) -> Result<ChangeStream<Document>, Error> {
        let pipeline = [
            doc! { "$match": { "$or": [
                { "ns.coll": self.sessions.name(), "operationType": { "$in": ["insert", "delete"] } },
                { "ns.coll": self.ended.name(), "operationType": { "$in": ["insert", "update", "replace"] } },
            ] } },
            doc! { "$project": { "ns": 1, "documentKey": 1 } },
        ];
        let stream = self.mongo.database().watch().pipeline(pipeline);
        let stream = stream.read_concern(ReadConcern::majority()).max_await_time(Duration::from_secs(1));
        Ok(stream.await?.with_type())
    }

    /// What happened before the stream was there.
    async fn catch_up(&self) -> Result<(), StoreError> {
        for id in ids(&self.mongo, "read what has ended", &self.ended, recent()).await? {
            self.recent.insert(id.as_str().unwrap_or_default());
        }
        remove_again(&self.mongo, &self.sessions, &self.ended).await
    }

    /// A deletion after the end is the end's own. Another process may have noted that, and does not
    /// watch the session.
    fn hear(&self, event: &Document, found: &UnboundedSender<String>) {
        let id = event.get_document("documentKey").and_then(|key| key.get_str("_id")).unwrap_or_default();
        let collection = event.get_document("ns").and_then(|ns| ns.get_str("coll")).unwrap_or_default();
        if collection == self.ended.name() {
            self.recent.insert(id);
        } else if self.recent.contains(id) {
            // The other end is closed only when the store is.
            found.send(id.to_owned()).ok();
        }
    }

    /// Removes those that have ended indeed. What another store holds may be back by the time it is deleted here: that is left to the sweep.
    async fn remove(&self, keys: &[String]) -> Result<(), StoreError> {
        let ended = self.noted(keys).await?;
        if ended.is_empty() {
            return Ok(());
        }
        ended.iter().filter_map(Bson::as_str).for_each(|key| self.watched.insert(key));
        let deleted = self.sessions.delete_many(doc! { "_id": { "$in": ended } });
        self.mongo.run(DOING, deleted).await.map(drop)
    }

    /// Those of these keys whose sessions have ended: a note says so.
    async fn noted(&self, keys: &[String]) -> Result<Vec<Bson>, StoreError> {
        let keys: Vec<Bson> = keys.iter().map(Into::into).collect();
        let noted = vec![doc! { "$match": { "_id": { "$in": keys }, "moved": false } }];
        ids(&self.mongo, DOING, &self.ended, noted).await
    }

    /// One server's word will do: the stream tells of each save that a majority has, and that one is
    /// removed with a majority's. Where no note says that a session has ended, none is removed.
    async fn remove_at_once(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let ended = self.noted(&keys).await?;
        self.watched.retain_of(&keys, |key| ended.iter().any(|ended| ended.as_str() == Some(key)));
        if ended.is_empty() {
            return Ok(());
        }
        let deleted = self.sessions.delete_many(doc! { "_id": { "$in": ended } });
        let one = WriteConcern::builder().w(Some(1.into())).build();
        self.mongo.run(DOING, deleted.write_concern(one)).await.map(drop)
    }
}

async fn remove_found(state: Arc<State>, mut found: UnboundedReceiver<String>) {
    let mut keys = Vec::new();
    while found.recv_many(&mut keys, AT_ONCE).await > 0 {
        if let Err(error) = state.remove(&keys).await {
            // A sweep will find it.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(event = "ended_session_not_removed", error);
        }
        keys.clear();
    }
}

async fn remove_watched(state: Arc<State>) {
    loop {
        let keys = state.watched.due().await;
        if state.remove_at_once(keys).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

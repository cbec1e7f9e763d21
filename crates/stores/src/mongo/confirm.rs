//! Answers that no failover takes back.
//!
//! A primary shows what a majority may not have yet, and one that was cut off from the others does not know what they decided
//! since. So reads are of what a majority has, and an answer that says "not there", "taken" or "nothing to do" is confirmed: by a
//! linearizable read, which a server answers only while a majority still takes it for the primary. What cannot be confirmed in time
//! is an error. A server without a replica set has nobody to ask.
//!
//! An answer that says "there" comes from a primary that a majority has confirmed lately
//! (`majority.rs`), or is confirmed too.

use std::{pin::pin, time::Duration};

use hallpass_session::StoreError;
use mongodb::{
    Collection, Cursor, Database,
    bson::{Document, doc},
    error::Error,
    options::{
        AggregateOptions, Collation, DatabaseOptions, FindOneAndDeleteOptions, FindOneOptions, FindOptions,
        ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
    },
};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::{Mongo, durability, majority::Begun};

/// How often a change is made anew that found nothing where a majority has something.
pub(crate) const TRIES: usize = 4;

/// What all operations ask for, unless the URL says otherwise: the word of a majority, and its disks'.
pub(super) fn options(database: &Database, replicated: bool, journaled: bool) -> DatabaseOptions {
    let asked = database.write_concern().cloned().unwrap_or_default();
    let mut concern = WriteConcern::majority();
    concern.w = asked.w.or(concern.w);
    concern.w_timeout = asked.w_timeout;
    concern.journal = asked.journal.or(journaled.then_some(true));
    let read = if replicated { ReadConcern::majority() } else { ReadConcern::local() };
    DatabaseOptions::builder()
        .write_concern(concern)
        .read_concern(database.read_concern().cloned().unwrap_or(read))
        .selection_criteria(database.selection_criteria().cloned())
        .build()
}

/// A read that only the primary answers, and only while a majority takes it for that.
fn linearizable(patience: Duration) -> FindOneOptions {
    FindOneOptions::builder()
        .read_concern(ReadConcern::linearizable())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .max_time(patience)
        .build()
}

/// A change found nothing, again and again, where a majority has something.
pub(crate) fn disagreement(doing: &'static str) -> StoreError {
    StoreError::new(doing, "the servers of the replica set do not agree; an election may be going on")
}

/// How long a linearizable read may take before the journal is flushed for it, and how long until
/// the next time.
const FLUSH_AFTER: Duration = Duration::from_millis(1);
const FLUSH_AGAIN: Duration = Duration::from_millis(20);

impl Mongo {
    /// Waits for the answer of a read that is `confirmed`, which is a linearizable one, or is not.
    pub(crate) async fn read<T>(
        &self,
        doing: &'static str,
        confirmed: bool,
        command: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        if !confirmed || !self.replicated {
            return self.run(doing, command).await;
        }
        let begun = self.majority.begin();
        let answer = self.run_with_flushes(doing, command).await;
        if answer.is_ok() {
            self.majority.confirm(begun);
        }
        answer
    }

    /// The next document of a listing that is `confirmed`, or is not.
    pub(crate) async fn advance<T>(
        &self,
        doing: &'static str,
        listing: &mut Cursor<T>,
        confirmed: bool,
    ) -> Result<bool, StoreError> {
        if confirmed && self.replicated {
            self.run_with_flushes(doing, listing.advance()).await
        } else {
            self.run(doing, listing.advance()).await
        }
    }

    /// Waits for the answer of a linearizable read.
    ///
    /// The server answers when a note is in the journals of a majority. Where its own journal is
    /// needed for that, as on a set of one, it would wait for the next periodic flush, up to 100 ms
    /// later. So this asks for a flush.
    async fn run_with_flushes<T>(
        &self,
        doing: &'static str,
        read: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let mut read = pin!(self.run(doing, read));
        let mut pause = FLUSH_AFTER;
        loop {
            tokio::select! {
                biased;
                answer = &mut read => return answer,
                () = sleep(pause), if self.flushes => {}
            }
            pause = FLUSH_AGAIN;
            let mut flush = pin!(self.flush_journal());
            tokio::select! {
                answer = &mut read => {
                    // The driver would close the connection of what is given up.
                    flush.await;
                    return answer;
                }
                () = &mut flush => {}
            }
        }
    }

    /// A change of nothing that waits for the journal. A user who may not do this waits longer.
    async fn flush_journal(&self) {
        let flush = self.database.run_command(durability::journaled_change_of_nothing());
        timeout(self.timeout, flush.into_future()).await.ok();
    }

    /// When a plain read begins that needs no confirmation of its own. `None`: it needs one.
    pub(crate) fn believes(&self) -> Option<Begun> {
        let begun = self.majority.begin();
        self.still_believes(begun).then_some(begun)
    }

    /// Whether what such a read has found counts: the same server is believed still.
    pub(crate) fn still_believes(&self, begun: Begun) -> bool {
        !self.replicated || self.majority.is_believed(begun)
    }

    /// The document that matches; `None` only by the word of a majority.
    pub(crate) async fn find_confirmed<T: DeserializeOwned + Send + Sync>(
        &self,
        doing: &'static str,
        collection: &Collection<T>,
        filter: Document,
        projection: Option<Document>,
    ) -> Result<Option<T>, StoreError> {
        let found = self.find_believed(doing, collection, &filter, projection.as_ref()).await?;
        match found {
            Some(found) if found.is_some() || !self.replicated => Ok(found),
            _ => self.find_linearizable(doing, collection, filter, projection).await,
        }
    }

    /// The document that matches, or none, as the primary has it that a majority has confirmed lately.
    pub(crate) async fn find_recent<T: DeserializeOwned + Send + Sync>(
        &self,
        doing: &'static str,
        collection: &Collection<T>,
        filter: Document,
        projection: Option<Document>,
    ) -> Result<Option<T>, StoreError> {
        match self.find_believed(doing, collection, &filter, projection.as_ref()).await? {
            Some(found) => Ok(found),
            None => self.find_linearizable(doing, collection, filter, projection).await,
        }
    }

    /// A plain read; `None`: it would not count.
    async fn find_believed<T: DeserializeOwned + Send + Sync>(
        &self,
        doing: &'static str,
        collection: &Collection<T>,
        filter: &Document,
        projection: Option<&Document>,
    ) -> Result<Option<Option<T>>, StoreError> {
        let Some(begun) = self.believes() else { return Ok(None) };
        let options = FindOneOptions::builder().projection(projection.cloned()).build();
        let found = self.run(doing, collection.find_one(filter.clone()).with_options(options)).await?;
        Ok(self.still_believes(begun).then_some(found))
    }

    /// The document that matches, or none, by the word of a majority. Both take the same time.
    pub(crate) async fn find_linearizable<T: DeserializeOwned + Send + Sync>(
        &self,
        doing: &'static str,
        collection: &Collection<T>,
        filter: Document,
        projection: Option<Document>,
    ) -> Result<Option<T>, StoreError> {
        let mut options =
            if self.replicated { linearizable(self.timeout) } else { FindOneOptions::default() };
        options.projection = projection;
        self.read(doing, self.replicated, collection.find_one(filter).with_options(options)).await
    }

    /// Whether a document matches, by the word of a majority.
    pub(crate) async fn is_there<T: Send + Sync>(
        &self,
        doing: &'static str,
        collection: &Collection<T>,
        filter: Document,
    ) -> Result<bool, StoreError> {
        self.is_there_in(doing, collection, filter, None).await
    }

    /// The same where texts are compared so.
    pub(crate) async fn is_there_in<T: Send + Sync>(
        &self,
        doing: &'static str,
        collection: &Collection<T>,
        filter: Document,
        collation: Option<Collation>,
    ) -> Result<bool, StoreError> {
        let mut options =
            if self.replicated { linearizable(self.timeout) } else { FindOneOptions::default() };
        options.projection = Some(doc! { "_id": 1 });
        options.collation = collation;
        let collection = collection.clone_with_type::<Document>();
        let find = collection.find_one(filter).with_options(options);
        self.read(doing, self.replicated, find).await.map(|found| found.is_some())
    }

    /// Removes the document that matches and returns it; `None` only by the word of a majority.
    pub(crate) async fn take_one<T: DeserializeOwned + Send + Sync>(
        &self,
        doing: &'static str,
        collection: &Collection<T>,
        filter: Document,
        projection: Option<Document>,
    ) -> Result<Option<T>, StoreError> {
        for _ in 0..TRIES {
            let options = FindOneAndDeleteOptions::builder().projection(projection.clone());
            let taken = collection.find_one_and_delete(filter.clone()).with_options(options.build());
            if let Some(taken) = self.run(doing, taken).await? {
                return Ok(Some(taken));
            }
            if !self.is_there(doing, collection, filter.clone()).await? {
                return Ok(None);
            }
        }
        Err(disagreement(doing))
    }

    /// Removes all documents that match; how many. None only by the word of a majority.
    pub(crate) async fn delete_all(
        &self,
        doing: &'static str,
        collection: &Collection<Document>,
        filter: Document,
    ) -> Result<u64, StoreError> {
        for _ in 0..TRIES {
            let deleted = self.run(doing, collection.delete_many(filter.clone())).await?.deleted_count;
            if deleted > 0 || !self.is_there(doing, collection, filter.clone()).await? {
                return Ok(deleted);
            }
        }
        Err(disagreement(doing))
    }

    /// A listing that is complete by the word of a majority.
    pub(crate) fn listing(&self) -> FindOptions {
        if !self.replicated {
            return FindOptions::default();
        }
        FindOptions::builder()
            .read_concern(ReadConcern::linearizable())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .max_time(self.timeout)
            .build()
    }

    /// The same as steps; a plain read of what a majority has, if it need not be `confirmed`.
    pub(crate) fn aggregation(&self, confirmed: bool) -> AggregateOptions {
        if !self.replicated || !confirmed {
            return AggregateOptions::default();
        }
        AggregateOptions::builder()
            .read_concern(ReadConcern::linearizable())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .max_time(self.timeout)
            .build()
    }

    pub(crate) fn is_replicated(&self) -> bool {
        self.replicated
    }

    /// Changes the document that matches; whether there was one, by the word of a majority.
    pub(crate) async fn update_confirmed(
        &self,
        doing: &'static str,
        collection: &Collection<Document>,
        filter: &Document,
        update: &Document,
    ) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let updated = self.run(doing, collection.update_one(filter.clone(), update.clone())).await?;
            if updated.matched_count > 0 {
                return Ok(true);
            }
            if !self.is_there(doing, collection, filter.clone()).await? {
                return Ok(false);
            }
        }
        Err(disagreement(doing))
    }
}

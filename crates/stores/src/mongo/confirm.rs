//! Answers that no failover takes back.
//!
//! A primary shows what a majority may not have yet, and one that was cut off from the others does not know what they decided
//! since. So reads are of what a majority has, and an answer that says "not there", "taken" or "nothing to do" is confirmed: by a
//! linearizable read, which a server answers only while a majority still takes it for the primary. What cannot be confirmed in time
//! is an error. A server without a replica set has nobody to ask.

use std::time::Duration;

use hallpass_session::StoreError;
use mongodb::{
    Collection, Database,
    bson::{Document, doc},
    options::{
        AggregateOptions, Collation, DatabaseOptions, FindOneAndDeleteOptions, FindOneOptions, FindOptions,
        ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
    },
};
use serde::de::DeserializeOwned;

use super::Mongo;

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

impl Mongo {
    /// The document that matches; `None` only by the word of a majority.
    pub(crate) async fn find_confirmed<T: DeserializeOwned + Send + Sync>(
        &self,
        doing: &'static str,
        collection: &Collection<T>,
        filter: Document,
        projection: Option<Document>,
    ) -> Result<Option<T>, StoreError> {
        let options = FindOneOptions::builder().projection(projection.clone()).build();
        let found = self.run(doing, collection.find_one(filter.clone()).with_options(options)).await?;
        if found.is_some() || !self.replicated {
            return Ok(found);
        }
        let mut options = linearizable(self.timeout);
        options.projection = projection;
        self.run(doing, collection.find_one(filter).with_options(options)).await
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
        self.run(doing, find).await.map(|found| found.is_some())
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

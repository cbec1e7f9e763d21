//! [`Flights`]: one load a key at a time.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::key::CacheKey;

/// Loads under way are spread over so many locks.
const SHARDS: u64 = 64;

/// The loads that are under way.
pub(super) struct Flights<K>(Vec<Mutex<HashMap<K, Beside>>>);

/// A place at a load: as the first, or beside it.
pub(super) enum Flight<'a, K: CacheKey> {
    First(First<'a, K>),
    Beside(Beside),
}

/// Whoever loads; when it is dropped the others go on.
pub(super) struct First<'a, K: CacheKey> {
    flights: &'a Flights<K>,
    key: K,
    landed: watch::Sender<Landing>,
}

/// Whoever waits for the first.
#[derive(Clone)]
pub(super) struct Beside(watch::Receiver<Landing>);

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landing {
    Found,
    Absent,
    /// With an error, or nobody waited for it any more.
    Failed,
}

impl<K> Default for Flights<K> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl<K: CacheKey> Flights<K> {
    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, Beside>> {
        let shard = &self.0[(key.mark() % SHARDS) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, key: &K) -> Flight<'_, K> {
        let mut shard = self.shard(key);
        if let Some(beside) = shard.get(key) {
            return Flight::Beside(beside.clone());
        }
        let (landed, landing) = watch::channel(Landing::Failed);
        shard.insert(key.clone(), Beside(landing));
        Flight::First(First { flights: self, key: key.clone(), landed })
    }
}

impl<K: CacheKey> First<'_, K> {
    pub(super) fn land(self, landing: Landing) {
        self.landed.send_replace(landing);
    }
}

impl<K: CacheKey> Drop for First<'_, K> {
    fn drop(&mut self) {
        self.flights.shard(&self.key).remove(&self.key);
    }
}

impl Beside {
    /// When the first has landed, or has given up.
    pub(super) async fn landed(mut self) -> Landing {
        // Only the end of the first counts, which is an error here: it is not in the way of the next any more.
        while self.0.changed().await.is_ok() {}
        *self.0.borrow()
    }
}

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
pub(super) struct Flights<K>(Vec<Mutex<HashMap<K, watch::Receiver<()>>>>);

/// A place at a load: as the first, or beside it.
pub(super) enum Flight<'a, K: CacheKey> {
    First(First<'a, K>),
    Beside(watch::Receiver<()>),
}

/// Whoever loads; when it is dropped the others go on.
pub(super) struct First<'a, K: CacheKey> {
    flights: &'a Flights<K>,
    key: K,
    _landed: watch::Sender<()>,
}

impl<K> Default for Flights<K> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl<K: CacheKey> Flights<K> {
    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, watch::Receiver<()>>> {
        let shard = &self.0[(key.mark() % SHARDS) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, key: &K) -> Flight<'_, K> {
        let mut shard = self.shard(key);
        if let Some(landing) = shard.get(key) {
            return Flight::Beside(landing.clone());
        }
        let (landed, landing) = watch::channel(());
        shard.insert(key.clone(), landing);
        Flight::First(First { flights: self, key: key.clone(), _landed: landed })
    }
}

impl<'a, K: CacheKey> Flight<'a, K> {
    /// The first goes on at once; the others when it has landed, or has given up.
    pub(super) async fn wait(self) -> Option<First<'a, K>> {
        match self {
            Self::First(first) => Some(first),
            Self::Beside(mut landing) => {
                // An error says that the first is gone, which is what we wait for.
                landing.changed().await.ok();
                None
            }
        }
    }
}

impl<K: CacheKey> Drop for First<'_, K> {
    fn drop(&mut self) {
        self.flights.shard(&self.key).remove(&self.key);
    }
}

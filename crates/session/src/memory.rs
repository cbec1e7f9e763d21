//! [`MemoryStore`]: the contract at its simplest, for tests and small programs. Sessions end with the process.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use async_trait::async_trait;

use crate::{
    Created, Listed, Revision, SessionHandle, SessionId, SessionRecord, SessionStore, StoreError, Stored,
    Timestamp, Touch, Updated,
};

type Sessions = HashMap<SessionId, Stored>;

/// Sessions are spread over so many locks, so that cores seldom meet.
const SHARDS: u64 = 64;

/// Keeps sessions in memory. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Shards>,
}

struct Shards {
    shards: Vec<RwLock<Sessions>>,
    spread: RandomState,
}

impl Default for Shards {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), spread: RandomState::new() }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn place(&self, id: &SessionId) -> usize {
        (self.inner.spread.hash_one(id) % SHARDS) as usize
    }

    /// No method panics while it holds a lock, so a poisoned one still guards whole sessions.
    fn read(&self, id: &SessionId) -> RwLockReadGuard<'_, Sessions> {
        self.inner.shards[self.place(id)].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: &SessionId) -> RwLockWriteGuard<'_, Sessions> {
        self.write_at(self.place(id))
    }

    fn write_at(&self, place: usize) -> RwLockWriteGuard<'_, Sessions> {
        self.inner.shards[place].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them at one moment: a session that is just moving to a new id is seen once.
    fn read_all(&self) -> Vec<RwLockReadGuard<'_, Sessions>> {
        self.inner.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    fn write_all(&self) -> Vec<RwLockWriteGuard<'_, Sessions>> {
        (0..self.inner.shards.len()).map(|place| self.write_at(place)).collect()
    }

    fn listed(&self, now: Timestamp, keep: impl Fn(&SessionRecord) -> bool) -> Vec<Listed> {
        let shards = self.read_all();
        let sessions = shards.iter().flat_map(|shard| shard.iter());
        let live = sessions.filter(|(_, stored)| is_live(stored, now) && keep(&stored.record));
        live.map(|(id, stored)| listed(id, &stored.record)).collect()
    }

    /// Removes the sessions that `end` names; how many of them were live.
    fn remove(&self, now: Timestamp, end: impl Fn(&SessionId, &SessionRecord) -> bool) -> u64 {
        let mut ended = 0;
        for mut shard in self.write_all() {
            shard.retain(|id, stored| {
                let ends = end(id, &stored.record);
                ended += u64::from(ends && is_live(stored, now));
                !ends
            });
        }
        ended
    }
}

fn is_live(stored: &Stored, now: Timestamp) -> bool {
    now < stored.record.expires()
}

fn listed(id: &SessionId, record: &SessionRecord) -> Listed {
    Listed {
        handle: id.handle(),
        user: record.user.clone(),
        label: record.label.clone(),
        created: record.created,
        authenticated: record.authenticated,
        seen: record.seen,
        expires: record.expires(),
    }
}

/// The live session, if it is still at `expected`; else the answer to give.
fn at_revision<'a>(
    sessions: &'a mut Sessions,
    id: &SessionId,
    expected: Revision,
    now: Timestamp,
) -> Result<&'a mut Stored, Updated> {
    let stored = sessions.get_mut(id).filter(|stored| is_live(stored, now)).ok_or(Updated::Gone)?;
    if stored.revision == expected { Ok(stored) } else { Err(Updated::Conflict) }
}

#[async_trait]
impl SessionStore for MemoryStore {
    fn cached(&self, id: &SessionId, now: Timestamp) -> Option<Stored> {
        self.read(id).get(id).filter(|stored| is_live(stored, now)).cloned()
    }

    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        Ok(self.cached(id, now))
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        let mut sessions = self.write(id);
        if sessions.get(id).is_some_and(|stored| is_live(stored, now)) {
            return Ok(Created::Taken);
        }
        let revision = Revision(1);
        sessions.insert(id.clone(), Stored { record: Arc::new(record.clone()), revision });
        Ok(Created::Done(revision))
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let mut sessions = self.write(id);
        let stored = match at_revision(&mut sessions, id, expected, now) {
            Ok(stored) => stored,
            Err(answer) => return Ok(answer),
        };
        let seen = record.seen.max(stored.record.seen);
        let revision = Revision(stored.revision.0 + 1);
        *stored = Stored { record: Arc::new(SessionRecord { seen, ..record.clone() }), revision };
        Ok(Updated::Done(revision))
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let revision = Revision(expected.0 + 1);
        let stored = Stored { record: Arc::new(record.clone()), revision };
        let (from, to) = (self.place(old), self.place(new));
        // Both locks, always the lower one first: nobody sees the session twice or not at all, and nobody waits in a circle.
        let mut first = self.write_at(from.min(to));
        let mut second = (from != to).then(|| self.write_at(from.max(to)));
        let sessions = if from > to { second.as_deref_mut().unwrap_or(&mut first) } else { &mut *first };
        if let Err(answer) = at_revision(sessions, old, expected, now) {
            return Ok(answer);
        }
        sessions.remove(old);
        let sessions = if to > from { second.as_deref_mut().unwrap_or(&mut first) } else { &mut *first };
        sessions.insert(new.clone(), stored);
        Ok(Updated::Done(revision))
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        for touch in batch {
            let mut sessions = self.write(&touch.id);
            if let Some(stored) = sessions.get_mut(&touch.id).filter(|stored| is_live(stored, now)) {
                let record = Arc::make_mut(&mut stored.record);
                record.seen = record.seen.max(touch.seen);
            }
        }
        Ok(())
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.write(id).remove(id).is_some_and(|stored| is_live(&stored, now)))
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.listed(now, |record| record.user.as_deref() == Some(user));
        listed.sort_by_key(|session| (std::cmp::Reverse(session.seen), session.handle));
        Ok(listed)
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(self.remove(now, |id, record| record.user.as_deref() == Some(user) && Some(id) != except))
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let is_users = |record: &SessionRecord| user.is_none() || record.user.as_deref() == user;
        Ok(self.remove(now, |id, record| id.handle() == handle && is_users(record)) > 0)
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.listed(now, |_| true);
        listed.retain(|session| after.is_none_or(|after| session.handle > after));
        listed.sort_by_key(|session| session.handle);
        listed.truncate(limit);
        Ok(listed)
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let mut removed = 0;
        // One lock at a time: no request waits for the whole sweep.
        for place in 0..self.inner.shards.len() {
            let mut sessions = self.write_at(place);
            sessions.retain(|_, stored| {
                let stays = removed == limit || is_live(stored, now);
                removed += usize::from(!stays);
                stays
            });
        }
        Ok(removed)
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let shards = self.read_all();
        let mut found: Vec<(SessionId, Stored)> = shards
            .iter()
            .flat_map(|shard| shard.iter())
            .filter(|(_, stored)| is_live(stored, now))
            .map(|(id, stored)| (id.clone(), stored.clone()))
            .collect();
        drop(shards);
        found.retain(|(id, _)| after.is_none_or(|after| id.handle() > after));
        found.sort_by_cached_key(|(id, _)| id.handle());
        found.truncate(limit);
        Ok(found)
    }

    async fn check(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

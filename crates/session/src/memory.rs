//! [`MemoryStore`]: the contract at its simplest, for tests and small programs. Sessions end with the process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::{
    Created, Listed, Revision, SessionHandle, SessionId, SessionRecord, SessionStore, StoreError, Stored,
    Timestamp, Touch, Updated,
};

/// Keeps sessions in memory. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    sessions: Arc<Mutex<HashMap<SessionId, Stored>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// No method panics while it holds the lock, so a poisoned one still guards whole sessions.
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Stored>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listed(&self, now: Timestamp, keep: impl Fn(&SessionRecord) -> bool) -> Vec<Listed> {
        let sessions = self.sessions();
        let live = sessions.iter().filter(|(_, stored)| is_live(stored, now) && keep(&stored.record));
        live.map(|(id, stored)| listed(id, &stored.record)).collect()
    }

    /// Removes the sessions that `end` names; how many of them were live.
    fn remove(&self, now: Timestamp, end: impl Fn(&SessionId, &SessionRecord) -> bool) -> u64 {
        let mut ended = 0;
        self.sessions().retain(|id, stored| {
            let ends = end(id, &stored.record);
            ended += u64::from(ends && is_live(stored, now));
            !ends
        });
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
    sessions: &'a mut HashMap<SessionId, Stored>,
    id: &SessionId,
    expected: Revision,
    now: Timestamp,
) -> Result<&'a mut Stored, Updated> {
    let stored = sessions.get_mut(id).filter(|stored| is_live(stored, now)).ok_or(Updated::Gone)?;
    if stored.revision == expected { Ok(stored) } else { Err(Updated::Conflict) }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        Ok(self.sessions().get(id).filter(|stored| is_live(stored, now)).cloned())
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        let mut sessions = self.sessions();
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
        let mut sessions = self.sessions();
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
        let mut sessions = self.sessions();
        if let Err(answer) = at_revision(&mut sessions, old, expected, now) {
            return Ok(answer);
        }
        sessions.remove(old);
        let revision = Revision(expected.0 + 1);
        sessions.insert(new.clone(), Stored { record: Arc::new(record.clone()), revision });
        Ok(Updated::Done(revision))
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        let mut sessions = self.sessions();
        for touch in batch {
            if let Some(stored) = sessions.get_mut(&touch.id).filter(|stored| is_live(stored, now)) {
                let record = Arc::make_mut(&mut stored.record);
                record.seen = record.seen.max(touch.seen);
            }
        }
        Ok(())
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.sessions().remove(id).is_some_and(|stored| is_live(&stored, now)))
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
        let mut sessions = self.sessions();
        let expired: Vec<_> = sessions
            .iter()
            .filter(|(_, stored)| !is_live(stored, now))
            .map(|(id, _)| id.clone())
            .take(limit)
            .collect();
        for id in &expired {
            sessions.remove(id);
        }
        Ok(expired.len())
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let mut found: Vec<(SessionId, Stored)> = self
            .sessions()
            .iter()
            .filter(|(_, stored)| is_live(stored, now))
            .map(|(id, stored)| (id.clone(), stored.clone()))
            .collect();
        found.retain(|(id, _)| after.is_none_or(|after| id.handle() > after));
        found.sort_by_cached_key(|(id, _)| id.handle());
        found.truncate(limit);
        Ok(found)
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

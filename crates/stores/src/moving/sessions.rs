//! Sessions on the move.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use hallpass_session::{
    Created, Listed, Revision, SessionHandle, SessionId, SessionRecord, SessionStore, StoreError, StoreTime,
    Stored, Timestamp, Touch, Updated,
};

use super::Ended;

pub(super) struct MovingSessions {
    pub(super) old: Arc<dyn SessionStore>,
    pub(super) new: Arc<dyn SessionStore>,
    pub(super) ended: Ended,
}

impl MovingSessions {
    /// Brings one session over; whether it is in the new place now.
    pub(super) async fn bring(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.new.create(id, record, now).await?;
        if self.ended.is_noted(&note(id.handle()), now).await? {
            self.new.delete(id, now).await?;
            return Ok(false);
        }
        self.old.release(id, now).await?;
        Ok(true)
    }

    /// Sees to it that a session which ends does so for good, whoever is about to move it.
    async fn end_old(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.ended.note(&note(handle), now).await?;
        self.old.delete_handle(handle, user, now).await
    }
}

/// Under which id its end is noted.
fn note(handle: SessionHandle) -> String {
    format!("session {handle}")
}

#[async_trait]
impl SessionStore for MovingSessions {
    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        if let Some(found) = self.new.load(id, now).await? {
            return Ok(Some(found));
        }
        if let Some(old) = self.old.load(id, now).await? {
            self.bring(id, &old.record, now).await?;
        }
        // Also when there was nothing: somebody may have moved it between the two questions.
        self.new.load(id, now).await
    }

    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        if self.load(id, now).await?.is_some() {
            return Ok(Created::Taken);
        }
        self.new.create(id, record, now).await
    }

    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.new.update(id, record, expected, now).await
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        let note = note(old.handle());
        self.ended.note(&note, now).await?;
        self.old.delete(old, now).await?;
        let rotated = self.new.rotate(old, expected, new, record, now).await?;
        if rotated == Updated::Conflict {
            self.ended.withdraw(&note, now).await?;
        }
        Ok(rotated)
    }

    /// Those that were loaded are in the new place.
    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        self.new.touch(batch, now).await
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        self.ended.note(&note(id.handle()), now).await?;
        let old = self.old.delete(id, now).await?;
        Ok(self.new.delete(id, now).await? || old)
    }

    async fn release(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let old = self.old.release(id, now).await?;
        Ok(self.new.release(id, now).await? || old)
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        let (old, new) = (self.old.of_user(user, now).await?, self.new.of_user(user, now).await?);
        let mut listed: Vec<Listed> = both(old, new).into_values().collect();
        listed.sort_by_key(|listed| (std::cmp::Reverse(listed.seen), listed.handle));
        Ok(listed)
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut ended = 0;
        for listed in self.old.of_user(user, now).await? {
            if Some(listed.handle) != except.map(SessionId::handle) {
                ended += u64::from(self.end_old(listed.handle, Some(user), now).await?);
            }
        }
        Ok(ended + self.new.delete_of_user(user, except, now).await?)
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let listed = match user {
            Some(user) => self.of_user(user, now).await?.iter().any(|listed| listed.handle == handle),
            None => true,
        };
        if !listed {
            return Ok(false);
        }
        let old = self.end_old(handle, user, now).await?;
        Ok(self.new.delete_handle(handle, user, now).await? || old)
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let (old, new) = (self.old.list(after, limit, now).await?, self.new.list(after, limit, now).await?);
        Ok(both(old, new).into_values().take(limit).collect())
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let old = self.old.sweep(limit, now).await?;
        if old == limit { Ok(old) } else { Ok(old + self.new.sweep(limit - old, now).await?) }
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let (old, new) =
            (self.old.export(after, limit, now).await?, self.new.export(after, limit, now).await?);
        let by_handle = |(id, stored): (SessionId, Stored)| (id.handle(), (id, stored));
        let both: BTreeMap<_, _> = old.into_iter().chain(new).map(by_handle).collect();
        Ok(both.into_values().take(limit).collect())
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.new.time().await
    }

    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        self.old.check(now).await?;
        self.new.check(now).await
    }
}

/// Both lists in the order of handles; of a session that is in both, the new one.
fn both(old: Vec<Listed>, new: Vec<Listed>) -> BTreeMap<SessionHandle, Listed> {
    old.into_iter().chain(new).map(|listed| (listed.handle, listed)).collect()
}

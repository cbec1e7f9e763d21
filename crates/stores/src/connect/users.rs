//! The sessions of one user, where Express keeps no index: by the [`UserIndex`](super::user_index::UserIndex) of this process.

use std::cmp::Reverse;

use hallpass_session::{
    Listed, Recent, SessionHandle, SessionId, SessionStore, StoreError, Stored, Timestamp,
};

use super::{
    rows::Rows,
    sessions::{Connect, PAGE, listed},
};

impl<R: Rows> Connect<R> {
    /// Some of a user's sessions, and how many more there are.
    pub(super) async fn recent_sessions_of(
        &self,
        user: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<Recent, StoreError> {
        let doing = "list a user's sessions";
        let found = match self.known(doing, user, now).await? {
            Some(found) => found,
            None => self.named(doing, user, now).await?,
        };
        let mut all: Vec<Listed> = found.iter().map(|(id, stored)| listed(id, &stored.record)).collect();
        all.sort_by_key(|listed| (Reverse(listed.seen), listed.handle));
        Ok(Recent::of(all, limit))
    }

    /// Ends the sessions of a user that were used longest ago. Where there are too many sessions to know whose they are, none.
    pub(super) async fn trim_sessions_of(
        &self,
        user: &str,
        keep: usize,
        newest: &SessionId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let Some(found) = self.known("end a user's old sessions", user, now).await? else { return Ok(0) };
        let others = found.iter().filter(|(id, _)| id.hash() != newest.hash());
        let mut ended = 0;
        for (id, _) in others.skip(keep.saturating_sub(1)) {
            ended += u64::from(self.delete(id, now).await?);
        }
        Ok(ended)
    }

    /// The user's session of this handle, if it is known here.
    pub(super) async fn known_of_handle(
        &self,
        doing: &'static str,
        handle: SessionHandle,
        user: &str,
        now: Timestamp,
    ) -> Result<Option<SessionId>, StoreError> {
        let keys = self.users.known_keys(user);
        let of_handle = |key: &&String| self.rows.id(key).is_some_and(|id| id.handle() == handle);
        let key: Vec<String> = keys.iter().find(of_handle).into_iter().cloned().collect();
        let found = self.named_under(doing, &key, user, now).await?;
        Ok(found.into_iter().next().map(|(id, _)| id))
    }

    /// The sessions of a user that are known here, without a search of all sessions unless the last one is long ago. `None`: there are
    /// too many sessions to know whose they are.
    async fn known(
        &self,
        doing: &'static str,
        user: &str,
        now: Timestamp,
    ) -> Result<Option<Vec<(SessionId, Stored)>>, StoreError> {
        let keys = match self.users.keys(user) {
            Some(keys) => keys,
            None => match self.keys_after_reading(doing, user, now).await? {
                Some(keys) => keys,
                None => return Ok(None),
            },
        };
        self.named_under(doing, &keys, user, now).await.map(Some)
    }

    /// Reads all sessions to know whose they are, unless somebody else has done so while this call waited.
    async fn keys_after_reading(
        &self,
        doing: &'static str,
        user: &str,
        now: Timestamp,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let _one = self.users.building.lock().await;
        if let Some(keys) = self.users.keys(user) {
            return Ok(Some(keys));
        }
        let read = async {
            let keys = self.rows.keys(doing).await?;
            let Some(mut reading) = self.users.begin(keys.len()) else { return Ok(()) };
            for keys in keys.chunks(PAGE) {
                for row in self.rows.get_all(doing, keys, now).await? {
                    let stored = self.stored(&row, now).await;
                    reading.add(stored.and_then(|stored| stored.record.user.clone()).as_ref(), &row.key);
                }
            }
            reading.end();
            Ok::<_, StoreError>(())
        };
        self.users.search(read).await?;
        Ok(self.users.keys(user))
    }

    /// The user's live sessions among these keys.
    async fn named_under(
        &self,
        doing: &'static str,
        keys: &[String],
        user: &str,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        let mut found = Vec::new();
        for keys in keys.chunks(PAGE) {
            let rows = self.rows.get_all(doing, keys, now).await?;
            found.extend(self.all_stored(rows, now).await);
        }
        found.retain(|(_, stored)| stored.record.user.as_deref() == Some(user));
        found.sort_by_cached_key(|(id, stored)| (Reverse(stored.record.seen), id.handle()));
        Ok(found)
    }
}

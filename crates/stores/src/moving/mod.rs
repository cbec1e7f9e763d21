//! Moving from one set of stores to another while people are signed in.
//!
//! [`Stores::moving_from`] makes stores that keep everything in the new place and fetch from the old what is asked for; [`Mover`] brings the
//! rest. Whatever is moved is first written in the new place, then deleted in the old: a crash in between leaves it in both, where the new one
//! counts. What ends meanwhile (a sign-out, a deleted account) leaves a note in the new place before it is deleted in both, and
//! whoever moves looks for the note after writing: so nothing that has ended comes back.

mod bulk;
mod records;
mod sessions;
mod users;

use std::{sync::Arc, time::Duration};

use hallpass_auth::{Record, RecordKey, RecordStore};
use hallpass_session::{SessionStore, StoreError, Timestamp};

pub use self::bulk::{Extent, Moved, Mover, Step};
use self::{records::MovingRecords, sessions::MovingSessions, users::MovingUsers};
use crate::Stores;

/// How long a note is kept. Nobody takes so long to move one thing.
const NOTE_FOR: Duration = Duration::from_secs(600);

impl Stores {
    /// These stores, which fetch from `old` what they lack. All servers must use such stores before the first thing moves, and go on
    /// until `old` is empty.
    #[must_use]
    pub fn moving_from(self, old: Self) -> Self {
        let Self { sessions, users, records, clock, upkeep } = self;
        let ended = Ended(records.clone());
        Self {
            sessions: Arc::new(MovingSessions { old: old.sessions, new: sessions, ended: ended.clone() }),
            users: Arc::new(MovingUsers { old: old.users, new: users, ended, clock: clock.clone() }),
            records: Arc::new(MovingRecords { old: old.records, new: records }),
            clock,
            upkeep,
        }
    }
}

impl Stores {
    /// The same for sessions alone.
    #[must_use]
    pub fn moving_sessions_from(self, old: Arc<dyn SessionStore>) -> Self {
        let ended = Ended(self.records.clone());
        Self { sessions: Arc::new(MovingSessions { old, new: self.sessions, ended }), ..self }
    }
}

/// Notes of what has ended, in the new place.
#[derive(Clone)]
struct Ended(Arc<dyn RecordStore>);

impl Ended {
    fn key(id: &str) -> RecordKey {
        RecordKey { kind: "ended", id: id.to_owned() }
    }

    /// Notes it, before it is deleted.
    async fn note(&self, id: &str, now: Timestamp) -> Result<(), StoreError> {
        let expires = Some(now + NOTE_FOR);
        let note = Record { key: Self::key(id), owner: None, body: "{}".to_owned(), expires, version: 0 };
        self.0.insert(&note, now).await.map(drop)
    }

    /// Whether it has ended; asked after it was written.
    async fn is_noted(&self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.0.get(&Self::key(id), now).await?.is_some())
    }

    /// It has not ended after all.
    async fn withdraw(&self, id: &str, now: Timestamp) -> Result<(), StoreError> {
        self.0.take(&Self::key(id), now).await.map(drop)
    }
}

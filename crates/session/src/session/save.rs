//! Carries the answer of the commit table out.

use std::time::Duration;

use http::HeaderValue;

use super::{
    Session,
    changes::Changes,
    state::{Known, State, fresh},
};
use crate::{
    Created, Secure, SessionId, SessionRecord, StoreError, Stored, Timestamp, Touch, Updated,
    commit::{Cookie, Write},
    cookie,
};

/// How often a write is tried again when other requests of the same session come first.
const MAX_CONFLICTS: u32 = 64;

/// From this conflict on the retries wait a little, so that the others can finish.
const PATIENT_FROM: u32 = 4;

impl Session {
    /// Writes what the request did; `false` when the session had ended meanwhile and the changes were dropped.
    pub(crate) async fn write(&self) -> Result<bool, StoreError> {
        let now = self.now();
        let before = self.state().clone();
        let (write, cookie) = before.commit(&self.0.shared.options, now);
        let known = self.execute(write, &before, now).await?;
        let dropped = known.is_none() && (write == Write::Update || cookie == Cookie::Send);
        self.state().settle(&before, known, if dropped { Cookie::Leave } else { cookie });
        Ok(!dropped)
    }

    /// Does the write; the session as it is in the store afterwards.
    async fn execute(
        &self,
        write: Write,
        before: &State,
        now: Timestamp,
    ) -> Result<Option<Known>, StoreError> {
        let store = self.store();
        let known = before.known.clone();
        match (write, known) {
            (Write::Nothing, known) => Ok(known),
            (Write::Touch, Some(known)) => self.note_use(known, now).await.map(Some),
            (Write::Update, Some(known)) => self.update(known, &before.changes, now).await,
            (Write::Rotate, Some(known)) => self.rotate(known, &before.changes, now).await,
            (Write::RotateOrCreate, Some(known)) => match self.rotate(known, &before.changes, now).await? {
                Some(known) => Ok(Some(known)),
                // Somebody logged out while somebody logged in: nothing of the old session may come along.
                None => self.create(&before.changes, now).await.map(Some),
            },
            (Write::Replace, Some(known)) => {
                store.delete(&known.id, now).await?;
                self.create(&before.changes, now).await.map(Some)
            }
            (Write::Delete, Some(known)) => {
                store.delete(&known.id, now).await?;
                Ok(None)
            }
            (Write::Delete, None) => Ok(None),
            (Write::Create, _) | (_, None) => self.create(&before.changes, now).await.map(Some),
        }
    }

    async fn create(&self, changes: &Changes, now: Timestamp) -> Result<Known, StoreError> {
        let options = &self.0.shared.options;
        let record = changes.apply(&fresh(options, now), now);
        // A generator that repeats itself is broken, but one repetition is not worth an error.
        for _ in 0..3 {
            let id = options.ids.generate();
            if let Created::Done(revision) = self.store().create(&id, &record, now).await? {
                return Ok(Known::written(id, record, revision));
            }
        }
        Err(StoreError::new("create a session", "the id generator keeps making ids that are taken"))
    }

    /// Applies the changes to the newest version, however often somebody else comes first.
    async fn update(
        &self,
        mut known: Known,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<Option<Known>, StoreError> {
        for conflicts in 0..MAX_CONFLICTS {
            let record = changes.apply(&known.stored.record, now);
            let expected = known.stored.revision;
            match self.store().update(&known.id, &record, expected, now).await? {
                Updated::Done(revision) => return Ok(Some(Known::written(known.id, record, revision))),
                Updated::Gone => return Ok(None),
                Updated::Conflict => {}
            }
            let Some(newer) = self.newer(known, conflicts, now).await? else { return Ok(None) };
            known = newer;
        }
        Err(contended())
    }

    /// Moves the newest version with the changes applied to a new id.
    async fn rotate(
        &self,
        mut known: Known,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<Option<Known>, StoreError> {
        let new = self.0.shared.options.ids.generate();
        for conflicts in 0..MAX_CONFLICTS {
            let record = changes.apply(&known.stored.record, now);
            let expected = known.stored.revision;
            match self.store().rotate(&known.id, expected, &new, &record, now).await? {
                Updated::Done(revision) => return Ok(Some(Known::written(new, record, revision))),
                Updated::Gone => return Ok(None),
                Updated::Conflict => {}
            }
            let Some(newer) = self.newer(known, conflicts, now).await? else { return Ok(None) };
            known = newer;
        }
        Err(contended())
    }

    /// The version that came first, after a pause that grows with the number of conflicts.
    async fn newer(&self, known: Known, conflicts: u32, now: Timestamp) -> Result<Option<Known>, StoreError> {
        if conflicts >= PATIENT_FROM {
            tokio::time::sleep(Duration::from_millis(u64::from(conflicts))).await;
        }
        let stored = self.store().load(&known.id, now).await?;
        Ok(stored.map(|stored| Known { stored, ..known }))
    }

    /// A use that could not be noted shortens the session a little; that is no reason to fail the request.
    async fn note_use(&self, known: Known, now: Timestamp) -> Result<Known, StoreError> {
        let expires = known.stored.record.expires_if_seen(now);
        let touch = Touch { id: known.id.clone(), seen: now, expires };
        if let Err(error) = self.store().touch(&[touch], now).await {
            tracing::warn!(event = "session_touch_failed", session = %known.id.handle(), error = %Chain(&error));
        }
        Ok(known)
    }

    /// Whether nothing is left to write, so that the response can leave without waiting for the store. A use counts from when the
    /// request came, which saves another look at the clock.
    pub(crate) fn is_settled(&self) -> bool {
        let mut state = self.state();
        let (write, cookie) = state.commit(&self.0.shared.options, self.0.asked);
        if write == Write::Nothing && cookie != Cookie::Leave {
            state.cookie = cookie;
        }
        write == Write::Nothing
    }

    /// The `Set-Cookie` that the response owes the browser once everything is written.
    ///
    /// A session that ended while the request ran gets none, not even an expired one: if a login moved it to a new id
    /// meanwhile, expiring the cookie here would log that login out again.
    pub(crate) fn set_cookie(&self) -> Option<HeaderValue> {
        let shared = &self.0.shared;
        let secure = match shared.options.cookie.secure {
            Secure::On => true,
            Secure::Off => false,
            Secure::Auto => self.0.secure,
        };
        let state = self.state();
        match (state.cookie, &state.known) {
            (Cookie::Leave, _) | (Cookie::Send, None) => None,
            (Cookie::Expire, _) => Some(cookie::expire_cookie(&shared.options.cookie, secure)),
            (Cookie::Send, Some(known)) => {
                let (value, now) = (shared.keys.sign(&known.id), self.now());
                let max_age = cookie_max_age(&known.stored.record, shared.options.cookie.max_age, now);
                Some(cookie::set_cookie(&shared.options.cookie, &value, max_age, now, secure))
            }
        }
    }
}

impl State {
    /// Takes over the result of a save. Acts that happened while it ran stay due; applying their changes twice is harmless.
    fn settle(&mut self, before: &State, known: Option<Known>, cookie: Cookie) {
        self.known = known;
        self.touch = false;
        if cookie != Cookie::Leave {
            self.cookie = cookie;
        }
        if self.acts == before.acts {
            self.changes = Changes::default();
            self.outcome = crate::commit::Outcome::Untouched;
        }
    }
}

impl Known {
    /// A session as it was just written; its cookie will be signed with the first secret.
    fn written(id: SessionId, record: SessionRecord, revision: crate::Revision) -> Self {
        Self { id, stored: Stored { record: record.into(), revision }, current_key: true }
    }
}

/// How long the browser keeps the cookie: as long as the session can live without another request, or `max_age` if that is longer.
/// `None`: until the browser is closed.
fn cookie_max_age(record: &SessionRecord, max_age: Option<Duration>, now: Timestamp) -> Option<Duration> {
    let until = |end: Timestamp| end.since(now);
    let limit = record.lifetime.until.map_or(Duration::MAX, until);
    record.lifetime.persistent.then(|| until(record.expires()).max(max_age.unwrap_or_default()).min(limit))
}

fn contended() -> StoreError {
    StoreError::new("save a session", "too many requests changed it at the same time")
}

/// An error with all its causes on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

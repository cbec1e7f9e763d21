//! Carries the answer of the commit table out.

use std::time::Duration;

use http::HeaderValue;

use super::{
    Session,
    changes::Changes,
    state::{Known, State, fresh},
    trim,
};
use crate::{
    Created, Secure, SessionId, SessionRecord, StoreError, Stored, Timestamp, Touch, Updated, ValueError,
    commit::{Cookie, Outcome, Write},
    cookie, random,
};

/// How often a write is tried again when other requests of the same session come first. Each time another one got through.
const MAX_CONFLICTS: u32 = 256;

/// From this conflict on the retries wait, so that the others can finish.
const PATIENT_FROM: u32 = 2;

/// The longest of these pauses, in milliseconds.
const LONGEST_PAUSE: u32 = 50;

impl Session {
    /// Drops what this request changed and has not [saved](Self::save): nothing of it is written, and no cookie is sent. What was
    /// loaded counts again. The layer does so itself when the response is a 503, except in the Express profile.
    pub fn discard(&self) {
        self.take_cookies();
        match self.express() {
            Some(held) => held.discard(),
            None => self.state().discard(),
        }
    }

    /// Drops this request's changes and loads the session again; `false` when it has ended meanwhile.
    /// For long-lived connections, whose view grows old.
    pub async fn reload(&self) -> Result<bool, StoreError> {
        if let Some(held) = self.express() {
            return held.reload_session().await;
        }
        let Some(id) = self.id() else { return Ok(false) };
        let stored = self.0.shared.store.load(&id, self.now()).await?;
        let mut state = self.state();
        let current_key = state.known.as_ref().is_some_and(|known| known.current_key);
        *state = State {
            cookie: state.cookie,
            held: state.held.take(),
            ..State::new(stored.map(|stored| Known { id, stored, current_key }))
        };
        Ok(state.known.is_some())
    }

    /// Writes now what would be written before the response leaves; `false` when the session has ended meanwhile and the
    /// changes were dropped. Needed only where work goes on after the response, or must not start before the session is safe.
    pub async fn save(&self) -> Result<bool, StoreError> {
        if let Some(held) = self.express() {
            return held.save_session().await;
        }
        self.write().await
    }

    /// Writes what the request did; `false` when the session had ended meanwhile and the changes were dropped.
    pub(crate) async fn write(&self) -> Result<bool, StoreError> {
        let _alone = self.0.writing.lock().await;
        let now = self.now();
        let before = self.state().clone();
        if before.in_doubt {
            return Err(in_doubt());
        }
        let (write, cookie) = before.commit(&self.0.shared.options, now);
        let known = self.execute(write, &before, now).await?;
        if let (Some(established), Some(known)) = (&before.changes.established, &known) {
            trim::soon(&self.0.shared, established.user.clone(), known.id.clone());
        }
        let dropped = known.is_none() && (write == Write::Update || cookie == Cookie::Send);
        self.state().settle(&before, known, if dropped { Cookie::Leave } else { cookie });
        Ok(!dropped)
    }

    /// The last write of the request, with which its lease ends.
    pub(crate) async fn write_last(&self) -> Result<bool, StoreError> {
        self.release_with_next_write();
        self.write().await
    }

    /// Does the write; the session as it is in the store afterwards.
    async fn execute(
        &self,
        write: Write,
        before: &State,
        now: Timestamp,
    ) -> Result<Option<Known>, StoreError> {
        let known = before.known.clone();
        match (write, known) {
            (Write::Nothing, known) => Ok(known),
            (Write::Touch, Some(known)) => self.note_use(known, now).await.map(Some),
            (Write::Update, Some(known)) => {
                let only_used = before.outcome == Outcome::Untouched && !before.changes.release;
                match self.amend(known.clone(), &before.changes, now).await {
                    // `resave` alone changes nothing.
                    Err(error) if only_used => {
                        report_unnoted(&known.id, &error);
                        Ok(Some(known))
                    }
                    updated => updated,
                }
            }
            (Write::Rotate, Some(known)) => self.rotate(known, &before.changes, now).await,
            (Write::RotateOrCreate, Some(known)) => match self.rotate(known, &before.changes, now).await? {
                Some(known) => Ok(Some(known)),
                // Somebody logged out while somebody logged in: nothing of the old session may come along.
                None => self.create(&before.changes, now).await.map(Some),
            },
            (Write::Replace | Write::RotateOrCreate, known) => {
                self.end(known.as_ref(), now).await?;
                self.create(&before.changes, now).await.map(Some)
            }
            (Write::Delete, known) => self.end(known.as_ref(), now).await.map(|()| None),
            (Write::Create, _) | (_, None) => self.create(&before.changes, now).await.map(Some),
        }
    }

    /// Ends the session, and the others that this browser holds under the same name: the one of the request last, so that signing out can
    /// be repeated when the store fails. One that is not found ends too: where Express shares the store, it may read what this program
    /// cannot.
    async fn end(&self, known: Option<&Known>, now: Timestamp) -> Result<(), StoreError> {
        for id in self.0.others.iter().chain(known.map(|known| &known.id)) {
            self.store().delete(id, now).await?;
        }
        Ok(())
    }

    async fn create(&self, changes: &Changes, now: Timestamp) -> Result<Known, StoreError> {
        let options = &self.0.shared.options;
        let record = changes.apply(&fresh(options, now), now).map_err(unfit)?;
        // A generator that repeats itself is broken, but one repetition is not worth an error.
        for _ in 0..3 {
            let id = options.ids.generate();
            self.doubt(changes, true);
            if let Created::Done(revision) = self.store().create(&id, &record, now).await? {
                return Ok(Known::written(id, record, revision));
            }
            self.doubt(changes, false);
        }
        Err(StoreError::new("create a session", "the id generator keeps making ids that are taken"))
    }

    /// Applies the changes to the newest version, however often somebody else comes first.
    async fn amend(
        &self,
        mut known: Known,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<Option<Known>, StoreError> {
        for conflicts in 0..MAX_CONFLICTS {
            let record = changes.apply(&known.stored.record, now).map_err(unfit)?;
            let expected = known.stored.revision;
            self.doubt(changes, true);
            let updated = self.store().update(&known.id, &record, expected, now).await?;
            self.doubt(changes, false);
            match updated {
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
            let record = changes.apply(&known.stored.record, now).map_err(unfit)?;
            let expected = known.stored.revision;
            self.doubt(changes, true);
            let updated = self.store().rotate(&known.id, expected, &new, &record, now).await?;
            self.doubt(changes, false);
            match updated {
                Updated::Done(revision) => return Ok(Some(Known::written(new, record, revision))),
                Updated::Gone => return Ok(None),
                Updated::Conflict => {}
            }
            let Some(newer) = self.newer(known, conflicts, now).await? else { return Ok(None) };
            known = newer;
        }
        Err(contended())
    }

    /// While the store has not answered, it is not known whether these changes are stored.
    fn doubt(&self, changes: &Changes, doubt: bool) {
        if changes.has_updates() {
            self.state().in_doubt = doubt;
        }
    }

    /// The version that came first, after a pause that grows with the number of conflicts.
    async fn newer(&self, known: Known, conflicts: u32, now: Timestamp) -> Result<Option<Known>, StoreError> {
        pause(conflicts).await;
        let stored = self.store().load(&known.id, now).await?;
        if let Some(stored) = &stored {
            self.check_lease(&stored.record.document)?;
        }
        Ok(stored.map(|stored| Known { stored, ..known }))
    }

    /// A use that could not be noted shortens the session a little; that is no reason to fail the request.
    async fn note_use(&self, known: Known, now: Timestamp) -> Result<Known, StoreError> {
        let expires = known.stored.record.expires_if_seen(now);
        let touch = Touch { id: known.id.clone(), seen: now, expires };
        if let Err(error) = self.store().touch(&[touch], now).await {
            report_unnoted(&known.id, &error);
        }
        Ok(known)
    }

    /// Whether nothing is left to write, so that the response can leave without waiting for the store. A use counts from when the
    /// request came, which saves another look at the clock.
    pub(crate) fn is_settled(&self) -> bool {
        let mut state = self.state();
        if state.held.is_some() {
            return false;
        }
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
        self.in_doubt = false;
        if self.acts == before.acts {
            self.changes = Changes::default();
            self.outcome = Outcome::Untouched;
        } else {
            self.changes.forget(&before.changes, self.known.as_ref().map(|known| &*known.stored.record));
        }
        if before.changes.release {
            self.changes.release = false;
            self.held = None;
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

/// Waits for a random time that grows with the number of conflicts, so that requests of one session do not stay in step.
pub(crate) async fn pause(conflicts: u32) {
    if conflicts >= PATIENT_FROM {
        let most = (2 * conflicts).min(LONGEST_PAUSE);
        let millis = u32::from_le_bytes(random()) % (most + 1);
        tokio::time::sleep(Duration::from_millis(millis.into())).await;
    }
}

fn report_unnoted(id: &SessionId, error: &StoreError) {
    tracing::warn!(event = "session_touch_failed", session = %id.handle(), error = %Chain(error));
}

/// An update that fits what was loaded does not fit what another request has written since.
pub(crate) fn unfit(error: ValueError) -> StoreError {
    StoreError::new("apply an update to what another request wrote", error)
}

pub(crate) fn in_doubt() -> StoreError {
    StoreError::new("save a session", "it is not known whether an earlier save stored its updates")
}

pub(crate) fn contended() -> StoreError {
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

//! A session that one request has for itself, until its response leaves.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Handle;

use super::{Session, save::pause};
use crate::{Document, SessionId, SessionStore, StoreError, Timestamp, Updated, hex, random};

/// Where the lease stands in the session's data.
pub(crate) const HOLD: &str = "hallpass.hold";

/// The first pause while another request holds the session; each is longer than the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A request holds the session until it is done, or until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    by: Box<str>,
    /// Milliseconds since the epoch.
    until: i64,
}

/// Why a session could not be [held](Session::hold).
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Other requests held it for longer than [`hold_wait`](crate::SessionOptions::hold_wait).
    #[error("other requests of this session are not done yet")]
    Waited,
}

impl Lease {
    fn of(document: &Document) -> Option<Self> {
        document.get(HOLD).ok().flatten()
    }

    /// Whether `document` is held by the request of this name.
    fn is_held_by(document: &Document, name: &str) -> bool {
        Self::of(document).is_some_and(|lease| *lease.by == *name)
    }
}

impl Session {
    /// Waits until no other request holds the session, and holds it until this request's response leaves, as PHP locks
    /// sessions. Then all data is as the request before left it.
    ///
    /// Use it where a request reads several values, decides, and writes others. [`SessionOptions::hold`](crate::SessionOptions::hold)
    /// does it for all requests that may change something. For one key [`update`](Self::update) is
    /// enough and makes nobody wait. Call it before looking at the session; what was changed before is saved.
    ///
    /// Only requests that hold wait for each other, on all servers. The lease stands in the session itself. It ends with the
    /// response, or after [`hold_for`](crate::SessionOptions::hold_for) when a server dies. A request that took longer and lost
    /// its lease to another writes nothing: it is answered with 503. A session that is not stored yet has no other
    /// requests, so there is nothing to wait for.
    ///
    /// Express knows nothing of leases, and neither this nor [`update`](Self::update) holds against its blind writes: a request at
    /// Express that loaded the session before and saves it afterwards writes over what was changed meanwhile, as it does at
    /// Express itself. Only another change by Hallpass is never lost.
    ///
    /// # Errors
    /// [`HoldError::Waited`] after [`hold_wait`](crate::SessionOptions::hold_wait), which is answered with 503 like a
    /// store that fails.
    pub async fn hold(&self) -> Result<(), HoldError> {
        if self.is_held() || self.is_new() {
            return Ok(());
        }
        let options = &self.0.shared.options;
        let name: Box<str> = hex(&random::<16>()).into();
        let (mut waited, mut wait) = (Duration::ZERO, FIRST_PAUSE);
        loop {
            self.ask_for_lease(&name)?;
            if !self.save().await? || self.is_new() {
                return Ok(());
            }
            if self.with_raw(HOLD, |json| is_by(json, &name)) {
                self.note_held(name);
                return Ok(());
            }
            if waited >= options.hold_wait {
                return Err(HoldError::Waited);
            }
            tokio::time::sleep(wait).await;
            waited += wait;
            wait = (wait * 2).min(LONGEST_PAUSE);
            self.reload().await?;
        }
    }

    /// Whether a request with this method holds the session from the beginning.
    pub(crate) fn is_held_by(&self, method: &Method) -> bool {
        self.0.shared.options.hold.covers(method)
    }

    /// Puts this lease where none stands that still counts.
    fn ask_for_lease(&self, name: &str) -> Result<(), StoreError> {
        let (now, until) = (self.now(), self.now() + self.0.shared.options.hold_for);
        let lease = Lease { by: name.into(), until: until.as_millis() };
        let lease = serde_json::value::to_raw_value(&lease);
        let lease = lease.map_err(|error| StoreError::new("hold a session", error))?;
        let ask = move |old: Option<&str>| {
            let held = old.filter(|old| is_running(old, now));
            Ok(match held.map(|old| RawValue::from_string(old.to_owned())) {
                Some(Ok(old)) => Some(old),
                _ => Some(lease.clone()),
            })
        };
        let asked = self.apply(HOLD, Arc::new(ask));
        asked.map(drop).map_err(|error| StoreError::new("hold a session", error))
    }

    fn is_held(&self) -> bool {
        match self.express() {
            Some(held) => held.lease().is_some(),
            None => self.state().held.is_some(),
        }
    }

    fn note_held(&self, name: Box<str>) {
        match self.express() {
            Some(held) => held.note_lease(name),
            None => self.state().held = Some(name),
        }
    }

    /// The lease of this request ends with the next write.
    pub(super) fn release_with_next_write(&self) {
        let mut state = self.state();
        state.changes.release = state.held.is_some();
    }

    /// Whether this request still has the session for itself, if it asked for that.
    pub(super) fn check_lease(&self, newest: &Document) -> Result<(), StoreError> {
        check(self.state().held.as_deref(), newest)
    }
}

impl Drop for super::Inner {
    /// The request was cut short, by a panic or by a client that went away: whoever waits need not wait for the lease to run out.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = self.express.as_ref().filter(|held| held.lease().is_some()) {
            spawn(held.release());
        }
        if let (Some(name), Some(known)) = (state.held.take(), &state.known) {
            let (store, now) = (self.shared.store.clone(), self.shared.options.clock.now());
            let id = known.id.clone();
            spawn(async move { release(&*store, &id, &name, now).await });
        }
    }
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(work);
    }
}

/// Ends a lease, if it still is the one of this name. What cannot be ended runs out.
async fn release(store: &dyn SessionStore, id: &SessionId, name: &str, now: Timestamp) {
    for conflicts in 0..8 {
        let Ok(Some(stored)) = store.load(id, now).await else { return };
        if !Lease::is_held_by(&stored.record.document, name) {
            return;
        }
        let mut record = (*stored.record).clone();
        record.document.remove(HOLD);
        if !matches!(store.update(id, &record, stored.revision, now).await, Ok(Updated::Conflict)) {
            return;
        }
        pause(conflicts).await;
    }
}

/// An error when a request that had the session for itself, under this name, no longer has it.
pub(crate) fn check(name: Option<&str>, newest: &Document) -> Result<(), StoreError> {
    match name {
        Some(name) if !Lease::is_held_by(newest, name) => Err(lost()),
        _ => Ok(()),
    }
}

fn is_by(json: Option<&str>, name: &str) -> bool {
    let lease = json.and_then(|json| serde_json::from_str::<Lease>(json).ok());
    lease.is_some_and(|lease| *lease.by == *name)
}

fn is_running(json: &str, now: Timestamp) -> bool {
    serde_json::from_str::<Lease>(json).is_ok_and(|lease| now < Timestamp::from_millis(lease.until))
}

fn lost() -> StoreError {
    StoreError::new(
        "save a session",
        "it was held for longer than hold_for, and another request holds it now",
    )
}

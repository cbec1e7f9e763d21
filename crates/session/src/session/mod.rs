//! [`Session`]: the handle that request handlers use.

mod changes;
mod hold;
mod save;
mod slot;
mod state;
mod trim;
mod update;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use self::{
    changes::Established,
    state::{State, initial_lifetime},
};
pub(crate) use self::{
    changes::{Function, fold},
    hold::{HOLD, check as check_lease},
    save::{Chain, contended, in_doubt, pause, unfit},
    state::Known,
    trim::Trims,
};
pub use self::{hold::HoldError, slot::Slot, update::TakeError};
use crate::{
    Lifetime, SessionHandle, SessionId, SessionStore, Timestamp, ValueError,
    commit::{Act, Cookie},
    document::{decode, encode},
    express::Held,
    shared::Shared,
};

/// When somebody proved who they are at a time that nobody knows: long ago.
const UNKNOWN: Timestamp = Timestamp::from_millis(0);

/// How far apart the clocks of two machines may be.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// The session of the request being served.
///
/// Extracting it loads it, once a request; from then on every access is plain and immediate. Changes are written
/// before the response head leaves, whatever its status. Clones are the same session.
///
/// Two requests of one session may run at once: each writes only the keys it touched, so changes to different keys
/// both last. A session that ends while a request runs stays ended; that request's changes are dropped.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// The request came over https, as far as is known.
    secure: bool,
    /// When the request came to its session.
    asked: Timestamp,
    state: Mutex<State>,
    /// Further cookies for the response.
    cookies: Mutex<Vec<HeaderValue>>,
    /// Other sessions that the request's cookies name: they end with this one. Some are no sessions to this program, but may be to
    /// another that shares the store.
    others: Vec<SessionId>,
    /// The sessions that the request's cookies name and that are not there.
    ended: Vec<SessionHandle>,
    /// One write at a time, so that no change is written twice.
    writing: tokio::sync::Mutex<()>,
    /// In the Express profile all of the above does nothing, and this everything.
    express: Option<Held>,
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        secure: bool,
        known: Option<Known>,
        others: Vec<SessionId>,
        ended: Vec<SessionHandle>,
        asked: Timestamp,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            secure,
            asked,
            state: Mutex::new(State::new(known)),
            cookies: Mutex::default(),
            others,
            ended,
            writing: tokio::sync::Mutex::new(()),
            express: None,
        }))
    }

    pub(crate) fn new_express(shared: Arc<Shared>, held: Held) -> Self {
        let (state, asked) = (Mutex::new(State::new(None)), shared.options.clock.now());
        let express = Some(held);
        Self(Arc::new(Inner {
            shared,
            secure: false,
            asked,
            state,
            cookies: Mutex::default(),
            others: Vec::new(),
            ended: Vec::new(),
            writing: tokio::sync::Mutex::new(()),
            express,
        }))
    }

    pub(crate) fn express(&self) -> Option<&Held> {
        self.0.express.as_ref()
    }

    /// The state stays usable when a handler panicked while holding it: no step leaves it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- data ---

    /// The value of `key`; `None` when there is none, an error when it is of another shape.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ValueError> {
        if let Some(held) = self.express() {
            return held.raw(key).map(|raw| decode(key, &raw)).transpose();
        }
        self.state().raw(key).map(|raw| decode(key, raw)).transpose()
    }

    /// The value of `key` as JSON text.
    pub fn get_raw(&self, key: &str) -> Option<Box<RawValue>> {
        let json = self.with_raw(key, |json| json.map(ToOwned::to_owned))?;
        RawValue::from_string(json).ok()
    }

    /// Looks at the JSON text of `key` without copying it. `look` must not use the session.
    pub fn with_raw<T>(&self, key: &str, look: impl FnOnce(Option<&str>) -> T) -> T {
        match self.express() {
            Some(held) => look(held.raw(key).as_deref()),
            None => look(self.state().raw(key)),
        }
    }

    /// Sets `key` to any value that serialises to JSON.
    pub fn insert<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), ValueError> {
        self.insert_raw(key, encode(key, value)?);
        Ok(())
    }

    /// Sets `key` to JSON text. Setting the value it has already is no change, as in express-session; unless somebody has just
    /// signed in, because then what is set must stand in the session even if the former one has ended meanwhile.
    pub fn insert_raw(&self, key: &str, value: Box<RawValue>) {
        if let Some(held) = self.express() {
            return held.insert_raw(key, &value);
        }
        let mut state = self.state();
        let must_stand = state.changes.established.is_some();
        if must_stand || state.raw(key) != Some(value.get()) {
            state.change(|changes| changes.set(key, Some(value)));
        }
    }

    /// Removes `key`; `true` when it was there.
    pub fn remove(&self, key: &str) -> bool {
        if let Some(held) = self.express() {
            return held.remove(key);
        }
        let mut state = self.state();
        let found = state.raw(key).is_some();
        if found {
            state.change(|changes| changes.set(key, None));
        }
        found
    }

    /// Removes all data. The session itself goes on; see [`destroy`](Self::destroy) to end it.
    pub fn clear(&self) {
        if let Some(held) = self.express() {
            return held.clear();
        }
        self.state().change(changes::Changes::clear);
    }

    /// The names of all values, in order.
    pub fn keys(&self) -> Vec<String> {
        if let Some(held) = self.express() {
            return held.keys();
        }
        let document = self.state().document(&self.0.shared.options, self.now());
        document.iter().map(|(key, _)| key.to_owned()).filter(|key| key != HOLD).collect()
    }

    // --- identity ---

    /// Gives the session a new id and keeps its data. Call it whenever what the session may do grows; the old id is dead
    /// before the response leaves (ASVS 5.0 7.2.4).
    pub fn renew(&self) {
        if let Some(held) = self.express() {
            return held.renew();
        }
        self.state().act(Act::Renew);
    }

    /// Somebody has just proved to be `user`: the session gets a new id, counts as authenticated now, starts its lifetime anew and
    /// is listed under `user`. An anonymous visitor's data is kept; what belonged to another user is dropped.
    pub fn establish(&self, user: &str) {
        if let Some(held) = self.express() {
            return held.establish(user);
        }
        let now = self.now();
        let mut state = self.state();
        if state.user().is_some_and(|former| *former != *user) {
            state.changes.clear();
        }
        state.changes.established = Some(Established { user: user.into(), at: now, proved: now });
        state.changes.lifetime = Some(initial_lifetime(&self.0.shared.options, now));
        state.act(Act::Establish);
    }

    /// The user of this session has proved who they are once more: as [`establish`](Self::establish), but a session that has ended
    /// meanwhile stays ended.
    pub fn reauthenticate(&self) {
        if let Some(held) = self.express() {
            return held.reauthenticate();
        }
        let now = self.now();
        let mut state = self.state();
        let Some(user) = state.user() else { return };
        state.changes.established = Some(Established { user, at: now, proved: now });
        state.changes.lifetime = Some(initial_lifetime(&self.0.shared.options, now));
        state.act(Act::Renew);
    }

    /// After [`establish`](Self::establish): the proof of identity is not of now but of `at`, because somebody else, such as a sign-in
    /// provider, accepted it then; `None`, or a time that is more than a minute ahead: nobody knows when, and [`authenticated`](Self::authenticated)
    /// says 1970. It decides whether the session [is fresh](Self::is_fresh), and nothing else.
    pub fn proved_at(&self, at: Option<Timestamp>) {
        let now = self.now();
        let at = at.filter(|at| *at <= now + CLOCKS_DIFFER).map_or(UNKNOWN, |at| at.min(now));
        if let Some(held) = self.express() {
            return held.proved_at(at);
        }
        if let Some(established) = &mut self.state().changes.established {
            established.proved = at;
        }
    }

    /// Ends the session: its row is deleted and its cookie cleared before the response leaves. What is inserted
    /// afterwards begins a new, anonymous session.
    pub fn destroy(&self) {
        if let Some(held) = self.express() {
            return held.end_session();
        }
        let mut state = self.state();
        state.forget();
        state.act(Act::Destroy);
    }

    /// Lets go of the session for the rest of this request: its changes are dropped, and [`Unset`](crate::Unset) says whether the
    /// stored session stays or ends. Later changes in this request have no effect.
    pub fn unset(&self) {
        self.take_cookies();
        if let Some(held) = self.express() {
            return held.unset();
        }
        let mut state = self.state();
        state.forget();
        state.cookie = Cookie::Leave;
        state.act(Act::Unset);
    }

    /// Adds a `Set-Cookie` header to the response, next to the session's own. It is sent only if the session could
    /// be written: a response that says "unavailable" sets no cookie.
    pub fn append_cookie(&self, cookie: HeaderValue) {
        self.0.cookies.lock().unwrap_or_else(PoisonError::into_inner).push(cookie);
    }

    pub(crate) fn take_cookies(&self) -> Vec<HeaderValue> {
        std::mem::take(&mut self.0.cookies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // --- time ---

    /// Notes this use at once, even within [`touch_after`](crate::SessionOptions::touch_after) of the last.
    pub fn touch(&self) {
        if let Some(held) = self.express() {
            return held.touch_cookie();
        }
        self.state().touch = true;
    }

    /// Keeps the session, and its cookie across browser restarts, for `idle` after its last use ("remember me").
    /// The absolute timeout still holds. Stored with the session, so later writes keep it.
    pub fn remember_for(&self, idle: Duration) {
        let mut lifetime = self.lifetime();
        lifetime.idle = idle;
        lifetime.persistent = true;
        self.set_lifetime(lifetime);
    }

    /// How long the session lives.
    pub fn lifetime(&self) -> Lifetime {
        if let Some(held) = self.express() {
            return held.lifetime();
        }
        self.state().lifetime(&self.0.shared.options, self.now())
    }

    /// Changes how long this session lives.
    pub fn set_lifetime(&self, lifetime: Lifetime) {
        if let Some(held) = self.express() {
            return held.set_lifetime(lifetime);
        }
        self.state().change(|changes| changes.lifetime = Some(lifetime));
    }

    /// When somebody last proved who they are in this session; 1970 when [nobody knows when](Self::proved_at), `None` when nobody did.
    pub fn authenticated(&self) -> Option<Timestamp> {
        if let Some(held) = self.express() {
            return held.authenticated();
        }
        self.state().authenticated()
    }

    /// Whether that is at most [`fresh_for`](crate::SessionOptions::fresh_for) ago (ASVS 5.0 7.5.1).
    pub fn is_fresh(&self) -> bool {
        let fresh_for = self.0.shared.options.fresh_for;
        self.authenticated().is_some_and(|at| at.is_younger(fresh_for, self.now()))
    }

    /// The layer's clock.
    pub fn now(&self) -> Timestamp {
        self.0.shared.options.clock.now()
    }

    // --- names ---

    /// Under whose name the session is listed.
    pub fn user(&self) -> Option<Arc<str>> {
        if let Some(held) = self.express() {
            return held.user();
        }
        self.state().user()
    }

    /// What a listing shows to tell this session from the user's others.
    pub fn set_label(&self, label: &str) {
        if let Some(held) = self.express() {
            return held.set_label(label);
        }
        self.state().change(|changes| changes.label = Some(label.into()));
    }

    /// The id the session was loaded or saved under; `None` while it is not stored. The new id of a renewal is made when it is saved.
    pub fn id(&self) -> Option<SessionId> {
        if let Some(held) = self.express() {
            return held.stored_id();
        }
        self.state().known.as_ref().map(|known| known.id.clone())
    }

    /// Names the session in logs and listings without opening it.
    pub fn handle(&self) -> Option<SessionHandle> {
        self.id().map(|id| id.handle())
    }

    /// The sessions that the request's signed cookies name and that are not in the store: they have expired or were
    /// ended. Empty in the Express profile.
    pub fn ended_handles(&self) -> &[SessionHandle] {
        &self.0.ended
    }

    /// Whether the session is not stored yet.
    pub fn is_new(&self) -> bool {
        self.id().is_none()
    }

    /// The store behind the layer, for listing and ending other sessions.
    pub fn store(&self) -> &Arc<dyn SessionStore> {
        &self.0.shared.store
    }

    /// Whether the layer does as express-session does: see [`SessionLayer::express`](crate::SessionLayer::express).
    pub fn is_express(&self) -> bool {
        self.express().is_some()
    }
}

/// Shows the handle only.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.handle()).finish()
    }
}

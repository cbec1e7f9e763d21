//! What [`Session`](crate::Session) does in this profile.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, value::RawValue};

use super::{ExpressFailure, Held, js, machine::Why, meta};
use crate::{Lifetime, SessionId, StoreError, Timestamp, session::HOLD};

/// How long a session lives whose cookie goes with the browser, as far as anybody but its store can tell.
const UNKNOWN_IDLE: Duration = Duration::from_secs(24 * 3600);

impl Held {
    pub(crate) fn raw(&self, key: &str) -> Option<String> {
        self.machine().live.as_ref()?.raw(key).map(ToOwned::to_owned)
    }

    pub(crate) fn insert_raw(&self, key: &str, value: &RawValue) {
        let mut machine = self.machine();
        if let Some(standing) = &mut machine.standing {
            standing.push(key.into());
        }
        machine.updates.forget(key);
        if let Some(live) = &mut machine.live {
            // What the handler made is JSON; what JavaScript could not read back would be too deep.
            live.set(key, Some(js::canonical(value.get()).as_deref().unwrap_or(value)));
        }
    }

    pub(crate) fn remove(&self, key: &str) -> bool {
        let mut machine = self.machine();
        machine.updates.forget(key);
        let Some(live) = machine.live.as_mut().filter(|live| live.raw(key).is_some()) else { return false };
        live.set(key, None);
        true
    }

    /// Removes all data; when the session ends is none.
    pub(crate) fn clear(&self) {
        let mut machine = self.machine();
        let meta = machine.meta();
        machine.updates.clear();
        if let Some(live) = &mut machine.live {
            live.clear();
        }
        if !meta.is_empty() {
            machine.set_meta(meta);
        }
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys = self.machine().live.as_ref().map(super::live::Live::keys).unwrap_or_default();
        keys.retain(|key| key != meta::META && key != HOLD);
        keys
    }

    pub(crate) fn renew(&self) {
        let id = self.profile.options.ids.generate();
        self.machine().renew(id, Why::Renewal);
    }

    pub(crate) fn establish(&self, user: &str) {
        let (path, id) = (&self.profile.options.user_path, self.profile.options.ids.generate());
        let (now, cookie) = (self.now(), self.new_cookie());
        let mut machine = self.machine();
        let former = machine.user(path);
        if former.as_ref().is_some_and(|former| **former != *user)
            && let Some(live) = &mut machine.live
        {
            live.clear();
        }
        if former.as_deref() != Some(user) {
            machine.name(path, user);
        }
        // The lifetimes begin anew, whatever the former ones were. A cookie that the options do not allow stays as it is.
        if let (Some(live), Ok(cookie)) = (&mut machine.live, cookie) {
            live.cookie = cookie;
        }
        let mut meta = machine.meta();
        meta.remove("until");
        meta.remove("idle");
        let mut meta = noted(meta, now);
        meta.insert("authenticated".to_owned(), now.as_millis().into());
        meta.insert("created".to_owned(), now.as_millis().into());
        machine.set_meta(meta);
        let first = path.split('.').next().unwrap_or_default();
        machine.standing = Some(vec![first.into(), meta::META.into()]);
        machine.renew(id, Why::Login);
    }

    pub(crate) fn reauthenticate(&self) {
        if self.user().is_some() {
            self.note("authenticated", Some(self.now().as_millis().into()));
            self.renew();
        }
    }

    pub(crate) fn proved_at(&self, at: Timestamp) {
        if self.user().is_some() {
            self.note("authenticated", Some(at.as_millis().into()));
        }
    }

    /// Ends the session. Where the options make no cookie for another, the next has the cookie of this one: a logout must not fail for that.
    pub(crate) fn end_session(&self) {
        let id = self.profile.options.ids.generate();
        let new = self.new_cookie().ok();
        let mut machine = self.machine();
        let cookie = new.or_else(|| machine.live.as_ref().map(|live| live.cookie.clone()));
        if let Some(cookie) = cookie {
            machine.end(id, cookie);
        }
    }

    pub(crate) fn unset(&self) {
        self.machine().live = None;
    }

    pub(crate) fn lifetime(&self) -> Lifetime {
        let machine = self.machine();
        let meta = machine.meta();
        let left = machine.live.as_ref().and_then(|live| live.cookie.max_age(self.now()));
        let left_of_cookie = left.and_then(|left| u64::try_from(left).ok()).map(Duration::from_millis);
        Lifetime {
            idle: left_of_cookie.or_else(|| meta::idle(&meta)).unwrap_or(UNKNOWN_IDLE),
            until: meta::time(&meta, "until"),
            persistent: left.is_some(),
        }
    }

    pub(crate) fn set_lifetime(&self, lifetime: Lifetime) {
        let now = self.now();
        let idle = u64::try_from(lifetime.idle.as_millis()).unwrap_or(u64::MAX);
        let max_age = if lifetime.persistent { Value::from(idle) } else { Value::Null };
        if let Some(live) = &mut self.machine().live {
            // A number and nothing are always a lifetime.
            let _ = live.cookie.set("maxAge", max_age, now);
        }
        // express-session saves no session whose cookie alone has changed; and has no other place for this.
        self.note("idle", Some(idle.into()));
        self.note("until", lifetime.until.map(|until| until.as_millis().into()));
    }

    pub(crate) fn authenticated(&self) -> Option<Timestamp> {
        meta::time(&self.machine().meta(), "authenticated")
    }

    pub(crate) fn user(&self) -> Option<Arc<str>> {
        self.machine().user(&self.profile.options.user_path)
    }

    pub(crate) fn set_label(&self, label: &str) {
        self.note("label", Some(label.into()));
    }

    /// The id that the session is stored under; of a renewal, the former one until it is carried out.
    pub(crate) fn stored_id(&self) -> Option<SessionId> {
        let machine = self.machine();
        if let Some(ending) = machine.ending.as_ref().filter(|ending| ending.why != Why::Logout) {
            return Some(ending.id.clone());
        }
        machine.kept.as_ref().map(|_| machine.id.clone())
    }

    /// Begins the lifetime anew; what `touch` cannot do is told at the end of the request.
    pub(crate) fn touch_cookie(&self) {
        let now = self.now();
        if let Some(live) = &mut self.machine().live {
            let _ = live.cookie.reset_max_age(now);
        }
    }

    pub(crate) async fn reload_session(&self) -> Result<bool, StoreError> {
        match self.reload().await {
            Ok(()) => Ok(true),
            Err(ExpressFailure::Session(_)) => Ok(false),
            Err(ExpressFailure::Store(error)) => Err(error),
        }
    }

    pub(crate) async fn save_session(&self) -> Result<bool, StoreError> {
        if self.is_untouched() {
            return Ok(true);
        }
        match self.save().await {
            Ok(saved) => Ok(saved),
            Err(ExpressFailure::Session(_)) => Ok(false),
            Err(ExpressFailure::Store(error)) => Err(error),
        }
    }

    fn note(&self, name: &str, value: Option<Value>) {
        let now = self.now();
        let mut machine = self.machine();
        let mut meta = noted(machine.meta(), now);
        match value {
            Some(value) => drop(meta.insert(name.to_owned(), value)),
            None => drop(meta.shift_remove(name)),
        }
        machine.set_meta(meta);
    }
}

/// What every note of ours holds.
fn noted(mut meta: Map<String, Value>, now: Timestamp) -> Map<String, Value> {
    for name in ["created", "seen"] {
        meta.entry(name).or_insert_with(|| now.as_millis().into());
    }
    meta
}

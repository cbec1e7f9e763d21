//! Updates and leases in this profile: see [`Session::update`](crate::Session::update) and [`Session::hold`](crate::Session::hold).

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{Fetched, Got, Held, Over, Profile, Set, live::Live, machine::Machine};
use crate::{
    Document, SessionId, StoreError, Timestamp, ValueError,
    session::{Chain, Function, HOLD, check_lease, fold, in_doubt, pause, unfit},
};

/// Functions of stored values, by key.
#[derive(Clone, Default)]
pub(super) struct Updates {
    functions: HashMap<Box<str>, Vec<Function>>,
    /// A write of them has begun whose result is not known: to write them again could apply them twice.
    in_doubt: bool,
}

impl Updates {
    pub(super) fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What `key` is no longer depends on what is stored.
    pub(super) fn forget(&mut self, key: &str) {
        self.functions.remove(key);
    }

    fn has(&self, key: &str) -> bool {
        self.functions.contains_key(key)
    }

    fn add(&mut self, key: &str, function: Function) {
        self.functions.entry(key.into()).or_default().push(function);
    }

    /// Forgets the last function of `key`.
    fn pop(&mut self, key: &str) {
        let Some(functions) = self.functions.get_mut(key) else { return };
        functions.pop();
        if functions.is_empty() {
            self.functions.remove(key);
        }
    }

    /// How many functions of each key are about to be written.
    pub(super) fn begin_write(&mut self) -> Result<Vec<(Box<str>, usize)>, StoreError> {
        if self.in_doubt {
            return Err(in_doubt());
        }
        self.in_doubt = !self.is_empty();
        Ok(self.functions.iter().map(|(key, functions)| (key.clone(), functions.len())).collect())
    }

    /// The store has answered.
    pub(super) fn end_write(&mut self) {
        self.in_doubt = false;
    }

    /// These are stored.
    pub(super) fn written(&mut self, counted: &[(Box<str>, usize)]) {
        for (key, count) in counted {
            if let Some(functions) = self.functions.get_mut(key) {
                functions.drain(..(*count).min(functions.len()));
            }
        }
        self.functions.retain(|_, functions| !functions.is_empty());
    }
}

impl Machine {
    /// What this request changed since `base`, on top of `newest`; its updates, of what stands there.
    pub(super) fn rebase(
        &mut self,
        base: &Document,
        newest: &Document,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(live) = &mut self.live {
            live.rebase(base, newest, now);
        }
        self.update_from(|key| newest.get_raw(key))
    }

    /// Keeps only what this request set; its updates begin with nothing.
    pub(super) fn let_stand(&mut self, base: &Document, keys: &[Box<str>]) -> Result<(), StoreError> {
        if let Some(live) = &mut self.live {
            live.let_stand(base, keys);
        }
        self.update_from(|_| None)
    }

    fn update_from<'a>(&mut self, stored: impl Fn(&str) -> Option<&'a str>) -> Result<(), StoreError> {
        let Some(live) = &mut self.live else { return Ok(()) };
        for (key, functions) in &self.updates.functions {
            let value = fold(functions, stored(key)).map_err(unfit)?;
            live.set(key, value.as_deref());
        }
        Ok(())
    }
}

impl Held {
    /// Applies `function` to `key`, now and to what another request may have written when the session is; `true` when it changed something.
    pub(crate) fn update(&self, key: &str, function: Function) -> Result<bool, ValueError> {
        let mut machine = self.machine();
        let machine = &mut *machine;
        if let Some(standing) = &mut machine.standing {
            standing.push(key.into());
        }
        let Some(live) = &mut machine.live else { return Ok(false) };
        let value = function(live.raw(key))?;
        let changed = value.as_deref().map(RawValue::get) != live.raw(key);
        let stored = machine.kept.as_ref().and_then(|kept| kept.document.get_raw(key));
        // What was set in this request is the same on any version.
        if machine.updates.has(key) || live.raw(key) == stored {
            machine.updates.add(key, function);
        }
        live.set(key, value.as_deref());
        Ok(changed)
    }

    /// Forgets the last update of `key`, before which it had this value.
    pub(crate) fn withdraw(&self, key: &str, value: Option<&RawValue>) {
        let mut machine = self.machine();
        machine.updates.pop(key);
        if let Some(live) = &mut machine.live {
            live.set(key, value);
        }
    }

    pub(crate) fn lease(&self) -> Option<Box<str>> {
        self.machine().lease.clone()
    }

    pub(crate) fn note_lease(&self, name: Box<str>) {
        self.machine().lease = Some(name);
    }

    /// Drops what this request changed and has not saved.
    pub(crate) fn discard(&self) {
        self.machine().discarded = true;
    }

    /// The lease of this request ends with what is written at its end; by itself, when that is nothing.
    pub(super) async fn end_lease(&self) {
        let ends_here = {
            let mut machine = self.machine();
            if machine.lease.is_none() {
                return;
            }
            let writes = machine.live.is_some() && !machine.discarded;
            if let Some(live) = machine.live.as_mut().filter(|_| writes) {
                live.set(HOLD, None);
            }
            !writes && machine.ending.is_none()
        };
        if ends_here {
            self.release().await;
        }
    }

    /// What ends the lease of this request, if it has one: it need not wait for that.
    pub(crate) fn release(&self) -> impl Future<Output = ()> + Send + use<> {
        let (lease, id) = {
            let mut machine = self.machine();
            (machine.lease.take(), machine.id.clone())
        };
        let (profile, now) = (self.profile.clone(), self.now());
        async move {
            let Some(lease) = lease else { return };
            if let Err(error) = release(&profile, &id, &lease, now).await {
                // It runs out.
                tracing::warn!(event = "session_lease_not_ended", session = %id.handle(), error = %Chain(&error));
            }
        }
    }
}

async fn release(profile: &Profile, id: &SessionId, lease: &str, now: Timestamp) -> Result<(), StoreError> {
    let store = &profile.store;
    for conflicts in 0..8 {
        let Got::Session(Fetched { mut session, version }) = store.get(id, now).await? else {
            return Ok(());
        };
        if check_lease(Some(lease), &session).is_err() {
            return Ok(());
        }
        session.remove(HOLD);
        let live = Live::stored(&session, true, now).ok();
        let expires = live.and_then(|live| live.cookie.expires_at());
        if !matches!(store.set(id, &mut session, expires, Over::Version(&version), now).await?, Set::Conflict)
        {
            return Ok(());
        }
        pause(conflicts).await;
    }
    Ok(())
}

//! [`Held`]: a request's session between its handler, the store and the response.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;
use serde_json::{Map, Value};

use super::{
    ExpressCookie, ExpressCookieError, ExpressError, ExpressFailure, Over, Profile, Races, Set, decision,
    decision::Write,
    machine::{Kept, Machine},
    meta,
};
use crate::{
    Keys, StoreError, Timestamp,
    session::{Chain, check_lease, contended, pause},
};

/// How often a write is tried again when other requests of the same session come first. Each time another one got through.
pub(super) const MAX_CONFLICTS: u32 = 256;

pub(crate) struct Held {
    pub(super) profile: Arc<Profile>,
    keys: Keys,
    template: Map<String, Value>,
    /// The request came over https.
    secure: bool,
    machine: Mutex<Machine>,
    /// One write at a time, so that no update is written twice.
    pub(super) writing: tokio::sync::Mutex<()>,
}

impl Held {
    pub(super) fn new(
        profile: Arc<Profile>,
        keys: Keys,
        template: Map<String, Value>,
        secure: bool,
        machine: Machine,
    ) -> Self {
        let (machine, writing) = (Mutex::new(machine), tokio::sync::Mutex::new(()));
        Self { profile, keys, template, secure, machine, writing }
    }

    /// No step leaves the machine half changed, so one that a panicking handler held is still good.
    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.profile.options.clock.now()
    }

    pub(super) fn new_cookie(&self) -> Result<ExpressCookie, ExpressCookieError> {
        self.profile.new_cookie(&self.template, self.secure, self.now())
    }

    // --- what req.session does at once ---

    /// `save`; `false` when the session has ended elsewhere.
    pub(super) async fn save(&self) -> Result<bool, ExpressFailure> {
        let moved = self.end_former(false).await?;
        let state = {
            let machine = self.machine();
            (machine.live.is_some(), machine.gone)
        };
        match state {
            (false, _) => Err(ExpressError::NoSession.into()),
            (true, true) => Ok(false),
            (true, false) => Ok(moved || self.note_and_set().await?),
        }
    }

    /// Whether a plain save has anything to write: not for a visitor who changed nothing.
    pub(super) fn is_untouched(&self) -> bool {
        let machine = self.machine();
        machine.kept.is_none() && machine.ending.is_none() && !machine.facts().modified
    }

    /// `reload`; what has reached its absolute end, or cannot be read, is not found.
    pub(super) async fn reload(&self) -> Result<(), ExpressFailure> {
        let id = {
            let machine = self.machine();
            machine.moving().map_or_else(|| machine.id.clone(), |(former, ..)| former)
        };
        let fetched = self.newer(&id).await?.ok_or(ExpressError::NotFound)?;
        Ok(self.machine().reloaded(fetched, self.now())?)
    }

    /// `regenerate`: the session is another even when the old one could not be destroyed.
    pub(super) async fn regenerate(&self) -> Result<(), ExpressFailure> {
        let id = self.machine().id.clone();
        let destroyed = self.profile.store.destroy(&id, self.now()).await;
        let destroyed = destroyed.and(self.end_unreadable().await);
        let cookie = self.new_cookie()?;
        self.machine().regenerated(self.profile.options.ids.generate(), cookie);
        destroyed?;
        Ok(())
    }

    /// `destroy`: `req.session` is gone even when the store fails.
    pub(super) async fn destroy(&self) -> Result<(), ExpressFailure> {
        let id = {
            let mut machine = self.machine();
            machine.live = None;
            machine.kept = None;
            machine.id.clone()
        };
        self.profile.store.destroy(&id, self.now()).await?;
        Ok(self.end_unreadable().await?)
    }

    // --- the end of the request ---

    /// Does what is left to do before the response head leaves; the `Set-Cookie` it owes.
    pub(crate) async fn finish(&self) -> Result<Option<HeaderValue>, StoreError> {
        self.end_lease().await;
        if self.machine().discarded {
            return Ok(None);
        }
        self.end_former(true).await?;
        let later = self.machine().later;
        if !later {
            self.end().await?;
            self.machine().lease = None;
        }
        let cookie = self.head()?;
        let machine = self.machine();
        Ok(if machine.gone { None } else { cookie.or_else(|| machine.cleared.clone()) })
    }

    /// The cookie that goes with the response head.
    fn head(&self) -> Result<Option<HeaderValue>, StoreError> {
        let mut machine = self.machine();
        if !decision::sends_cookie(machine.facts(), &self.profile.options) {
            return Ok(None);
        }
        if machine.live.as_ref().is_some_and(|live| live.cookie.is_secure()) && !self.secure {
            self.profile.warn_of_insecure();
            return Ok(None);
        }
        machine.touch_once(self.now()).map_err(broken)?;
        let value = self.keys.sign(&machine.id);
        let cookie =
            machine.live.as_ref().map(|live| live.cookie.set_cookie(&self.profile.options.name, &value));
        match cookie {
            Some(Ok(cookie)) => Ok(HeaderValue::try_from(cookie).ok()),
            Some(Err(error)) => {
                // The session is saved all the same, as in Express.
                tracing::error!(event = "session_cookie_not_sent", error = %error);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Writes the session as the decision says.
    pub(super) async fn end(&self) -> Result<(), StoreError> {
        let write = {
            let mut machine = self.machine();
            if machine.gone {
                return Ok(());
            }
            machine.touch_once(self.now()).map_err(broken)?;
            decision::write(machine.facts(), &self.profile.options)
        };
        match write {
            Write::Nothing => Ok(()),
            Write::Touch => {
                self.touch().await;
                Ok(())
            }
            Write::Destroy => {
                let id = self.machine().id.clone();
                self.profile.store.destroy(&id, self.now()).await?;
                self.end_unreadable().await
            }
            Write::Set => match self.note_and_set().await {
                // An explicit save has stored it already, so the answer may say so.
                Err(error) if self.machine().is_stored() => {
                    tracing::warn!(event = "session_saved_once", error = %Chain(&error));
                    Ok(())
                }
                set => set.map(drop),
            },
        }
    }

    /// Stores the session and notes it as saved: at once, as express-session does, or only when it is.
    async fn note_and_set(&self) -> Result<bool, StoreError> {
        self.end_unreadable().await?;
        let saved = self.machine().save_to_note();
        if self.profile.options.races == Races::AsExpress {
            self.machine().note_save(saved);
            return self.set().await;
        }
        let done = self.set().await?;
        // After a conflict it is another text; a save that is noted as what it was leads to one more, and loses nothing.
        self.machine().note_save(saved.filter(|_| done));
        Ok(done)
    }

    /// Stores the session; `false` when it has ended elsewhere, and its changes are dropped.
    async fn set(&self) -> Result<bool, StoreError> {
        let _alone = self.writing.lock().await;
        let (store, now) = (&self.profile.store, self.now());
        for conflicts in 0..MAX_CONFLICTS {
            let Some((id, mut whole, expires, kept)) = self.to_store() else { return Ok(false) };
            let given: Vec<String> = whole.iter().map(|(key, _)| key.to_owned()).collect();
            let over = kept.as_ref().map_or(Over::Anything, |kept| Over::Version(&kept.version));
            let counted = self.machine().updates.begin_write()?;
            let answer = store.set(&id, &mut whole, expires, over, now).await?;
            self.machine().updates.end_write();
            match answer {
                Set::Done(version) => {
                    let mut machine = self.machine();
                    machine.updates.written(&counted);
                    if let Some(live) = &mut machine.live {
                        live.without(&given, &whole);
                    }
                    machine.kept = Some(Kept { version, document: whole });
                    return Ok(true);
                }
                Set::Gone => return Ok(self.has_gone()),
                Set::Conflict => {}
            }
            pause(conflicts).await;
            let Some(newer) = self.newer(&id).await? else { return Ok(self.has_gone()) };
            let mut machine = self.machine();
            check_lease(machine.lease.as_deref(), &newer.session)?;
            if let Some(kept) = kept {
                machine.rebase(&kept.document, &newer.session, now)?;
            }
            machine.kept = Some(Kept { version: newer.version, document: newer.session });
        }
        Err(contended())
    }

    /// Notes that the session has ended elsewhere: nothing more is written. `false`, as `set` answers.
    fn has_gone(&self) -> bool {
        self.machine().gone = true;
        false
    }

    /// What is to be stored, and what of it is known to be there.
    pub(super) fn to_store(
        &self,
    ) -> Option<(crate::SessionId, crate::Document, Option<Timestamp>, Option<Kept>)> {
        let machine = self.machine();
        let live = machine.live.as_ref()?;
        let exact = !machine.updates.is_empty() || machine.lease.is_some();
        let settled = self.profile.options.races == Races::Settled || exact;
        let kept = machine.kept.clone().filter(|_| settled);
        let idle = || meta::idle(&machine.meta()).map(|idle| self.now() + idle);
        Some((machine.id.clone(), live.whole(), live.cookie.expires_at().or_else(idle), kept))
    }

    /// A use that could not be noted shortens the session a little; that is no reason to fail the request.
    async fn touch(&self) {
        let Some((id, whole, expires, _)) = self.to_store() else { return };
        match self.profile.store.touch(&id, &whole, expires, self.now()).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!(event = "session_touch_missed", session = %id.handle()),
            Err(error) => {
                tracing::warn!(event = "session_touch_failed", session = %id.handle(), error = %Chain(&error));
            }
        }
    }
}

pub(super) fn broken(error: ExpressCookieError) -> StoreError {
    StoreError::new("save a session", error)
}

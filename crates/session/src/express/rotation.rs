//! What becomes of the session that a request signed out of, or that gets a new ID.
//!
//! A session moves to its new ID in one operation of the store, over the version that was read. If it were destroyed first and stored
//! afterwards, a crash in between would lose it, and whoever ends all sessions of its user at that moment would see neither.

use http::HeaderValue;

use super::{
    Fetched, Got, Held, Races, Rotation, Set,
    held::MAX_CONFLICTS,
    machine::{Ending, Kept, Why},
    meta,
};
use crate::{
    SessionId, StoreError,
    session::{check_lease, contended, pause},
};

impl Held {
    /// Ends the session that this request signed out of, or moves the one that gets a new ID; `true` when it was moved. Noted as
    /// done only when it is. `is_last`: the handler is done, so that this is what the response leaves with.
    pub(super) async fn end_former(&self, is_last: bool) -> Result<bool, StoreError> {
        let (ending, moves) = {
            let machine = self.machine();
            (machine.ending.clone(), machine.moving().is_some())
        };
        let Some(Ending { id, why, cookie }) = ending else { return Ok(false) };
        if moves {
            return self.rotate(is_last).await;
        }
        self.profile.store.destroy(&id, self.now()).await?;
        let mut machine = self.machine();
        machine.has_moved(None, is_last);
        if why == Why::Logout {
            let cleared = cookie.clear_cookie(&self.profile.options.name).ok();
            machine.cleared = cleared.and_then(|cookie| HeaderValue::try_from(cookie).ok());
        }
        Ok(false)
    }

    /// Stores the session under its new ID, over the newest version; `false` when it has ended elsewhere.
    async fn rotate(&self, is_last: bool) -> Result<bool, StoreError> {
        let _alone = self.writing.lock().await;
        if is_last {
            self.machine().touch_once(self.now()).map_err(super::held::broken)?;
        }
        for conflicts in 0..MAX_CONFLICTS {
            let Some((old, kept, why)) = self.machine().moving() else { return Ok(false) };
            match self.rotate_version(&old, &kept, is_last).await? {
                Set::Done(_) => return Ok(true),
                Set::Gone => return self.former_has_gone(&old, kept, why).await,
                Set::Conflict => {}
            }
            pause(conflicts).await;
            let Some(newer) = self.newer(&old).await? else {
                return self.former_has_gone(&old, kept, why).await;
            };
            let mut machine = self.machine();
            check_lease(machine.lease.as_deref(), &newer.session)?;
            if self.profile.options.races == Races::Settled {
                machine.rebase(&kept.document, &newer.session, self.now())?;
            }
            machine.kept = Some(Kept { version: newer.version, document: newer.session });
        }
        Err(contended())
    }

    /// Tries to move the session as it was read.
    async fn rotate_version(&self, old: &SessionId, kept: &Kept, is_last: bool) -> Result<Set, StoreError> {
        let Some((new, mut whole, expires, _)) = self.to_store() else { return Ok(Set::Gone) };
        let given: Vec<String> = whole.iter().map(|(key, _)| key.to_owned()).collect();
        let user = self.user();
        let (version, user) = (&kept.version, user.as_deref());
        let rotation = Rotation { old, version, new: &new, user, expires };
        let counted = self.machine().updates.begin_write()?;
        let answer = self.profile.store.rotate(rotation, &mut whole, self.now()).await?;
        let mut machine = self.machine();
        machine.updates.end_write();
        if let Set::Done(version) = &answer {
            machine.updates.written(&counted);
            if let Some(live) = &mut machine.live {
                live.without(&given, &whole);
            }
            machine.has_moved(Some(Kept { version: version.clone(), document: whole }), is_last);
        }
        Ok(answer)
    }

    /// The session as it is stored now, if it lives and can be read.
    pub(super) async fn newer(&self, id: &SessionId) -> Result<Option<Fetched>, StoreError> {
        let now = self.now();
        Ok(match self.profile.store.get(id, now).await? {
            Got::Session(newer) if !meta::has_ended(&newer.session, now) => Some(newer),
            _ => None,
        })
    }

    /// The session has ended elsewhere before it was moved. `false`, as `rotate` answers.
    async fn former_has_gone(&self, old: &SessionId, kept: Kept, why: Why) -> Result<bool, StoreError> {
        if why == Why::Login {
            // Express may have ended it, and remembers nothing: one of its requests could save it again.
            self.profile.store.destroy(old, self.now()).await?;
        }
        let mut machine = self.machine();
        machine.has_moved(None, false);
        if self.profile.options.races == Races::Settled {
            let standing = machine.standing.clone().unwrap_or_default();
            match why {
                // Somebody logged out while somebody logged in: nothing of the old session may come along.
                Why::Login => machine.let_stand(&kept.document, &standing)?,
                Why::Renewal | Why::Logout => machine.gone = true,
            }
        }
        machine.updates.clear();
        Ok(false)
    }

    /// Ends what the cookie names, if that cannot be read: another session takes its place, or none.
    pub(super) async fn end_unreadable(&self) -> Result<(), StoreError> {
        let Some(id) = self.machine().unreadable.clone() else { return Ok(()) };
        self.profile.store.destroy(&id, self.now()).await?;
        self.machine().unreadable = None;
        Ok(())
    }
}

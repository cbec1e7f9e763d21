//! What people do with their own account.

use std::time::Duration;

use hallpass_session::{Listed, Secret, Session, SessionHandle, StoreError};
use sha2::{Digest, Sha256};

use crate::{
    Auth, Change, Ending, Error, Origin, PasswordHash, PasswordProblem, Refusal, Requester, User,
    UserChanged, Verdict,
    register::clean_name,
    stamp::STAMP,
    throttle::{Charge, account_key},
};

/// The answer to a change of password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordChanged {
    /// It is changed, and all other sessions have ended.
    Done,
    /// It is changed, and no session of the former password opens the account. This session could not be stored: the user signs in
    /// again.
    SignInAgain,
    /// It is changed, and this session goes on. The others could not be removed from the store. Those that began with a sign-in here
    /// open nothing, those that [another application](crate::AuthOptions::accept_foreign_sign_ins) opened may.
    OthersRemain,
    /// The current password is not right, or was changed at this very moment.
    WrongPassword,
    /// The new password is not accepted.
    Refused(PasswordProblem),
    /// Too many wrong current passwords in a row: the user must sign in again first.
    NotFresh,
    /// Too many attempts.
    Throttled {
        /// When the next one is allowed.
        retry_after: Duration,
    },
}

/// The answer to setting a first password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordSet {
    /// It is set, and all other sessions have ended.
    Done,
    /// As [`PasswordChanged::SignInAgain`].
    SignInAgain,
    /// As [`PasswordChanged::OthersRemain`].
    OthersRemain,
    /// There is one already, which must be known to change it.
    HasOne,
    /// The new password is not accepted.
    Refused(PasswordProblem),
    /// The user must sign in again first: too long ago, or the account was changed at this very moment.
    NotFresh,
}

/// What became of the sessions once a password was stored.
enum After {
    Done,
    SignInAgain,
    OthersRemain,
}

/// One of a user's sessions.
#[derive(Clone, Debug)]
pub struct OwnSession {
    /// It is the one that asks.
    pub current: bool,
    /// When, where, and its handle; never its id.
    pub listed: Listed,
}

/// Sessions of a user that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedSessions {
    /// How many other sessions ended.
    pub count: u64,
    /// What should have ended too, and could not, because a store failed.
    pub remains: Option<Remains>,
}

/// What remains after [`EndedSessions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Other browsers are still [known](crate::DeviceCookies). Nobody is signed in by that.
    KnownBrowsers,
    /// The session that asked: its user signs out again.
    ThisSession,
}

/// A user's sessions.
#[derive(Clone, Debug)]
pub struct OwnSessions {
    /// The most recently used ones.
    pub listed: Vec<OwnSession>,
    /// How many more there are.
    pub more: u64,
}

impl Auth {
    /// Changes a user's password, who must know the current one. The other sessions end, this one gets a new id
    /// (ASVS 5.0 6.2.3, 7.4.3). Guesses count as sign-in attempts do.
    pub async fn change_password(
        &self,
        session: &Session,
        user: &User,
        current: Secret<String>,
        new: Secret<String>,
        origin: &Origin,
    ) -> Result<PasswordChanged, Error> {
        let (inner, now) = (self.inner(), session.now());
        let requester = signed_in(user, origin);
        let account = account_key(user.email.as_str());
        let counted = match inner.throttle.charge_signed_in(&account, &self.options().throttle, now).await? {
            Charge::Allowed(counted) => counted,
            Charge::Throttled { retry_after } => return Ok(PasswordChanged::Throttled { retry_after }),
            Charge::Locked => return Ok(PasswordChanged::NotFresh),
        };
        let verified = match self.verify(user.email.as_str(), Some(user), &current, requester).await {
            Ok(verified) => verified,
            Err(error) => {
                inner.throttle.take_back_signed_in(counted, now).await?;
                return Err(error);
            }
        };
        if verified.verdict == Verdict::Wrong {
            tracing::warn!(event = "password_change_refused", user = %user.id, client = %origin.addr);
            return Ok(PasswordChanged::WrongPassword);
        }
        inner.throttle.forget_signed_in(counted, now).await?;
        if let Err(problem) = self.check_password(&new, &user.email, user.name.as_deref()) {
            return Ok(PasswordChanged::Refused(problem));
        }
        let to = inner.hashing.hash_after(new, user.password.clone(), requester).await?;
        if self.replace_password(user, user.password.clone(), &to).await? != UserChanged::Done {
            return Ok(PasswordChanged::WrongPassword);
        }
        Ok(match self.after_change(session, user, to, origin).await {
            After::Done => PasswordChanged::Done,
            After::SignInAgain => PasswordChanged::SignInAgain,
            After::OthersRemain => PasswordChanged::OthersRemain,
        })
    }

    /// Stores the password. When the answer is lost, the account says whether it was.
    pub(crate) async fn replace_password(
        &self,
        user: &User,
        from: Option<PasswordHash>,
        to: &PasswordHash,
    ) -> Result<UserChanged, Error> {
        let change = Change::Password { from, to: Some(to.clone()) };
        // Each hash has a salt of its own, so nobody else stored this one.
        Ok(self.changed(user, &change, |now| now.password.as_ref() == Some(to)).await?)
    }

    /// Makes a change. When the answer is lost, the account says whether it was made.
    pub(crate) async fn changed(
        &self,
        user: &User,
        change: &Change,
        is_made: impl Fn(&User) -> bool,
    ) -> Result<UserChanged, StoreError> {
        let users = &self.inner().users;
        match users.change(&user.id, change).await {
            Err(error) => match users.find(&user.id).await {
                Ok(Some(now)) if is_made(&now) => Ok(UserChanged::Done),
                _ => Err(error),
            },
            changed => changed,
        }
    }

    /// From here on all sessions of the former epoch are void, whatever happens; deleting them only tidies up. This one gets the
    /// new epoch, as it is unless somebody changed the account at this very moment: then it is void too. The password is changed, so
    /// nothing that fails here is an error.
    async fn after_change(
        &self,
        session: &Session,
        user: &User,
        password: PasswordHash,
        origin: &Origin,
    ) -> After {
        let session_epoch = self.inner().users.epoch_after(user, &password);
        let user = &User { password: Some(password), placeholder: None, session_epoch, ..user.clone() };
        tracing::info!(event = "password_changed", user = %user.id, client = %origin.addr);
        let established = self.establish_again(session, user, origin);
        let stored = established.is_ok() && self.is_stored(session).await;
        if !stored {
            session.discard();
        }
        let except = session.id().filter(|_| stored);
        let (store, now) = (session.store().as_ref(), session.now());
        let ended = self.end_sessions_of(store, &user.id, except.as_ref(), Ending::Password, now).await;
        if let Err(error) = &ended {
            tracing::error!(event = "other_sessions_remain", user = %user.id, error = error as &dyn std::error::Error);
        }
        match (stored, ended) {
            (false, _) => After::SignInAgain,
            (true, Ok(_)) => After::Done,
            (true, Err(_)) => After::OthersRemain,
        }
    }

    /// Stores the session of somebody who has just signed in, and whether it is: then nothing that can fail is left to write.
    pub(crate) async fn is_stored(&self, session: &Session) -> bool {
        match session.save().await {
            Ok(saved) => saved,
            Err(error) => {
                tracing::error!(event = "session_not_stored", error = &error as &dyn std::error::Error);
                false
            }
        }
    }

    /// Sets the first password of a user who has none, because a provider vouches for them; they must have proved who they are
    /// a short while ago. The other sessions end, this one gets a new id.
    pub async fn set_password(
        &self,
        session: &Session,
        user: &User,
        new: Secret<String>,
        origin: &Origin,
    ) -> Result<PasswordSet, Error> {
        if !session.is_fresh() {
            return Ok(PasswordSet::NotFresh);
        }
        if let Err(problem) = self.check_password(&new, &user.email, user.name.as_deref()) {
            return Ok(PasswordSet::Refused(problem));
        }
        let to = self.inner().hashing.hash_after(new, None, signed_in(user, origin)).await?;
        // Where a placeholder stands, another one since means that the account was taken over: then nothing is written at all.
        if self.replace_password(user, user.placeholder.clone(), &to).await? != UserChanged::Done {
            let now = self.inner().users.find(&user.id).await?;
            let has_one = now.is_some_and(|now| now.password.is_some());
            return Ok(if has_one { PasswordSet::HasOne } else { PasswordSet::NotFresh });
        }
        if !self.is_ours(user, &to).await {
            return Ok(self.take_back(user, to).await);
        }
        Ok(match self.after_change(session, user, to, origin).await {
            After::Done => PasswordSet::Done,
            After::SignInAgain => PasswordSet::SignInAgain,
            After::OthersRemain => PasswordSet::OthersRemain,
        })
    }

    /// Removes a first password of which nobody can tell whether the account is still its maker's.
    async fn take_back(&self, user: &User, password: PasswordHash) -> PasswordSet {
        let change = Change::Password { from: Some(password), to: None };
        // Refused when whoever took the account has removed it already.
        match self.changed(user, &change, |now| now.password.is_none()).await {
            Ok(_) => PasswordSet::NotFresh,
            Err(error) => {
                tracing::error!(event = "password_not_confirmed", user = %user.id, error = &error as &dyn std::error::Error);
                // It may stand, and then no session from before opens the account.
                PasswordSet::SignInAgain
            }
        }
    }

    /// Whether the password is the one change since `user` was read. Without a former password nothing else tells that the owner of the
    /// address has taken the account over meanwhile, from whoever is at work here.
    /// What cannot be read after several attempts is not.
    async fn is_ours(&self, user: &User, password: &PasswordHash) -> bool {
        let users = &self.inner().users;
        let epoch = users.epoch_after(user, password);
        for pause in [0, 50, 200, 1000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            match users.find(&user.id).await {
                Ok(now) => return now.is_some_and(|now| now.session_epoch == epoch),
                Err(error) => {
                    tracing::warn!(event = "password_not_confirmed", user = %user.id, error = &error as &dyn std::error::Error);
                }
            }
        }
        false
    }

    /// A new id and a fresh proof of identity, still remembered if it was. A logout beside it wins.
    fn establish_again(&self, session: &Session, user: &User, origin: &Origin) -> Result<(), Error> {
        let before = session.lifetime();
        let via = STAMP.get(session).ok().flatten().and_then(|stamp| stamp.via);
        session.reauthenticate();
        self.mark(session, user, origin, via)?;
        if before.persistent {
            session.remember_for(before.idle);
        }
        Ok(())
    }

    /// Changes or removes a user's name.
    pub async fn change_name(
        &self,
        user: &User,
        name: &str,
    ) -> Result<Result<Option<String>, Refusal>, Error> {
        let name = match clean_name(Some(name)) {
            Ok(name) => name,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let changed = self.changed(user, &Change::Name(name.clone()), |now| now.name == name).await?;
        match changed {
            UserChanged::NoPlace => Ok(Err(Refusal::NoNames)),
            _ => Ok(Ok(name)),
        }
    }

    /// The user's sessions, the most recently used first, at most `limit`. In the layouts shared with Express, sessions that Express or
    /// another server opened may be missing for a minute; see docs/stores.md.
    pub async fn sessions(&self, session: &Session, user: &User, limit: usize) -> Result<OwnSessions, Error> {
        let current = session.handle();
        let recent = session.store().recent_of_user(user.id.as_str(), limit, session.now()).await?;
        let own = |listed: Listed| OwnSession { current: Some(listed.handle) == current, listed };
        Ok(OwnSessions { listed: recent.listed.into_iter().map(own).collect(), more: recent.more })
    }

    /// Ends one of the user's sessions, this one included; `false` when it is not theirs or has ended already.
    pub async fn end_session(
        &self,
        session: &Session,
        user: &User,
        handle: SessionHandle,
    ) -> Result<bool, Error> {
        if session.handle() == Some(handle) {
            self.log_out(session);
            return Ok(true);
        }
        let (store, now) = (session.store().as_ref(), session.now());
        let ended = self.end_session_of(store, Some(&user.id), handle, Ending::User, now).await?;
        tracing::info!(event = "session_ended", user = %user.id, session = %handle, ended);
        Ok(ended)
    }

    /// Ends the user's other sessions. No other browser stays [known](crate::DeviceCookies).
    ///
    /// # Errors
    /// The store failed. Nothing has happened, unless the answer of the store was lost: then repeat it.
    pub async fn end_other_sessions(&self, session: &Session, user: &User) -> Result<EndedSessions, Error> {
        let (store, except, now) = (session.store().as_ref(), session.id(), session.now());
        let count = self.end_sessions_of(store, &user.id, except.as_ref(), Ending::User, now).await?;
        tracing::info!(event = "other_sessions_ended", user = %user.id, ended = count);
        Ok(EndedSessions { count, remains: self.forget_browsers(session, user).await })
    }

    /// The sessions have ended, so what fails here is no error.
    pub(crate) async fn forget_browsers(&self, session: &Session, user: &User) -> Option<Remains> {
        let error = self.forget_other_browsers(session, user).await.err()?;
        tracing::error!(event = "known_browsers_remain", user = %user.id, error = &error as &dyn std::error::Error);
        Some(Remains::KnownBrowsers)
    }
}

/// In the queue of hashes, somebody who is signed in is known: each account of a network has its turns.
fn signed_in(user: &User, origin: &Origin) -> Requester {
    let digest = Sha256::digest(user.id.as_str().as_bytes());
    let id = digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Requester::known(origin.addr, id)
}

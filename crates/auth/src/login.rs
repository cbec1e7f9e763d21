//! Signing in and out.

use std::time::Duration;

use hallpass_session::{Secret, Session, Timestamp};

use crate::{
    Auth, Change, EndedSessions, Ending, Error, Origin, Remains, Requester, User, UserChanged, UserId,
    Verdict,
    known_browser::requester,
    stamp::{STAMP, Stamp, Via},
    throttle::{Asked, Attempted, Charge, SignIn, account_key},
    verify::Verified,
};

/// An attempt to sign in with a password.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The address as typed.
    pub email: String,
    /// The password as typed.
    pub password: Secret<String>,
    /// Keep the session when the browser is closed.
    pub remember: bool,
    /// Who tries.
    pub origin: Origin,
}

/// The answer to an [`Attempt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The session belongs to this user now and will get a new id.
    LoggedIn(User),
    /// Wrong password, no such user, no password, or a disabled account: the same answer for all.
    Refused,
    /// Too many attempts.
    Throttled {
        /// When the next one is allowed.
        retry_after: Duration,
    },
    /// Too many attempts in a row have failed, over days: a password alone no longer opens the account, right or wrong, whether there is
    /// such an account or not. Signing in from a [known browser](crate::DeviceCookies) or with a provider still does, and so does
    /// [`Auth::unlock`].
    Locked,
}

impl Auth {
    /// Signs in with a password. What the visitor put into the session before stays, unless somebody else was signed in.
    pub async fn log_in(&self, session: &Session, attempt: Attempt) -> Result<LoginOutcome, Error> {
        let Attempt { email, password, remember, origin } = attempt;
        let (account, now) = (account_key(&email), session.now());
        let (asked, user) = self.ask_sign_in(&email, &account, &origin, now).await?;
        let requester = requester(asked.device(), &origin);
        let verify = self.verify(&email, user.as_ref(), &password, requester);
        let (charge, verified) = self.charge_and_verify(asked, verify, now).await?;
        let id = user.as_ref().map(|user| user.id.clone());
        let counted = match charge {
            Charge::Allowed(counted) => counted,
            Charge::Throttled { retry_after } => {
                let (user, login) = (id.as_ref().map(UserId::as_str), self.login_hash(&account));
                tracing::warn!(event = "login_throttled", client = %origin.addr, login, user);
                return Ok(LoginOutcome::Throttled { retry_after });
            }
            Charge::Locked => {
                let (user, login) = (id.as_ref().map(UserId::as_str), self.login_hash(&account));
                tracing::warn!(event = "login_locked", user, login, client = %origin.addr);
                return Ok(LoginOutcome::Locked);
            }
        };
        let Some(user) = self.accepted(user, verified.verdict, password, requester).await? else {
            verified.refusal().await;
            let (user, login) = (id.as_ref().map(UserId::as_str), self.login_hash(&account));
            tracing::warn!(event = "login_refused", client = %origin.addr, login, user);
            self.log_limit(&counted, &account, id.as_ref(), &origin);
            return Ok(LoginOutcome::Refused);
        };
        self.establish(session, &user, &origin)?;
        if remember {
            session.remember_for(self.options().remember_for);
        }
        self.keep(session, &user, counted, now).await?;
        tracing::info!(event = "login_succeeded", user = %user.id, client = %origin.addr);
        Ok(LoginOutcome::LoggedIn(user))
    }

    /// What a sign-in is counted on, and the account, which is looked up meanwhile: whoever is slowed down costs no more by it, and everybody
    /// else waits once less.
    async fn ask_sign_in(
        &self,
        email: &str,
        account: &str,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(Asked, Option<User>), Error> {
        let (throttle, limits) = (&self.inner().throttle, &self.options().throttle);
        let device = self.device(account, origin, now);
        let attempted = Attempted { account, addr: origin.addr, device };
        let ask = async { Ok(throttle.ask_sign_in(attempted, now).await?) };
        let (mut asked, user) = tokio::try_join!(ask, self.user_by_email(email))?;
        asked.check_device(|device| self.is_current(device, account, user.as_ref()), limits, now);
        Ok((asked, user))
    }

    /// Counts the attempt while the password is hashed: nobody waits for it, and nobody learns what came out before it is counted. Where many
    /// have failed, only what is allowed costs a hash.
    async fn charge_and_verify(
        &self,
        asked: Asked,
        verify: impl Future<Output = Result<Verified, Error>>,
        now: Timestamp,
    ) -> Result<(Charge<SignIn>, Verified), Error> {
        let (throttle, limits) = (&self.inner().throttle, &self.options().throttle);
        let quiet = asked.is_quiet(limits, now);
        let charge = throttle.charge_sign_in(asked, limits, now);
        let (charge, verified) = if quiet {
            let (charge, verified) = tokio::join!(charge, verify);
            (charge?, verified)
        } else {
            let charge = charge.await?;
            let allowed = matches!(charge, Charge::Allowed(_));
            (charge, if allowed { verify.await } else { Ok(Verified::nothing()) })
        };
        match (charge, verified) {
            (Charge::Allowed(counted), Err(error)) => {
                // Nobody learnt anything: where too many hash at once, the owner's attempts must not be used up.
                throttle.take_back(counted, now).await?;
                Err(error)
            }
            (charge, verified) => Ok((charge, verified.unwrap_or_else(|_| Verified::nothing()))),
        }
    }

    /// Says when the attempt that has failed was the last one before the limit of failures in a row.
    fn log_limit(&self, counted: &SignIn, account: &str, user: Option<&UserId>, origin: &Origin) {
        if !counted.is_last {
            return;
        }
        let (user, login, client) = (user.map(UserId::as_str), self.login_hash(account), origin.addr);
        let failures = self.options().throttle.max_failures;
        if counted.is_known_browser() {
            tracing::warn!(event = "known_browser_distrusted", user, login, failures, %client);
        } else {
            tracing::warn!(event = "account_locked", user, login, failures, %client, "only known browsers, providers and hallpass user unlock open it");
        }
    }

    /// Stores the session, and gives back what a success does not cost: beside each other, because neither needs the other.
    async fn keep(
        &self,
        session: &Session,
        user: &User,
        counted: SignIn,
        now: Timestamp,
    ) -> Result<(), Error> {
        // As express-session has it, the session is written at the end whatever was saved before.
        let save = async { if session.is_express() { Ok(true) } else { session.save().await } };
        let (settled, saved) = tokio::join!(self.inner().throttle.settle(counted, &user.id, now), save);
        if let Err(error) = settled {
            tracing::warn!(event = "attempt_stays_counted", %error);
        }
        if let Err(error) = saved {
            // Whoever is told that it failed must not be signed in by the same answer.
            session.discard();
            return Err(error.into());
        }
        Ok(())
    }

    /// The user, if what came out lets him in.
    async fn accepted(
        &self,
        user: Option<User>,
        verdict: Verdict,
        password: Secret<String>,
        requester: Requester,
    ) -> Result<Option<User>, Error> {
        let Some(mut user) = user.filter(|_| verdict != Verdict::Wrong) else { return Ok(None) };
        if user.disabled {
            tracing::warn!(event = "login_disabled", user = %user.id);
            return Ok(None);
        }
        if verdict == Verdict::Outdated {
            self.rehash(&mut user, password, requester).await?;
        }
        Ok(Some(user))
    }

    /// Stores the password under a better hash. If it was changed at this very moment, the change wins.
    async fn rehash(
        &self,
        user: &mut User,
        password: Secret<String>,
        requester: Requester,
    ) -> Result<(), Error> {
        let Some(from) = user.password.clone() else { return Ok(()) };
        let to = match self.inner().hashing.hash(password, requester).await {
            // The password was right: a better hash can wait until fewer sign in.
            Err(Error::Busy { .. }) => return Ok(()),
            hashed => hashed?,
        };
        let change = Change::Rehash { from, to: to.clone() };
        if self.inner().users.change(&user.id, &change).await? == UserChanged::Done {
            tracing::info!(event = "password_rehashed", user = %user.id);
            user.password = Some(to);
        }
        Ok(())
    }

    /// Signs in a user whom the application has verified itself, such as by a code it has sent or a client certificate. What the
    /// visitor put into the session before stays, unless somebody else was signed in. Refused when there is no such account, or
    /// when it is disabled; never throttled.
    ///
    /// Writing the user's ID into the session's data signs nobody in: the session would not be listed, and would survive a change of
    /// the password.
    pub async fn log_in_verified(
        &self,
        session: &Session,
        user: &UserId,
        origin: &Origin,
    ) -> Result<LoginOutcome, Error> {
        let found = self.inner().users.find(user).await?.filter(|found| !found.disabled);
        let Some(user) = found else {
            tracing::warn!(event = "login_refused", client = %origin.addr);
            return Ok(LoginOutcome::Refused);
        };
        self.establish(session, &user, origin)?;
        tracing::info!(event = "login_succeeded", user = %user.id, client = %origin.addr);
        Ok(LoginOutcome::LoggedIn(user))
    }

    /// The one place that writes who is signed in; always with a new id.
    pub(crate) fn establish(&self, session: &Session, user: &User, origin: &Origin) -> Result<(), Error> {
        self.open(session, user, origin, None)
    }

    /// The same for somebody whom a provider has vouched for.
    #[cfg(feature = "oauth")]
    pub(crate) fn establish_via(
        &self,
        session: &Session,
        user: &User,
        origin: &Origin,
        via: Via,
    ) -> Result<(), Error> {
        self.open(session, user, origin, Some(via))
    }

    fn open(&self, session: &Session, user: &User, origin: &Origin, via: Option<Via>) -> Result<(), Error> {
        if self.options().login_key.is_of_another(session, &user.id) {
            // A session that an Express app opened is not listed under its user: its data must not be inherited either.
            session.clear();
        }
        session.establish(user.id.as_str());
        self.mark(session, user, origin, via)
    }

    /// What stands in a session that has just been authenticated.
    pub(crate) fn mark(
        &self,
        session: &Session,
        user: &User,
        origin: &Origin,
        via: Option<Via>,
    ) -> Result<(), Error> {
        self.options().login_key.set(session, &user.id, self.conventions().numeric_ids)?;
        let mut label = serde_json::json!({ "addr": origin.addr, "agent": origin.user_agent });
        if let Some(via) = &via {
            label["via"] = via.link.as_str().into();
            label["sid"] = via.sid.as_deref().into();
        }
        STAMP.insert(session, &Stamp { epoch: user.session_epoch, via })?;
        session.set_label(&label.to_string());
        self.remember_browser(session, user, &origin.devices);
        Ok(())
    }

    /// The user of a session, if the account still counts.
    pub async fn current_user(&self, session: &Session) -> Result<Option<User>, Error> {
        let Some((id, stamp)) = self.signed_in(session) else { return Ok(None) };
        // A session that another application opened has no stamp.
        let current = |user: &User| stamp.as_ref().is_none_or(|stamp| user.session_epoch == stamp.epoch);
        let counts = |user: &User| current(user) && !user.disabled;
        // A copy may be a moment too old for a session from after a change of password: only the store says no.
        if let Some(user) = self.inner().users.cached(&id).filter(counts) {
            return Ok(Some(user));
        }
        Ok(self.inner().users.find(&id).await?.filter(counts))
    }

    /// Ends this session.
    pub fn log_out(&self, session: &Session) {
        if let Some(handle) = session.handle() {
            tracing::info!(event = "logged_out", user = session.user().as_deref(), session = %handle);
        }
        session.destroy();
    }

    /// Ends this session and all others of its user; how many others ended. No other browser stays [known](crate::DeviceCookies). This
    /// session ends last, so that it can be repeated when the store fails.
    ///
    /// # Errors
    /// The store failed. Nothing has happened, unless the answer of the store was lost: then repeat it.
    pub async fn log_out_everywhere(&self, session: &Session) -> Result<EndedSessions, Error> {
        let Some((id, _)) = self.signed_in(session) else {
            session.destroy();
            return Ok(EndedSessions { count: 0, remains: None });
        };
        let user = self.inner().users.find(&id).await?;
        let (store, except, now) = (session.store().as_ref(), session.id(), session.now());
        let count = self.end_sessions_of(store, &id, except.as_ref(), Ending::User, now).await?;
        let mut remains = match &user {
            Some(user) => self.forget_browsers(session, user).await,
            None => None,
        };
        self.log_out(session);
        // As express-session has it, a session ends with the response.
        let ended = if session.is_express() { Ok(false) } else { session.save().await };
        if let Err(error) = ended {
            tracing::error!(event = "session_remains", user = %id, error = &error as &dyn std::error::Error);
            // The layer would try again, and answer 503 although the others have ended.
            session.discard();
            remains = Some(Remains::ThisSession);
        }
        Ok(EndedSessions { count, remains })
    }
}

#[cfg(test)]
mod tests;

//! Which account somebody from a provider gets.
//!
//! Each order of writes, cut short, leaves an account that the next sign-in finds and finishes.

use std::time::Duration;

use hallpass_session::{Session, Timestamp};

use super::{
    Failure, Outcome, Providers,
    attempt::hash,
    failure::{Problem, Stop},
    finish::Arrival,
    link,
};
use crate::{Change, LoginKind, Record, User, UserChanged, UserId, stamp::Via};

/// How often it is looked again when somebody else is at work on the same account at the same moment.
pub(super) const MAX_TRIES: usize = 8;

/// How long an account may be missing that a link names: its maker is at work.
const IN_THE_MAKING: Duration = Duration::from_secs(5);

/// How long a session without an absolute timeout can be found by the provider's name for it.
const LONGEST_SESSION: Duration = Duration::from_secs(400 * 24 * 3600);

/// Who was found or made.
pub(super) struct Found {
    pub(super) user: User,
    pub(super) created: bool,
    pub(super) claimed: bool,
}

impl Found {
    fn known(user: User) -> Self {
        Self { user, created: false, claimed: false }
    }
}

impl Providers {
    /// Signs in whoever the provider says it is.
    pub(super) async fn sign_in(&self, session: &Session, arrival: &Arrival<'_>) -> Result<Outcome, Stop> {
        let Found { user, created, claimed } = self.account(session, arrival).await?;
        if user.disabled {
            return Err(
                Problem::new(Failure::Disabled, format!("the account {} is disabled", user.id)).into()
            );
        }
        let provider = &arrival.entry.provider;
        let via = Via {
            provider: provider.name.clone(),
            link: arrival.identity.key(),
            sid: arrival.identity.session.as_deref().map(hash),
            hint: self.sealed_hint(arrival),
        };
        self.0.auth.establish_via(session, &user, arrival.origin, via)?;
        if provider.remember {
            session.remember_for(self.0.auth.options().remember_for);
        }
        let until = session.lifetime().until.unwrap_or(session.now() + LONGEST_SESSION);
        self.note_session(arrival, &user.id, until, session.now()).await?;
        self.0.auth.note_sign_in(&user, arrival.origin, session.now()).await;
        let client = arrival.origin.addr;
        tracing::info!(event = "login_succeeded", user = %user.id, provider = provider.name, created, claimed, %client);
        Ok(Outcome::SignedIn { user, created, claimed })
    }

    async fn account(&self, session: &Session, arrival: &Arrival<'_>) -> Result<Found, Stop> {
        for _ in 0..MAX_TRIES {
            if let Some(user) = self.linked(session, arrival).await? {
                return Ok(Found::known(user));
            }
            if let Some(found) = self.unlinked(session, arrival).await? {
                return Ok(found);
            }
        }
        Err(Problem::new(Failure::Provider, "others were at work on the same account").into())
    }

    /// The user whom the person's link names.
    async fn linked(&self, session: &Session, arrival: &Arrival<'_>) -> Result<Option<User>, Stop> {
        let (key, now) = (link::key(&arrival.identity.key()), session.now());
        let Some(mut record) = self.records().get(&key, now).await? else { return Ok(None) };
        let Some(user) = self.owner(&mut record, now).await? else {
            self.remove_dangling(record, now).await?;
            return Ok(None);
        };
        // Whoever claims the account removes links before its epoch moves on for the last time: what was read before that opens nothing, and
        // what was read afterwards had no link.
        if self.records().get(&key, now).await?.is_none_or(|still| still.owner != record.owner) {
            return Ok(None);
        }
        if user.verified != Some(true) && arrival.identity.proves(&user.email) {
            self.0.auth.note_verified(&user, now).await?;
        }
        self.mark_link(record, &user, now).await?;
        Ok(Some(user))
    }

    /// The owner of a link, waiting a moment when both are being made right now. The link is read again each time: when the database gives
    /// ids, it moves to another owner. `record` is what was read last.
    pub(super) async fn owner(&self, record: &mut Record, now: Timestamp) -> Result<Option<User>, Stop> {
        let young = link::read(record).linked.is_younger(IN_THE_MAKING, now);
        let mut looks = if young { 20 } else { 1 };
        while let Some(id) = &record.owner {
            if let Some(user) = self.users().find(id).await? {
                let same = link::is_of(record, &user, self.0.auth.conventions().reuse);
                if !same {
                    tracing::warn!(event = "id_reused", user = %user.id, "a link was made for a former account with this id");
                }
                return Ok(same.then_some(user));
            }
            looks -= 1;
            if looks == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            let Some(newer) = self.records().get(&record.key, now).await? else { break };
            *record = newer;
        }
        Ok(None)
    }

    /// Removes a link to an account that was deleted, or never made to its end; not if the link was changed since it was read: then it
    /// has another owner.
    pub(super) async fn remove_dangling(&self, record: Record, now: Timestamp) -> Result<(), Stop> {
        self.records().replace(&Record { expires: Some(now), ..record }, now).await?;
        Ok(())
    }

    /// The account of somebody who has no link yet. `None`: look again, somebody else was quicker.
    async fn unlinked(&self, session: &Session, arrival: &Arrival<'_>) -> Result<Option<Found>, Stop> {
        let (identity, now) = (&arrival.identity, session.now());
        let name = &arrival.entry.provider.name;
        if let Some(user) = self.users().find_by_provider(name, &identity.subject).await? {
            // An application's own table says so already.
            arrival.begin();
            if !self.note_link(arrival, &user, now).await? {
                return Ok(None);
            }
            // Whoever claims the account or disconnects the provider empties the field first and removes links afterwards: one of us sees the
            // other.
            let still = self.users().find_by_provider(name, &identity.subject).await?;
            if still.is_some_and(|still| still.id == user.id && still.session_epoch == user.session_epoch) {
                return Ok(Some(Found::known(user)));
            }
            self.records().take(&link::key(&identity.key()), now).await?;
            return Ok(None);
        }
        let Some(email) = &identity.email else {
            if let Some(missing) = identity.missing.clone() {
                return Err(missing.into());
            }
            let detail = identity.refused.map_or_else(
                || "the provider told no address".to_owned(),
                |reason| format!("the address that the provider told cannot be used: {reason}"),
            );
            return Err(Problem::new(Failure::NoEmail, detail).into());
        };
        match self.0.auth.user_of_address(email).await? {
            Some(user) => self.by_address(session, arrival, user).await,
            None => self.create(session, arrival, email).await,
        }
    }

    /// Somebody comes whose address has an account here.
    async fn by_address(
        &self,
        session: &Session,
        arrival: &Arrival<'_>,
        user: User,
    ) -> Result<Option<Found>, Stop> {
        let now = session.now();
        if self.users().conventions().logins.kind == LoginKind::UserName {
            // Anybody may have chosen somebody's address for a name.
            let detail = "an account has the address for a user name, which says nothing about whose it is";
            return Err(Problem::new(Failure::AddressTaken, detail).into());
        }
        if !arrival.identity.email_verified {
            let detail = "the provider has not verified the address, and an account has it";
            return Err(Problem::new(Failure::AddressTaken, detail).into());
        }
        if user.disabled {
            return Ok(Some(Found::known(user)));
        }
        self.check_claim(arrival, &user, now).await?;
        if self.0.auth.is_verified(&user, now).await? {
            arrival.begin();
            return self.open_by_address(arrival, user, now).await;
        }
        if user.verified.is_none() {
            // Its owner may have made it long ago, with a password that they go on using; or somebody in wait for them.
            let detail = format!(
                "nobody knows whether the address of the account {} was ever verified: map a field for it, or run hallpass user verify",
                user.id
            );
            return Err(Problem::new(Failure::AddressTaken, detail).into());
        }
        self.claim(session, arrival, user).await
    }

    /// Whether an address may open this account, or take it over.
    async fn check_claim(&self, arrival: &Arrival<'_>, user: &User, now: Timestamp) -> Result<(), Stop> {
        let why = if !arrival.entry.provider.may_claim {
            "the provider may claim no accounts (may_claim)"
        } else if self.0.auth.is_protected(user, now).await? {
            "it has roles, or an operator made it"
        } else {
            return Ok(());
        };
        let detail =
            format!("the account {} is connected only by whoever is signed in to it: {why}", user.id);
        Err(Problem::new(Failure::AddressTaken, detail).into())
    }

    /// Whoever has verified the address on both sides is let in.
    async fn open_by_address(
        &self,
        arrival: &Arrival<'_>,
        user: User,
        now: Timestamp,
    ) -> Result<Option<Found>, Stop> {
        if !self.note_link(arrival, &user, now).await? {
            return Ok(None);
        }
        // Whoever gives the account a role meanwhile does so before this, or finds the link.
        let still = self.users().find(&user.id).await?;
        let roles = still.as_ref().is_some_and(|still| still.roles != user.roles);
        if roles {
            self.records().take(&link::key(&arrival.identity.key()), now).await?;
            return Ok(None);
        }
        Ok(Some(Found::known(user)))
    }

    /// The owner of an address takes over an account that anybody may have made: password, sessions, and everything that could open it
    /// again, go first.
    async fn claim(
        &self,
        session: &Session,
        arrival: &Arrival<'_>,
        user: User,
    ) -> Result<Option<Found>, Stop> {
        let now = session.now();
        arrival.begin();
        if self.users().change(&user.id, &Change::Disconnect(None)).await? == UserChanged::Refused {
            let detail = format!(
                "the account {} cannot be taken over: a field in users.providers holds its maker's id and must not be empty",
                user.id
            );
            return Err(Problem::new(Failure::AddressTaken, detail).into());
        }
        let change = Change::Password { from: user.stored_password(), to: None };
        if self.users().change(&user.id, &change).await? != UserChanged::Done {
            return Ok(None);
        }
        self.records().delete_owned(&user.id, now).await?;
        // Whoever came by one of the links has read the account before this, or finds no link.
        self.take_password(&user.id).await?;
        session.store().delete_of_user(user.id.as_str(), None, now).await?;
        // The application may have been at work for one of these sessions.
        self.users().change(&user.id, &Change::Disconnect(None)).await?;
        if !self.note_link(arrival, &user, now).await? {
            return Ok(None);
        }
        if let Some(name) = &arrival.identity.name {
            self.users().change(&user.id, &Change::Name(Some(name.clone()))).await?;
        }
        self.0.auth.note_verified(&user, now).await?;
        let Some(user) = self.without_password(session, &user.id).await? else { return Ok(None) };
        tracing::warn!(event = "account_claimed", user = %user.id, provider = arrival.entry.provider.name);
        Ok(Some(Found { user, created: false, claimed: true }))
    }

    /// The user who was taken over a moment ago. The owner of the address had no chance to set a password yet, so one that is there comes
    /// from whoever had the account before, and was on its way.
    async fn without_password(&self, session: &Session, id: &UserId) -> Result<Option<User>, Stop> {
        for _ in 0..MAX_TRIES {
            let Some(user) = self.users().find(id).await? else { return Ok(None) };
            if user.password.is_none() {
                return Ok(Some(user));
            }
            self.take_password(id).await?;
            session.store().delete_of_user(id.as_str(), None, session.now()).await?;
        }
        Err(Problem::new(Failure::Provider, "others were at work on the same account").into())
    }

    /// Removes whatever stands in the place of a password now, which moves the account's epoch on.
    async fn take_password(&self, id: &UserId) -> Result<(), Stop> {
        for _ in 0..MAX_TRIES {
            let Some(user) = self.users().find(id).await? else { return Ok(()) };
            let change = Change::Password { from: user.stored_password(), to: None };
            if self.users().change(id, &change).await? != UserChanged::Refused {
                return Ok(());
            }
        }
        Err(Problem::new(Failure::Provider, "others were at work on the same account").into())
    }
}

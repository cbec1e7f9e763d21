//! A new account for somebody from a provider.

use hallpass_session::{Session, Timestamp};

use super::{
    Failure, Providers,
    account::{Found, MAX_TRIES},
    failure::{Problem, Stop},
    finish::Arrival,
    link,
};
use crate::{Email, Record, Replaced, Reuse, User, UserCreated, UserId, throttle::Charge};

impl Providers {
    /// A new account. The link comes first: of many tabs at once, one makes the account.
    pub(super) async fn create(
        &self,
        session: &Session,
        arrival: &Arrival<'_>,
        email: &Email,
    ) -> Result<Option<Found>, Stop> {
        let now = session.now();
        if !arrival.entry.provider.sign_up {
            return Err(Problem::new(Failure::SignUpClosed, "no account has this address").into());
        }
        let (throttle, limit) = (&self.0.auth.inner().throttle, &self.0.auth.options().throttle.register);
        if let Charge::Throttled { .. } =
            throttle.charge_networks("register", arrival.origin.addr, limit, now).await?
        {
            return Err(Problem::new(Failure::Throttled, "too many new accounts from one address").into());
        }
        let mut user = User::new(email.clone(), now);
        user.name.clone_from(&arrival.identity.name);
        arrival.begin();
        if !self.note_first_link(arrival, &user.id, now).await? {
            return Ok(None);
        }
        if arrival.identity.email_verified {
            self.0.auth.note_verified(&user, now).await?;
            user.verified = Some(true);
        }
        match self.users().create(&user).await? {
            UserCreated::Done(id) if id == user.id => {}
            UserCreated::Done(id) => self.move_notes(arrival, &mut user, id, now).await?,
            UserCreated::Taken => {
                self.records().delete_owned(&user.id, now).await?;
                if self.0.auth.user_of_address(email).await?.is_none() {
                    let detail =
                        "accounts have the address in other spellings, and none of them can be meant";
                    return Err(Problem::new(Failure::AddressTaken, detail).into());
                }
                return Ok(None);
            }
            UserCreated::Closed(why) => {
                self.records().delete_owned(&user.id, now).await?;
                return Err(Problem::new(Failure::SignUpClosed, why).into());
            }
        }
        // What the database has made of it, its epoch above all.
        let Some(user) = self.users().find(&user.id).await? else { return Ok(None) };
        if arrival.identity.email_verified && user.verified != Some(true) {
            // With what tells it from a former account of this id now.
            self.0.auth.note_verified(&user, now).await?;
        }
        if let Some(link) = self.records().get(&link::key(&arrival.identity.key()), now).await? {
            self.mark_link(link, &user, now).await?;
        }
        tracing::info!(event = "registered", user = %user.id, provider = arrival.entry.provider.name);
        Ok(Some(Found { user, created: true, claimed: false }))
    }

    /// The database gave the new account another id: what was noted under ours moves there. The link is never missing meanwhile, so that
    /// other tabs of the same person find it and wait.
    async fn move_notes(
        &self,
        arrival: &Arrival<'_>,
        user: &mut User,
        id: UserId,
        now: Timestamp,
    ) -> Result<(), Stop> {
        if self.0.auth.conventions().reuse != Reuse::Never {
            // What a former account of this id has left behind.
            self.records().delete_owned(&id, now).await?;
        }
        let before = std::mem::replace(&mut user.id, id);
        if arrival.identity.email_verified {
            self.0.auth.note_verified(user, now).await?;
        }
        self.move_link(arrival, &before, &user.id, now).await?;
        self.records().delete_owned(&before, now).await?;
        Ok(())
    }

    async fn move_link(
        &self,
        arrival: &Arrival<'_>,
        from: &UserId,
        to: &UserId,
        now: Timestamp,
    ) -> Result<(), Stop> {
        let key = link::key(&arrival.identity.key());
        for _ in 0..MAX_TRIES {
            let Some(record) = self.records().get(&key, now).await? else {
                // A request that waited too long has removed it.
                if self.note_first_link(arrival, to, now).await? {
                    return Ok(());
                }
                continue;
            };
            if record.owner.as_ref() != Some(from) {
                break;
            }
            let moved = Record { owner: Some(to.clone()), ..record };
            if self.records().replace(&moved, now).await? == Replaced::Done {
                return Ok(());
            }
        }
        Err(Problem::new(Failure::Provider, "others were at work on the same account").into())
    }
}

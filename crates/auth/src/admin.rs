//! What operators do with accounts. Each order of writes logs somebody out when it is cut short, never in.

use std::time::Duration;

use hallpass_session::{SessionStore, StoreError, Timestamp};

use crate::{Auth, Change, Email, Ending, Error, User, UserChanged};

/// The answer to [`Auth::set_disabled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disabled {
    /// It is done, and with disabling the sessions have ended.
    Done,
    /// The account is disabled, so its sessions open nothing; they could not be removed from the store.
    SessionsRemain,
    /// There is no such account.
    Gone,
    /// An existing table has no place for it; nothing was changed.
    NoPlace,
}

/// The answer to [`Auth::delete_user`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The account is gone, with its sessions and records.
    Done,
    /// The account is gone; of its sessions and records, which open nothing, some could not be removed.
    Leftovers,
    /// There was no such account.
    Missing,
}

/// The pauses between attempts to remove what belongs to a deleted account, in milliseconds.
const PAUSES: [u64; 4] = [0, 50, 200, 1000];

impl Auth {
    /// The user who signs in as this; `None` also when nobody can have such a login.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, Error> {
        Ok(self.first_of(&self.conventions().logins.candidates(email)).await?)
    }

    /// The user with this address, in whichever form its domain is stored.
    pub(crate) async fn user_of_address(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.first_of(&self.conventions().logins.forms(email)).await
    }

    /// The user with the first of these logins that somebody has. All are asked for, so that the time does not tell which was found.
    async fn first_of(&self, logins: &[Email]) -> Result<Option<User>, StoreError> {
        let mut first = None;
        for login in logins {
            let found = self.inner().users.find_by_email(login).await?;
            first = first.or(found);
        }
        Ok(first)
    }

    /// Disables or enables an account; disabling ends its sessions (ASVS 5.0 7.4.2).
    pub async fn set_disabled(
        &self,
        user: &User,
        disabled: bool,
        sessions: &dyn SessionStore,
        now: Timestamp,
    ) -> Result<Disabled, Error> {
        let change = Change::Disabled(disabled);
        match self.changed(user, &change, |now| now.disabled == disabled).await? {
            UserChanged::Done => {}
            UserChanged::NoPlace => return Ok(Disabled::NoPlace),
            UserChanged::Refused | UserChanged::Gone => return Ok(Disabled::Gone),
        }
        tracing::info!(event = "user_disabled", user = %user.id, disabled);
        if !disabled {
            return Ok(Disabled::Done);
        }
        Ok(match self.end_sessions_of(sessions, &user.id, None, Ending::Operator, now).await {
            Ok(_) => Disabled::Done,
            Err(error) => {
                tracing::error!(event = "sessions_remain", user = %user.id, error = &error as &dyn std::error::Error);
                Disabled::SessionsRemain
            }
        })
    }

    /// Deletes an account with its sessions and records.
    pub async fn delete_user(
        &self,
        user: &User,
        sessions: &dyn SessionStore,
        now: Timestamp,
    ) -> Result<Deleted, Error> {
        // The account first: without it no session of its own opens anything, and none can begin.
        let users = &self.inner().users;
        let deleted = match users.delete(&user.id).await {
            // When the answer is lost, the account says whether it is there.
            Err(error) => match users.find(&user.id).await {
                Ok(None) => true,
                _ => return Err(error.into()),
            },
            Ok(deleted) => deleted,
        };
        tracing::info!(event = "user_deleted", user = %user.id);
        for pause in PAUSES {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let ended = sessions.delete_of_user(user.id.as_str(), None, now).await;
            let removed = self.inner().records.delete_owned(&user.id, now).await.map(drop);
            let forgotten = self.forget_provisioned(user, now).await;
            match ended.and(removed).map_err(Error::from).and(forgotten.map_err(Error::from)) {
                Ok(()) if deleted => return Ok(Deleted::Done),
                Ok(()) => return Ok(Deleted::Missing),
                Err(error) => {
                    tracing::error!(event = "leftovers_remain", user = %user.id, error = &error as &dyn std::error::Error);
                }
            }
        }
        Ok(Deleted::Leftovers)
    }
}

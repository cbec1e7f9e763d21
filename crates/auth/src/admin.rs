//! What operators do with accounts. Each order of writes logs somebody out when it is cut short, never in.

use hallpass_session::{SessionStore, StoreError, Timestamp};

use crate::{Auth, Change, Email, Error, User, UserChanged};

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
    ) -> Result<UserChanged, Error> {
        let changed = self.inner().users.change(&user.id, &Change::Disabled(disabled)).await?;
        if changed == UserChanged::NoPlace {
            return Ok(changed);
        }
        if disabled {
            sessions.delete_of_user(user.id.as_str(), None, now).await?;
        }
        tracing::info!(event = "user_disabled", user = %user.id, disabled);
        Ok(changed)
    }

    /// Deletes an account with its sessions and records; `false` when it does not exist.
    pub async fn delete_user(
        &self,
        user: &User,
        sessions: &dyn SessionStore,
        now: Timestamp,
    ) -> Result<bool, Error> {
        // The account first: without it no session of its own opens anything, and none can begin.
        let deleted = self.inner().users.delete(&user.id).await?;
        sessions.delete_of_user(user.id.as_str(), None, now).await?;
        self.inner().records.delete_owned(&user.id, now).await?;
        self.forget_provisioned(user, now).await?;
        tracing::info!(event = "user_deleted", user = %user.id);
        Ok(deleted)
    }
}

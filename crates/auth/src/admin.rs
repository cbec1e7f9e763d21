//! What operators do with accounts. Each order of writes logs somebody out when it is cut short, never in.

use hallpass_session::{SessionStore, Timestamp};

use crate::{Auth, Change, Error, User, UserChanged};

impl Auth {
    /// The user with this address; `None` also when it is no address.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, Error> {
        match self.conventions().logins.typed(email) {
            Some(email) => Ok(self.inner().users.find_by_email(&email).await?),
            None => Ok(None),
        }
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
        tracing::info!(event = "user_deleted", user = %user.id);
        Ok(deleted)
    }
}

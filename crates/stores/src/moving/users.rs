//! Users on the move.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use hallpass_auth::{
    Change, Conventions, Email, PasswordHash, User, UserChanged, UserCreated, UserId, UserStore,
};
use hallpass_session::{Clock, StoreClock, StoreError};

use super::Ended;

pub(super) struct MovingUsers {
    pub(super) old: Arc<dyn UserStore>,
    pub(super) new: Arc<dyn UserStore>,
    pub(super) ended: Ended,
    pub(super) clock: StoreClock,
}

impl MovingUsers {
    /// Brings one user over; whether somebody of this address is in the new place now.
    pub(super) async fn bring(&self, user: &User) -> Result<bool, StoreError> {
        self.new.create(user).await?;
        if self.ended.is_noted(&note(&user.id), self.clock.now()).await? {
            self.new.delete(&user.id).await?;
            return Ok(false);
        }
        // Somebody else may have the address there: then this one stays where it is.
        let brought = self.new.find(&user.id).await?.is_some();
        if brought {
            self.old.delete(&user.id).await?;
        }
        Ok(brought)
    }
}

fn note(id: &UserId) -> String {
    format!("user {id}")
}

#[async_trait]
impl UserStore for MovingUsers {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        if let Some(found) = self.new.find(id).await? {
            return Ok(Some(found));
        }
        if let Some(old) = self.old.find(id).await? {
            self.bring(&old).await?;
        }
        self.new.find(id).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        if let Some(found) = self.new.find_by_email(email).await? {
            return Ok(Some(found));
        }
        if let Some(old) = self.old.find_by_email(email).await? {
            self.bring(&old).await?;
        }
        self.new.find_by_email(email).await
    }

    async fn find_by_provider(&self, provider: &str, subject: &str) -> Result<Option<User>, StoreError> {
        if let Some(found) = self.new.find_by_provider(provider, subject).await? {
            return Ok(Some(found));
        }
        match self.old.find_by_provider(provider, subject).await? {
            Some(old) => self.find(&old.id).await,
            None => Ok(None),
        }
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        if self.find_by_email(&user.email).await?.is_some() || self.find(&user.id).await?.is_some() {
            return Ok(UserCreated::Taken);
        }
        self.new.create(user).await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        self.find(id).await?;
        if let Change::Email { to, .. } = change {
            // The user with the address in the old store must have it here too, or could not move.
            self.find_by_email(to).await?;
        }
        self.new.change(id, change).await
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        self.ended.note(&note(id), self.clock.now()).await?;
        let old = self.old.delete(id).await?;
        Ok(self.new.delete(id).await? || old)
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        let (old, new) = (self.old.list(after, limit).await?, self.new.list(after, limit).await?);
        let by_email = |user: User| (user.email.as_str().to_owned(), user);
        let both: BTreeMap<String, User> = old.into_iter().chain(new).map(by_email).collect();
        Ok(both.into_values().take(limit).collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.old.check().await?;
        self.new.check().await
    }

    fn conventions(&self) -> Conventions {
        self.new.conventions()
    }

    fn epoch_at_first(&self, user: &User) -> u64 {
        self.new.epoch_at_first(user)
    }

    fn epoch_after(&self, user: &User, to: &PasswordHash) -> u64 {
        self.new.epoch_after(user, to)
    }
}

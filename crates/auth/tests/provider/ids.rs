//! Users in a database that gives ids itself, as SQLite does: the highest number and one; and takes its time.

use std::time::Duration;

use async_trait::async_trait;
use hallpass_auth::{
    Change, Conventions, Email, MemoryUsers, User, UserChanged, UserCreated, UserId, UserStore,
};
use hallpass_session::{StoreError, Timestamp};

#[derive(Default)]
pub struct OwnIds {
    pub users: MemoryUsers,
    pub conventions: Conventions,
    /// How many milliseconds its clock is ahead.
    pub ahead: i64,
}

#[async_trait]
impl UserStore for OwnIds {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.users.find(id).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.users.find_by_email(email).await
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let users = self.users.list(None, usize::MAX).await?;
        let highest = users.iter().filter_map(|user| user.id.as_str().parse::<u32>().ok()).max().unwrap_or(0);
        let id = UserId::new(&(highest + 1).to_string());
        let created = Timestamp::from_millis(user.created.as_millis() + self.ahead);
        self.users.create(&User { id, created, ..user.clone() }).await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        self.users.change(id, change).await
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        self.users.delete(id).await
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.users.list(after, limit).await
    }

    fn conventions(&self) -> Conventions {
        self.conventions
    }
}

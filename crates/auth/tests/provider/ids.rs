//! Users in a database that gives ids itself, and takes its time.

use std::time::Duration;

use async_trait::async_trait;
use hallpass_auth::{Change, Email, MemoryUsers, User, UserChanged, UserCreated, UserId, UserStore};
use hallpass_session::StoreError;

pub struct OwnIds(pub MemoryUsers);

#[async_trait]
impl UserStore for OwnIds {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.0.find(id).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.0.find_by_email(email).await
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.0.create(&User { id: UserId::new("1"), ..user.clone() }).await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        self.0.change(id, change).await
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        self.0.delete(id).await
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.0.list(after, limit).await
    }
}

//! Users.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_auth::{Change, Email, PasswordHash, User, UserChanged, UserCreated, UserId, UserStore};
use hallpass_session::{ChangeFeed, StoreError};
use mongodb::{
    Collection,
    bson::{Bson, DateTime, Document, doc},
};
use serde::Deserialize;

use super::{Mongo, Told, date, is_duplicate, time};
use crate::native::limit_of;

/// A user as it is stored.
#[derive(Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    id: String,
    email: String,
    name: Option<String>,
    password: Option<String>,
    roles: Vec<String>,
    disabled: bool,
    created: DateTime,
    session_epoch: i64,
}

#[async_trait]
impl UserStore for Mongo {
    fn changes(&self) -> Option<ChangeFeed<UserId>> {
        self.feed(Told {
            collection: "hallpass_users".to_owned(),
            key_of: Arc::new(|id: &Bson| id.as_str().map(UserId::new)),
            is_use: |_| false,
        })
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.one_user(doc! { "_id": id.as_str() }).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.one_user(doc! { "email": email.as_str() }).await
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        let row = doc! {
            "_id": user.id.as_str(),
            "email": user.email.as_str(),
            "name": user.name.as_deref(),
            "password": user.password.as_ref().map(PasswordHash::expose),
            "roles": user.roles.clone(),
            "disabled": user.disabled,
            "created": date(user.created),
            "session_epoch": user.session_epoch.cast_signed(),
        };
        let users = self.collection("users");
        let created = self.run("create a user", async {
            match users.insert_one(row).await {
                Err(error) if is_duplicate(&error) => Ok(UserCreated::Taken),
                created => created.map(|_| UserCreated::Done(user.id.clone())),
            }
        });
        created.await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        let mut filter = doc! { "_id": id.as_str() };
        let update = match change {
            Change::Password { from, to } => {
                filter.insert("password", from.as_ref().map(PasswordHash::expose));
                let to = to.as_ref().map(PasswordHash::expose);
                doc! { "$set": { "password": to }, "$inc": { "session_epoch": 1_i64 } }
            }
            Change::Rehash { from, to } => {
                filter.insert("password", from.expose());
                doc! { "$set": { "password": to.expose() } }
            }
            Change::Name(name) => doc! { "$set": { "name": name.as_deref() } },
            Change::Roles(roles) => doc! { "$set": { "roles": roles.clone() } },
            Change::Verified(_) | Change::Disconnect(_) => return Ok(UserChanged::NoPlace),
            Change::Disabled(disabled) => {
                doc! { "$set": { "disabled": disabled }, "$inc": { "session_epoch": i64::from(*disabled) } }
            }
        };
        let users = self.collection("users");
        let changed = self.run("change a user", users.update_one(filter, update)).await?;
        if changed.matched_count == 1 {
            return Ok(UserChanged::Done);
        }
        let found = self.run("change a user", users.find_one(doc! { "_id": id.as_str() })).await?;
        Ok(if found.is_some() { UserChanged::Refused } else { UserChanged::Gone })
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        let users = self.collection("users");
        let deleted = self.run("delete a user", users.delete_one(doc! { "_id": id.as_str() })).await?;
        Ok(deleted.deleted_count == 1)
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        let doing = "list the users";
        let after = after.map_or("", Email::as_str);
        let users = self.users();
        let found = users.find(doc! { "email": { "$gt": after } }).sort(doc! { "email": 1 });
        let mut rows = self.run(doing, found.limit(limit_of(limit))).await?;
        let mut users = Vec::new();
        while self.run(doing, rows.advance()).await? {
            users.push(user(rows.deserialize_current().map_err(|error| StoreError::new(doing, error))?));
        }
        Ok(users)
    }
}

impl Mongo {
    fn users(&self) -> Collection<Row> {
        self.database.collection("hallpass_users")
    }

    async fn one_user(&self, filter: Document) -> Result<Option<User>, StoreError> {
        Ok(self.run("find a user", self.users().find_one(filter)).await?.map(user))
    }
}

fn user(row: Row) -> User {
    User {
        id: UserId::new(&row.id),
        email: Email::verbatim(&row.email),
        name: row.name,
        password: row.password.as_deref().map(PasswordHash::new),
        placeholder: None,
        roles: row.roles,
        disabled: row.disabled,
        verified: Some(false),
        created: time(row.created),
        session_epoch: row.session_epoch.cast_unsigned(),
    }
}

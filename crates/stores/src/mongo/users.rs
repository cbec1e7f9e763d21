//! Users.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_auth::{Change, Email, PasswordHash, User, UserChanged, UserCreated, UserId, UserStore};
use hallpass_session::{ChangeFeed, StoreError};
use mongodb::{
    Collection,
    bson::{Bson, DateTime, doc},
};
use serde::Deserialize;

use super::{Mongo, TRIES, Told, date, disagreement, time};
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
        let filter = doc! { "_id": id.as_str() };
        Ok(self.find_confirmed("find a user", &self.users(), filter, None).await?.map(user))
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        let filter = doc! { "email": email.as_str() };
        Ok(self.find_linearizable("find a user", &self.users(), filter, None).await?.map(user))
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
        let (doing, users) = ("create a user", self.collection("users"));
        let same = [doc! { "_id": user.id.as_str() }, doc! { "email": user.email.as_str() }];
        for _ in 0..TRIES {
            if self.unless_taken(doing, users.insert_one(&row)).await? {
                return Ok(UserCreated::Done(user.id.clone()));
            }
            for filter in &same {
                if self.is_there(doing, &users, filter.clone()).await? {
                    return Ok(UserCreated::Taken);
                }
            }
        }
        Err(disagreement(doing))
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
            Change::Email { from, to } => return self.change_email(id, from, to).await,
            Change::Roles(roles) => doc! { "$set": { "roles": roles.clone() } },
            Change::Verified(_) | Change::Disconnect(_) => return Ok(UserChanged::NoPlace),
            Change::Disabled(disabled) => {
                doc! { "$set": { "disabled": disabled }, "$inc": { "session_epoch": i64::from(*disabled) } }
            }
        };
        let (doing, users) = ("change a user", self.collection("users"));
        if self.update_confirmed(doing, &users, &filter, &update).await? {
            return Ok(UserChanged::Done);
        }
        let found = self.is_there(doing, &users, doc! { "_id": id.as_str() }).await?;
        Ok(if found { UserChanged::Refused } else { UserChanged::Gone })
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        let filter = doc! { "_id": id.as_str() };
        Ok(self.delete_all("delete a user", &self.collection("users"), filter).await? > 0)
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        let doing = "list the users";
        let after = after.map_or("", Email::as_str);
        let users = self.users();
        let found = users.find(doc! { "email": { "$gt": after } }).with_options(self.listing());
        let found = found.sort(doc! { "email": 1 }).limit(limit_of(limit));
        let mut rows = self.read(doing, true, found).await?;
        let mut users = Vec::new();
        while self.advance(doing, &mut rows, true).await? {
            users.push(user(rows.deserialize_current().map_err(|error| StoreError::new(doing, error))?));
        }
        Ok(users)
    }
}

impl Mongo {
    fn users(&self) -> Collection<Row> {
        self.database.collection("hallpass_users")
    }

    /// The index over addresses decides whether another account has this one.
    async fn change_email(&self, id: &UserId, from: &Email, to: &Email) -> Result<UserChanged, StoreError> {
        let (doing, users) = ("change a user", self.collection("users"));
        let filter = doc! { "_id": id.as_str(), "email": from.as_str() };
        for _ in 0..TRIES {
            let mut matched = 0;
            let update = async {
                let updated = users.update_one(filter.clone(), doc! { "$set": { "email": to.as_str() } });
                matched = updated.await?.matched_count;
                Ok(())
            };
            let free = self.unless_taken(doing, update).await?;
            if matched > 0 {
                return Ok(UserChanged::Done);
            }
            if !free && self.is_there(doing, &users, doc! { "email": to.as_str() }).await? {
                return Ok(UserChanged::Refused);
            }
            if free && !self.is_there(doing, &users, filter.clone()).await? {
                let found = self.is_there(doing, &users, doc! { "_id": id.as_str() }).await?;
                return Ok(if found { UserChanged::Refused } else { UserChanged::Gone });
            }
        }
        Err(disagreement(doing))
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

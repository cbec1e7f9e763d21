//! Users.

use async_trait::async_trait;
use hallpass_auth::{Change, Email, PasswordHash, User, UserChanged, UserCreated, UserId, UserStore};
use hallpass_session::{ChangeFeed, StoreError, Timestamp};
use tokio_postgres::{Row, error::SqlState};

use super::{Postgres, Told, Values, column, refusal};
use crate::native::limit_of;

/// Named one by one: a column that a later version adds must not break statements that are prepared already.
macro_rules! columns {
    () => {
        "id, email, name, password, roles, disabled, created, session_epoch"
    };
}

const FIND: &str = concat!("select ", columns!(), " from users where id = $1");
const FIND_BY_EMAIL: &str = concat!("select ", columns!(), " from users where email = $1");
const LIST: &str = concat!("select ", columns!(), " from users where email > $1 order by email limit $2");
const CREATE: &str = "insert into users (id, email, name, password, roles, disabled, created, session_epoch)
    values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing returning 1";
const DELETE: &str = "delete from users where id = $1 returning 1";

/// A change, and whether there is such a user when it was not made.
macro_rules! change {
    ($change:literal) => {
        concat!(
            "with done as (update users set ",
            $change,
            " returning 1) select exists (select from done) as done, exists (select from users where id = $1) as found"
        )
    };
}

const PASSWORD: &str = change!(
    "password = $3, session_epoch = session_epoch + 1 where id = $1 and password is not distinct from $2"
);
const REHASH: &str = change!("password = $3 where id = $1 and password = $2");
const NAME: &str = change!("name = $2 where id = $1");
const EMAIL: &str = change!("email = $3 where id = $1 and email = $2");
const ROLES: &str = change!("roles = $2 where id = $1");
const DISABLED: &str = change!(
    "disabled = $2, session_epoch = session_epoch + case when $2::bool then 1 else 0 end where id = $1"
);

#[async_trait]
impl UserStore for Postgres {
    fn changes(&self) -> Option<ChangeFeed<UserId>> {
        Some(self.feed(Told {
            table: "users".to_owned(),
            key: "id".to_owned(),
            name: "was.id".to_owned(),
            named: |id| Some(UserId::new(id)),
            differs: "next.* is distinct from was.*".to_owned(),
        }))
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.one_user(FIND, id.as_str()).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.one_user(FIND_BY_EMAIL, email.as_str()).await
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        let values: Values<'_> = &[
            &user.id.as_str(),
            &user.email.as_str(),
            &user.name,
            &user.password.as_ref().map(PasswordHash::expose),
            &user.roles,
            &user.disabled,
            &user.created.as_millis(),
            &user.session_epoch.cast_signed(),
        ];
        let created = self.settled_query("create a user", CREATE, values).await?;
        Ok(if created.is_empty() { UserCreated::Taken } else { UserCreated::Done(user.id.clone()) })
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        let id = &id.as_str();
        match change {
            Change::Password { from, to } => {
                let (from, to) =
                    (from.as_ref().map(PasswordHash::expose), to.as_ref().map(PasswordHash::expose));
                self.apply(PASSWORD, &[id, &from, &to]).await
            }
            Change::Rehash { from, to } => self.apply(REHASH, &[id, &from.expose(), &to.expose()]).await,
            Change::Name(name) => self.apply(NAME, &[id, name]).await,
            Change::Email { from, to } => {
                match self.apply(EMAIL, &[id, &from.as_str(), &to.as_str()]).await {
                    Err(error) if is_taken(&error) => {
                        self.settle("change a user").await?;
                        Ok(UserChanged::Refused)
                    }
                    changed => changed,
                }
            }
            Change::Roles(roles) => self.apply(ROLES, &[id, roles]).await,
            Change::Verified(_) | Change::Disconnect(_) => Ok(UserChanged::NoPlace),
            Change::Disabled(disabled) => self.apply(DISABLED, &[id, disabled]).await,
        }
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        Ok(!self.settled_query("delete a user", DELETE, &[&id.as_str()]).await?.is_empty())
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        let after = after.map_or("", Email::as_str);
        let rows = self.query("list the users", LIST, &[&after, &limit_of(limit)]).await?;
        rows.iter().map(user).collect()
    }
}

impl Postgres {
    async fn one_user(&self, sql: &'static str, value: &str) -> Result<Option<User>, StoreError> {
        self.query("find a user", sql, &[&value]).await?.first().map(user).transpose()
    }

    async fn apply(&self, sql: &'static str, values: Values<'_>) -> Result<UserChanged, StoreError> {
        let doing = "change a user";
        let row = self.query_one(doing, sql, values).await?;
        if !column::<bool>(&row, doing, "done")? {
            self.settle(doing).await?;
        }
        Ok(match (column(&row, doing, "done")?, column(&row, doing, "found")?) {
            (true, _) => UserChanged::Done,
            (false, true) => UserChanged::Refused,
            (false, false) => UserChanged::Gone,
        })
    }
}

/// Whether another account has the address.
fn is_taken(error: &StoreError) -> bool {
    refusal(error).is_some_and(|error| *error.code() == SqlState::UNIQUE_VIOLATION)
}

fn user(row: &Row) -> Result<User, StoreError> {
    let doing = "read a user";
    Ok(User {
        id: UserId::new(column(row, doing, "id")?),
        email: Email::verbatim(column(row, doing, "email")?),
        name: column(row, doing, "name")?,
        password: column::<Option<&str>>(row, doing, "password")?.map(PasswordHash::new),
        placeholder: None,
        roles: column(row, doing, "roles")?,
        disabled: column(row, doing, "disabled")?,
        verified: Some(false),
        created: Timestamp::from_millis(column(row, doing, "created")?),
        session_epoch: column::<i64>(row, doing, "session_epoch")?.cast_unsigned(),
    })
}

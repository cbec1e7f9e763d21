//! Users.

use async_trait::async_trait;
use hallpass_auth::{Change, Email, PasswordHash, User, UserChanged, UserCreated, UserId, UserStore};
use hallpass_session::{ChangeFeed, StoreError, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params, types::Type};

use super::{Sqlite, feed::Table};
use crate::native::limit_of;

const SELECT: &str = "select id, email, name, password, roles, disabled, created, session_epoch from users";

#[async_trait]
impl UserStore for Sqlite {
    fn changes(&self) -> Option<ChangeFeed<UserId>> {
        Some(self.feed(Table::Users, |id| std::str::from_utf8(id).ok().map(UserId::new)))
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.read("find a user", move |connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} where id = ?1"))?;
            select.query_row([id.as_str()], user).optional()
        })
        .await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        let email = email.clone();
        self.read("find a user", move |connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} where email = ?1"))?;
            select.query_row([email.as_str()], user).optional()
        })
        .await
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        let user = user.clone();
        self.write("create a user", move |connection| {
            let sql = "insert into users (id, email, name, password, roles, disabled, created, session_epoch)
                values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict do nothing";
            let inserted = connection.prepare_cached(sql)?.execute(params![
                user.id.as_str(),
                user.email.as_str(),
                user.name,
                user.password.as_ref().map(PasswordHash::expose),
                roles_json(&user.roles),
                user.disabled,
                user.created.as_millis(),
                user.session_epoch.cast_signed(),
            ])?;
            Ok(if inserted == 1 { UserCreated::Done(user.id) } else { UserCreated::Taken })
        })
        .await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        if matches!(change, Change::Verified(_) | Change::Disconnect(_)) {
            return Ok(UserChanged::NoPlace);
        }
        let (id, change) = (id.clone(), change.clone());
        self.write("change a user", move |connection| {
            if apply(connection, &id, &change)? {
                return Ok(UserChanged::Done);
            }
            let exists =
                connection.prepare_cached("select 1 from users where id = ?1")?.exists([id.as_str()])?;
            Ok(if exists { UserChanged::Refused } else { UserChanged::Gone })
        })
        .await
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write("delete a user", move |connection| {
            Ok(connection.prepare_cached("delete from users where id = ?1")?.execute([id.as_str()])? == 1)
        })
        .await
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        let after = after.map(|email| email.as_str().to_owned()).unwrap_or_default();
        self.read("list the users", move |connection| {
            let sql = format!("{SELECT} where email > ?1 order by email limit ?2");
            let mut select = connection.prepare_cached(&sql)?;
            select.query_map(params![after, limit_of(limit)], user)?.collect()
        })
        .await
    }
}

/// Makes the change if its precondition holds; whether it did.
fn apply(connection: &Connection, id: &UserId, change: &Change) -> rusqlite::Result<bool> {
    let run = |sql: &str, values: &[&dyn ToSql]| {
        let id = id.as_str();
        let values: Vec<&dyn ToSql> = [&id as &dyn ToSql].into_iter().chain(values.iter().copied()).collect();
        Ok(connection.prepare_cached(sql)?.execute(values.as_slice())? == 1)
    };
    match change {
        Change::Password { from, to } => run(
            "update users set password = ?3, session_epoch = session_epoch + 1 where id = ?1 and password is ?2",
            &[&hash(from.as_ref()), &hash(to.as_ref())],
        ),
        Change::Rehash { from, to } => run(
            "update users set password = ?3 where id = ?1 and password = ?2",
            &[&from.expose(), &to.expose()],
        ),
        Change::Name(name) => run("update users set name = ?2 where id = ?1", &[name]),
        Change::Email { from, to } => run(
            "update or ignore users set email = ?3 where id = ?1 and email = ?2",
            &[&from.as_str(), &to.as_str()],
        ),
        Change::Roles(roles) => run("update users set roles = ?2 where id = ?1", &[&roles_json(roles)]),
        Change::Verified(_) | Change::Disconnect(_) => Ok(false),
        Change::Disabled(disabled) => run(
            "update users set disabled = ?2, session_epoch = session_epoch + ?2 where id = ?1",
            &[disabled],
        ),
    }
}

fn hash(hash: Option<&PasswordHash>) -> Option<&str> {
    hash.map(PasswordHash::expose)
}

fn roles_json(roles: &[String]) -> String {
    serde_json::Value::from(roles).to_string()
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let unreadable = |column, error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error);
    let email: String = row.get("email")?;
    let roles: String = row.get("roles")?;
    Ok(User {
        id: UserId::new(&row.get::<_, String>("id")?),
        email: Email::verbatim(&email),
        name: row.get("name")?,
        password: row.get::<_, Option<String>>("password")?.as_deref().map(PasswordHash::new),
        placeholder: None,
        roles: serde_json::from_str(&roles).map_err(|error| unreadable(4, error.into()))?,
        disabled: row.get("disabled")?,
        verified: Some(false),
        created: Timestamp::from_millis(row.get("created")?),
        session_epoch: row.get::<_, i64>("session_epoch")?.cast_unsigned(),
    })
}

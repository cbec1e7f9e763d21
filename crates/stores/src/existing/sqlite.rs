//! [`SqliteUsers`]: accounts in a table that another application made in SQLite.

mod statements;
mod table;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use hallpass_auth::{
    Case, Change, Conventions, Email, PasswordHash, Reuse, User, UserChanged, UserCreated, UserId, UserStore,
};
use hallpass_session::{StoreError, Timestamp};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, ToSql, params, params_from_iter, types::Type};

use self::{statements::Statements, table::Table};
use super::{UserMap, UsersError, epoch, placeholder, spelling};
use crate::{Sqlite, SqliteOptions, native::limit_of};

/// Accounts in a table that another application made, in a file it may go on using. Clones share its threads.
///
/// Kept as they are: every column that is not mapped. Set: the one column that changes. Ids are left to the database where it gives them.
/// New accounts need a unique index on the login, and a default for each column that must not be null and is not mapped:
/// else they are refused with a sentence that says what to do.
#[derive(Clone)]
pub struct SqliteUsers {
    sqlite: Sqlite,
    shape: Arc<Shape>,
    /// Logins were seen to be unique.
    unique: Arc<AtomicBool>,
}

struct Shape {
    map: UserMap,
    table: Table,
    sql: Statements,
}

impl Shape {
    fn reuse(&self) -> Reuse {
        self.table.reuse(&self.map)
    }

    /// The account, if it can be read; if not, the log names it.
    fn readable(&self, row: &Row<'_>) -> Option<User> {
        let login = row.get::<_, String>("login").ok();
        let warn = |error: rusqlite::Error| super::warn_unreadable(&self.map, login.as_deref(), &error);
        self.user(row).map_err(warn).ok()
    }

    fn user(&self, row: &Row<'_>) -> rusqlite::Result<User> {
        user(row, &self.map, self.reuse())
    }
}

impl SqliteUsers {
    /// Opens the file and looks at the table. [`SqliteOptions::make`] counts for nothing: the file must be there.
    pub fn open(path: impl AsRef<Path>, map: &UserMap, options: &SqliteOptions) -> Result<Self, UsersError> {
        map.check()?;
        let path = path.as_ref();
        let table = Table::read(path, map)?;
        let sqlite = Sqlite::reach(path, options)?;
        let sql = Statements::new(map, &table);
        let shape = Shape { map: map.clone(), table, sql };
        Ok(Self { sqlite, shape: Arc::new(shape), unique: Arc::default() })
    }

    /// Why no accounts can be made; `None` when they can.
    async fn closed(&self) -> Result<Option<String>, StoreError> {
        let shape = self.shape.clone();
        if let Some(reason) = shape.table.refuses_new(&shape.map) {
            return Ok(Some(reason));
        }
        if self.unique.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let doing = "look at the indexes of the users";
        let unique =
            self.sqlite.read(doing, move |connection| table::is_unique(connection, &shape.map)).await?;
        self.unique.store(unique, Ordering::Relaxed);
        Ok((!unique).then(|| table::no_unique_index(&self.shape.map)))
    }

    async fn one(
        &self,
        sql: impl Fn(&Statements) -> &str + Send + 'static,
        values: Vec<String>,
    ) -> Result<Option<User>, StoreError> {
        let shape = self.shape.clone();
        self.sqlite
            .read("find a user", move |connection| {
                connection
                    .prepare_cached(sql(&shape.sql))?
                    .query_row(params_from_iter(values), |row| shape.user(row))
                    .optional()
            })
            .await
    }
}

#[async_trait]
impl UserStore for SqliteUsers {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        if !self.shape.table.is_id(id) {
            return Ok(None);
        }
        self.one(|sql| &sql.find, vec![id.to_string()]).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        let (shape, email) = (self.shape.clone(), email.clone());
        self.sqlite.read("find a user", move |connection| find_by_email(connection, &shape, &email)).await
    }

    async fn find_by_provider(&self, provider: &str, subject: &str) -> Result<Option<User>, StoreError> {
        let Some(sql) = self.shape.sql.find_by_provider.get(provider).cloned() else { return Ok(None) };
        let (shape, subject) = (self.shape.clone(), subject.to_owned());
        let found = self.sqlite.read("find a user", move |connection| {
            let mut select = connection.prepare_cached(&sql)?;
            select
                .query_map([subject], |row| Ok(shape.readable(row)))?
                .filter_map(Result::transpose)
                .collect::<rusqlite::Result<Vec<User>>>()
        });
        Ok(super::only(found.await?, provider))
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        if let Some(reason) = self.shape.map.refuses(&user.roles) {
            return Ok(UserCreated::Closed(format!("no account with these roles: {reason}")));
        }
        if let Some(reason) = self.closed().await? {
            return Ok(UserCreated::Closed(reason));
        }
        let (shape, user) = (self.shape.clone(), user.clone());
        self.sqlite.write("create a user", move |connection| create(connection, &shape, &user)).await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        if !self.shape.table.is_id(id) {
            return Ok(UserChanged::Gone);
        }
        let (shape, id, change) = (self.shape.clone(), id.clone(), change.clone());
        self.sqlite
            .write("change a user", move |connection| {
                let Some(done) = apply(connection, &shape, &id, &change)? else {
                    return Ok(UserChanged::NoPlace);
                };
                if done {
                    return Ok(UserChanged::Done);
                }
                let exists = connection.prepare_cached(&shape.sql.find)?.exists([id.as_str()])?;
                Ok(if exists { UserChanged::Refused } else { UserChanged::Gone })
            })
            .await
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        if !self.shape.table.is_id(id) {
            return Ok(false);
        }
        let (shape, id) = (self.shape.clone(), id.clone());
        self.sqlite
            .write("delete a user", move |connection| {
                Ok(connection.prepare_cached(&shape.sql.delete)?.execute([id.as_str()])? == 1)
            })
            .await
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        let (shape, after) = (self.shape.clone(), after.map_or_else(String::new, ToString::to_string));
        self.sqlite
            .read("list the users", move |connection| {
                let mut select = connection.prepare_cached(&shape.sql.list)?;
                select
                    .query_map(params![after, limit_of(limit)], |row| Ok(shape.readable(row)))?
                    .filter_map(Result::transpose)
                    .collect()
            })
            .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let shape = self.shape.clone();
        let check = move |connection: &Connection| connection.execute(&shape.sql.check, []).map(drop);
        self.sqlite.write("check the users", check).await
    }

    async fn sample(&self, limit: usize) -> Result<Vec<User>, StoreError> {
        let shape = self.shape.clone();
        self.sqlite
            .read("look at some users", move |connection| {
                let mut select = connection.prepare_cached(&shape.sql.sample)?;
                select
                    .query_map([limit_of(limit)], |row| Ok(shape.readable(row)))?
                    .filter_map(Result::transpose)
                    .collect()
            })
            .await
    }

    fn conventions(&self) -> Conventions {
        self.shape.map.conventions(self.shape.table.numeric_ids(), self.shape.reuse())
    }

    fn epoch_at_first(&self, user: &User) -> u64 {
        epoch::epoch(0, user, self.shape.reuse())
    }

    fn epoch_after(&self, user: &User, to: &PasswordHash) -> u64 {
        epoch::after(user, to, self.shape.reuse())
    }
}

fn find_by_email(connection: &Connection, shape: &Shape, email: &Email) -> rusqlite::Result<Option<User>> {
    let (login, case) = (email.as_str(), shape.map.logins.case);
    let exactly = |login: &str| {
        let mut select = connection.prepare_cached(&shape.sql.find_by_login)?;
        let found = select
            .query_map([login], |row| Ok(shape.readable(row)))?
            .filter_map(Result::transpose)
            .collect::<rusqlite::Result<_>>()?;
        Ok(spelling::meant(found, email))
    };
    if case != Case::Insensitive {
        if let Some(found) = exactly(login)? {
            return Ok(Some(found));
        }
        let lower = login.to_lowercase();
        if !shape.table.is_searched() {
            return if case == Case::Exact && lower != login { exactly(&lower) } else { Ok(None) };
        }
    }
    Ok(spelling::meant(spellings(connection, shape, email)?, email))
}

/// The accounts with this login in any spelling.
fn spellings(connection: &Connection, shape: &Shape, login: &Email) -> rusqlite::Result<Vec<User>> {
    let mut select = connection.prepare_cached(&shape.sql.find_spellings)?;
    select.query_map([login.as_str()], |row| Ok(shape.readable(row)))?.filter_map(Result::transpose).collect()
}

fn create(connection: &Connection, shape: &Shape, user: &User) -> rusqlite::Result<UserCreated> {
    let sql = if user.roles.is_empty() { &shape.sql.create } else { &shape.sql.create_with_roles };
    if shape.map.is_spelled_freely() && !spellings(connection, shape, &user.email)?.is_empty() {
        return Ok(UserCreated::Taken);
    }
    let password = user.password.clone().or_else(|| shape.table.placeholder(&shape.map));
    let inserted = connection.prepare_cached(sql)?.query_row(
        params![
            user.id.as_str(),
            user.email.as_str(),
            password.as_ref().map(PasswordHash::expose),
            shape.table.name_value(&shape.map, user.name.as_deref()),
            shape.sql.roles_value(&user.roles),
            user.disabled,
            user.created.as_millis(),
            user.verified == Some(true),
        ],
        |row| row.get::<_, String>(0),
    );
    match inserted {
        Ok(id) => Ok(UserCreated::Done(UserId::new(&id))),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            refused(connection, shape, user, error)
        }
        Err(error) => Err(error),
    }
}

/// What a refused insert means: the login is taken, or the table demands something that a new account lacks.
fn refused(
    connection: &Connection,
    shape: &Shape,
    user: &User,
    error: rusqlite::Error,
) -> rusqlite::Result<UserCreated> {
    let same_login = if shape.map.logins.case == Case::Insensitive {
        !spellings(connection, shape, &user.email)?.is_empty()
    } else {
        connection.prepare_cached(&shape.sql.find_by_login)?.exists([user.email.as_str()])?
    };
    if same_login || connection.prepare_cached(&shape.sql.find)?.exists([user.id.as_str()])? {
        return Ok(UserCreated::Taken);
    }
    let rusqlite::Error::SqliteFailure(_, Some(reason)) = error else { return Err(error) };
    Ok(UserCreated::Closed(format!("no new accounts: {} refuses one: {reason}", shape.map.table)))
}

/// Makes the change if its precondition holds; whether it did. `None`: there is no place for it.
fn apply(
    connection: &Connection,
    shape: &Shape,
    id: &UserId,
    change: &Change,
) -> rusqlite::Result<Option<bool>> {
    let Shape { map, table, sql } = shape;
    let run = |sql: Option<&String>, values: &[&dyn ToSql]| {
        let Some(sql) = sql else { return Ok(None) };
        let id = id.as_str();
        let values: Vec<&dyn ToSql> = [&id as &dyn ToSql].into_iter().chain(values.iter().copied()).collect();
        Ok(Some(connection.prepare_cached(sql)?.execute(values.as_slice())? == 1))
    };
    match change {
        Change::Password { from, to } => {
            let to = to.clone().unwrap_or_else(placeholder::fresh);
            run(Some(&sql.password), &[&from.as_ref().map(PasswordHash::expose), &to.expose()])
        }
        Change::Rehash { from, to } => {
            run(sql.rehash.as_ref(), &[&from.expose(), &to.expose(), &epoch::make_up(from, to)])
        }
        Change::Name(name) => run(sql.rename.as_ref(), &[&table.name_value(map, name.as_deref())]),
        Change::Roles(roles) => {
            let statement = sql.roles.as_ref().filter(|_| map.refuses(roles).is_none());
            run(statement, &[&sql.roles_value(roles)])
        }
        Change::Verified(address) => run(sql.verify.as_ref(), &[&address.as_str()]),
        Change::Email { .. } => Ok(None),
        Change::Disabled(disabled) => run(sql.disable.as_ref(), &[disabled]),
        Change::Disconnect(one) => {
            let done = match one {
                Some((provider, subject)) => run(sql.disconnect_one.get(provider), &[subject]),
                None => run(sql.disconnect.as_ref(), &[]),
            };
            match done {
                // A constraint or trigger of the table's.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    Ok(Some(false))
                }
                done => done,
            }
        }
    }
}

fn user(row: &Row<'_>, map: &UserMap, reuse: Reuse) -> rusqlite::Result<User> {
    let text = |name| row.get::<_, Option<String>>(name).map(|text| text.filter(|text| !text.is_empty()));
    let (password, placeholder) = placeholder::read(text("password")?.as_deref());
    let unreadable =
        |error: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into());
    let mut user = User {
        id: UserId::new(&row.get::<_, String>("id")?),
        email: Email::verbatim(&text("login")?.unwrap_or_default()),
        name: text("name")?,
        session_epoch: 0,
        password,
        placeholder,
        roles: serde_json::from_str(&row.get::<_, String>("roles")?).map_err(unreadable)?,
        disabled: map.is_disabled(&table::raw(row.get_ref("flag")?)),
        verified: map.is_verified(&table::raw(row.get_ref("mark")?)),
        created: Timestamp::from_millis(row.get("created")?),
    };
    user.session_epoch = epoch::epoch(row.get("epoch")?, &user, reuse);
    Ok(user)
}

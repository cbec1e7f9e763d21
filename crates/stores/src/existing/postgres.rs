//! [`PostgresUsers`]: accounts in a table that another application made in PostgreSQL.

mod column;
mod statements;
mod table;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use hallpass_auth::{
    Case, Change, Conventions, Email, PasswordHash, Reuse, User, UserChanged, UserCreated, UserId, UserStore,
};
use hallpass_session::{StoreError, Timestamp};
use tokio_postgres::{Row, error::SqlState};

use self::{statements::Statements, table::Table};
use super::{Flag, UserMap, UsersError, epoch, placeholder, reading::Raw, spelling};
use crate::{
    ConnectError, ServerOptions,
    durability::report,
    native::limit_of,
    postgres::{KIND, Postgres, Values, column, refusal},
};

/// Accounts in a table that another application made. Clones share its connections.
///
/// Kept as they are: every column that is not mapped. Set: the one column that changes. Ids are left to the database where the column has
/// a default. New accounts need a unique index on the login, and a default for each column that must not be null and is not mapped:
/// else they are refused with a sentence that says what to do.
#[derive(Clone)]
pub struct PostgresUsers {
    postgres: Postgres,
    shape: Arc<Shape>,
    /// Logins were seen to be unique.
    unique: Arc<AtomicBool>,
}

struct Shape {
    map: UserMap,
    table: Table,
    sql: Statements,
    /// Whether whoever is not found as they typed it is searched for in any spelling.
    searched: bool,
}

impl Shape {
    fn reuse(&self) -> Reuse {
        self.map.reuse(self.table.again())
    }

    /// The account, if it can be read; if not, the log names it.
    fn readable(&self, row: &Row) -> Option<User> {
        let login = row.try_get::<_, Option<String>>("login").ok().flatten();
        let warn = |error: StoreError| super::warn_unreadable(&self.map, login.as_deref(), &error);
        self.user(row).map_err(warn).ok()
    }

    fn user(&self, row: &Row) -> Result<User, StoreError> {
        user(row, self)
    }
}

impl PostgresUsers {
    /// Connects and looks at the table. URLs as in [`Postgres::connect`].
    pub async fn connect(url: &str, map: &UserMap, options: &ServerOptions) -> Result<Self, UsersError> {
        map.check()?;
        let postgres = Postgres::reach(url, options, None)?;
        drop(postgres.client().await?);
        let table = Table::read(&postgres, map).await?;
        map.warn_reused(
            table.again(),
            "whoever gives the numbers may give",
            ", or make the id an identity column",
        );
        let sql = Statements::new(map, &table);
        let unreadable =
            |error: StoreError| UsersError::Table { table: map.table.clone(), reason: error.to_string() };
        table.warn_unindexed(&postgres, map).await.map_err(unreadable)?;
        let searched = table.is_searched(&postgres, map).await.map_err(unreadable)?;
        let shape = Arc::new(Shape { map: map.clone(), table, sql, searched });
        let users = Self { postgres, shape, unique: Arc::default() };
        report(KIND, users.postgres.shared_durability(&map.table).await);
        if let Some(reason) = users.closed().await.map_err(unreadable)? {
            tracing::warn!(event = "register_closed", reason);
        }
        Ok(users)
    }

    /// Why no accounts can be made; `None` when they can.
    async fn closed(&self) -> Result<Option<String>, StoreError> {
        let Shape { map, table, .. } = &*self.shape;
        if let Some(reason) = table.refuses_new(map) {
            return Ok(Some(reason));
        }
        if self.unique.load(Ordering::Relaxed) || table.is_unique(&self.postgres, map).await? {
            self.unique.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        let key = table.unique_key(map);
        let cure = format!("create unique index concurrently on {} ({key})", table.name);
        Ok(Some(super::no_unique_index(&map.table, &map.login, &cure)))
    }

    async fn one(
        &self,
        doing: &'static str,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Option<User>, StoreError> {
        // Not left out: a user who is missing loses what belongs to them.
        self.postgres.query(doing, sql, values).await?.first().map(|row| self.shape.user(row)).transpose()
    }

    /// The accounts with this login, as the column itself compares them.
    async fn exactly(&self, login: &str) -> Result<Vec<User>, StoreError> {
        let rows = self.postgres.query("find a user", &self.shape.sql.find_by_login, &[&login]).await?;
        Ok(rows.iter().filter_map(|row| self.shape.readable(row)).collect())
    }

    /// The accounts with this login in any spelling.
    async fn spellings(&self, login: &Email) -> Result<Vec<User>, StoreError> {
        let sql = &self.shape.sql.find_spellings;
        let rows = self.postgres.query("find a user", sql, &[&login.as_str()]).await?;
        Ok(rows.iter().filter_map(|row| self.shape.readable(row)).collect())
    }

    /// Whether some account has the login, as the unique index compares it.
    async fn has(&self, login: &Email) -> Result<bool, StoreError> {
        let blind = self.shape.map.logins.case == Case::Insensitive;
        let found = if blind { self.spellings(login).await? } else { self.exactly(login.as_str()).await? };
        Ok(!found.is_empty())
    }

    async fn apply(&self, sql: Option<&String>, values: Values<'_>) -> Result<UserChanged, StoreError> {
        let doing = "change a user";
        let Some(sql) = sql else { return Ok(UserChanged::NoPlace) };
        let rows = self.postgres.query(doing, sql, values).await?;
        let row = rows.first().ok_or_else(|| StoreError::new(doing, "the database gave no answer"))?;
        Ok(match (column(row, doing, "done")?, column(row, doing, "found")?) {
            (true, _) => UserChanged::Done,
            (false, true) => UserChanged::Refused,
            (false, false) => UserChanged::Gone,
        })
    }

    /// What a refused insert means: the login is taken, or something else is unique that a new account lacks.
    async fn duplicate(&self, user: &User, error: StoreError) -> Result<UserCreated, StoreError> {
        let Some(constraint) = violated(&error) else { return Err(error) };
        let twin = self.has(&user.email).await? || self.find(&user.id).await?.is_some();
        if twin {
            return Ok(UserCreated::Taken);
        }
        let table = &self.shape.map.table;
        Ok(UserCreated::Closed(format!(
            "no new accounts: {constraint} of {table} takes no second such account"
        )))
    }
}

/// The unique constraint that an insert has violated.
fn violated(error: &StoreError) -> Option<String> {
    let error = refusal(error).filter(|error| *error.code() == SqlState::UNIQUE_VIOLATION)?;
    Some(error.constraint().unwrap_or("a unique index").to_owned())
}

#[async_trait]
impl UserStore for PostgresUsers {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        if !self.shape.table.is_id(id) {
            return Ok(None);
        }
        self.one("find a user", &self.shape.sql.find, &[&id.as_str()]).await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        let (login, case) = (email.as_str(), self.shape.map.logins.case);
        if case != Case::Insensitive {
            if let Some(found) = spelling::meant(self.exactly(login).await?, email) {
                return Ok(Some(found));
            }
            let lower = login.to_lowercase();
            if !self.shape.searched {
                let other = case == Case::Exact && lower != login;
                return Ok(if other { spelling::meant(self.exactly(&lower).await?, email) } else { None });
            }
        }
        Ok(spelling::meant(self.spellings(email).await?, email))
    }

    async fn find_by_provider(&self, provider: &str, subject: &str) -> Result<Option<User>, StoreError> {
        let Some(sql) = self.shape.sql.find_by_provider.get(provider) else { return Ok(None) };
        let rows = self.postgres.query("find a user", sql, &[&subject]).await?;
        Ok(super::only(rows.iter().filter_map(|row| self.shape.readable(row)).collect(), provider))
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        if let Some(reason) = self.shape.map.refuses(&user.roles) {
            return Ok(UserCreated::Closed(format!("no account with these roles: {reason}")));
        }
        if let Some(reason) = self.closed().await? {
            return Ok(UserCreated::Closed(reason));
        }
        if self.shape.map.is_spelled_freely() && !self.spellings(&user.email).await?.is_empty() {
            return Ok(UserCreated::Taken);
        }
        let doing = "create a user";
        let id = self.shape.table.new_id(user);
        let created = user.created.as_millis();
        let password = user.password.clone().or_else(|| self.shape.table.placeholder(&self.shape.map));
        let password = password.as_ref().map(PasswordHash::expose);
        let name = self.shape.table.name_value(&self.shape.map, user.name.as_deref());
        let verified = user.verified == Some(true);
        let values: Values<'_> =
            &[&id, &user.email.as_str(), &password, &name, &user.roles, &user.disabled, &created, &verified];
        let sql = &self.shape.sql;
        let sql = if user.roles.is_empty() { &sql.create } else { &sql.create_with_roles };
        match self.postgres.query(doing, sql, values).await {
            Ok(rows) => {
                let row =
                    rows.first().ok_or_else(|| StoreError::new(doing, "the database gave no answer"))?;
                Ok(UserCreated::Done(UserId::new(column(row, doing, "id")?)))
            }
            Err(error) => self.duplicate(user, error).await,
        }
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        let Shape { map, table, sql, .. } = &*self.shape;
        if !table.is_id(id) {
            return Ok(UserChanged::Gone);
        }
        let id = &id.as_str();
        match change {
            Change::Password { from, to } => {
                let to = to.clone().unwrap_or_else(placeholder::fresh);
                let from = from.as_ref().map(PasswordHash::expose);
                self.apply(Some(&sql.password), &[id, &from, &to.expose()]).await
            }
            Change::Rehash { from, to } => {
                let values: Values<'_> = &[id, &from.expose(), &to.expose(), &epoch::make_up(from, to)];
                self.apply(sql.rehash.as_ref(), values).await
            }
            Change::Name(name) => {
                self.apply(sql.rename.as_ref(), &[id, &table.name_value(map, name.as_deref())]).await
            }
            Change::Roles(roles) => {
                let sql = sql.roles.as_ref().filter(|_| map.refuses(roles).is_none());
                self.apply(sql, &[id, roles]).await
            }
            Change::Verified(address) => self.apply(sql.verify.as_ref(), &[id, &address.as_str()]).await,
            Change::Email { .. } => Ok(UserChanged::NoPlace),
            Change::Disabled(disabled) => self.apply(sql.disable.as_ref(), &[id, disabled]).await,
            Change::Disconnect(one) => {
                let done = match one {
                    Some((provider, subject)) => {
                        self.apply(sql.disconnect_one.get(provider), &[id, subject]).await
                    }
                    None => self.apply(sql.disconnect.as_ref(), &[id]).await,
                };
                match done {
                    // A constraint of the table's.
                    Err(error) if refusal(&error).is_some() => Ok(UserChanged::Refused),
                    done => done,
                }
            }
        }
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        if !self.shape.table.is_id(id) {
            return Ok(false);
        }
        let deleted =
            self.postgres.settled_query("delete a user", &self.shape.sql.delete, &[&id.as_str()]).await?;
        Ok(!deleted.is_empty())
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        let values: Values<'_> = &[&after.map_or("", Email::as_str), &limit_of(limit)];
        let rows = self.postgres.query("list the users", &self.shape.sql.list, values).await?;
        Ok(rows.iter().filter_map(|row| self.shape.readable(row)).collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.postgres.query("check the users", &self.shape.sql.check, &[]).await.map(drop)
    }

    async fn sample(&self, limit: usize) -> Result<Vec<User>, StoreError> {
        let sql = &self.shape.sql.sample;
        let rows = self.postgres.query("look at some users", sql, &[&limit_of(limit)]).await?;
        Ok(rows.iter().filter_map(|row| self.shape.readable(row)).collect())
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

fn user(row: &Row, shape: &Shape) -> Result<User, StoreError> {
    let Shape { map, table, .. } = shape;
    let doing = "read a user";
    let text =
        |name| column::<Option<String>>(row, doing, name).map(|text| text.filter(|text| !text.is_empty()));
    let (password, placeholder) = placeholder::read(text("password")?.as_deref());
    let (flag, mark): (Option<String>, Option<String>) =
        (column(row, doing, "flag")?, column(row, doing, "mark")?);
    let flag_name = map.flag.as_ref().map(Flag::field);
    let mark_name = map.verified.field();
    let mut user = User {
        id: UserId::new(column(row, doing, "id")?),
        email: Email::verbatim(&text("login")?.unwrap_or_default()),
        name: text("name")?,
        session_epoch: 0,
        password,
        placeholder,
        roles: column(row, doing, "roles")?,
        disabled: map.is_disabled(&flag_name.map_or(Raw::Missing, |name| table.raw(name, flag.as_deref()))),
        verified: map.is_verified(&mark_name.map_or(Raw::Missing, |name| table.raw(name, mark.as_deref()))),
        created: Timestamp::from_millis(column(row, doing, "created")?),
    };
    user.session_epoch = epoch::epoch(column(row, doing, "epoch")?, &user, shape.reuse());
    Ok(user)
}

/// The table cannot be what the map says.
fn unfit(map: &UserMap, reason: String) -> UsersError {
    UsersError::Table { table: map.table.clone(), reason }
}

/// What the catalog cannot tell.
fn unknown(error: &StoreError) -> UsersError {
    let source = std::error::Error::source(error).map(ToString::to_string);
    let source = source.unwrap_or_else(|| error.to_string()).into();
    UsersError::Connect(ConnectError::Prepare { kind: crate::postgres::KIND, source })
}

//! What the catalog of PostgreSQL says about the table.

use std::collections::BTreeMap;

use hallpass_auth::{Case, PasswordFormat, PasswordHash, User, UserId};
use hallpass_session::StoreError;

use super::{
    column::{Column, castable, of_json},
    statements, unfit, unknown,
};
use crate::{
    existing::{
        Flag, UserMap, UsersError,
        map::Again,
        placeholder,
        reading::{self, Raw, Style},
        spelling, uuid,
    },
    postgres::{Postgres, column},
};

const COLUMNS: &str = "select a.attname::text as name, format_type(a.atttypid, null) as kind, \
    format_type(a.atttypid, a.atttypmod) as exact, a.attnotnull as required, \
    a.atthasdef or a.attidentity <> '' as given \
    from pg_attribute a where a.attrelid = to_regclass($1::text) and a.attnum > 0 and not a.attisdropped";

/// The keys of the unique indexes that hold for all rows and have one column.
const UNIQUE: &str = "select pg_get_indexdef(indexrelid, 1, true) as key from pg_index \
    where indrelid = to_regclass($1::text) and indisunique and indisvalid and indpred is null and indnkeyatts = 1";

/// The first keys of all indexes: one of rows that have the key will do.
const ANY: &str = "select pg_get_indexdef(indexrelid, 1, true) as key from pg_index \
    where indrelid = to_regclass($1::text) and indisvalid";

/// The first keys of the indexes that hold for all rows.
const FIRST: &str = "select pg_get_indexdef(indexrelid, 1, true) as key from pg_index \
    where indrelid = to_regclass($1::text) and indisvalid and indpred is null";

/// bcrypt's hashes have so many characters, argon2id's may need as many.
const BCRYPT_LENGTH: usize = 60;
const ARGON2_LENGTH: usize = 128;

pub(super) struct Table {
    /// With its schema, quoted.
    pub(super) name: String,
    columns: Vec<Column>,
    id: String,
    /// How the application writes flags, by column, where the rows tell.
    styles: BTreeMap<String, Style>,
}

/// Whether the key of an index is this column.
fn is_plain(key: &str, login: &str) -> bool {
    key == login || key == quoted(login)
}

/// Whether the key of an index is this column in lower case.
fn is_lower(key: &str, login: &str) -> bool {
    let inner = key.strip_prefix("lower(").and_then(|rest| rest.strip_suffix(')'));
    inner.is_some_and(|inner| is_plain(inner.trim_end_matches("::text").trim_matches(['(', ')']), login))
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    pub(super) async fn read(postgres: &Postgres, map: &UserMap) -> Result<Self, UsersError> {
        let schema = map.schema.as_deref().map(|schema| format!("{}.", quoted(schema)));
        let name = format!("{}{}", schema.unwrap_or_default(), quoted(&map.table));
        let doing = "look at the table of users";
        let rows = postgres.query(doing, COLUMNS, &[&name]).await.map_err(|error| unknown(&error))?;
        let columns = rows.iter().map(|row| {
            Ok(Column {
                name: column(row, doing, "name")?,
                kind: castable(column(row, doing, "kind")?),
                exact: column(row, doing, "exact")?,
                required: column(row, doing, "required")?,
                given: column(row, doing, "given")?,
            })
        });
        let columns: Vec<Column> =
            columns.collect::<Result<_, StoreError>>().map_err(|error| unknown(&error))?;
        let mut table = Self { name, columns, id: map.id.clone(), styles: BTreeMap::new() };
        table.check(map)?;
        table.read_flags(postgres, map).await.map_err(|error| unknown(&error))?;
        Ok(table)
    }

    /// Looks at what stands in the flags of some accounts.
    async fn read_flags(&mut self, postgres: &Postgres, map: &UserMap) -> Result<(), StoreError> {
        let flag = map.flag.as_ref().map(Flag::field);
        for name in flag.into_iter().chain(map.verified.field()) {
            let (most, doing) = (reading::SAMPLE, "look at the flags of the users");
            let sql =
                format!("select {} as value from {} limit {most}", statements::raw(self, name), self.name);
            let rows = postgres.query(doing, &sql, &[]).await?;
            let texts: Vec<Option<String>> =
                rows.iter().map(|row| column(row, doing, "value")).collect::<Result<_, _>>()?;
            let values: Vec<Raw<'_>> = texts.iter().map(|text| self.raw(name, text.as_deref())).collect();
            map.warn_unclear(name, &values);
            if let Some(style) = reading::style(&values) {
                self.styles.insert(name.clone(), style);
            }
        }
        Ok(())
    }

    /// What stands in a column of a flag.
    pub(super) fn raw<'a>(&self, name: &str, text: Option<&'a str>) -> Raw<'a> {
        let Some(text) = text else { return Raw::Missing };
        let column = self.column(name);
        match &*column.kind {
            "boolean" => Raw::Bool(text == "true"),
            _ if column.is_moment() => text.parse().map_or(Raw::Other, Raw::Time),
            _ if column.is_whole() => text.parse().map_or(Raw::Other, Raw::Whole),
            _ if column.is_fraction() => text.parse().map_or(Raw::Other, Raw::Real),
            _ if column.is_json() => of_json(text),
            _ => Raw::Text(text.into()),
        }
    }

    /// How a flag is written in this column.
    pub(super) fn flag_style(&self, name: &str) -> Style {
        let column = self.column(name);
        match (&*column.kind, self.styles.get(name)) {
            ("boolean", _) => Style::Bool,
            _ if column.is_moment() => Style::Time,
            _ if column.is_whole() || column.is_fraction() => Style::Number,
            (_, Some(style @ Style::Words(..))) if column.is_text() => *style,
            _ if column.is_text() && column.length().is_some_and(|length| length < "false".len()) => {
                Style::Words("1", "0")
            }
            _ if column.is_text() => Style::Words("true", "false"),
            _ => Style::Bool,
        }
    }

    fn check(&self, map: &UserMap) -> Result<(), UsersError> {
        if self.columns.is_empty() {
            return Err(unfit(map, format!("there is no table {}", self.name)));
        }
        for (what, name) in map.fields() {
            let Some(column) = self.columns.iter().find(|column| column.name == name) else {
                return Err(unfit(map, format!("it has no column {name:?} for {what}")));
            };
            let fits = match what {
                "the id" => column.is_whole() || column.is_text() || column.kind == "uuid",
                "the password" | "the name" | "the login" | "the id at a provider" => column.is_text(),
                "the roles" => column.can_be(map.roles.as_ref()),
                "the mark of verified addresses" | "the flag" => column.can_be_flag(),
                "the session epoch" => column.kind == "bigint",
                _ => column.is_moment() || column.kind == "bigint",
            };
            if !fits {
                return Err(unfit(
                    map,
                    format!("the column {name:?} is {}, which cannot be {what}", column.exact),
                ));
            }
        }
        self.check_length(map)
    }

    /// A hash that is cut off is none.
    fn check_length(&self, map: &UserMap) -> Result<(), UsersError> {
        let needed = match map.passwords {
            PasswordFormat::Argon2id => ARGON2_LENGTH,
            PasswordFormat::Bcrypt { .. } => BCRYPT_LENGTH,
        };
        let column = self.column(&map.password);
        let exact = &column.exact;
        match column.length().filter(|length| *length < needed) {
            Some(_) => {
                let reason =
                    format!("the column {:?} is {exact}, but hashes need {needed} characters", map.password);
                Err(unfit(map, reason))
            }
            None => Ok(()),
        }
    }

    /// A column that is there.
    pub(super) fn column(&self, name: &str) -> &Column {
        let found = self.columns.iter().find(|column| column.name == name);
        found.unwrap_or(&self.columns[0])
    }

    /// Why no accounts can be made here; `None` if nothing but logins may stand in the way.
    pub(super) fn refuses_new(&self, map: &UserMap) -> Option<String> {
        let id = self.column(&map.id);
        if id.is_whole() && !id.given {
            return Some(format!(
                "no new accounts: nothing gives the numbers in {:?}; make it an identity column",
                map.id
            ));
        }
        let mapped = map.filled();
        let is_mapped = |column: &&Column| mapped.iter().any(|(_, name)| *name == column.name);
        let lacking =
            self.columns.iter().filter(|column| column.required && !column.given && !is_mapped(column));
        let lacking: Vec<&str> = lacking.map(|column| &*column.name).collect();
        let lack = !lacking.is_empty();
        lack.then(|| {
            format!(
                "no new accounts: nobody knows what to put into {}; give it a default",
                lacking.join(", ")
            )
        })
    }

    pub(super) async fn is_unique(&self, postgres: &Postgres, map: &UserMap) -> Result<bool, StoreError> {
        let blind = map.logins.case == Case::Insensitive && !self.is_citext(map);
        let keys = self.keys(postgres, UNIQUE).await?;
        Ok(keys.iter().any(|key| is_lower(key, &map.login) || (is_plain(key, &map.login) && !blind)))
    }

    /// Whether people are searched for in any spelling of their login.
    pub(super) async fn is_searched(&self, postgres: &Postgres, map: &UserMap) -> Result<bool, StoreError> {
        if !map.is_spelled_freely() {
            return Ok(false);
        }
        let keys = self.keys(postgres, FIRST).await?;
        let serves =
            |key: &String| is_lower(key, &map.login) || (is_plain(key, &map.login) && self.is_citext(map));
        if keys.iter().any(serves) {
            return Ok(true);
        }
        let few = self.is_small(postgres).await?;
        if !few {
            let login = quoted(&map.login);
            let cure = format!("create index concurrently on {} (lower({login}))", self.name);
            spelling::warn_unindexed(map, &cure);
        }
        Ok(few)
    }

    pub(super) async fn warn_unindexed(&self, postgres: &Postgres, map: &UserMap) -> Result<(), StoreError> {
        if map.providers.is_empty() || self.is_small(postgres).await? {
            return Ok(());
        }
        let keys = self.keys(postgres, ANY).await?;
        map.warn_unindexed_providers(
            |field| keys.iter().any(|key| is_plain(key, field)),
            |field| format!("create index concurrently on {} ({})", self.name, quoted(field)),
        );
        Ok(())
    }

    /// Whether a search may read the whole table.
    async fn is_small(&self, postgres: &Postgres) -> Result<bool, StoreError> {
        let most = spelling::SMALL + 1;
        let sql = format!("select count(*) as rows from (select from {} limit {most}) few", self.name);
        let doing = "count the users";
        let rows = postgres.query(doing, &sql, &[]).await?;
        let rows = rows.first().map(|row| column::<i64>(row, doing, "rows")).transpose()?;
        Ok(rows.is_some_and(|rows| rows <= spelling::SMALL.into()))
    }

    async fn keys(&self, postgres: &Postgres, sql: &str) -> Result<Vec<String>, StoreError> {
        let doing = "look at the indexes of the users";
        let rows = postgres.query(doing, sql, &[&self.name]).await?;
        rows.iter().map(|row| column::<String>(row, doing, "key")).collect()
    }

    /// What a unique index is to be made over.
    pub(super) fn unique_key(&self, map: &UserMap) -> String {
        let login = quoted(&map.login);
        if map.logins.case == Case::Insensitive && !self.is_citext(map) {
            format!("lower({login})")
        } else {
            login
        }
    }

    pub(super) fn is_citext(&self, map: &UserMap) -> bool {
        self.column(&map.login).is_citext()
    }

    /// Whether some account could have this id: it must read as the database would show it, so that one account has one id.
    pub(super) fn is_id(&self, id: &UserId) -> bool {
        let (text, column) = (id.as_str(), self.column(&self.id));
        match &*column.kind {
            "uuid" => uuid::parse(text).is_some(),
            _ if column.is_whole() => text.parse::<i64>().is_ok_and(|number| number.to_string() == text),
            _ => !text.contains('\0'),
        }
    }

    /// As node-postgres gives them: `bigint` as text.
    pub(super) fn numeric_ids(&self) -> bool {
        matches!(&*self.column(&self.id).kind, "integer" | "smallint")
    }

    /// Whether the database gives ids.
    pub(super) fn gives_ids(&self) -> bool {
        self.column(&self.id).given
    }

    /// Whether ids of deleted accounts are given again.
    pub(super) fn again(&self) -> Again {
        let id = self.column(&self.id);
        match &*id.kind {
            "uuid" => Again::Never,
            _ if id.given => Again::Never,
            // A view requires nothing.
            _ if id.is_whole() && id.required => Again::Likely,
            _ => Again::Unknown,
        }
    }

    /// The id of a new account, where the program gives it.
    pub(super) fn new_id(&self, user: &User) -> String {
        if self.column(&self.id).kind == "uuid" {
            uuid::show(uuid::fresh())
        } else {
            user.id.as_str().to_owned()
        }
    }

    /// What a new account without a password has in its place: nothing, where that may be.
    pub(super) fn placeholder(&self, map: &UserMap) -> Option<PasswordHash> {
        self.column(&map.password).required.then(placeholder::fresh)
    }

    /// No name is an empty one where there must be one.
    pub(super) fn name_value<'a>(&self, map: &UserMap, name: Option<&'a str>) -> Option<&'a str> {
        let required = map.name.as_deref().is_some_and(|column| self.column(column).required);
        name.or(required.then_some(""))
    }

    /// Whether the column must not be null.
    pub(super) fn requires(&self, name: &str) -> bool {
        self.column(name).required
    }

    /// Whether the database gives this column a value.
    pub(super) fn gives(&self, name: &str) -> bool {
        self.column(name).given
    }
}

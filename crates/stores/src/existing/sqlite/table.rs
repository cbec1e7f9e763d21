//! What SQLite says about the table.

use std::path::Path;

use hallpass_auth::{Case, PasswordHash, Reuse, UserId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, types::ValueRef};

use crate::{
    OpenError,
    existing::{
        Flag, UserMap, UsersError,
        map::Again,
        no_unique_index as lacking, placeholder,
        reading::{self, Raw, Style},
        spelling,
    },
};

pub(super) struct Table {
    columns: Vec<Column>,
    id: String,
    /// Whether whoever is not found as they typed it is searched for in any spelling.
    searched: bool,
    /// Whether ids of deleted rows are given again.
    again: Again,
    /// How the application writes the flag.
    flag_style: Style,
}

struct Column {
    name: String,
    /// As declared; SQLite keeps anything anywhere, but converts to this where it can.
    kind: String,
    required: bool,
    /// The database gives a value.
    given: bool,
    key: Key,
}

#[derive(PartialEq, Eq)]
enum Key {
    None,
    /// Or part of it.
    Primary,
    /// The row's own number.
    RowNumber,
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    pub(super) fn read(path: &Path, map: &UserMap) -> Result<Self, UsersError> {
        if !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() }.into());
        }
        let failed = |source| OpenError::Database { path: path.to_owned(), source };
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        let columns = columns(&connection, &map.table).map_err(failed)?;
        let id = map.id.clone();
        let mut table =
            Self { columns, id, searched: false, again: Again::Unknown, flag_style: Style::Number };
        table.check(map)?;
        table.read_flags(&connection, map).map_err(failed)?;
        table.searched = searched(&connection, map).map_err(failed)?;
        table.again = table.again(counts_up(&connection, &map.table).map_err(failed)?);
        if table.find(&map.id).is_some_and(|id| id.key == Key::RowNumber) {
            map.warn_reused(table.again, "SQLite gives", ", or make the id autoincrement");
        } else {
            map.warn_reused(table.again, "whoever gives the numbers may give", "");
        }
        if !map.providers.is_empty() && !is_small(&connection, map).map_err(failed)? {
            let keys = first_keys(&connection, map).map_err(failed)?;
            let has = |field: &str| keys.iter().any(|key| key.eq_ignore_ascii_case(field));
            map.warn_unindexed_providers(has, |field| {
                let name = quoted(&format!("{}_{field}", map.table));
                format!("create index {name} on {} ({})", quoted(&map.table), quoted(field))
            });
        }
        let unique = is_unique(&connection, map).map_err(failed)?;
        let closed = table.refuses_new(map).or_else(|| (!unique).then(|| no_unique_index(map)));
        if let Some(reason) = closed {
            tracing::warn!(event = "register_closed", reason);
        }
        Ok(table)
    }

    /// Looks at what stands in the flags of some accounts.
    fn read_flags(&mut self, connection: &Connection, map: &UserMap) -> rusqlite::Result<()> {
        if let Some(column) = map.flag.as_ref().map(Flag::field) {
            let values = values(connection, map, column)?;
            map.warn_unclear(column, &values);
            let told =
                reading::style(&values).filter(|style| matches!(style, Style::Words(..) | Style::Time));
            self.flag_style = told.unwrap_or_else(|| self.style_of(column));
        }
        if let Some(column) = map.verified.field() {
            map.warn_unclear(column, &values(connection, map, column)?);
        }
        Ok(())
    }

    /// How a flag is written in a column of which no row tells.
    fn style_of(&self, column: &str) -> Style {
        let kind = self.kind(column);
        let is = |parts: &[&str]| parts.iter().any(|part| kind.contains(part));
        match () {
            () if is(&["DATE", "TIME"]) => Style::Time,
            () if is(&["TEXT", "CHAR", "CLOB"]) => Style::Words("true", "false"),
            () => Style::Number,
        }
    }

    pub(super) fn flag_style(&self) -> Style {
        self.flag_style
    }

    /// What a column was declared as, in capital letters.
    fn kind(&self, name: &str) -> String {
        self.find(name).map(|column| column.kind.to_ascii_uppercase()).unwrap_or_default()
    }

    fn check(&self, map: &UserMap) -> Result<(), UsersError> {
        let unfit = |reason| UsersError::Table { table: map.table.clone(), reason };
        if self.columns.is_empty() {
            return Err(unfit("there is no such table".to_owned()));
        }
        if map.schema.is_some() {
            return Err(unfit("SQLite has no schemas".to_owned()));
        }
        let missing = map.fields().into_iter().find(|(_, name)| self.find(name).is_none());
        match missing {
            Some((what, name)) => Err(unfit(format!("it has no column {name:?} for {what}"))),
            None => Ok(()),
        }
    }

    /// `counts_up`: the numbers of rows are never given again.
    fn again(&self, counts_up: bool) -> Again {
        let Some(id) = self.find(&self.id) else { return Again::Unknown };
        match id {
            Column { key: Key::RowNumber, .. } if counts_up => Again::Never,
            Column { key: Key::RowNumber, .. } => Again::Likely,
            Column { given: true, .. } => Again::Never,
            // A view has no key.
            Column { key: Key::Primary, .. } if self.is_whole(&self.id) => Again::Likely,
            _ => Again::Unknown,
        }
    }

    pub(super) fn reuse(&self, map: &UserMap) -> Reuse {
        map.reuse(self.again)
    }

    pub(super) fn is_searched(&self) -> bool {
        self.searched
    }

    fn find(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Why no accounts can be made here; `None` if nothing but logins may stand in the way.
    pub(super) fn refuses_new(&self, map: &UserMap) -> Option<String> {
        if self.is_whole(&map.id) && !self.gives(&map.id) {
            return Some(format!("no new accounts: nothing gives the numbers in {:?}", map.id));
        }
        let mapped = map.filled();
        let is_mapped =
            |column: &&Column| mapped.iter().any(|(_, name)| name.eq_ignore_ascii_case(&column.name));
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

    /// Whether some account could have this id: one account has one spelling of it.
    pub(super) fn is_id(&self, id: &UserId) -> bool {
        let text = id.as_str();
        !self.numeric_ids() || text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
    }

    pub(super) fn numeric_ids(&self) -> bool {
        self.is_whole(&self.id)
    }

    /// Whether the column's affinity is INTEGER (datatype3 §3.1).
    pub(super) fn is_whole(&self, name: &str) -> bool {
        self.find(name).is_some_and(|column| column.kind.to_ascii_uppercase().contains("INT"))
    }

    /// Whether the column was declared for dates, or for text, in which nobody keeps flags.
    pub(super) fn is_moment(&self, name: &str) -> bool {
        let kind = self.kind(name);
        ["DATE", "TIME", "TEXT", "CHAR"].iter().any(|part| kind.contains(part))
    }

    /// Whether the column must not be null.
    pub(super) fn requires(&self, name: &str) -> bool {
        self.find(name).is_some_and(|column| column.required)
    }

    /// Whether the database gives this column a value.
    pub(super) fn gives(&self, name: &str) -> bool {
        self.find(name).is_some_and(|column| column.given)
    }

    /// What a new account without a password has in its place: nothing, where that may be.
    pub(super) fn placeholder(&self, map: &UserMap) -> Option<PasswordHash> {
        self.find(&map.password).filter(|column| column.required).map(|_| placeholder::fresh())
    }

    /// No name is an empty one where there must be one.
    pub(super) fn name_value<'a>(&self, map: &UserMap, name: Option<&'a str>) -> Option<&'a str> {
        let column = map.name.as_deref().and_then(|name| self.find(name));
        name.or(column.filter(|column| column.required).map(|_| ""))
    }
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut select = connection
        .prepare("select name, type, \"notnull\", dflt_value is not null, pk, (select count(*) from pragma_table_info(?1) where pk > 0) from pragma_table_info(?1)")?;
    let columns = select.query_map([table], |row| {
        let (kind, key, keys): (String, i64, i64) = (row.get(1)?, row.get(4)?, row.get(5)?);
        // `integer primary key` is the row's own number.
        let key = match key {
            0 => Key::None,
            1 if keys == 1 && kind.eq_ignore_ascii_case("integer") => Key::RowNumber,
            _ => Key::Primary,
        };
        let given = row.get::<_, bool>(3)? || key == Key::RowNumber;
        Ok(Column { name: row.get(0)?, kind, required: row.get(2)?, given, key })
    })?;
    columns.collect()
}

/// A value as it stands there, whatever the column was declared as.
pub(super) fn raw(value: ValueRef<'_>) -> Raw<'_> {
    match value {
        ValueRef::Null => Raw::Missing,
        ValueRef::Integer(number) => Raw::Whole(number),
        ValueRef::Real(number) => Raw::Real(number),
        ValueRef::Text(text) => std::str::from_utf8(text).map_or(Raw::Other, |text| Raw::Text(text.into())),
        ValueRef::Blob(_) => Raw::Other,
    }
}

/// The values of a column in some rows.
fn values(connection: &Connection, map: &UserMap, column: &str) -> rusqlite::Result<Vec<Raw<'static>>> {
    let sql = format!("select {} from {} limit {}", quoted(column), quoted(&map.table), reading::SAMPLE);
    let mut select = connection.prepare(&sql)?;
    select.query_map([], |row| Ok(raw(row.get_ref(0)?).into_owned()))?.collect()
}

/// Whether the numbers of rows are never given again.
fn counts_up(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let made = "select sql like '%autoincrement%' from sqlite_master where type = 'table' and name = ?1 collate nocase";
    // A view is not there, and has no numbers of its own.
    Ok(connection.query_row(made, [table], |row| row.get(0)).optional()?.unwrap_or(true))
}

/// Whether a unique index that holds for all rows keeps logins apart, as the map compares them.
pub(super) fn is_unique(connection: &Connection, map: &UserMap) -> rusqlite::Result<bool> {
    let keys = "l.\"unique\" and (select count(*) from pragma_index_xinfo(l.name) k where k.key) = 1";
    has_index(connection, map, keys, map.logins.case == Case::Insensitive)
}

/// Whether people are searched for in any spelling of their login.
fn searched(connection: &Connection, map: &UserMap) -> rusqlite::Result<bool> {
    if !map.is_spelled_freely() {
        return Ok(false);
    }
    if has_index(connection, map, "true", true)? || is_small(connection, map)? {
        return Ok(true);
    }
    spelling::warn_unindexed(map, &cure(map, "index", " collate nocase"));
    Ok(false)
}

/// Whether a search may read the whole table.
fn is_small(connection: &Connection, map: &UserMap) -> rusqlite::Result<bool> {
    let (table, most) = (quoted(&map.table), spelling::SMALL);
    let sql = format!("select count(*) <= {most} from (select 1 from {table} limit {most} + 1)");
    connection.query_row(&sql, [], |row| row.get(0))
}

/// The columns that indexes begin with.
fn first_keys(connection: &Connection, map: &UserMap) -> rusqlite::Result<Vec<String>> {
    let sql = "select x.name from pragma_index_list(?1) l, pragma_index_xinfo(l.name) x \
        where x.seqno = 0 and x.key and x.name is not null";
    connection.prepare(sql)?.query_map([&map.table], |row| row.get(0))?.collect()
}

/// Whether one of these indexes holds for all rows and begins with the login; `blind`: without regard to capital letters.
fn has_index(connection: &Connection, map: &UserMap, which: &str, blind: bool) -> rusqlite::Result<bool> {
    let sql = format!(
        "select x.name, x.coll from pragma_index_list(?1) l, pragma_index_xinfo(l.name) x \
        where not l.partial and x.seqno = 0 and x.key and {which}"
    );
    let mut select = connection.prepare(&sql)?;
    let mut rows = select.query([&map.table])?;
    while let Some(row) = rows.next()? {
        let (name, collation): (Option<String>, String) = (row.get(0)?, row.get(1)?);
        let of_login = name.is_some_and(|name| name.eq_ignore_ascii_case(&map.login));
        if of_login && (collation.eq_ignore_ascii_case("nocase") || !blind) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn cure(map: &UserMap, kind: &str, collation: &str) -> String {
    let (table, login) = (quoted(&map.table), quoted(&map.login));
    let name =
        quoted(&format!("{}_{}{}", map.table, map.login, if kind == "index" { "_any_case" } else { "" }));
    format!("create {kind} {name} on {table} ({login}{collation})")
}

pub(super) fn no_unique_index(map: &UserMap) -> String {
    let collation = if map.logins.case == Case::Insensitive { " collate nocase" } else { "" };
    lacking(&map.table, &map.login, &cure(map, "unique index", collation))
}

//! The statements for a table, written once.

use std::collections::BTreeMap;

use serde_json::Value;

use super::table::{Table, quoted};
use crate::existing::{Flag, Roles, UserMap, reading::Style, spelling};

pub(super) struct Statements {
    /// Changes nothing, but is refused where changes are.
    pub(super) check: String,
    pub(super) find: String,
    /// As the column compares them: its own collation may take other spellings for the same.
    pub(super) find_by_login: String,
    /// In any spelling.
    pub(super) find_spellings: String,
    /// By the provider's name.
    pub(super) find_by_provider: BTreeMap<String, String>,
    pub(super) list: String,
    pub(super) sample: String,
    pub(super) create: String,
    pub(super) create_with_roles: String,
    pub(super) delete: String,
    pub(super) password: String,
    pub(super) rehash: Option<String>,
    pub(super) rename: Option<String>,
    pub(super) roles: Option<String>,
    pub(super) disable: Option<String>,
    pub(super) verify: Option<String>,
    /// Of all providers.
    pub(super) disconnect: Option<String>,
    /// By the provider's name.
    pub(super) disconnect_one: BTreeMap<String, String>,
    role_lists: bool,
}

impl Statements {
    pub(super) fn new(map: &UserMap, table: &Table) -> Self {
        let (name, login) = (quoted(&map.table), quoted(&map.login));
        let select = format!("select {} from {name}", columns(map));
        let id = format!("{} = ?1", quoted(&map.id));
        let password = quoted(&map.password);
        let updated =
            map.updated.as_deref().map(|column| format!(", {} = {}", quoted(column), now(table, column)));
        let updated = updated.unwrap_or_default();
        let change = |set: String| format!("update {name} set {set}{updated} where {id}");
        let epoch = map.session_epoch.as_deref().map(quoted);
        let moved = |by: &str| epoch.as_ref().map(|epoch| format!(", {epoch} = coalesce({epoch}, 0) + {by}"));
        let new_password = |more: &str| {
            change(format!("{password} = ?3{more}")) + &format!(" and nullif({password}, '') is ?2")
        };
        Self {
            check: format!("update {name} set {password} = {password} where false"),
            find: format!("{select} where {id}"),
            find_by_login: format!("{select} where {login} = ?1 limit {}", spelling::MOST),
            find_spellings: format!("{select} where {login} = ?1 collate nocase limit {}", spelling::MOST),
            find_by_provider: by_provider(map, &select),
            list: format!(
                "{select} where {login} > ?1 collate binary order by {login} collate binary limit ?2"
            ),
            sample: format!("{select} limit ?1"),
            create: create(map, table, false),
            create_with_roles: create(map, table, true),
            delete: format!("delete from {name} where {id}"),
            password: new_password(""),
            rehash: moved("?4").map(|moved| new_password(&moved)),
            rename: map.name.as_deref().map(|column| change(format!("{} = ?2", quoted(column)))),
            roles: map
                .roles
                .as_ref()
                .map(|(Roles::One(column) | Roles::List(column))| change(format!("{} = ?2", quoted(column)))),
            disable: map.flag.as_ref().map(|flag| {
                let (column, value) = set_flag(table, flag, "?2");
                change(format!("{} = {value}{}", quoted(column), moved("?2").unwrap_or_default()))
            }),
            verify: map.verified.field().map(|column| {
                change(format!("{} = {}", quoted(column), mark(table, column, "1")))
                    + &format!(" and {login} = ?2 collate binary")
            }),
            disconnect: disconnect(map, table, change),
            disconnect_one: disconnect_one(map, table, change),
            role_lists: matches!(map.roles, Some(Roles::List(_))),
        }
    }

    /// Roles as the column keeps them: a list as JSON, one as text.
    pub(super) fn roles_value(&self, roles: &[String]) -> Option<String> {
        if self.role_lists { Some(Value::from(roles).to_string()) } else { roles.first().cloned() }
    }
}

fn by_provider(map: &UserMap, select: &str) -> BTreeMap<String, String> {
    let of = |(provider, column): &(String, String)| {
        // An index serves the first; the second knows no collation and no number that is nearly the same.
        let (column, exact) = (quoted(column), "= ?1 collate binary");
        let sql = format!("{select} where {column} = ?1 and cast({column} as text) {exact} limit 2");
        (provider.clone(), sql)
    };
    map.providers.iter().map(of).collect()
}

/// Empties the columns of all providers. One that must not be null may be empty already.
fn disconnect(map: &UserMap, table: &Table, change: impl Fn(String) -> String) -> Option<String> {
    let (mut set, mut empty) = (Vec::new(), vec!["true".to_owned()]);
    for column in map.providers.iter().map(|(_, column)| column) {
        let quoted = quoted(column);
        if table.requires(column) {
            set.push(format!("{quoted} = {quoted}"));
            empty.push(format!("cast({quoted} as text) = ''"));
        } else {
            set.push(format!("{quoted} = null"));
        }
    }
    (!set.is_empty()).then(|| change(set.join(", ")) + " and " + &empty.join(" and "))
}

/// Empties the column of one, if this id stands in it.
fn disconnect_one(
    map: &UserMap,
    table: &Table,
    change: impl Fn(String) -> String,
) -> BTreeMap<String, String> {
    let of = |(provider, column): &(String, String)| {
        let quoted = quoted(column);
        let is = format!("cast({quoted} as text) is ?2 collate binary");
        let sql = if table.requires(column) {
            change(format!("{quoted} = {quoted}")) + &format!(" and not {is}")
        } else {
            change(format!("{quoted} = case when {is} then null else {quoted} end"))
        };
        (provider.clone(), sql)
    };
    map.providers.iter().map(of).collect()
}

/// What is read, under our names.
fn columns(map: &UserMap) -> String {
    let text = |column: &str| format!("cast({} as text)", quoted(column));
    let name = map.name.as_deref().map_or_else(|| "null".to_owned(), text);
    let raw = |column: Option<&String>| column.map_or_else(|| "null".to_owned(), |column| quoted(column));
    let flag = map.flag.as_ref().map(Flag::field);
    let roles = match &map.roles {
        None => "'[]'".to_owned(),
        Some(Roles::List(column)) => format!("coalesce({}, '[]')", quoted(column)),
        Some(Roles::One(column)) => {
            format!("case when {0} is null then '[]' else json_array(cast({0} as text)) end", quoted(column))
        }
    };
    let created = map.created.as_deref().map_or_else(|| "0".to_owned(), read_moment);
    let epoch = map.session_epoch.as_deref().map_or_else(|| "0".to_owned(), quoted);
    format!(
        "{} as id, {} as login, {} as password, {name} as name, {roles} as roles, {} as flag, \
         {} as mark, coalesce({created}, 0) as created, coalesce({epoch}, 0) as epoch",
        text(&map.id),
        text(&map.login),
        text(&map.password),
        raw(flag),
        raw(map.verified.field()),
    )
}

/// What marks an address as verified, or as not: by the column's type, the time or a flag.
fn mark(table: &Table, column: &str, verified: &str) -> String {
    let style = if table.is_moment(column) { Style::Time } else { Style::Number };
    in_style(style, verified)
}

/// A truth as the application writes it.
fn in_style(style: Style, truth: &str) -> String {
    match style {
        Style::Bool | Style::Number => truth.to_owned(),
        Style::Words(yes, no) => format!("case when {truth} then '{yes}' else '{no}' end"),
        Style::Time => format!("case when {truth} then strftime('%Y-%m-%d %H:%M:%f', 'now') end"),
    }
}

/// Milliseconds, by what stands there, whatever was declared: seconds are told from them by their size, days of the Julian calendar by their
/// fraction too; texts are dates as SQLite reads them, or numbers.
fn read_moment(column: &str) -> String {
    let quoted = quoted(column);
    let date = |date: &str| format!("cast(round((julianday({date}) - 2440587.5) * 86400000) as integer)");
    let whole = format!("cast({quoted} as integer)");
    let number = format!("case when abs({whole}) < 100000000000 then {whole} * 1000 else {whole} end");
    format!(
        "case when typeof({quoted}) = 'real' and {quoted} between 1 and 5373484.5 then {} \
         when typeof({quoted}) in ('integer', 'real') or ({quoted} <> '' and {quoted} not glob '*[^0-9]*') then {number} else {} end",
        date(&quoted),
        date(&quoted)
    )
}

fn moment(table: &Table, column: &str, millis: &str) -> String {
    if table.is_whole(column) {
        return millis.to_owned();
    }
    format!("strftime('%Y-%m-%d %H:%M:%f', {millis} / 1000.0, 'unixepoch')")
}

fn now(table: &Table, column: &str) -> &'static str {
    if table.is_whole(column) {
        "cast(round((julianday('now') - 2440587.5) * 86400000) as integer)"
    } else {
        "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    }
}

fn set_flag<'a>(table: &Table, flag: &'a Flag, disabled: &str) -> (&'a str, String) {
    match flag {
        Flag::Disabled(column) => (column, in_style(table.flag_style(), disabled)),
        Flag::Enabled(column) => (column, in_style(table.flag_style(), &format!("not {disabled}"))),
    }
}

/// Takes id, login, password, name, roles, disabled, created, verified; the condition uses all, because SQLite counts them.
fn create(map: &UserMap, table: &Table, with_roles: bool) -> String {
    let mut values: Vec<(&str, String)> = Vec::new();
    if !table.gives(&map.id) {
        values.push((&map.id, "?1".to_owned()));
    }
    values.push((&map.login, "?2".to_owned()));
    values.push((&map.password, "?3".to_owned()));
    if let Some(name) = &map.name {
        values.push((name, "?4".to_owned()));
    }
    if let Some(Roles::One(name) | Roles::List(name)) = &map.roles {
        // Who is given no role gets the table's own default.
        if with_roles || !table.gives(name) {
            values.push((name, "?5".to_owned()));
        }
    }
    if let Some(flag) = &map.flag {
        values.push(set_flag(table, flag, "?6"));
    }
    for name in [&map.created, &map.updated].into_iter().flatten() {
        values.push((name, moment(table, name, "?7")));
    }
    if let Some(name) = map.verified.field() {
        values.push((name, mark(table, name, "?8")));
    }
    let columns: Vec<String> = values.iter().map(|(name, _)| quoted(name)).collect();
    let expressions: Vec<&str> = values.iter().map(|(_, value)| &**value).collect();
    format!(
        "insert into {} ({}) select {} where coalesce(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) is not null returning cast({} as text)",
        quoted(&map.table),
        columns.join(", "),
        expressions.join(", "),
        quoted(&map.id)
    )
}

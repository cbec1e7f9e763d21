//! The statements for a table, written once.

use std::collections::BTreeMap;

use super::table::{Table, quoted};
use crate::existing::{Flag, Roles, UserMap, reading::Style, spelling};

pub(super) struct Statements {
    /// Changes nothing, but is refused where changes are.
    pub(super) check: String,
    pub(super) find: String,
    /// As the column compares them: `citext` takes other spellings for the same.
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
}

impl Statements {
    pub(super) fn new(map: &UserMap, table: &Table) -> Self {
        let (name, login) = (&table.name, quoted(&map.login));
        let select = format!("select {} from {name}", columns(map, table));
        let id = format!("{} = {}", quoted(&map.id), cast(table, &map.id, "$1"));
        let exactly = format!("{login} = {}", cast(table, &map.login, "$1"));
        let any =
            if table.is_citext(map) { exactly.clone() } else { format!("lower({login}) = lower($1::text)") };
        let password = quoted(&map.password);
        let change = |set: String| change(map, table, &set, &id);
        let epoch = map.session_epoch.as_deref().map(quoted);
        let moved = |by: &str| epoch.as_ref().map(|epoch| format!("{epoch} = coalesce({epoch}, 0) + {by}"));
        let with = |set: String, more: Option<String>| {
            more.map_or_else(|| set.clone(), |more| format!("{set}, {more}"))
        };
        let is = |number: &str| format!("nullif({password}::text, '') is not distinct from {number}::text");
        let set = format!("{password} = {}", cast(table, &map.password, "$3"));
        Self {
            check: format!("update {name} set {password} = {password} where false"),
            find: format!("{select} where {id}"),
            find_by_login: format!("{select} where {exactly} limit {}", spelling::MOST),
            find_spellings: format!("{select} where {any} limit {}", spelling::MOST),
            find_by_provider: by_provider(map, table, &select),
            list: format!(
                "{select} where {login}::text collate \"C\" > $1::text order by {login}::text collate \"C\" limit $2"
            ),
            sample: format!("{select} limit $1"),
            create: create(map, table, false),
            create_with_roles: create(map, table, true),
            delete: format!("delete from {name} where {id} returning 1"),
            password: guarded(map, table, &set, &id, &is("$2")),
            rehash: moved("$4::bigint")
                .map(|moved| guarded(map, table, &format!("{set}, {moved}"), &id, &is("$2"))),
            rename: map
                .name
                .as_deref()
                .map(|column| change(format!("{} = {}", quoted(column), cast(table, column, "$2")))),
            roles: map.roles.as_ref().map(|roles| change(set_roles(table, roles, "$2"))),
            disable: map.flag.as_ref().map(|flag| {
                change(with(set_flag(table, flag, "$2"), moved("case when $2::boolean then 1 else 0 end")))
            }),
            verify: map.verified.field().map(|column| {
                let set = format!("{} = {}", quoted(column), mark(table, column, "true"));
                guarded(map, table, &set, &id, &format!("{login}::text = $2::text"))
            }),
            disconnect: disconnect(map, table, &id),
            disconnect_one: disconnect_one(map, table, &id),
        }
    }
}

fn by_provider(map: &UserMap, table: &Table, select: &str) -> BTreeMap<String, String> {
    let of = |(provider, column): &(String, String)| {
        let (quoted, same) = (quoted(column), cast(table, column, "$1"));
        // An index serves the first; the second knows no collation and no citext.
        let exact = "= $1::text collate \"C\"";
        let sql = format!("{select} where {quoted} = {same} and {quoted}::text {exact} limit 2");
        (provider.clone(), sql)
    };
    map.providers.iter().map(of).collect()
}

/// Empties the columns of all providers. One that must not be null may be empty already.
fn disconnect(map: &UserMap, table: &Table, id: &str) -> Option<String> {
    let (mut set, mut empty) = (Vec::new(), vec!["true".to_owned()]);
    for column in map.providers.iter().map(|(_, column)| column) {
        let quoted = quoted(column);
        if table.requires(column) {
            set.push(format!("{quoted} = {quoted}"));
            empty.push(format!("{quoted}::text = ''"));
        } else {
            set.push(format!("{quoted} = null"));
        }
    }
    (!set.is_empty()).then(|| guarded(map, table, &set.join(", "), id, &empty.join(" and ")))
}

/// Empties the column of one, if this id stands in it.
fn disconnect_one(map: &UserMap, table: &Table, id: &str) -> BTreeMap<String, String> {
    let of = |(provider, column): &(String, String)| {
        let quoted = quoted(column);
        let is = format!("{quoted}::text = $2::text collate \"C\"");
        let sql = if table.requires(column) {
            guarded(map, table, &format!("{quoted} = {quoted}"), id, &format!("not {is}"))
        } else {
            let set = format!("{quoted} = case when {is} then null else {quoted} end");
            guarded(map, table, &set, id, "true")
        };
        (provider.clone(), sql)
    };
    map.providers.iter().map(of).collect()
}

/// A text as the column takes it.
fn cast(table: &Table, column: &str, value: &str) -> String {
    format!("{value}::text::{}", table.column(column).kind)
}

/// What is read, under our names.
fn columns(map: &UserMap, table: &Table) -> String {
    let text = |column: &str| format!("{}::text", quoted(column));
    let name = map.name.as_deref().map_or_else(|| "null::text".to_owned(), text);
    let raw =
        |column: Option<&String>| column.map_or_else(|| "null::text".to_owned(), |name| raw(table, name));
    let flag = map.flag.as_ref().map(Flag::field);
    let created = map.created.as_deref().map_or_else(
        || "0".to_owned(),
        |column| {
            let quoted = quoted(column);
            if table.column(column).is_moment() {
                format!("extract(epoch from {quoted}) * 1000")
            } else {
                quoted
            }
        },
    );
    let epoch = map.session_epoch.as_deref().map_or_else(|| "0".to_owned(), quoted);
    format!(
        "{} as id, {} as login, {} as password, {name} as name, {} as roles, {} as flag, \
         {} as mark, coalesce({created}, 0)::bigint as created, coalesce({epoch}, 0)::bigint as epoch",
        text(&map.id),
        text(&map.login),
        text(&map.password),
        read_roles(map, table),
        raw(flag),
        raw(map.verified.field()),
    )
}

/// What stands in a column of a flag, as text: a time in milliseconds, everything else as PostgreSQL shows it.
pub(super) fn raw(table: &Table, name: &str) -> String {
    let quoted = quoted(name);
    if table.column(name).is_moment() {
        return format!(
            "case when isfinite({quoted}) then (extract(epoch from {quoted}) * 1000)::bigint::text else {quoted}::text end"
        );
    }
    format!("{quoted}::text")
}

/// What marks an address as verified, or as not: a flag, or the time, which in a number of 64 bits is milliseconds.
fn mark(table: &Table, name: &str, verified: &str) -> String {
    if table.column(name).kind == "bigint" {
        return format!(
            "case when {verified} then (extract(epoch from current_timestamp) * 1000)::bigint else 0 end"
        );
    }
    in_style(table, name, table.flag_style(name), verified)
}

/// A truth as the application writes it in this column.
fn in_style(table: &Table, name: &str, style: Style, truth: &str) -> String {
    let kind = &table.column(name).kind;
    match style {
        Style::Bool if kind == "boolean" => truth.to_owned(),
        Style::Bool => format!("to_json({truth})::{kind}"),
        Style::Number => format!("({truth})::integer::{kind}"),
        Style::Words(yes, no) => format!("(case when {truth} then '{yes}' else '{no}' end)::{kind}"),
        Style::Time => format!("case when {truth} then {} end", in_utc(kind, "current_timestamp")),
    }
}

fn read_roles(map: &UserMap, table: &Table) -> String {
    let Some(Roles::One(name) | Roles::List(name)) = &map.roles else { return "'{}'::text[]".to_owned() };
    let (column, quoted) = (table.column(name), quoted(name));
    match &map.roles {
        Some(Roles::List(_)) if column.is_json() => {
            format!("array(select {}_array_elements_text({quoted}))", column.kind)
        }
        Some(Roles::List(_)) => format!("coalesce({quoted}::text[], '{{}}')"),
        _ => format!("array_remove(array[{quoted}::text], null)"),
    }
}

fn set_roles(table: &Table, roles: &Roles, value: &str) -> String {
    let (Roles::One(name) | Roles::List(name)) = roles;
    format!("{} = {}", quoted(name), roles_value(table, roles, value))
}

fn roles_value(table: &Table, roles: &Roles, value: &str) -> String {
    let (Roles::One(name) | Roles::List(name)) = roles;
    let column = table.column(name);
    match roles {
        Roles::List(_) if column.is_json() => format!("to_jsonb({value}::text[])::{}", column.kind),
        Roles::List(_) => format!("{value}::text[]::{}", column.kind),
        Roles::One(_) => format!("({value}::text[])[1]::{}", column.kind),
    }
}

fn set_flag(table: &Table, flag: &Flag, value: &str) -> String {
    let (Flag::Disabled(name) | Flag::Enabled(name)) = flag;
    format!("{} = {}", quoted(name), flag_value(table, flag, value))
}

fn flag_value(table: &Table, flag: &Flag, disabled: &str) -> String {
    let (name, not) = match flag {
        Flag::Disabled(name) => (name, ""),
        Flag::Enabled(name) => (name, "not "),
    };
    in_style(table, name, table.flag_style(name), &format!("{not}{disabled}::boolean"))
}

/// A time for a column of this type: one without a time zone holds UTC, whatever zone the connection is in.
fn in_utc(kind: &str, time: &str) -> String {
    if kind == "timestamp with time zone" {
        time.to_owned()
    } else {
        format!("({time} at time zone 'UTC')::{kind}")
    }
}

fn moment(table: &Table, column: &str, millis: &str) -> String {
    let column = table.column(column);
    if column.is_moment() {
        in_utc(&column.kind, &format!("to_timestamp({millis}::bigint / 1000.0)"))
    } else {
        format!("{millis}::bigint")
    }
}

fn now(table: &Table, column: &str) -> String {
    if table.column(column).is_moment() {
        in_utc(&table.column(column).kind, "current_timestamp")
    } else {
        "(extract(epoch from current_timestamp) * 1000)::bigint".to_owned()
    }
}

/// Takes id, login, password, name, roles, disabled, created, verified; the first part gives types to those of them that this table has no use for.
fn create(map: &UserMap, table: &Table, with_roles: bool) -> String {
    let mut values: Vec<(&str, String)> = Vec::new();
    if !table.gives_ids() {
        values.push((&map.id, cast(table, &map.id, "$1")));
    }
    values.push((&map.login, cast(table, &map.login, "$2")));
    values.push((&map.password, cast(table, &map.password, "$3")));
    if let Some(name) = &map.name {
        values.push((name, cast(table, name, "$4")));
    }
    if let Some(roles) = &map.roles {
        let (Roles::One(name) | Roles::List(name)) = roles;
        // Who is given no role gets the table's own default.
        if with_roles || !table.gives(name) {
            values.push((name, roles_value(table, roles, "$5")));
        }
    }
    if let Some(flag) = &map.flag {
        let (Flag::Disabled(name) | Flag::Enabled(name)) = flag;
        values.push((name, flag_value(table, flag, "$6")));
    }
    for name in [&map.created, &map.updated].into_iter().flatten() {
        values.push((name, moment(table, name, "$7")));
    }
    if let Some(name) = map.verified.field() {
        values.push((name, mark(table, name, "$8::boolean")));
    }
    let columns: Vec<String> = values.iter().map(|(name, _)| quoted(name)).collect();
    let expressions: Vec<&str> = values.iter().map(|(_, value)| &**value).collect();
    format!(
        "with given as (select $1::text, $2::text, $3::text, $4::text, $5::text[], $6::boolean, $7::bigint, $8::boolean) \
         insert into {} ({}) values ({}) returning {}::text as id",
        table.name,
        columns.join(", "),
        expressions.join(", "),
        quoted(&map.id)
    )
}

/// A change, and whether there is such a user when it was not made.
fn change(map: &UserMap, table: &Table, set: &str, id: &str) -> String {
    guarded(map, table, set, id, "true")
}

/// The same, if something holds.
fn guarded(map: &UserMap, table: &Table, set: &str, id: &str, condition: &str) -> String {
    let updated =
        map.updated.as_deref().map(|column| format!(", {} = {}", quoted(column), now(table, column)));
    format!(
        "with done as (update {0} set {set}{1} where {id} and {condition} returning 1) \
         select exists (select from done) as done, exists (select from {0} where {id}) as found",
        table.name,
        updated.unwrap_or_default()
    )
}

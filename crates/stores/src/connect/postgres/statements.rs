//! The statements, with the names that are configured. No JSON operator anywhere: PostgreSQL's fail on what JavaScript writes (`\ud83d`).

use super::{ConnectPgOptions, ended::Ended};

/// See the module.
pub(super) struct Statements {
    pub(super) get: String,
    pub(super) insert: String,
    pub(super) lift: Option<String>,
    pub(super) put: String,
    pub(super) prolong: String,
    pub(super) replace: String,
    pub(super) rotate: String,
    pub(super) touch: String,
    pub(super) remove: String,
    pub(super) naming: String,
    pub(super) keys: String,
    pub(super) get_all: String,
    pub(super) sweep: String,
    pub(super) remove_again: Option<String>,
    pub(super) forget: Option<String>,
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn table(options: &ConnectPgOptions) -> String {
    let name = quoted(&options.table);
    options.schema.as_deref().map_or_else(|| name.clone(), |schema| format!("{}.{name}", quoted(schema)))
}

/// Makes Express's table.
pub(super) fn create(options: &ConnectPgOptions) -> [String; 2] {
    let Names { table, sid, sess, expire, .. } = Names::of(options);
    let index = quoted(&format!("IDX_{}_expire", options.table));
    [
        format!(
            "create table if not exists {table}
            ({sid} varchar primary key, {sess} json not null, {expire} timestamp(6) not null)"
        ),
        format!("create index if not exists {index} on {table} ({expire})"),
    ]
}

/// Fails if Express's table is another one than is configured.
pub(super) fn look(options: &ConnectPgOptions) -> String {
    let Names { table, row, .. } = Names::of(options);
    format!("select {row} from {table} session limit 0")
}

/// The names in the statements. `row` is what is read of a `session`.
pub(super) struct Names {
    pub(super) table: String,
    pub(super) sid: String,
    pub(super) sess: String,
    pub(super) expire: String,
    pub(super) row: String,
}

impl Names {
    pub(super) fn of(options: &ConnectPgOptions) -> Self {
        let [sid, sess, expire] = [0, 1, 2].map(|at| quoted(&options.columns[at]));
        let row = format!(
            "session.{sid}::text as sid, session.{sess}::text as sess,
            case when isfinite(session.{expire})
                then round(extract(epoch from session.{expire}::timestamptz) * 1000)::bigint end as expire"
        );
        Self { table: table(options), sid, sess, expire, row }
    }
}

impl Statements {
    pub(super) fn new(options: &ConnectPgOptions, ended: &Ended) -> Self {
        let names = Names::of(options);
        let Names { table: t, sid, sess, expire, row } = &names;
        let end = ended.end(&names);
        let lives = ended.has_not(&format!("session.{sid}"));
        let may_live = ended.has_not("$1");
        Self {
            get: format!(
                "select {row} from {t} session
                where session.{sid} = $1 and session.{expire} > to_timestamp($2) and {lives}"
            ),
            insert: format!(
                "insert into {t} as old ({sid}, {sess}, {expire})
                select $1::varchar, $2::text::json, to_timestamp($3) where {may_live}
                on conflict ({sid}) do update set {sess} = excluded.{sess}, {expire} = excluded.{expire}
                where old.{expire} <= to_timestamp($4) returning 1"
            ),
            lift: ended.lift(&names),
            put: format!(
                "insert into {t} ({sid}, {sess}, {expire})
                select $1::varchar, $2::text::json, to_timestamp($3) where {may_live}
                on conflict ({sid}) do update set {sess} = excluded.{sess}, {expire} = excluded.{expire}
                returning 1"
            ),
            prolong: format!(
                "update {t} session set {expire} = to_timestamp($2)
                where session.{sid} = $1 and {lives} returning 1"
            ),
            replace: format!(
                "update {t} session set {sess} = $3::text::json, {expire} = case when $5
                    then greatest(session.{expire}, to_timestamp($4)::timestamp)
                    else to_timestamp($4)::timestamp end
                where session.{sid} = $1 and session.{sess}::text = $2
                    and session.{expire} > to_timestamp($6) and {lives}
                returning 1"
            ),
            rotate: format!(
                "with {end}, made as (
                    insert into {t} ({sid}, {sess}, {expire})
                    select $6::varchar, $7::text::json, to_timestamp($8) from was returning 1)
                select 1 from made"
            ),
            touch: format!(
                "with used as (
                    select session.{sid} as sid, batch.expire from {t} session
                    join unnest($1::text[], $2::float8[]) batch (sid, expire) on session.{sid} = batch.sid
                    where session.{expire} > to_timestamp($3) order by session.{sid} for update of session)
                update {t} session
                set {expire} = greatest(session.{expire}, to_timestamp(used.expire)::timestamp)
                from used where session.{sid} = used.sid"
            ),
            remove: format!("with {end} select sid, sess, expire, live from was"),
            naming: format!(
                "select {row} from {t} session
                where position($1 in session.{sess}::text) > 0 and session.{expire} > to_timestamp($2)
                    and {lives}"
            ),
            keys: format!("select {sid} as sid from {t}"),
            get_all: format!(
                "select {row} from {t} session
                where session.{sid} = any($1) and session.{expire} > to_timestamp($2) and {lives}"
            ),
            sweep: format!(
                "delete from {t} where {sid} in (
                    select {sid} from {t} where {expire} <= to_timestamp($1)
                    order by {expire} limit $2 for update skip locked)
                returning 1"
            ),
            remove_again: ended.remove_again(&names),
            forget: ended.forget(&names),
        }
    }
}

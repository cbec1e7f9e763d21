//! [`Ended`]: the table `hallpass_ended_session`, and the trigger that lets no session in again that is listed there.
//!
//! Whoever ends a session and whoever inserts one take the same lock first, named by the session's ID, and hold it until they commit. So an
//! `INSERT … ON CONFLICT` that began before the session was ended either commits before it, and is deleted with it, or sees that it has
//! ended. The check alone would not do: PostgreSQL does not call `BEFORE` triggers again when it inserts after a conflict has gone.
//!
//! The table has the IDs as Express's table has them, so that the database itself finds what is in both. They open nothing any more.

use hallpass_session::StoreError;
use tokio_postgres::error::{DbError, SqlState};

use super::{
    ConnectPgOptions,
    statements::{Names, quoted},
};
use crate::{
    connect::ended::{LONGEST, MARGIN, RECENT},
    postgres::{Postgres, column},
};

/// How many ended sessions one statement forgets.
pub(super) const FORGOTTEN_AT_ONCE: usize = 1000;

/// Where ended sessions are remembered, in the first schema of the search path; `suffix` tells apart what belongs to it.
fn our(options: &ConnectPgOptions, suffix: &str) -> String {
    quoted(&format!("hallpass_ended_{}{suffix}", options.table))
}

/// The trigger on Express's table.
const TRIGGER: &str = "hallpass_refuse_ended";

/// `HaPc`: the lock that programs take which make the table and the trigger at once, and the seed of the sessions' locks.
const LOCK: i64 = 0x4861_5063;

const DOING: &str = "prepare the table of ended sessions";

/// How ended sessions are remembered.
pub(super) enum Ended {
    /// Not at all: this role may not make the table.
    Not,
    /// In this table. A sweep removes what Express saves over them.
    Noted(String),
    /// In this table, and this function ends a session under the lock that the trigger takes.
    Guarded(String, String),
}

/// What is found in the database.
struct Found {
    relation: u32,
    /// Our table and its schema, quoted.
    table: Option<(String, String)>,
    is_guarded: bool,
}

impl Ended {
    /// Makes what is missing, as far as this role may, and says in the log what it may not.
    pub(super) async fn prepare(postgres: &Postgres, options: &ConnectPgOptions) -> Result<Self, StoreError> {
        let names = Names::of(options);
        let mut found = find(postgres, &names, &our(options, "")).await?;
        if found.table.is_none() && may(postgres.batch(DOING, &create(options)).await)? {
            found = find(postgres, &names, &our(options, "")).await?;
        }
        let Some((table, schema)) = found.table else {
            let meaning = "a session that is ended here lives again if an Express request under way saves it; \
                           let this role create tables, or create the table as docs/from-express.md says";
            tracing::warn!(event = "ended_sessions_not_remembered", meaning);
            return Ok(Self::Not);
        };
        if !found.is_guarded {
            let trigger = trigger(&names, &table, &schema, found.relation);
            if !options.triggers || !may(postgres.batch(DOING, &trigger).await)? {
                let meaning = "what an Express request under way saves over a session that is ended here stays for up to a minute, \
                               and Express honours it; Hallpass refuses it at once; let this role put a trigger on Express's table";
                tracing::warn!(event = "ended_sessions_not_guarded", meaning);
                return Ok(Self::Noted(table));
            }
        }
        let end = format!("{schema}.hallpass_end_{}_1", found.relation);
        Ok(Self::Guarded(table, end))
    }

    fn table(&self) -> Option<&str> {
        match self {
            Self::Not => None,
            Self::Noted(table) | Self::Guarded(table, _) => Some(table),
        }
    }

    /// A condition: this ID has not ended.
    pub(super) fn has_not(&self, id: &str) -> String {
        let not = |table| format!("not exists (select from {table} ended where ended.id = {id})");
        self.table().map_or_else(|| "true".to_owned(), not)
    }

    /// Ends the session `$1`; if `$2` is a text, only a live one that has it. `$3`: the time, `$4`: the store's `ttl`, both in seconds; `$5`:
    /// whether another store holds it now. What it was is found in `was`.
    pub(super) fn end(&self, names: &Names) -> String {
        match self {
            Self::Not => deleted(names, "$5::boolean is not null and $4::float8 is not null"),
            Self::Noted(table) => self.noted(names, table),
            Self::Guarded(_, end) => format!(
                "was as (select * from {end}($1::text, $2::text, $3::float8, $4::float8, $5::boolean))"
            ),
        }
    }

    fn noted(&self, names: &Names, table: &str) -> String {
        let deleted = deleted(names, &self.has_not(&format!("session.{}", names.sid)));
        let until = until();
        format!(
            "{deleted}, noted as (
                insert into {table} as old (id, until, ended, moved)
                select $1::text, {until}, now(), $5::boolean
                where $2::text is null or exists (select from was)
                on conflict (id) do update set until = greatest(old.until, excluded.until),
                    ended = excluded.ended, moved = old.moved and excluded.moved)"
        )
    }

    /// Forgets that another store held the session `$1`, with what Express has written over it.
    pub(super) fn lift(&self, names: &Names) -> Option<String> {
        let Names { table: t, sid, .. } = names;
        let table = self.table()?;
        Some(format!(
            "with lifted as (delete from {table} where id = $1::text and moved returning id),
            gone as (delete from {t} session using lifted where session.{sid} = lifted.id)
            select 1 from lifted"
        ))
    }

    /// Removes what was written over sessions that ended lately.
    pub(super) fn remove_again(&self, names: &Names) -> Option<String> {
        let Names { table: t, sid, .. } = names;
        let (table, recent) = (self.table()?, RECENT.as_secs());
        Some(format!(
            "delete from {t} session using {table} noted
            where noted.id = session.{sid}
                and noted.ended > now() - interval '{recent} seconds' returning 1"
        ))
    }

    /// Forgets at most `$2` sessions that could not live any more at `$1`, but none that is there again: that one is removed, and remembered
    /// longer.
    pub(super) fn forget(&self, names: &Names) -> Option<String> {
        let Names { table: t, sid, .. } = names;
        let table = self.table()?;
        Some(format!(
            "with due as (
                select id from {table} where until <= to_timestamp($1)
                order by until limit $2 for update skip locked),
            back as (delete from {t} session using due where session.{sid} = due.id returning due.id),
            longer as (
                update {table} noted set until = to_timestamp($1) + interval '1 day'
                from back where noted.id = back.id)
            delete from {table} noted using due
            where noted.id = due.id and not exists (select from back where back.id = due.id) returning 1"
        ))
    }
}

/// Deletes the row, and says what it was; `lived` is a condition.
fn deleted(names: &Names, lived: &str) -> String {
    let Names { table, sid, sess, expire, row } = names;
    format!(
        "was as (
            delete from {table} session where session.{sid} = $1::text and ($2::text is null
                or (session.{sess}::text = $2::text and session.{expire} > to_timestamp($3::float8) and {lived}))
            returning {row}, (session.{expire} > to_timestamp($3::float8) and {lived}) as live)"
    )
}

/// Until when it is remembered: as long as the row would have lived, or a stale copy lives that is saved with the cookie's age or the `ttl`.
fn until() -> String {
    let (longest, margin) = (LONGEST.as_secs(), MARGIN.as_secs());
    format!(
        "least(
            greatest(
                to_timestamp($3::float8 + $4::float8),
                (select to_timestamp(was.expire / 1000.0) from was),
                (select to_timestamp($3::float8
                    + substring(was.sess from '\"originalMaxAge\":\\s*([0-9]{{1,13}})')::float8 / 1000) from was)),
            to_timestamp($3::float8) + interval '{longest} seconds') + interval '{margin} seconds'"
    )
}

/// Whether it was done; `false` when this role may not, or the database cannot.
fn may(done: Result<(), StoreError>) -> Result<bool, StoreError> {
    const NOT: [SqlState; 6] = [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::WRONG_OBJECT_TYPE,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    let Err(error) = done else { return Ok(true) };
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<DbError>().filter(|cause| NOT.contains(cause.code())) {
            tracing::warn!(event = "ended_sessions_not_prepared", reason = cause.message());
            return Ok(false);
        }
        source = cause.source();
    }
    Err(error)
}

async fn find(postgres: &Postgres, names: &Names, ours: &str) -> Result<Found, StoreError> {
    let sql = format!(
        "select session.oid as relation, quote_ident(space.nspname) as schema,
            exists (select from pg_trigger
                where tgrelid = session.oid and tgname = '{TRIGGER}' and tgenabled <> 'D')
            and to_regproc(quote_ident(space.nspname) || '.hallpass_end_' || session.oid || '_1') is not null
                as is_guarded
        from pg_class session
        left join pg_class ended on ended.oid = to_regclass($2)
            and has_table_privilege(ended.oid, 'select') and has_table_privilege(ended.oid, 'insert')
            and has_table_privilege(ended.oid, 'update') and has_table_privilege(ended.oid, 'delete')
        left join pg_namespace space on space.oid = ended.relnamespace
        where session.oid = $1::text::regclass"
    );
    let found = postgres.query(DOING, &sql, &[&names.table, &ours]).await?;
    let found = found.first().ok_or_else(|| StoreError::new(DOING, "the database gave no answer"))?;
    let schema: Option<String> = column(found, DOING, "schema")?;
    Ok(Found {
        relation: column(found, DOING, "relation")?,
        table: schema.map(|schema| (format!("{schema}.{ours}"), schema)),
        is_guarded: column::<Option<bool>>(found, DOING, "is_guarded")?.unwrap_or_default(),
    })
}

fn create(options: &ConnectPgOptions) -> String {
    let [table, until, ended] = ["", "_until", "_ended"].map(|suffix| our(options, suffix));
    format!(
        "select pg_advisory_xact_lock({LOCK});
        create table if not exists {table} (
            id text primary key, until timestamptz not null, ended timestamptz not null, moved boolean not null);
        create index if not exists {until} on {table} (until);
        create index if not exists {ended} on {table} (ended);"
    )
}

/// The trigger, and the function that ends sessions. The trigger works with our rights: Express's role needs none on our table.
fn trigger(names: &Names, table: &str, schema: &str, relation: u32) -> String {
    let Names { table: t, sid, .. } = names;
    let end = Ended::Noted(table.to_owned()).end(names);
    format!(
        "set local lock_timeout = '2s';
        select pg_advisory_xact_lock({LOCK});
        create or replace function {schema}.hallpass_refuse_{relation}_1() returns trigger
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $refuse$
        begin
            perform pg_advisory_xact_lock_shared(hashtextextended(new.{sid}::text, {LOCK}));
            if exists (select from {table} ended where ended.id = new.{sid}) then
                return null;
            end if;
            return new;
        end $refuse$;
        create or replace function {schema}.hallpass_end_{relation}_1(text, text, float8, float8, boolean)
        returns table (sid text, sess text, expire bigint, live boolean) language plpgsql as $end$
        #variable_conflict use_column
        begin
            perform pg_advisory_xact_lock(hashtextextended($1, {LOCK}));
            return query with {end} select was.sid, was.sess, was.expire, was.live from was;
        end $end$;
        drop trigger if exists {TRIGGER} on {t};
        create trigger {TRIGGER} before insert on {t} for each row
            execute function {schema}.hallpass_refuse_{relation}_1();"
    )
}

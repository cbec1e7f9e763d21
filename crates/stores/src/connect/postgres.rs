//! The table of connect-pg-simple: `sid`, `sess` (`json`, which keeps texts as they were written), `expire` (without a time zone).

use std::time::Duration;

use async_trait::async_trait;
use hallpass_session::{ChangeFeed, SessionHandle, SessionId, StoreError, StoreTime, Timestamp};
use tokio_postgres::Row as Found;

use super::{
    ConnectOptions,
    rows::{Change, Row, Rows, Use, seconds_until},
    sessions::Connect,
    sweep::Turn,
};
use crate::{
    ConnectError,
    postgres::{KIND, Postgres, Told, column},
};

/// Sessions in a table of connect-pg-simple 10.
pub type ConnectPg = Connect<Table>;

/// What connect-pg-simple is configured with.
#[derive(Clone, Debug)]
pub struct ConnectPgOptions {
    /// What all layouts need. Default `ttl`: a day, as there.
    pub connect: ConnectOptions,
    /// `schemaName`. Default: none, the search path decides.
    pub schema: Option<String>,
    /// `tableName`. Default: `session`.
    pub table: String,
    /// The names of the columns for id, session and end. Default: `sid`, `sess`, `expire`.
    pub columns: [String; 3],
    /// `createTableIfMissing`. Default: no.
    pub create_table: bool,
    /// `disableTouch`: only a change lengthens a session. Default: no.
    pub disable_touch: bool,
    /// `pruneSessionInterval`: how often expired sessions are removed; `None`: that is left to Express. Default: 15 minutes.
    pub prune_interval: Option<Duration>,
    /// Whether triggers may be put on the table, which tell what Express does to sessions: without them every session check asks the
    /// database. Default: no, because it is Express's table.
    pub triggers: bool,
    /// The time zone that Express's connections set, if they set one: the table's times have none of their own.
    /// Default: none, the server's own, as with Express.
    pub time_zone: Option<String>,
}

impl Default for ConnectPgOptions {
    fn default() -> Self {
        Self {
            connect: ConnectOptions::with_ttl(1),
            schema: None,
            table: "session".to_owned(),
            columns: ["sid", "sess", "expire"].map(str::to_owned),
            create_table: false,
            disable_touch: false,
            prune_interval: Some(Duration::from_secs(15 * 60)),
            triggers: false,
            time_zone: None,
        }
    }
}

impl ConnectPg {
    /// Connects and looks whether the table can be used.
    pub async fn connect(url: &str, options: &ConnectPgOptions) -> Result<Self, ConnectError> {
        let zone =
            options.time_zone.as_deref().map(|zone| format!("-c TimeZone={}", zone.replace(' ', "\\ ")));
        let postgres = Postgres::reach(url, &options.connect.server, zone.as_deref())?;
        let sql = Statements::new(options);
        let failed = |source: StoreError| {
            let cause = std::error::Error::source(&source).map(|cause| Box::from(chain(cause)));
            ConnectError::Prepare { kind: KIND, source: cause.unwrap_or_else(|| source.into()) }
        };
        drop(postgres.client().await?);
        if options.create_table {
            for statement in &sql.create {
                postgres.query("create the table of sessions", statement, &[]).await.map_err(failed)?;
            }
        }
        postgres.query("look at the table of sessions", &sql.look, &[]).await.map_err(failed)?;
        let (disable_touch, prune_interval) = (options.disable_touch, options.prune_interval);
        let told = options.triggers.then(|| options.clone());
        let rows = Table { postgres, sql, disable_touch, prune_interval, turn: Turn::default(), told };
        Ok(Self::new(rows, &options.connect))
    }
}

fn chain(mut error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    while let Some(source) = error.source() {
        text = format!("{text}: {source}");
        error = source;
    }
    text
}

/// A table of connect-pg-simple.
pub struct Table {
    postgres: Postgres,
    sql: Statements,
    disable_touch: bool,
    prune_interval: Option<Duration>,
    turn: Turn,
    /// Whether and how its changes are told.
    told: Option<ConnectPgOptions>,
}

/// The statements, with the names that are configured. No JSON operator anywhere: PostgreSQL's fail on what JavaScript writes (`\ud83d`).
struct Statements {
    create: [String; 2],
    look: String,
    get: String,
    insert: String,
    put: String,
    prolong: String,
    replace: String,
    take: String,
    touch: String,
    remove: String,
    naming: String,
    keys: String,
    get_all: String,
    sweep: String,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn table(options: &ConnectPgOptions) -> String {
    let name = quoted(&options.table);
    options.schema.as_deref().map_or_else(|| name.clone(), |schema| format!("{}.{name}", quoted(schema)))
}

fn told(options: &ConnectPgOptions) -> Told<SessionHandle> {
    let [sid, sess, expire] = [0, 1, 2].map(|at| quoted(&options.columns[at]));
    Told {
        table: table(options),
        named: |handle| handle.parse().ok(),
        name: format!("left(encode(sha256(convert_to(was.{sid}, 'UTF8')), 'hex'), 32)"),
        differs: format!(
            "next.{expire} < was.{expire} or next.{sess}::text is distinct from was.{sess}::text"
        ),
        key: sid,
    }
}

impl Statements {
    fn new(options: &ConnectPgOptions) -> Self {
        let t = table(options);
        let [sid, sess, expire] = [0, 1, 2].map(|at| quoted(&options.columns[at]));
        let index = quoted(&format!("IDX_{}_expire", options.table));
        let row = format!(
            "{sid} as sid, {sess}::text as sess, round(extract(epoch from {expire}::timestamptz) * 1000)::bigint as expire"
        );
        Self {
            create: [
                format!("create table if not exists {t} ({sid} varchar primary key, {sess} json not null, {expire} timestamp(6) not null)"),
                format!("create index if not exists {index} on {t} ({expire})"),
            ],
            look: format!("select {row} from {t} limit 0"),
            get: format!("select {row} from {t} where {sid} = $1 and {expire} > to_timestamp($2)"),
            insert: format!(
                "insert into {t} as old ({sid}, {sess}, {expire}) values ($1, $2::text::json, to_timestamp($3))
                on conflict ({sid}) do update set {sess} = excluded.{sess}, {expire} = excluded.{expire}
                where old.{expire} <= to_timestamp($4) returning 1"
            ),
            put: format!(
                "insert into {t} ({sid}, {sess}, {expire}) values ($1, $2::text::json, to_timestamp($3))
                on conflict ({sid}) do update set {sess} = excluded.{sess}, {expire} = excluded.{expire}"
            ),
            prolong: format!("update {t} set {expire} = to_timestamp($2) where {sid} = $1 returning 1"),
            replace: format!(
                "update {t} set {sess} = $3::text::json, {expire} = case when $5
                    then greatest({expire}, to_timestamp($4)::timestamp) else to_timestamp($4)::timestamp end
                where {sid} = $1 and {sess}::text = $2 and {expire} > to_timestamp($6) returning 1"
            ),
            take: format!("delete from {t} where {sid} = $1 and {sess}::text = $2 and {expire} > to_timestamp($3) returning 1"),
            touch: format!(
                "with used as (
                    select session.{sid} as sid, batch.expire from {t} session
                    join unnest($1::text[], $2::float8[]) batch (sid, expire) on session.{sid} = batch.sid
                    where session.{expire} > to_timestamp($3) order by session.{sid} for update of session)
                update {t} session set {expire} = greatest(session.{expire}, to_timestamp(used.expire)::timestamp)
                from used where session.{sid} = used.sid"
            ),
            remove: format!("delete from {t} where {sid} = $1 returning {row}, {expire} > to_timestamp($2) as live"),
            naming: format!("select {row} from {t} where position($1 in {sess}::text) > 0 and {expire} > to_timestamp($2)"),
            keys: format!("select {sid} as sid from {t}"),
            get_all: format!("select {row} from {t} where {sid} = any($1) and {expire} > to_timestamp($2)"),
            sweep: format!(
                "delete from {t} where {sid} in (
                    select {sid} from {t} where {expire} <= to_timestamp($1) order by {expire} limit $2 for update skip locked)
                returning 1"
            ),
        }
    }
}

/// As `to_timestamp` takes it. A double is exact to a fraction of a microsecond for centuries.
#[expect(clippy::cast_precision_loss, reason = "far below a millisecond")]
fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1000.0
}

fn text<'a>(doing: &'static str, bytes: &'a [u8]) -> Result<&'a str, StoreError> {
    std::str::from_utf8(bytes).map_err(|error| StoreError::new(doing, error))
}

fn row(doing: &'static str, found: &Found) -> Result<Row, StoreError> {
    let text: String = column(found, doing, "sess")?;
    Ok(Row {
        key: column(found, doing, "sid")?,
        bytes: text.into_bytes().into(),
        expires: Some(Timestamp::from_millis(column(found, doing, "expire")?)),
        last_modified: None,
    })
}

#[async_trait]
impl Rows for Table {
    fn key(&self, id: &SessionId) -> Option<String> {
        (!id.is_hash()).then(|| id.expose().to_owned())
    }

    fn id(&self, key: &str) -> Option<SessionId> {
        SessionId::new(key)
    }

    async fn get(&self, doing: &'static str, key: &str, now: Timestamp) -> Result<Option<Row>, StoreError> {
        let found = self.postgres.query(doing, &self.sql.get, &[&key, &seconds(now)]).await?;
        found.first().map(|found| row(doing, found)).transpose()
    }

    async fn insert(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sess = text(doing, bytes)?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&key, &sess, &seconds(expires), &seconds(now)];
        Ok(!self.postgres.query(doing, &self.sql.insert, &values).await?.is_empty())
    }

    /// connect-pg-simple stores whole seconds.
    fn rounded(&self, expires: Timestamp, _: Timestamp) -> Timestamp {
        Timestamp::from_millis(seconds_until(expires, Timestamp::from_millis(0)).saturating_mul(1000))
    }

    async fn put(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        expires: Timestamp,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        let sess = text(doing, bytes)?;
        self.postgres.query(doing, &self.sql.put, &[&key, &sess, &seconds(expires)]).await.map(drop)
    }

    async fn prolong(
        &self,
        doing: &'static str,
        key: &str,
        expires: Timestamp,
        _: Option<Timestamp>,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.disable_touch {
            return Ok(true);
        }
        Ok(!self.postgres.query(doing, &self.sql.prolong, &[&key, &seconds(expires)]).await?.is_empty())
    }

    async fn replace(&self, key: &str, change: Change<'_>, now: Timestamp) -> Result<bool, StoreError> {
        let doing = "save a session";
        let Change { old, new, expires, keep_later } = change;
        let (old, new, expires) = (text(doing, old)?, text(doing, new)?, seconds(expires));
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&key, &old, &new, &expires, &keep_later, &seconds(now)];
        Ok(!self.postgres.query(doing, &self.sql.replace, &values).await?.is_empty())
    }

    async fn take(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sess = text(doing, bytes)?;
        Ok(!self.postgres.query(doing, &self.sql.take, &[&key, &sess, &seconds(now)]).await?.is_empty())
    }

    async fn touch(&self, uses: &[Use], now: Timestamp) -> Result<(), StoreError> {
        if self.disable_touch {
            return Ok(());
        }
        let keys: Vec<&str> = uses.iter().map(|one| one.key.as_str()).collect();
        let ends: Vec<f64> = uses.iter().map(|one| seconds(one.expires)).collect();
        let doing = "note the use of sessions";
        self.postgres.query(doing, &self.sql.touch, &[&keys, &ends, &seconds(now)]).await.map(drop)
    }

    async fn remove(
        &self,
        doing: &'static str,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Row>, StoreError> {
        let removed = self.postgres.query(doing, &self.sql.remove, &[&key, &seconds(now)]).await?;
        let Some(removed) = removed.first() else { return Ok(None) };
        if column(removed, doing, "live")? { row(doing, removed).map(Some) } else { Ok(None) }
    }

    async fn naming(&self, doing: &'static str, user: &str, now: Timestamp) -> Result<Vec<Row>, StoreError> {
        let needle = super::text::needle(user);
        let found = self.postgres.query(doing, &self.sql.naming, &[&needle, &seconds(now)]).await?;
        found.iter().map(|found| row(doing, found)).collect()
    }

    async fn keys(&self, doing: &'static str) -> Result<Vec<String>, StoreError> {
        let found = self.postgres.query(doing, &self.sql.keys, &[]).await?;
        found.iter().map(|found| column(found, doing, "sid")).collect()
    }

    async fn get_all(
        &self,
        doing: &'static str,
        keys: &[String],
        now: Timestamp,
    ) -> Result<Vec<Row>, StoreError> {
        let found = self.postgres.query(doing, &self.sql.get_all, &[&keys, &seconds(now)]).await?;
        found.iter().map(|found| row(doing, found)).collect()
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        if !self.prune_interval.is_some_and(|interval| self.turn.has_come(interval, now)) {
            return Ok(0);
        }
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&seconds(now), &crate::native::limit_of(limit)];
        let swept = self.postgres.query("remove expired sessions", &self.sql.sweep, &values).await?.len();
        if swept < limit {
            self.turn.is_done(now);
        }
        Ok(swept)
    }

    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        self.told.as_ref().map(|options| self.postgres.feed(told(options)))
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.postgres.clock().await
    }
}

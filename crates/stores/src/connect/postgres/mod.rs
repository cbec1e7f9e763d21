//! The table of connect-pg-simple: `sid`, `sess` (`json`, which keeps texts as they were written), `expire` (without a time zone).

mod ended;
mod statements;

use std::time::Duration;

use async_trait::async_trait;
use hallpass_session::{ChangeFeed, SessionHandle, SessionId, StoreError, StoreTime, Timestamp};
use tokio_postgres::Row as Found;

use self::{
    ended::{Ended, FORGOTTEN_AT_ONCE},
    statements::{Statements, quoted, table},
};
use super::{
    ConnectOptions,
    rows::{Change, End, Move, Row, Rows, Use, seconds_until},
    sessions::Connect,
    sweep::Turn,
};
use crate::{
    ConnectError,
    durability::report,
    postgres::{KIND, Postgres, Told, Values, column},
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
    /// Whether triggers may be put on the table. One lets no session in again that was ended here: without it, what Express saves over an
    /// ended session stays in the table for up to a minute, where Express honours it. The others tell what Express does to sessions: without
    /// them every session check asks the database. Default: yes.
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
            triggers: true,
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
        let failed = |source: StoreError| {
            let cause = std::error::Error::source(&source).map(|cause| Box::from(chain(cause)));
            ConnectError::Prepare { kind: KIND, source: cause.unwrap_or_else(|| source.into()) }
        };
        drop(postgres.client().await?);
        if options.create_table {
            for statement in statements::create(options) {
                postgres.query("create the table of sessions", &statement, &[]).await.map_err(failed)?;
            }
        }
        let look = statements::look(options);
        postgres.query("look at the table of sessions", &look, &[]).await.map_err(failed)?;
        let ended = Ended::prepare(&postgres, options).await.map_err(failed)?;
        let sql = Statements::new(options, &ended);
        report(KIND, postgres.shared_durability(&table(options)).await);
        let (disable_touch, prune_interval) = (options.disable_touch, options.prune_interval);
        let told = options.triggers.then(|| options.clone());
        let ttl = options.connect.ttl.as_secs_f64();
        let rows = Table { postgres, sql, ttl, disable_touch, prune_interval, turn: Turn::default(), told };
        Ok(Self::new(rows, &options.connect))
    }
}

/// What is set so that a crash can take back what was answered. Nothing is made or changed.
#[cfg(feature = "auth")]
pub(crate) async fn durability(
    url: &str,
    options: &ConnectPgOptions,
    server: &crate::ServerOptions,
) -> Result<Vec<crate::DurabilityWarning>, ConnectError> {
    let postgres = Postgres::reach(url, server, None)?;
    drop(postgres.client().await?);
    let found = postgres.shared_durability(&table(options)).await;
    found.map_err(|error| ConnectError::asking(KIND, error))
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
    /// In seconds.
    ttl: f64,
    disable_touch: bool,
    prune_interval: Option<Duration>,
    turn: Turn,
    /// Whether and how its changes are told.
    told: Option<ConnectPgOptions>,
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
    let expires: Option<i64> = column(found, doing, "expire")?;
    Ok(Row {
        key: column(found, doing, "sid")?,
        bytes: text.into_bytes().into(),
        // `infinity` is no time; only such rows are live without one.
        expires: expires.map(Timestamp::from_millis),
        last_modified: None,
    })
}

impl Table {
    /// Removes what was written over ended sessions, and forgets those whose stale copies have expired.
    async fn sweep_ended(&self, now: Timestamp) -> Result<(), StoreError> {
        let (Some(remove_again), Some(forget)) = (&self.sql.remove_again, &self.sql.forget) else {
            return Ok(());
        };
        let (doing, now) = ("remove what was written over ended sessions", seconds(now));
        self.postgres.query(doing, remove_again, &[]).await?;
        let limit = crate::native::limit_of(FORGOTTEN_AT_ONCE);
        loop {
            let forgotten = self.postgres.query("forget ended sessions", forget, &[&now, &limit]).await?;
            if forgotten.len() < FORGOTTEN_AT_ONCE {
                return Ok(());
            }
        }
    }
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
        let found = self.postgres.settled_query(doing, &self.sql.get, &[&key, &seconds(now)]).await?;
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
        let (expires, now) = (seconds(expires), seconds(now));
        let values: Values<'_> = &[&key, &sess, &expires, &now];
        if !self.postgres.settled_query(doing, &self.sql.insert, values).await?.is_empty() {
            return Ok(true);
        }
        // It lives, has ended, or another store held it meanwhile.
        let Some(lift) = &self.sql.lift else { return Ok(false) };
        let lifted = !self.postgres.query(doing, lift, &[&key]).await?.is_empty();
        Ok(lifted && !self.postgres.settled_query(doing, &self.sql.insert, values).await?.is_empty())
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
    ) -> Result<bool, StoreError> {
        let sess = text(doing, bytes)?;
        Ok(!self.postgres.query(doing, &self.sql.put, &[&key, &sess, &seconds(expires)]).await?.is_empty())
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
        Ok(!self
            .postgres
            .settled_query(doing, &self.sql.prolong, &[&key, &seconds(expires)])
            .await?
            .is_empty())
    }

    async fn replace(&self, key: &str, change: Change<'_>, now: Timestamp) -> Result<bool, StoreError> {
        let doing = "save a session";
        let Change { old, new, expires, keep_later } = change;
        let (old, new, expires) = (text(doing, old)?, text(doing, new)?, seconds(expires));
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&key, &old, &new, &expires, &keep_later, &seconds(now)];
        Ok(!self.postgres.query(doing, &self.sql.replace, &values).await?.is_empty())
    }

    async fn rotate(
        &self,
        doing: &'static str,
        rotation: Move<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Move { old, old_bytes, new, bytes, expires, .. } = rotation;
        let (old_sess, sess) = (text(doing, old_bytes)?, text(doing, bytes)?);
        let (now, expires) = (seconds(now), seconds(expires));
        let values: Values<'_> = &[&old, &old_sess, &now, &self.ttl, &false, &new, &sess, &expires];
        Ok(!self.postgres.query(doing, &self.sql.rotate, values).await?.is_empty())
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
        end: End,
        now: Timestamp,
    ) -> Result<Option<Row>, StoreError> {
        let (any, moved, now) = (None::<&str>, end == End::Moved, seconds(now));
        let values: Values<'_> = &[&key, &any, &now, &self.ttl, &moved];
        let removed = self.postgres.settled_query(doing, &self.sql.remove, values).await?;
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
        self.sweep_ended(now).await?;
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

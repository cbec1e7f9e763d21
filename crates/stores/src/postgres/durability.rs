//! What a commit is worth here: asked of each connection, and checked when a store is opened.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use deadpool_postgres::{Hook, HookError, Object};
use hallpass_session::StoreError;
use tokio_postgres::{Error, Row, SimpleQueryMessage, Statement};

use super::{KIND, Postgres, Values, column};
use crate::durability::DurabilityWarning;

/// Asks a new connection for commits that outlast a crash, whatever is set for the server, the database or the role; what is
/// stronger stays. Says what is set there, and whether standbys are waited for.
///
/// A pooler in transaction mode gives each transaction another connection, so the setting may not arrive: see [`Commits`].
const ASK: &str = "select
        set_config('synchronous_commit', case when setting in ('off', 'local') then 'on' else setting end, false),
        reset_val in ('off', 'local') as weak, current_setting('synchronous_standby_names') <> '' as standbys
    from pg_settings where name = 'synchronous_commit'";

/// Writes nothing but a record of the log, whose commit waits like that of a change: until all before it is as durable.
const SETTLE: &str = "select pg_logical_emit_message(true, 'hallpass', '')";

/// What a server does with commits unless it is asked for more; learned with each connection.
#[derive(Clone, Default)]
pub(super) struct Commits(Arc<Learned>);

#[derive(Default)]
struct Learned {
    /// Commits do not wait for the disk, or not for the standby, so each transaction asks for it.
    weak: AtomicBool,
    /// What can be seen may not be durable: others commit without waiting, or a wait for a standby was cancelled.
    unsettled: AtomicBool,
}

impl Commits {
    /// Prepares each new connection of a pool.
    pub(super) fn hook(&self) -> Hook {
        let commits = self.clone();
        Hook::async_fn(move |client, _| {
            let commits = commits.clone();
            Box::pin(async move {
                match client.simple_query(ASK).await {
                    Ok(answer) => commits.learn(&answer),
                    // What speaks this protocol and has no such settings has no such promise either.
                    Err(error) if error.as_db_error().is_some() => {}
                    Err(error) => return Err(HookError::Backend(error)),
                }
                Ok(())
            })
        })
    }

    fn learn(&self, answer: &[SimpleQueryMessage]) {
        for message in answer {
            if let SimpleQueryMessage::Row(row) = message {
                let [weak, standbys] = ["weak", "standbys"].map(|name| row.get(name) == Some("t"));
                self.0.weak.store(weak, Ordering::Relaxed);
                self.0.unsettled.store(weak || standbys, Ordering::Relaxed);
            }
        }
    }

    /// Runs a statement so that its commit is durable.
    pub(super) async fn run(
        &self,
        client: &Object,
        sql: &str,
        statement: &Statement,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Error> {
        if self.0.weak.load(Ordering::Relaxed) && (sql == SETTLE || !sql.starts_with("select")) {
            durably(client, statement, values).await
        } else {
            client.query(statement, values).await
        }
    }

    fn settled(&self) -> bool {
        !self.0.unsettled.load(Ordering::Relaxed)
    }
}

/// One transaction that asks for a durable commit itself, in one round trip.
async fn durably(client: &Object, statement: &Statement, values: Values<'_>) -> Result<Vec<Row>, Error> {
    let begin = client.batch_execute("begin; set local synchronous_commit = on");
    let (begun, rows, committed) =
        tokio::join!(begin, client.query(statement, values), client.batch_execute("commit"));
    begun?;
    let rows = rows?;
    committed?;
    Ok(rows)
}

impl Postgres {
    /// Waits until what this server shows cannot be taken back; before an answer that says "not there" or "nothing to do". Costs
    /// nothing where all that can be seen is durable.
    pub(crate) async fn settle(&self, doing: &'static str) -> Result<(), StoreError> {
        if self.commits.settled() {
            return Ok(());
        }
        self.query(doing, SETTLE, &[]).await.map(drop)
    }

    /// The same for rows of which there may be none.
    pub(crate) async fn settled_query(
        &self,
        doing: &'static str,
        sql: &str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.query(doing, sql, values).await?;
        if rows.is_empty() {
            self.settle(doing).await?;
        }
        Ok(rows)
    }

    /// What is set so that a crash can take back what was answered. `tables` may be missing.
    pub(crate) async fn durability(&self, tables: &[&str]) -> Result<Vec<DurabilityWarning>, StoreError> {
        let doing = "read the settings of PostgreSQL";
        let settings = "select name, setting from pg_settings
            where name in ('fsync', 'full_page_writes') and setting = 'off' order by name";
        let mut found = Vec::new();
        for row in self.query(doing, settings, &[]).await? {
            let (name, setting) =
                (column::<&str>(&row, doing, "name")?, column::<&str>(&row, doing, "setting")?);
            found.push(warning(
                format!("{name} = {setting}"),
                "a crash of the machine can lose or damage everything",
                "set it to on in postgresql.conf",
            ));
        }
        let unlogged = "select asked.name from unnest($1::text[]) asked (name)
            join pg_class on oid = to_regclass(asked.name) where relpersistence = 'u'";
        for row in self.query(doing, unlogged, &[&tables]).await? {
            found.push(warning(
                format!("the table {} is unlogged", column::<&str>(&row, doing, "name")?),
                "a crash of PostgreSQL empties it, and standbys never have it",
                "run alter table ... set logged",
            ));
        }
        Ok(found)
    }

    /// The same for a table that another application writes to with settings of its own.
    pub(crate) async fn shared_durability(&self, table: &str) -> Result<Vec<DurabilityWarning>, StoreError> {
        let mut found = self.durability(&[table]).await?;
        if self.commits.0.weak.load(Ordering::Relaxed) {
            found.push(warning(
                "synchronous_commit = off or local".to_owned(),
                "Hallpass asks for durable commits, but a crash can take back what the other application was answered",
                "set it to on for the server, the database and the role",
            ));
        }
        Ok(found)
    }
}

fn warning(setting: String, consequence: &'static str, advice: &'static str) -> DurabilityWarning {
    DurabilityWarning { database: KIND, setting, consequence, advice }
}

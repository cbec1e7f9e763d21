//! What happens to a table, as PostgreSQL tells it: triggers that `NOTIFY`, and a connection that listens.
//!
//! The triggers are made by the first program that listens. They name sessions by their handles, so that whoever may listen learns no id, and
//! keep quiet about what only lengthens a session. Notifications come in the order of commits, so hearing one of our own proves that all before it
//! have been heard; it is only sent while the table and its triggers are those we listen to.

use std::future::poll_fn;

use hallpass_session::{CacheKey, ChangeFeed, Listener, hex, random};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_postgres::{
    AsyncMessage, Client, Connection, Error, NoTls, Socket, config::SslMode, error::SqlState, tls::TlsStream,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Postgres;
use crate::feed::{Ended, Pauses};

/// What a notification says when anything may have changed.
const EVERYTHING: &str = "*";

/// What it begins with when it names what has changed.
const CHANGED: &str = "changed";

/// `HaPb`: the lock that programs take which make the triggers at once.
const LOCK: i64 = 0x4861_5062;

/// A table whose changes are told. All names are quoted.
pub(crate) struct Told<K> {
    /// The table.
    pub(crate) table: String,
    /// What the row `was` is called in notifications, such as a session's handle; an expression.
    pub(crate) name: String,
    /// Whose name this is.
    pub(crate) named: fn(&str) -> Option<K>,
    /// Which column names a row.
    pub(crate) key: String,
    /// Whether the row `next` differs from `was` in more than a longer life.
    pub(crate) differs: String,
}

impl Postgres {
    pub(crate) fn feed<K: CacheKey>(&self, told: Told<K>) -> ChangeFeed<K> {
        let postgres = self.clone();
        ChangeFeed::new(move |listener| async move {
            let mut pauses = Pauses::default();
            loop {
                let ended = postgres.listen(&told, &listener).await;
                if let Some(never) = pauses.after(ended).await {
                    return never;
                }
            }
        })
    }

    async fn listen<K: CacheKey>(&self, told: &Told<K>, listener: &Listener<K>) -> Ended {
        let (heard, hears) = watch::channel(0);
        let nonce = hex(&random::<8>());
        let client = match timeout(
            self.timeout,
            self.dial(Hears { listener: listener.clone(), named: told.named, heard, nonce: nonce.clone() }),
        )
        .await
        {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return refused(&error),
            Err(late) => return Ended::early(late),
        };
        let relation = match timeout(self.timeout, prepare(&client.0, told)).await {
            Ok(Ok(relation)) => relation,
            Ok(Err(error)) => return refused(&error),
            Err(late) => return Ended::early(late),
        };
        listener.everything();
        let mut probes = Probes { postgres: self, hears, nonce, table: &told.table, relation, number: 0 };
        loop {
            let asked = listener.now();
            match timeout(self.timeout, probes.send()).await {
                Ok(Ok(())) => listener.alive(asked),
                Ok(Err(reason)) => return probes.ended(reason),
                Err(late) => return probes.ended(late.to_string()),
            }
            tokio::time::sleep(listener.pace()).await;
        }
    }

    /// A connection of its own, with a task that hears what comes.
    async fn dial<K: CacheKey>(&self, hears: Hears<K>) -> Result<(Client, Reading), Error> {
        let tls = (self.config.get_ssl_mode() != SslMode::Disable).then(MakeRustlsConnect::with_native_certs);
        // The pool was made with these certificates, so they can be had.
        if let Some(Ok((tls, _))) = tls {
            let (client, connection) = self.config.connect(tls).await?;
            return Ok((client, Reading(tokio::spawn(hears.read(connection)))));
        }
        let (client, connection) = self.config.connect(NoTls).await?;
        Ok((client, Reading(tokio::spawn(hears.read(connection)))))
    }
}

/// Ends the task with the connection.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is made of notifications.
struct Hears<K> {
    listener: Listener<K>,
    named: fn(&str) -> Option<K>,
    heard: watch::Sender<u64>,
    nonce: String,
}

impl<K: CacheKey> Hears<K> {
    async fn read<S: TlsStream + Unpin>(self, mut connection: Connection<Socket, S>) {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(told) = message {
                self.hear(told.payload());
            }
        }
    }

    fn hear(&self, payload: &str) {
        match payload.split_once(' ') {
            Some((CHANGED, name)) => match (self.named)(name) {
                Some(key) => self.listener.changed(&key),
                None => self.listener.everything(),
            },
            Some((nonce, number)) if nonce == self.nonce => {
                if let Ok(number) = number.parse() {
                    self.heard.send_replace(number);
                }
            }
            // The probes of other programs say nothing about this connection.
            Some(_) => {}
            None => self.listener.everything(),
        }
    }
}

/// Notifications of our own, sent the way reads go and heard where we listen: so both lead to the same server, and no pooler in between
/// lets a connection hear nobody but itself.
struct Probes<'a> {
    postgres: &'a Postgres,
    hears: watch::Receiver<u64>,
    nonce: String,
    table: &'a str,
    relation: u32,
    number: u64,
}

const PROBE: &str = "select pg_notify($1, $2) from (
        select count(*) as triggers from pg_trigger
        where tgrelid = $3 and tgname like 'hallpass@_tell@_%' escape '@' and tgenabled = 'A') found
    where triggers = 3 and to_regclass($4)::oid = $3";

impl Probes<'_> {
    /// Returns when it was heard.
    async fn send(&mut self) -> Result<(), String> {
        self.number += 1;
        let (number, payload) = (self.number, format!("{} {}", self.nonce, self.number));
        let channel = channel(self.relation);
        let values: super::Values<'_> = &[&channel, &payload, &self.relation, &self.table];
        let sent = self.postgres.try_query(PROBE, values).await.map_err(|failure| failure.to_string())?;
        if sent.is_empty() {
            return Err("the table or its triggers are others now".to_owned());
        }
        let heard = self.hears.wait_for(|heard| *heard >= number).await;
        heard.map(drop).map_err(|_| "the connection broke".to_owned())
    }

    fn ended(&self, reason: String) -> Ended {
        if self.number > 1 { Ended::late(reason) } else { Ended::early(reason) }
    }
}

fn channel(relation: u32) -> String {
    format!("hallpass_{relation}")
}

/// Makes the triggers if they are missing, and listens; the table.
async fn prepare<K>(client: &Client, told: &Told<K>) -> Result<u32, Error> {
    let find = "select table_.oid, quote_ident(schema_.nspname) as schema, (
            select count(*) from pg_trigger
            where tgrelid = table_.oid and tgname like 'hallpass@_tell@_%' escape '@' and tgenabled = 'A') as triggers
        from pg_class table_ join pg_namespace schema_ on schema_.oid = table_.relnamespace
        where table_.oid = $1::text::regclass";
    let found = client.query_one(find, &[&told.table]).await?;
    let relation: u32 = found.try_get("oid")?;
    if found.try_get::<_, i64>("triggers")? != 3 {
        client.batch_execute(&triggers(told, relation, found.try_get("schema")?)).await?;
    }
    client.batch_execute(&format!("listen {}", channel(relation))).await?;
    Ok(relation)
}

/// One batch is one transaction.
fn triggers<K>(told: &Told<K>, relation: u32, schema: &str) -> String {
    let Told { table, name, key, differs, .. } = told;
    let (channel, function) = (channel(relation), format!("{schema}.hallpass_tell_{relation}"));
    // PostgreSQL refuses long payloads, and with them the change.
    let payload =
        format!("case when octet_length({name}) < 4000 then '{CHANGED} ' || {name} else '{EVERYTHING}' end");
    let trigger = |operation: &str, tables: &str| {
        let trigger = format!("hallpass_tell_{operation}");
        format!(
            "drop trigger if exists {trigger} on {table};
            create trigger {trigger} after {operation} on {table} {tables} for each statement execute function {function}();
            alter table {table} enable always trigger {trigger};"
        )
    };
    let [delete, update, truncate] = [
        trigger("delete", "referencing old table as gone"),
        trigger("update", "referencing old table as gone new table as came"),
        trigger("truncate", ""),
    ];
    format!(
        "select pg_advisory_xact_lock({LOCK});
        create or replace function {function}() returns trigger language plpgsql as $tell$
        begin
            if tg_op = 'DELETE' then
                perform pg_notify('{channel}', {payload}) from gone was;
            elsif tg_op = 'UPDATE' then
                perform pg_notify('{channel}', {payload}) from gone was left join came next on next.{key} = was.{key}
                where next.{key} is null or {differs};
            else
                perform pg_notify('{channel}', '{EVERYTHING}');
            end if;
            return null;
        end $tell$;
        {delete} {update} {truncate}"
    )
}

/// Who may not make triggers, or finds a server that cannot, will not do so later.
fn refused(error: &Error) -> Ended {
    let never = [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::SYNTAX_ERROR,
        SqlState::WRONG_OBJECT_TYPE,
    ];
    let reason = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    if error.code().is_some_and(|code| never.contains(code)) {
        let advice = "PostgreSQL cannot tell what happens to its tables";
        return Ended::Never(format!(
            "{advice} ({reason}); the user must own the table and may make functions in its schema"
        ));
    }
    Ended::early(reason)
}

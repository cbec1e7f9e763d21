//! [`Redis`]: sessions in Redis or Valkey; users and records need a database that keeps what it is given.
//!
//! Every change is one script on one key, so it is atomic on a single server and in a cluster alike. Redis ends sessions by itself:
//! keys expire with them, there is nothing to sweep. A user's sessions stand in an index that is written before the session and healed
//! when it is read, so a crash between the two leaves an entry too many, never a session that "sign out everywhere" would miss.

mod durability;
mod feed;
mod index;
mod link;
mod row;
mod scripts;
mod sessions;
mod url;

use hallpass_session::{StoreError, StoreTime, Timestamp};
use redis::{Cmd, FromRedisValue, Value};

pub(crate) use self::feed::Hears;
use self::link::Link;
pub(crate) use self::scripts::{Call, Script};
use crate::{ConnectError, ServerOptions, durability::report, server::waiting};

pub(crate) const KIND: &str = "Redis";

/// How to keep sessions in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// How to talk to the server. One connection carries all requests, so `connections` does not count here.
    pub server: ServerOptions,
    /// What all keys begin with. Default: `hallpass:`.
    pub prefix: String,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { server: ServerOptions::default(), prefix: "hallpass:".to_owned() }
    }
}

/// A Redis or Valkey server, a set of them watched by Sentinel, or a cluster; keeps sessions (layout `native`).
/// Clones share its connection.
#[derive(Clone)]
pub struct Redis {
    link: Link,
    prefix: String,
}

impl Redis {
    /// Connects. URLs:
    ///
    /// * `redis://user:password@host:6379/0`, with TLS `rediss://…`;
    /// * `redis-sentinel://user:password@host:26379,host:26379/0?master=mymaster`, with TLS `rediss-sentinel://…`;
    /// * `redis-cluster://user:password@host:6379,host:6379`, with TLS `rediss-cluster://…`.
    pub async fn connect(url: &str, options: &RedisOptions) -> Result<Self, ConnectError> {
        let redis = Self::reach(url, options).await?;
        redis.require_what_scripts_use().await?;
        report(KIND, redis.durability().await);
        Ok(redis)
    }

    /// The same for scripts other than ours, which older servers run as well.
    pub(crate) async fn reach(url: &str, options: &RedisOptions) -> Result<Self, ConnectError> {
        let link = Link::new(url::parse(url)?, options.server.timeout)?;
        let redis = Self { link, prefix: options.prefix.clone() };
        let unreachable = |source: StoreError| {
            let cause = std::error::Error::source(&source).map(ToString::to_string);
            ConnectError::Unreachable { kind: KIND, source: cause.unwrap_or_default().into() }
        };
        waiting(KIND, "a connection", redis.ping()).await.map_err(unreachable)?;
        Ok(redis)
    }

    /// A question that only a server which knows its part of the keys answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let mut exists = redis::cmd("EXISTS");
        exists.arg(format!("{}check", self.prefix));
        self.one::<Value>("reach Redis", exists).await.map(drop)
    }

    /// The clock of the server that has this key; in a cluster each server has its own, and one must count.
    pub(crate) async fn clock(&self) -> Result<StoreTime, StoreError> {
        let key = format!("{}check", self.prefix);
        let now = self.number("read the clock of Redis", scripts::CLOCK.on(&[&key])).await?;
        Ok(StoreTime::Clock(Timestamp::from_millis(now)))
    }

    /// The youngest command that our scripts use, asked of the same key: whoever signs in would be the first to learn that it is missing.
    async fn require_what_scripts_use(&self) -> Result<(), ConnectError> {
        let mut some = redis::cmd("HRANDFIELD");
        some.arg(format!("{}check", self.prefix)).arg(1);
        match self.link.send(vec![some]).await {
            Err(failure) if failure.is_unknown_command() => {
                Err(ConnectError::TooOld { kind: KIND, needed: "6.2 or newer, or Valkey" })
            }
            // Whatever else is wrong, the next question meets as well.
            _ => Ok(()),
        }
    }

    /// Runs one command.
    async fn one<T: FromRedisValue>(&self, doing: &'static str, command: Cmd) -> Result<T, StoreError> {
        let answers =
            self.link.send(vec![command]).await.map_err(|failure| StoreError::new(doing, failure))?;
        let answer = answers.into_iter().next().unwrap_or(Value::Nil);
        parsed(doing, answer)
    }

    /// Runs one command that changes nothing; a second time when the connection turns out to be dead.
    async fn ask<T: FromRedisValue>(&self, doing: &'static str, command: Cmd) -> Result<T, StoreError> {
        match self.link.send(vec![command.clone()]).await {
            Err(failure) if failure.is_lost() => self.one(doing, command).await,
            Err(failure) => Err(StoreError::new(doing, failure)),
            Ok(answers) => parsed(doing, answers.into_iter().next().unwrap_or(Value::Nil)),
        }
    }

    /// Runs scripts in this order, in one round trip where all keys are on one server.
    pub(crate) async fn call(&self, doing: &'static str, calls: &[Call]) -> Result<Vec<Value>, StoreError> {
        let by_hash = self.link.send(Call::by_hash(calls)).await;
        let answers = match by_hash {
            // The server has been restarted, or has not seen the script yet. What was done already is done again: scripts that
            // share a call can be repeated.
            Err(failure) if failure.is_unknown_script() => {
                self.link.send(calls.iter().map(Call::in_full).collect()).await
            }
            answers => answers,
        };
        answers.map_err(|failure| StoreError::new(doing, failure))
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.link.is_cluster()
    }

    /// How many keys a script may have: those of a cluster must be in one slot.
    pub(crate) fn most_keys(&self, wanted: usize) -> usize {
        if self.link.is_cluster() { 1 } else { wanted }
    }

    /// Runs scripts that have nothing to do with each other, and can be repeated; their answers in this order.
    pub(crate) async fn call_any(
        &self,
        doing: &'static str,
        calls: &[Call],
    ) -> Result<Vec<Value>, StoreError> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let by_hash = self.link.send_any(Call::by_hash(calls)).await;
        let answers = match by_hash {
            Err(failure) if failure.is_unknown_script() => {
                self.link.send_any(calls.iter().map(Call::in_full).collect()).await
            }
            answers => answers,
        };
        answers.map_err(|failure| StoreError::new(doing, failure))
    }

    /// All keys with this prefix, in no order, some perhaps twice. Reads every key there is.
    pub(crate) async fn scan(&self, doing: &'static str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let failed = |failure| StoreError::new(doing, failure);
        let mut all = Vec::new();
        for holder in self.link.holders().await.map_err(failed)? {
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(&cursor).arg("MATCH").arg(format!("{}*", glob(prefix))).arg("COUNT").arg(1000);
                let answer = self.link.send_to(&holder, scan).await.map_err(failed)?;
                let (next, keys): (String, Vec<String>) = parsed(doing, answer)?;
                all.extend(keys);
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(all)
    }

    /// Runs one script that answers with a number.
    pub(crate) async fn number(&self, doing: &'static str, call: Call) -> Result<i64, StoreError> {
        let answer = self.call(doing, &[call]).await?.into_iter().next();
        parsed(doing, answer.unwrap_or(Value::Nil))
    }
}

/// An answer of another type than the command has is an error of the server, not of the program.
pub(crate) fn parsed<T: FromRedisValue>(doing: &'static str, answer: Value) -> Result<T, StoreError> {
    redis::from_redis_value(answer).map_err(|error| StoreError::new(doing, error))
}

/// Text as a pattern that matches only itself.
fn glob(text: &str) -> String {
    let special = |letter: char| matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^' | '-');
    let escape = |letter: char| if special(letter) { vec!['\\', letter] } else { vec![letter] };
    text.chars().flat_map(escape).collect()
}

//! The keys of connect-redis: the JSON text under `sess:<id>`, which Redis lets expire.
//!
//! Beside each key that we wrote stands a note of the exact end, `hallpass:{sess:<id>}`, in the same slot of a cluster. Redis knows the end
//! only by its own clock, and cannot tell who moved it: while the key's deadline is the one that was noted, the note counts; after Express
//! moved it, the key's deadline does. A session that was ended leaves `hallpass:ended:{sess:<id>}`, also in its slot.

mod guard;
mod scripts;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_session::{ChangeFeed, SessionHandle, SessionId, StoreError, StoreTime, Timestamp};
use redis::Value;

use self::{
    guard::Guard,
    scripts::{ANNOUNCED, FIND, GET, INSERT, PROLONG, PUT, REMOVE, REPLACE, ROTATE, TAKE, TOUCH},
};
use super::{
    ConnectOptions,
    rows::{Change, End, Move, Row, Rows, Use, seconds_until},
    sessions::Connect,
    text::needle,
};
use crate::{
    ConnectError,
    durability::report,
    native,
    redis::{Call, KIND, Redis, RedisOptions, Script, parsed},
};

/// What the notes of ended sessions begin with.
const ENDED: &str = "hallpass:ended:";

/// What the announcements of new IDs begin with.
const MOVING: &str = "hallpass:moving:";

/// How many keys are asked for at once.
const PAGE: usize = 500;

/// Sessions in keys of connect-redis 9 and 10.
pub type ConnectRedis = Connect<Keys>;

/// What connect-redis is configured with.
#[derive(Clone, Debug)]
pub struct ConnectRedisOptions {
    /// What all layouts need. Default `ttl`: a day, as there.
    pub connect: ConnectOptions,
    /// `prefix`. Default: `sess:`.
    pub prefix: String,
    /// `disableTouch`: only a change lengthens a session. Default: no.
    pub disable_touch: bool,
    /// `disableTTL`: sessions have no end but an absolute one, and nothing removes their keys. Default: no.
    pub disable_ttl: bool,
}

impl Default for ConnectRedisOptions {
    fn default() -> Self {
        Self {
            connect: ConnectOptions::with_ttl(1),
            prefix: "sess:".to_owned(),
            disable_touch: false,
            disable_ttl: false,
        }
    }
}

impl ConnectRedis {
    /// Connects; URLs as in [`Redis::connect`](crate::Redis::connect).
    pub async fn connect(url: &str, options: &ConnectRedisOptions) -> Result<Self, ConnectError> {
        let ConnectRedisOptions { connect, prefix, disable_touch, disable_ttl } = options.clone();
        let redis =
            Redis::reach(url, &RedisOptions { server: connect.server.clone(), prefix: prefix.clone() })
                .await?;
        report(KIND, redis.durability().await);
        let names = Names { prefix, lasting: disable_ttl, ttl: connect.ttl };
        let guard = Guard::new(&redis, &names, connect.guard);
        Ok(Self::new(Keys { redis, names, disable_touch, disable_ttl, guard }, &connect))
    }
}

/// Keys of connect-redis.
pub struct Keys {
    redis: Redis,
    names: Names,
    disable_touch: bool,
    disable_ttl: bool,
    guard: Guard,
}

/// Which keys belong to a session.
#[derive(Clone)]
struct Names {
    prefix: String,
    lasting: bool,
    ttl: Duration,
}

impl Names {
    fn call(&self, script: Script, key: &str, now: Timestamp) -> Call {
        let keys = [key, &beside("hallpass:", key), &beside(ENDED, key)];
        script.on(&keys).with(now.as_millis()).with(i32::from(self.lasting))
    }

    fn ttl(&self) -> i64 {
        native::idle_millis(self.ttl)
    }
}

impl Keys {
    fn call(&self, script: Script, key: &str, now: Timestamp) -> Call {
        self.names.call(script, key, now)
    }

    async fn rows(
        &self,
        doing: &'static str,
        keys: &[String],
        now: Timestamp,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for keys in keys.chunks(PAGE) {
            let get = |key: &String| self.call(GET, key, now);
            let answers = self.redis.call_any(doing, &keys.iter().map(get).collect::<Vec<_>>()).await?;
            for (key, answer) in keys.iter().zip(answers) {
                rows.extend(row(doing, key, answer)?);
            }
        }
        Ok(rows)
    }

    async fn one_row(&self, doing: &'static str, key: &str, call: Call) -> Result<Option<Row>, StoreError> {
        let answer = self.redis.call(doing, &[call]).await?.pop().unwrap_or(Value::Nil);
        row(doing, key, answer)
    }
}

/// A key of ours in the slot of a session's key, whose name may choose one by a part in braces.
fn beside(ours: &str, key: &str) -> String {
    if key.contains('{') { format!("{ours}{key}") } else { format!("{ours}{{{key}}}") }
}

fn row(doing: &'static str, key: &str, answer: Value) -> Result<Option<Row>, StoreError> {
    let answer: Option<(Vec<u8>, String)> = parsed(doing, answer)?;
    // An empty text is no session to connect-redis.
    let Some((bytes, expires)) = answer.filter(|(bytes, _)| !bytes.is_empty()) else { return Ok(None) };
    let expires = expires.parse().ok().map(Timestamp::from_millis);
    Ok(Some(Row { key: key.to_owned(), bytes: bytes.into(), expires, last_modified: None }))
}

#[async_trait]
impl Rows for Keys {
    fn key(&self, id: &SessionId) -> Option<String> {
        (!id.is_hash()).then(|| format!("{}{}", self.names.prefix, id.expose()))
    }

    fn id(&self, key: &str) -> Option<SessionId> {
        SessionId::new(key.strip_prefix(&self.names.prefix)?)
    }

    async fn get(&self, doing: &'static str, key: &str, now: Timestamp) -> Result<Option<Row>, StoreError> {
        self.one_row(doing, key, self.call(GET, key, now)).await
    }

    async fn insert(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let insert = self.call(INSERT, key, now).with(bytes).with(expires.as_millis());
        Ok(self.redis.number(doing, insert).await? == 1)
    }

    async fn put(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let put = self.call(PUT, key, now).with(bytes).with(seconds_until(expires, now));
        Ok(self.redis.number(doing, put).await? == 1)
    }

    async fn prolong(
        &self,
        doing: &'static str,
        key: &str,
        expires: Timestamp,
        _: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.disable_touch || self.disable_ttl {
            return Ok(true);
        }
        let prolong = self.call(PROLONG, key, now).with(seconds_until(expires, now));
        Ok(self.redis.number(doing, prolong).await? == 1)
    }

    /// Over a version, as connect-redis would.
    async fn replace_exact(&self, key: &str, change: Change<'_>, now: Timestamp) -> Result<bool, StoreError> {
        let left = seconds_until(change.expires, now);
        let put = self.call(PUT, key, now).with(change.new).with(left).with(change.old);
        Ok(self.redis.number("save a session", put).await? == 1)
    }

    async fn replace(&self, key: &str, change: Change<'_>, now: Timestamp) -> Result<bool, StoreError> {
        let replace = self.call(REPLACE, key, now).with(change.old).with(change.new);
        let replace = replace.with(change.expires.as_millis()).with(i32::from(change.keep_later));
        Ok(self.redis.number("save a session", replace).await? == 1)
    }

    async fn rotate(
        &self,
        doing: &'static str,
        rotation: Move<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Move { old, old_bytes, new, bytes, expires, user, .. } = rotation;
        let [note, ended, moving] = ["hallpass:", ENDED, MOVING].map(|ours| beside(ours, old));
        let (new_note, ttl) = (beside("hallpass:", new), self.names.ttl());
        let (lasting, user) = (i32::from(self.disable_ttl), user.unwrap_or_default());
        let mut keys = vec![old, &note, &ended, &moving];
        if !self.redis.is_cluster() {
            keys.extend([new, &new_note]);
            let rotate = ROTATE.on(&keys).with(now.as_millis()).with(lasting).with(old_bytes).with(ttl);
            let rotate = rotate.with(new).with(user).with(bytes).with(expires.as_millis());
            return Ok(self.redis.number(doing, rotate).await? == 1);
        }
        // On two servers: a crash between the two ends the session.
        let take = TAKE.on(&keys).with(now.as_millis()).with(lasting).with(old_bytes).with(ttl);
        if self.redis.number(doing, take.with(new).with(user)).await? == 0 {
            return Ok(false);
        }
        // Whoever ended the user's sessions meanwhile has noted that the new one is ended too.
        self.insert(doing, new, bytes, expires, now).await
    }

    async fn announced(&self, doing: &'static str, user: &str) -> Result<Vec<String>, StoreError> {
        let moving = self.redis.scan(doing, MOVING).await?;
        let ask = |keys: &[String]| {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            ANNOUNCED.on(&keys).with(user)
        };
        let calls: Vec<Call> = moving.chunks(self.redis.most_keys(PAGE)).map(ask).collect();
        let mut found = Vec::new();
        for answer in self.redis.call_any(doing, &calls).await? {
            found.extend(parsed::<Vec<String>>(doing, answer)?);
        }
        Ok(found)
    }

    async fn touch(&self, uses: &[Use], now: Timestamp) -> Result<(), StoreError> {
        if self.disable_touch || self.disable_ttl {
            return Ok(());
        }
        let touch = |one: &Use| self.call(TOUCH, &one.key, now).with(one.expires.as_millis());
        let calls: Vec<Call> = uses.iter().map(touch).collect();
        self.redis.call_any("note the use of sessions", &calls).await.map(drop)
    }

    async fn remove(
        &self,
        doing: &'static str,
        key: &str,
        end: End,
        now: Timestamp,
    ) -> Result<Option<Row>, StoreError> {
        let word = if end == End::Ended { "ended" } else { "moved" };
        let remove = self.call(REMOVE, key, now).with(self.names.ttl()).with(word);
        self.one_row(doing, key, remove).await
    }

    async fn naming(&self, doing: &'static str, user: &str, now: Timestamp) -> Result<Vec<Row>, StoreError> {
        let (keys, needle) = (self.keys(doing).await?, needle(user));
        let mut found = Vec::new();
        for keys in keys.chunks(PAGE) {
            let find = |keys: &[String]| {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                FIND.on(&keys).with(&needle)
            };
            let calls: Vec<Call> = keys.chunks(self.redis.most_keys(PAGE)).map(find).collect();
            for answer in self.redis.call_any(doing, &calls).await? {
                found.extend(parsed::<Vec<String>>(doing, answer)?);
            }
        }
        self.rows(doing, &found, now).await
    }

    async fn keys(&self, doing: &'static str) -> Result<Vec<String>, StoreError> {
        let mut keys = self.redis.scan(doing, &self.names.prefix).await?;
        // Without a prefix the notes are among them.
        keys.retain(|key| !key.starts_with("hallpass:"));
        Ok(keys)
    }

    async fn get_all(
        &self,
        doing: &'static str,
        keys: &[String],
        now: Timestamp,
    ) -> Result<Vec<Row>, StoreError> {
        self.rows(doing, keys, now).await
    }

    /// Nothing that has expired: Redis removes it by itself. What was written over ended sessions is removed as far as the guard missed it.
    async fn sweep(&self, _: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.guard.sweep(&self.redis, &self.names, now).await?;
        Ok(0)
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.redis.clock().await
    }

    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        let prefix = self.names.prefix.clone();
        let handle_of = move |key: &str| Some(SessionId::new(key.strip_prefix(&prefix)?)?.handle());
        Some(self.redis.feed(self.names.prefix.clone(), Arc::new(handle_of)))
    }
}

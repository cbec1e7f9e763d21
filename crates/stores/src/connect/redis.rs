//! The keys of connect-redis: the JSON text under `sess:<id>`, which Redis lets expire.
//!
//! Beside each key that we wrote stands a note of the exact end, `hallpass:{sess:<id>}`, in the same slot of a cluster. Redis knows the end
//! only by its own clock, and cannot tell who moved it: while the key's deadline is the one that was noted, the note counts; after Express
//! moved it, the key's deadline does.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_session::{ChangeFeed, SessionHandle, SessionId, StoreError, StoreTime, Timestamp};
use redis::Value;

use super::{
    ConnectOptions,
    rows::{Change, Row, Rows, Use, seconds_until},
    sessions::Connect,
    text::needle,
};
use crate::{
    ConnectError,
    redis::{Call, Redis, RedisOptions, Script, parsed},
};

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
        Ok(Self::new(Keys { redis, prefix, disable_touch, disable_ttl }, &connect))
    }
}

/// Keys of connect-redis.
pub struct Keys {
    redis: Redis,
    prefix: String,
    disable_touch: bool,
    disable_ttl: bool,
}

/// A script that knows the session (`KEYS[1]`), the note of its end (`KEYS[2]`) and the time (`ARGV[1]`).
///
/// `row()` is the live session's text and end, `''` for one that never ends. `keep` stores one, for ever if `ARGV[2]` says so.
macro_rules! script {
    ($body:literal) => {
        Script(concat!(
            "local now, lasting = tonumber(ARGV[1]), ARGV[2] == '1'
            local time = redis.call('TIME')
            local clock = time[1] * 1000 + math.floor(time[2] / 1000)
            local function digits(number) return string.format('%.0f', number) end
            local function row()
                local text = redis.pcall('GET', KEYS[1])
                if type(text) ~= 'string' then return nil end
                local left = redis.call('PTTL', KEYS[1])
                if left < 0 then return text, '' end
                local note = redis.call('HMGET', KEYS[2], 'expires', 'deadline')
                local ends = now + left
                if note[2] and math.abs(clock + left - tonumber(note[2])) <= 5 then ends = tonumber(note[1]) end
                if ends <= now then return nil end
                return text, digits(ends)
            end
            local function ends_at(ends)
                local left = math.max(ends - now, 1)
                redis.call('PEXPIRE', KEYS[1], digits(left))
                redis.call('HSET', KEYS[2], 'expires', digits(ends), 'deadline', digits(clock + left))
                redis.call('PEXPIRE', KEYS[2], digits(left))
            end
            local function keep(text, ends)
                redis.call('SET', KEYS[1], text)
                if lasting then redis.call('DEL', KEYS[2]) else ends_at(ends) end
            end ",
            $body
        ))
    };
}

const GET: Script = script!(
    "local text, ends = row()
    return text and { text, ends }"
);

/// Those of the keys whose text contains `ARGV[1]`.
const FIND: Script = Script(
    "local found = {}
    for _, key in ipairs(KEYS) do
        local text = redis.pcall('GET', key)
        if type(text) == 'string' and string.find(text, ARGV[1], 1, true) then found[#found + 1] = key end
    end
    return found",
);

/// `ARGV`: …, text, end.
const INSERT: Script = script!(
    "if row() then return 0 end
    if tonumber(ARGV[4]) <= now then lasting = false end
    keep(ARGV[3], tonumber(ARGV[4]))
    return 1"
);

/// `ARGV`: …, old text, new text, end, whether a later end stays.
const REPLACE: Script = script!(
    "local text, old = row()
    if text ~= ARGV[3] then return 0 end
    local ends = tonumber(ARGV[5])
    if ARGV[6] == '1' and old ~= '' then ends = math.max(ends, tonumber(old)) end
    keep(ARGV[4], ends)
    return 1"
);

/// As connect-redis does, which notes nothing beside the key. `ARGV`: …, text, whole seconds left, what must be stored now if anything.
const PUT: Script = script!(
    "if ARGV[5] and row() ~= ARGV[5] then return 0 end
    redis.call('DEL', KEYS[2])
    if tonumber(ARGV[4]) <= 0 then redis.call('DEL', KEYS[1])
    elseif lasting then redis.call('SET', KEYS[1], ARGV[3])
    else redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4]) end
    return 1"
);

/// The same for the end alone. `ARGV`: …, whole seconds left.
const PROLONG: Script = script!(
    "redis.call('DEL', KEYS[2])
    return redis.call('EXPIRE', KEYS[1], ARGV[3])"
);

/// `ARGV`: …, text.
const TAKE: Script = script!(
    "if row() ~= ARGV[3] then return 0 end
    redis.call('DEL', KEYS[1], KEYS[2])
    return 1"
);

/// `ARGV`: …, end.
const TOUCH: Script = script!(
    "local text, ends = row()
    if text and ends ~= '' and tonumber(ARGV[3]) > tonumber(ends) then ends_at(tonumber(ARGV[3])) end
    return 1"
);

const REMOVE: Script = script!(
    "local text, ends = row()
    redis.call('DEL', KEYS[1], KEYS[2])
    return text and { text, ends }"
);

impl Keys {
    fn call(&self, script: Script, key: &str, now: Timestamp) -> Call {
        let lasting = i32::from(self.disable_ttl);
        script.on(&[key, &note(key)]).with(now.as_millis()).with(lasting)
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

/// Where the exact end is noted: in the slot of the key, whose name may choose one by a part in braces.
fn note(key: &str) -> String {
    if key.contains('{') { format!("hallpass:{key}") } else { format!("hallpass:{{{key}}}") }
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
        (!id.is_hash()).then(|| format!("{}{}", self.prefix, id.expose()))
    }

    fn id(&self, key: &str) -> Option<SessionId> {
        SessionId::new(key.strip_prefix(&self.prefix)?)
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
    ) -> Result<(), StoreError> {
        let put = self.call(PUT, key, now).with(bytes).with(seconds_until(expires, now));
        self.redis.number(doing, put).await.map(drop)
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

    async fn take(
        &self,
        doing: &'static str,
        key: &str,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.redis.number(doing, self.call(TAKE, key, now).with(bytes)).await? == 1)
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
        now: Timestamp,
    ) -> Result<Option<Row>, StoreError> {
        self.one_row(doing, key, self.call(REMOVE, key, now)).await
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
        let mut keys = self.redis.scan(doing, &self.prefix).await?;
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

    /// Nothing: Redis removes what has expired by itself.
    async fn sweep(&self, _: usize, _: Timestamp) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn time(&self) -> Result<StoreTime, StoreError> {
        self.redis.clock().await
    }

    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        let prefix = self.prefix.clone();
        let handle_of = move |key: &str| Some(SessionId::new(key.strip_prefix(&prefix)?)?.handle());
        Some(self.redis.feed(self.prefix.clone(), Arc::new(handle_of)))
    }
}

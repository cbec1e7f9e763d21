//! The scripts. Each touches one key (but `ROTATE`, which is for single servers), so each is atomic and fits a cluster.
//!
//! Times are milliseconds; Lua would print large ones with an exponent, hence `text`.

use redis::{Cmd, ToRedisArgs};

/// Stores a session where no live one is. `KEYS`: session. `ARGV`: now, expires, fields.
/// Without need it begins with no `DEL`: a Redis that is full lets a script go on that has written already.
pub(super) const CREATE: Script = Script(
    "local now, expires = tonumber(ARGV[1]), tonumber(ARGV[2])
    local old = redis.call('HMGET', KEYS[1], 'expires', 'blocked')
    if old[2] or (old[1] and tonumber(old[1]) > now) then return 0 end
    if old[1] then redis.call('DEL', KEYS[1]) end
    redis.call('HSET', KEYS[1], 'expires', ARGV[2], unpack(ARGV, 3))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(expires - now, 1)))
    return 1",
);

/// Replaces a live session at its revision. `KEYS`: session. `ARGV`: now, expected revision, seen, idle, until or nothing, fields.
/// 1: done, 0: another revision, -1: gone.
pub(super) const UPDATE: Script = Script(
    "local function text(number) return string.format('%.0f', number) end
    local now = tonumber(ARGV[1])
    local old = redis.call('HMGET', KEYS[1], 'expires', 'revision', 'seen')
    if not old[1] or tonumber(old[1]) <= now then return -1 end
    if old[2] ~= ARGV[2] then return 0 end
    local seen = math.max(tonumber(old[3]), tonumber(ARGV[3]))
    local expires = seen + tonumber(ARGV[4])
    if ARGV[5] ~= '' then expires = math.min(expires, tonumber(ARGV[5])) end
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'expires', text(expires), unpack(ARGV, 6))
    redis.call('HSET', KEYS[1], 'seen', text(seen))
    redis.call('PEXPIRE', KEYS[1], text(math.max(expires - now, 1)))
    return 1",
);

/// Ends a live session at its revision, for a rotation. `KEYS`: session. `ARGV`: now, expected revision. Answers as `UPDATE`.
pub(super) const TAKE: Script = Script(
    "local old = redis.call('HMGET', KEYS[1], 'expires', 'revision')
    if not old[1] or tonumber(old[1]) <= tonumber(ARGV[1]) then return -1 end
    if old[2] ~= ARGV[2] then return 0 end
    redis.call('DEL', KEYS[1])
    return 1",
);

/// `TAKE` and `CREATE` in one. `KEYS`: old session, new session. `ARGV`: now, expected revision, expires, fields.
pub(super) const ROTATE: Script = Script(
    "local old = redis.call('HMGET', KEYS[1], 'expires', 'revision')
    local now, expires = tonumber(ARGV[1]), tonumber(ARGV[3])
    if not old[1] or tonumber(old[1]) <= now then return -1 end
    if old[2] ~= ARGV[2] then return 0 end
    redis.call('DEL', KEYS[1])
    if redis.call('HEXISTS', KEYS[2], 'blocked') == 1 then return -1 end
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[2], 'expires', ARGV[3], unpack(ARGV, 4))
    redis.call('PEXPIRE', KEYS[2], string.format('%.0f', math.max(expires - now, 1)))
    return 1",
);

/// Notes a use. `KEYS`: session. `ARGV`: now, seen, expires.
pub(super) const TOUCH: Script = Script(
    "local function text(number) return string.format('%.0f', number) end
    local now = tonumber(ARGV[1])
    local old = redis.call('HMGET', KEYS[1], 'expires', 'seen')
    if not old[1] or tonumber(old[1]) <= now then return 0 end
    local expires = math.max(tonumber(old[1]), tonumber(ARGV[3]))
    redis.call('HSET', KEYS[1], 'seen', text(math.max(tonumber(old[2]), tonumber(ARGV[2]))), 'expires', text(expires))
    redis.call('PEXPIRE', KEYS[1], text(expires - now))
    return 1",
);

/// What time it is, in milliseconds. `KEYS`: whose server is asked.
pub(super) const CLOCK: Script = Script(
    "local now = redis.call('TIME')
    return now[1] * 1000 + math.floor(now[2] / 1000)",
);

/// Ends a session, with a second argument only this user's. `KEYS`: session. `ARGV`: now, user. 1: there was a live one.
pub(super) const DELETE: Script = Script(
    "local old = redis.call('HMGET', KEYS[1], 'expires', 'user')
    if not old[1] or (ARGV[2] and old[2] ~= ARGV[2]) then return 0 end
    redis.call('DEL', KEYS[1])
    if tonumber(old[1]) > tonumber(ARGV[1]) then return 1 end
    return 0",
);

/// `DELETE` for a session that may be about to be stored by a rotation: if it is not there, it cannot be for ten minutes. `KEYS`: session.
/// `ARGV`: now, user.
pub(super) const DELETE_OR_BLOCK: Script = Script(
    "local old = redis.call('HMGET', KEYS[1], 'expires', 'user')
    if not old[1] then
        redis.call('HSET', KEYS[1], 'blocked', '1')
        redis.call('PEXPIRE', KEYS[1], 600000)
        return 0
    end
    if old[2] ~= ARGV[2] then return 0 end
    redis.call('DEL', KEYS[1])
    if tonumber(old[1]) > tonumber(ARGV[1]) then return 1 end
    return 0",
);

/// Enters a session into a user's index, which lives as long as its sessions can, and throws expired entries out of a long one: of sixteen taken at random, so
/// that a sign-in costs the same however many sessions there are, and all but about a sixteenth of the entries are of living ones. `KEYS`: index. `ARGV`: now,
/// session, its absolute end or 0, entry.
pub(super) const ENTER: Script = Script(
    "local now, last = tonumber(ARGV[1]), tonumber(ARGV[3])
    local function lasts(milliseconds) redis.call('PEXPIRE', KEYS[1], string.format('%.0f', milliseconds)) end
    local before = redis.call('PTTL', KEYS[1])
    redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
    if last == 0 then redis.call('PERSIST', KEYS[1])
    elseif before == -2 or (before >= 0 and before < last - now) then lasts(math.max(last - now, 1)) end
    if redis.call('HLEN', KEYS[1]) > 64 then
        local some = redis.call('HRANDFIELD', KEYS[1], 16, 'WITHVALUES')
        for at = 1, #some, 2 do
            local ended = tonumber(string.match(some[at + 1], '^%d+'))
            if ended > 0 and ended <= now then redis.call('HDEL', KEYS[1], some[at]) end
        end
    end
    return redis.call('HLEN', KEYS[1])",
);

/// Takes entries out of an index, unless they were written anew meanwhile. `KEYS`: index. `ARGV`: session and entry, repeated.
pub(super) const LEAVE: Script = Script(
    "for at = 1, #ARGV, 2 do
        if redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[at + 1] then redis.call('HDEL', KEYS[1], ARGV[at]) end
    end
    return 1",
);

/// Lua that runs in the server.
#[derive(Clone, Copy)]
pub(crate) struct Script(pub(crate) &'static str);

/// A script with its keys and arguments.
pub(crate) struct Call {
    script: Script,
    keys: usize,
    arguments: Cmd,
}

impl Script {
    pub(crate) fn on(self, keys: &[&str]) -> Call {
        let mut arguments = Cmd::new();
        arguments.arg(keys);
        Call { script: self, keys: keys.len(), arguments }
    }
}

impl Call {
    pub(crate) fn with(mut self, argument: impl ToRedisArgs) -> Self {
        self.arguments.arg(argument);
        self
    }

    /// For a server that has seen the scripts. Many calls of one script have its digest made once.
    pub(super) fn by_hash(calls: &[Self]) -> Vec<Cmd> {
        let mut script = calls.first().map(|call| redis::Script::new(call.script.0));
        let mut last = calls.first().map_or("", |call| call.script.0);
        let command = |call: &Self| {
            if !std::ptr::eq(last, call.script.0) {
                script = Some(redis::Script::new(call.script.0));
                last = call.script.0;
            }
            call.command("EVALSHA", script.as_ref().map_or("", redis::Script::get_hash))
        };
        calls.iter().map(command).collect()
    }

    /// For one that has not.
    pub(super) fn in_full(&self) -> Cmd {
        self.command("EVAL", self.script.0)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys);
        for argument in self.arguments.args_iter() {
            if let redis::Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

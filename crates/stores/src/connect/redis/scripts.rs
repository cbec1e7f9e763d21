//! The scripts. Each touches the keys of one session, which are in one slot (but `ROTATE`, which is for single servers).

use crate::redis::Script;

/// A script that knows the session (`KEYS[1]`), the note of its expiry (`KEYS[2]`), the note that it was ended (`KEYS[3]`) and the time
/// (`ARGV[1]`).
///
/// `row()` is the live session's text and expiry, `''` for one that never expires. `keep` stores one, for ever if `ARGV[2]` says so. `finish`
/// notes that the session was ended, for as long as a stale copy of it could live: as long as its key, the store's `ttl`, or its cookie. It
/// deletes first, because a Redis that is full lets a script go on that has freed something already.
macro_rules! script {
    ($body:literal) => {
        Script(concat!(
            "local now, lasting = tonumber(ARGV[1]), ARGV[2] == '1'
            local time = redis.call('TIME')
            local clock = time[1] * 1000 + math.floor(time[2] / 1000)
            local function digits(number) return string.format('%.0f', number) end
            local function has_ended() return redis.call('EXISTS', KEYS[3]) == 1 end
            local function row()
                local text = redis.pcall('GET', KEYS[1])
                if type(text) ~= 'string' or has_ended() then return nil end
                local left = redis.call('PTTL', KEYS[1])
                if left < 0 then return text, '' end
                local note = redis.call('HMGET', KEYS[2], 'expires', 'deadline')
                local ends = now + left
                if note[2] and math.abs(clock + left - tonumber(note[2])) <= 5 then ends = tonumber(note[1]) end
                if ends <= now then return nil end
                return text, digits(ends)
            end
            local function ends_at(key, note, ends)
                local left = math.max(ends - now, 1)
                redis.call('PEXPIRE', key, digits(left))
                redis.call('HSET', note, 'expires', digits(ends), 'deadline', digits(clock + left))
                redis.call('PEXPIRE', note, digits(left))
            end
            local function keep(key, note, text, ends)
                redis.call('SET', key, text)
                if lasting then redis.call('DEL', note) else ends_at(key, note, ends) end
            end
            local function finish(word, ttl)
                local day, text = 86400000, redis.pcall('GET', KEYS[1])
                local left, before = redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[3])
                local lives = math.max(left, ttl)
                if left == -1 then lives = 400 * day end
                for age in string.gmatch(type(text) == 'string' and text or '', '\"originalMaxAge\":(%d+)') do
                    lives = math.max(lives, tonumber(age))
                end
                lives = math.max(math.min(lives, 400 * day) + day, before)
                if redis.call('GET', KEYS[3]) == 'ended' then word = 'ended' end
                redis.call('DEL', KEYS[1], KEYS[2])
                redis.call('SET', KEYS[3], word, 'PX', digits(lives))
            end ",
            $body
        ))
    };
}

pub(super) const GET: Script = script!(
    "local text, ends = row()
    return text and { text, ends }"
);

/// Those of the keys whose text contains `ARGV[1]`.
pub(super) const FIND: Script = Script(
    "local found = {}
    for _, key in ipairs(KEYS) do
        local text = redis.pcall('GET', key)
        if type(text) == 'string' and string.find(text, ARGV[1], 1, true) then found[#found + 1] = key end
    end
    return found",
);

/// `ARGV`: …, text, end. A session that another store held meanwhile may come back.
pub(super) const INSERT: Script = script!(
    "if redis.call('GET', KEYS[3]) == 'moved' then redis.call('DEL', KEYS[1], KEYS[2], KEYS[3]) end
    if has_ended() or row() then return 0 end
    if tonumber(ARGV[4]) <= now then lasting = false end
    keep(KEYS[1], KEYS[2], ARGV[3], tonumber(ARGV[4]))
    return 1"
);

/// `ARGV`: …, old text, new text, end, whether a later end stays.
pub(super) const REPLACE: Script = script!(
    "local text, old = row()
    if text ~= ARGV[3] then return 0 end
    local ends = tonumber(ARGV[5])
    if ARGV[6] == '1' and old ~= '' then ends = math.max(ends, tonumber(old)) end
    keep(KEYS[1], KEYS[2], ARGV[4], ends)
    return 1"
);

/// As connect-redis does, which notes nothing beside the key. `ARGV`: …, text, whole seconds left, what must be stored now if anything.
pub(super) const PUT: Script = script!(
    "if has_ended() or ARGV[5] and row() ~= ARGV[5] then return 0 end
    redis.call('DEL', KEYS[2])
    if tonumber(ARGV[4]) <= 0 then redis.call('DEL', KEYS[1])
    elseif lasting then redis.call('SET', KEYS[1], ARGV[3])
    else redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4]) end
    return 1"
);

/// The same for the end alone. `ARGV`: …, whole seconds left.
pub(super) const PROLONG: Script = script!(
    "if has_ended() then return 0 end
    redis.call('DEL', KEYS[2])
    return redis.call('EXPIRE', KEYS[1], ARGV[3])"
);

/// The first half of a rotation in a cluster. `KEYS`: …, the announcement. `ARGV`: …, text, ttl, new key, user.
pub(super) const TAKE: Script = script!(
    "if row() ~= ARGV[3] then return 0 end
    redis.call('HSET', KEYS[4], 'to', ARGV[5], 'user', ARGV[6])
    redis.call('PEXPIRE', KEYS[4], 600000)
    finish('ended', tonumber(ARGV[4]))
    return 1"
);

/// A rotation on one server. `KEYS`: …, the announcement, new session, note of its expiry. `ARGV`: …, text, ttl, new key, user, new text, end.
/// The announcement is for a scan that goes on meanwhile, and sees neither the old key nor the new one.
pub(super) const ROTATE: Script = script!(
    "if row() ~= ARGV[3] then return 0 end
    if redis.call('EXISTS', KEYS[5]) == 1 then return redis.error_reply('the new id is taken') end
    redis.call('HSET', KEYS[4], 'to', ARGV[5], 'user', ARGV[6])
    redis.call('PEXPIRE', KEYS[4], 600000)
    finish('ended', tonumber(ARGV[4]))
    keep(KEYS[5], KEYS[6], ARGV[7], tonumber(ARGV[8]))
    return 1"
);

/// Where announcements of this user's sessions say that they go.
pub(super) const ANNOUNCED: Script = Script(
    "local found = {}
    for _, key in ipairs(KEYS) do
        local move = redis.call('HMGET', key, 'to', 'user')
        if move[2] == ARGV[1] then found[#found + 1] = move[1] end
    end
    return found",
);

/// `ARGV`: …, end.
pub(super) const TOUCH: Script = script!(
    "local text, ends = row()
    if text and ends ~= '' and tonumber(ARGV[3]) > tonumber(ends) then
        ends_at(KEYS[1], KEYS[2], tonumber(ARGV[3]))
    end
    return 1"
);

/// `ARGV`: …, ttl, what to note.
pub(super) const REMOVE: Script = script!(
    "local text, ends = row()
    finish(ARGV[4], tonumber(ARGV[3]))
    return text and { text, ends }"
);

/// Removes what was written over an ended session. `ARGV`: …, ttl.
pub(super) const REMOVE_AGAIN: Script = script!(
    "if not has_ended() or redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
    finish(redis.call('GET', KEYS[3]), tonumber(ARGV[3]))
    return 1"
);

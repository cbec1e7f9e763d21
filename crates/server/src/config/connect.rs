//! The layouts shared with Express: their settings, and what they make of them.

use std::{num::NonZeroU32, time::Duration};

use hallpass_session::{CookieOptions, Secret};
use hallpass_stores::{
    AutoRemove, Cipher, ConnectLayouts, ConnectMongoOptions, ConnectOptions, ConnectPgOptions,
    ConnectRedisOptions, Crypto, Encoding, StoreUrl, TransformId, WebCrypto,
};

use super::{
    gather::Values,
    schema::{
        Kind::{self, Choice, Duration as Time, Flag, List, Number, Text},
        SETTINGS, Setting, setting,
    },
};

/// The longest interval that connect-mongo takes: what a timer of Node holds.
const LONGEST_INTERVAL: Duration = Duration::from_secs(71_582 * 60);

/// Their part of the table.
pub(super) const CONNECT: &[Setting] = &[
    setting(
        "connect.user_path",
        Text,
        "",
        "Where Express's sessions name their user, such as `userId` or `passport.user`. Empty: where `session.login_key` says.",
    ),
    setting("connect.mongo.collection_name", Text, "sessions", "connect-mongo's `collectionName`."),
    setting("connect.mongo.database", Text, "", "connect-mongo's `dbName`. Empty: the URL's, else `test`."),
    setting(
        "connect.mongo.ttl",
        Time,
        "14d",
        "connect-mongo's `ttl`: how long a session lives whose cookie ends with the browser.",
    ),
    setting(
        "connect.mongo.auto_remove",
        Choice(&["native", "interval", "disabled"]),
        "native",
        "connect-mongo's `autoRemove`: who removes expired sessions. `native`: MongoDB by an index, `interval`: this server, `disabled`: somebody else.",
    ),
    setting(
        "connect.mongo.auto_remove_interval",
        Time,
        "10m",
        "connect-mongo's `autoRemoveInterval` (minutes there).",
    ),
    setting(
        "connect.mongo.touch_after",
        Time,
        "0s",
        "connect-mongo's `touchAfter`: a use within this time of the last noted one is not noted again.",
    ),
    setting(
        "connect.mongo.stringify",
        Flag,
        "true",
        "connect-mongo's `stringify`: sessions are written as texts, else as objects. Both are read.",
    ),
    setting(
        "connect.mongo.timestamps",
        Flag,
        "false",
        "connect-mongo's `timestamps`: `createdAt` and `updatedAt` are kept.",
    ),
    setting(
        "connect.mongo.transform_id",
        Choice(&["none", "prefix", "sha256"]),
        "none",
        "What connect-mongo's `transformId` does: nothing, put a prefix in front, or take the SHA-256 in hex.",
    ),
    setting("connect.mongo.transform_prefix", Text, "", "The prefix, for `transform_id = \"prefix\"`."),
    setting(
        "connect.mongo.crypto",
        Choice(&["none", "webcrypto", "kruptein"]),
        "none",
        "How connect-mongo encrypts: `webcrypto` is its `createWebCryptoAdapter`, `kruptein` its `crypto` or `createKrupteinAdapter`.",
    ),
    setting("connect.mongo.crypto_secret", Kind::Secret, "", "The `secret` of either."),
    setting(
        "connect.mongo.crypto_algorithm",
        Choice(&["aes-gcm", "aes-cbc"]),
        "aes-gcm",
        "The Web Crypto adapter's `algorithm`.",
    ),
    setting(
        "connect.mongo.crypto_encoding",
        Choice(&["base64", "base64url", "hex"]),
        "base64",
        "The Web Crypto adapter's `encoding`.",
    ),
    setting("connect.mongo.crypto_salt", Text, "", "The Web Crypto adapter's `salt`. Empty: its default."),
    setting("connect.mongo.crypto_iterations", Number, "310000", "The Web Crypto adapter's `iterations`."),
    setting("connect.redis.prefix", Text, "sess:", "connect-redis' `prefix`; may be empty."),
    setting("connect.redis.ttl", Time, "1d", "connect-redis' `ttl`, as above."),
    setting(
        "connect.redis.disable_touch",
        Flag,
        "false",
        "connect-redis' `disableTouch`: only a change lengthens a session.",
    ),
    setting(
        "connect.redis.disable_ttl",
        Flag,
        "false",
        "connect-redis' `disableTTL`: sessions have no end but the absolute one, and nothing removes their keys.",
    ),
    setting(
        "connect.pg.schema_name",
        Text,
        "",
        "connect-pg-simple's `schemaName`. Empty: the search path decides.",
    ),
    setting("connect.pg.table_name", Text, "session", "connect-pg-simple's `tableName`."),
    setting(
        "connect.pg.column_names",
        List,
        "sid,sess,expire",
        "The names of the columns for id, session and end.",
    ),
    setting(
        "connect.pg.create_table_if_missing",
        Flag,
        "false",
        "connect-pg-simple's `createTableIfMissing`.",
    ),
    setting("connect.pg.ttl", Time, "1d", "connect-pg-simple's `ttl`, as above."),
    setting(
        "connect.pg.disable_touch",
        Flag,
        "false",
        "connect-pg-simple's `disableTouch`: only a change lengthens a session.",
    ),
    setting(
        "connect.pg.prune_session_interval",
        Time,
        "15m",
        "connect-pg-simple's `pruneSessionInterval`: how often expired sessions are removed; `0s` leaves that to Express.",
    ),
    setting(
        "connect.pg.time_zone",
        Text,
        "",
        "The time zone that Express's connections to PostgreSQL have, such as `Asia/Tokyo`; its table's times have none of their own. Empty: the server's.",
    ),
    setting(
        "connect.pg.triggers",
        Flag,
        "true",
        "Whether triggers may be put on Express's table. One refuses sessions that ended here when Express saves them again; the others tell what Express does to sessions, without which every session check asks the database.",
    ),
];

/// Reads the settings; problems are noted with the values.
pub(super) fn check(values: &mut Values, cookie: &CookieOptions) -> ConnectLayouts {
    let user_path = match (values.text("connect.user_path"), values.text("session.login_key")) {
        ("", "passport") => "passport.user",
        ("", key) => key,
        (path, _) => path,
    };
    if user_path.split('.').any(str::is_empty) {
        let advice =
            "names the keys from the outside in, with a dot between two, such as userId or passport.user";
        values.problem("connect.user_path", advice.to_owned());
        return ConnectLayouts::default();
    }
    let common = Common { cookie: cookie.clone(), user_path: user_path.to_owned() };
    ConnectLayouts { mongo: mongo(values, &common), pg: pg(values, &common), redis: redis(values, &common) }
}

/// What all of them are told.
struct Common {
    cookie: CookieOptions,
    user_path: String,
}

impl Common {
    fn options(&self, values: &mut Values, ttl: &'static str) -> ConnectOptions {
        if values.duration(ttl) < Duration::from_secs(1) {
            values.problem(ttl, "must be at least 1s".to_owned());
        }
        ConnectOptions {
            ttl: values.duration(ttl),
            cookie: self.cookie.clone(),
            user_path: Some(self.user_path.clone()),
            ..ConnectOptions::default()
        }
    }
}

fn mongo(values: &mut Values, common: &Common) -> ConnectMongoOptions {
    let interval =
        only_with(values, "connect.mongo.auto_remove_interval", "connect.mongo.auto_remove", &["interval"]);
    let minutes = values.duration("connect.mongo.auto_remove_interval");
    if interval && !(Duration::from_secs(1)..=LONGEST_INTERVAL).contains(&minutes) {
        values.problem(
            "connect.mongo.auto_remove_interval",
            "must be from 1s to 71582m, as in connect-mongo".to_owned(),
        );
    }
    ConnectMongoOptions {
        connect: common.options(values, "connect.mongo.ttl"),
        database: optional(values, "connect.mongo.database"),
        collection: named(values, "connect.mongo.collection_name"),
        auto_remove: match values.text("connect.mongo.auto_remove") {
            "interval" => AutoRemove::Interval(minutes),
            "disabled" => AutoRemove::Disabled,
            _ => AutoRemove::Native,
        },
        touch_after: values.duration("connect.mongo.touch_after"),
        stringify: values.flag_of("connect.mongo.stringify"),
        timestamps: values.flag_of("connect.mongo.timestamps"),
        transform_id: transform_id(values),
        crypto: crypto(values),
    }
}

fn transform_id(values: &mut Values) -> TransformId {
    let at = "connect.mongo.transform_prefix";
    let prefix = only_with(values, at, "connect.mongo.transform_id", &["prefix"]);
    if prefix && values.text(at).is_empty() {
        values.problem(at, "is empty; write what transformId puts in front of ids".to_owned());
    }
    match values.text("connect.mongo.transform_id") {
        "prefix" => TransformId::Prefix(values.text(at).to_owned()),
        "sha256" => TransformId::Sha256,
        _ => TransformId::None,
    }
}

fn crypto(values: &mut Values) -> Option<Crypto> {
    let (secret_at, kind) = ("connect.mongo.crypto_secret", "connect.mongo.crypto");
    let wanted = only_with(values, secret_at, kind, &["webcrypto", "kruptein"]);
    for at in [
        "connect.mongo.crypto_algorithm",
        "connect.mongo.crypto_encoding",
        "connect.mongo.crypto_salt",
        "connect.mongo.crypto_iterations",
    ] {
        only_with(values, at, kind, &["webcrypto"]);
    }
    let secret = values.text(secret_at).to_owned();
    if wanted && secret.is_empty() {
        let advice =
            "is empty; give the secret of Express's store, best in a file that crypto_secret_file names";
        values.problem(secret_at, advice.to_owned());
    }
    let iterations = u32::try_from(values.number("connect.mongo.crypto_iterations")).ok();
    let Some(iterations) = iterations.and_then(NonZeroU32::new) else {
        values.problem("connect.mongo.crypto_iterations", format!("must be from 1 to {}", u32::MAX));
        return None;
    };
    let usual = WebCrypto::new(secret);
    match values.text(kind) {
        "kruptein" => Some(Crypto::Kruptein(usual.secret)),
        "webcrypto" => Some(Crypto::WebCrypto(WebCrypto {
            cipher: match values.text("connect.mongo.crypto_algorithm") {
                "aes-cbc" => Cipher::AesCbc,
                _ => Cipher::AesGcm,
            },
            encoding: match values.text("connect.mongo.crypto_encoding") {
                "base64url" => Encoding::Base64Url,
                "hex" => Encoding::Hex,
                _ => Encoding::Base64,
            },
            salt: optional(values, "connect.mongo.crypto_salt").unwrap_or(usual.salt),
            iterations,
            secret: Secret::new(usual.secret.expose().clone()),
        })),
        _ => None,
    }
}

fn redis(values: &mut Values, common: &Common) -> ConnectRedisOptions {
    let prefix = values.text("connect.redis.prefix").to_owned();
    if prefix.starts_with("hallpass:") {
        values.problem("connect.redis.prefix", "must not begin with hallpass:, which is ours".to_owned());
    }
    ConnectRedisOptions {
        connect: common.options(values, "connect.redis.ttl"),
        prefix,
        disable_touch: values.flag_of("connect.redis.disable_touch"),
        disable_ttl: values.flag_of("connect.redis.disable_ttl"),
    }
}

fn pg(values: &mut Values, common: &Common) -> ConnectPgOptions {
    let usual = ConnectPgOptions::default();
    let columns = <[String; 3]>::try_from(values.list("connect.pg.column_names").to_vec()).ok();
    let columns = columns.filter(|[id, data, end]| id != data && data != end && id != end);
    if columns.is_none() {
        let advice =
            "are three different names: of the columns for id, session and end, such as sid, sess, expire";
        values.problem("connect.pg.column_names", advice.to_owned());
    }
    let prune = values.duration("connect.pg.prune_session_interval");
    ConnectPgOptions {
        connect: common.options(values, "connect.pg.ttl"),
        schema: optional(values, "connect.pg.schema_name"),
        table: named(values, "connect.pg.table_name"),
        columns: columns.unwrap_or(usual.columns),
        create_table: values.flag_of("connect.pg.create_table_if_missing"),
        disable_touch: values.flag_of("connect.pg.disable_touch"),
        prune_interval: Some(prune).filter(|prune| !prune.is_zero()),
        time_zone: optional(values, "connect.pg.time_zone"),
        triggers: values.flag_of("connect.pg.triggers"),
    }
}

fn optional(values: &Values, path: &'static str) -> Option<String> {
    Some(values.text(path)).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn named(values: &mut Values, path: &'static str) -> String {
    let name = values.text(path).to_owned();
    if name.is_empty() {
        values.problem(path, "is empty; write the name that Express's store has".to_owned());
    }
    name
}

/// Whether `of` is one of `wanted`; else `path` must stay as it is.
fn only_with(values: &mut Values, path: &'static str, of: &'static str, wanted: &[&str]) -> bool {
    let is = values.text(of).to_owned();
    if wanted.contains(&is.as_str()) {
        return true;
    }
    if values.is_changed(path) {
        values.problem(path, format!("is only for {of} = {:?}, and that is {is:?}", wanted.join("\" or \"")));
    }
    false
}

/// Notes the settings that nobody would heed, because no sessions are there in such a layout. `shared` are the places of those
/// that are.
pub(super) fn refuse_idle(values: &mut Values, shared: &[&StoreUrl]) {
    let used = |kind: fn(&StoreUrl) -> bool| shared.iter().any(|url| kind(url));
    for (section, used, store, database) in [
        ("connect.mongo.", used(|url| matches!(url, StoreUrl::Mongo(_))), "connect-mongo", "MongoDB"),
        ("connect.pg.", used(|url| matches!(url, StoreUrl::Postgres(_))), "connect-pg-simple", "PostgreSQL"),
        ("connect.redis.", used(|url| matches!(url, StoreUrl::Redis(_))), "connect-redis", "Redis"),
        ("connect.user_path", !shared.is_empty(), "Express's stores", "MongoDB, PostgreSQL or Redis"),
    ] {
        for setting in SETTINGS.iter().filter(|setting| setting.path.starts_with(section) && !used) {
            if values.is_changed(setting.path) {
                let advice = format!(
                    "is only for sessions that are shared with {store}: keep them in {database}, with session.layout = \"connect\""
                );
                values.problem(setting.path, advice);
            }
        }
    }
}

//! A session as express-session's stores keep it: a JSON object of the data, `cookie`, and what is ours under `_hallpass`.

use std::{sync::Arc, time::Duration};

use hallpass_session::{
    CookieOptions, Document, Lifetime, Priority, Revision, SameSite, Secure, SessionRecord, Timestamp,
    ValueError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::ConnectOptions;
use crate::native;

/// express-session's own key.
const COOKIE: &str = "cookie";

/// Ours.
const META: &str = "_hallpass";

/// The last moment that ISO 8601 writes with four digits of a year.
const LAST_DATE: i64 = 253_402_300_799_999;

/// What Express has no place for. Times in milliseconds.
#[derive(Serialize, Deserialize)]
struct Meta {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<Arc<str>>,
    created: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticated: Option<i64>,
    seen: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

/// Reads and writes the text.
#[derive(Clone)]
pub(super) struct Text {
    ttl: Duration,
    cookie: Document,
    user_path: Option<Vec<String>>,
}

impl Text {
    pub(super) fn new(options: &ConnectOptions) -> Self {
        let path = options.user_path.as_deref().map(|path| path.split('.').map(str::to_owned).collect());
        Self { ttl: options.ttl, cookie: template(&options.cookie), user_path: path }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The session, if it is one and lives. `expires` is the row's end; `None`: it has none.
    pub(super) fn read(
        &self,
        text: &str,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<SessionRecord> {
        let mut document = native::document(text)?;
        let cookie: Value = document.get(COOKIE).ok().flatten().unwrap_or_default();
        document.remove(COOKIE);
        let meta: Option<Meta> = document.get(META).ok().flatten();
        document.remove(META);
        let max_age = max_age(&cookie);
        let idle = max_age.or_else(|| meta.as_ref().and_then(Meta::idle)).unwrap_or(self.ttl);
        let until = meta.as_ref().and_then(Meta::until);
        let expires = expires.unwrap_or(now + idle);
        let ends = until.map_or(expires, |until| until.min(expires));
        if ends <= now {
            return None;
        }
        let seen = seen(meta.as_ref(), expires, idle, now);
        let user = self.user(&document, meta.as_ref());
        Some(SessionRecord {
            document,
            user,
            created: meta.as_ref().map_or(seen, |meta| Timestamp::from_millis(meta.created)),
            authenticated: meta.as_ref().and_then(|meta| meta.authenticated).map(Timestamp::from_millis),
            label: meta.and_then(|meta| meta.label),
            seen,
            lifetime: Lifetime { idle, until, persistent: max_age.is_some() },
        })
    }

    /// The absolute end that a text sets its session.
    pub(super) fn until(text: &str) -> Option<Timestamp> {
        Document::from_json(text).ok()?.get::<Meta>(META).ok().flatten()?.until()
    }

    /// How long the session of a text lives without use; `None`: it is no session.
    pub(super) fn idle(&self, text: &str) -> Option<Duration> {
        let document = Document::from_json(text).ok()?;
        let cookie: Value = document.get(COOKIE).ok().flatten().unwrap_or_default();
        let noted = || document.get::<Meta>(META).ok().flatten().and_then(|meta| meta.idle());
        Some(max_age(&cookie).or_else(noted).unwrap_or(self.ttl))
    }

    /// The text of a record. `old` is the text it replaces, whose cookie attributes stay.
    pub(super) fn write(&self, record: &SessionRecord, old: Option<&str>) -> Result<String, ValueError> {
        let old = old.and_then(|old| Document::from_json(old).ok());
        let cookie = old.and_then(|old| old.get::<Document>(COOKIE).ok().flatten());
        let mut cookie = cookie.unwrap_or_else(|| self.cookie.clone());
        let idle = native::idle_millis(record.lifetime.idle);
        let expires =
            Some(record.expires()).filter(|end| record.lifetime.persistent && end.as_millis() <= LAST_DATE);
        cookie.insert("originalMaxAge", &record.lifetime.persistent.then_some(idle))?;
        cookie.insert("expires", &expires.map(|end| end.to_string()))?;
        let mut whole = Document::new();
        whole.insert(COOKIE, &cookie)?;
        whole.append(&record.document, |key| key != COOKIE && key != META);
        if let (Some(path), Some(user)) = (&self.user_path, &record.user) {
            name(&mut whole, path, user)?;
        }
        let meta = Meta {
            user: record.user.clone(),
            label: record.label.clone(),
            created: record.created.as_millis(),
            authenticated: record.authenticated.map(Timestamp::as_millis),
            seen: record.seen.as_millis(),
            idle: Some(idle),
            until: record.lifetime.until.map(Timestamp::as_millis),
        };
        whole.insert(META, &meta)?;
        Ok(whole.to_json())
    }

    /// Who a whole session belongs to, as [`read`](Self::read) finds it.
    pub(super) fn user_of(&self, session: &Document) -> Option<Arc<str>> {
        let meta = || session.get::<Meta>(META).ok().flatten();
        if self.user_path.is_some() { self.user(session, None) } else { self.user(session, meta().as_ref()) }
    }

    /// Who the session belongs to: whom its data names, if we know where it does; else who was noted.
    fn user(&self, document: &Document, meta: Option<&Meta>) -> Option<Arc<str>> {
        let Some(path) = &self.user_path else { return meta?.user.clone() };
        named(document, path)
    }
}

impl Meta {
    fn idle(&self) -> Option<Duration> {
        self.idle.map(|idle| Duration::from_millis(idle.max(0).cast_unsigned()))
    }

    fn until(&self) -> Option<Timestamp> {
        self.until.map(Timestamp::from_millis)
    }
}

/// How long the browser keeps the cookie, and the session lives without use; `None`: until the browser is closed.
fn max_age(cookie: &Value) -> Option<Duration> {
    // Less than a millisecond would be none at all when it is written again.
    let millis = cookie.get("originalMaxAge")?.as_f64().filter(|age| *age >= 1.0)?;
    let age = Duration::try_from_secs_f64(millis / 1000.0).ok()?;
    // Longer than is stored would be another lifetime after every change.
    Some(Duration::from_millis(native::idle_millis(age).cast_unsigned()))
}

/// Whom the data names at this path.
fn named(document: &Document, path: &[String]) -> Option<Arc<str>> {
    let (first, rest) = path.split_first()?;
    if !rest.is_empty() {
        return named(&document.get(first).ok().flatten()?, rest);
    }
    match document.get(first).ok().flatten()? {
        Value::String(id) if !id.is_empty() => Some(id.into()),
        Value::Number(id) => Some(id.to_string().into()),
        _ => None,
    }
}

/// Makes the data name this user at this path, if it does not yet.
fn name(document: &mut Document, path: &[String], user: &Arc<str>) -> Result<(), ValueError> {
    let Some((first, rest)) = path.split_first() else { return Ok(()) };
    if named(document, path).as_ref() == Some(user) {
        return Ok(());
    }
    if rest.is_empty() {
        return document.insert(first, user);
    }
    let mut inner: Document = document.get(first).ok().flatten().unwrap_or_default();
    name(&mut inner, rest, user)?;
    document.insert(first, &inner)
}

/// When the session was last used: as noted, or later, if the row's end has moved since.
fn seen(meta: Option<&Meta>, expires: Timestamp, idle: Duration, now: Timestamp) -> Timestamp {
    let from_end =
        Timestamp::from_millis(expires.as_millis().saturating_sub(native::idle_millis(idle))).min(now);
    match meta {
        // At its absolute end, the row's end no longer follows the use.
        Some(Meta { seen, until: Some(until), .. }) if *until <= expires.as_millis() => {
            Timestamp::from_millis(*seen)
        }
        Some(meta) => Timestamp::from_millis(meta.seen).max(from_end),
        None => from_end,
    }
}

/// Which version was read. Two of one revision are the same, byte for byte.
pub(super) fn revision(bytes: &[u8]) -> Revision {
    let hash = Sha256::digest(bytes);
    Revision(hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// What a text must contain if it names this user: a search that finds all of them, and some others.
pub(super) fn needle(user: &str) -> String {
    let quoted = Value::from(user).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The cookie object of a new session, keys in express-session's order.
fn template(options: &CookieOptions) -> Document {
    let mut cookie = Document::new();
    let mut set = |key: &str, value: Value| {
        // A JSON value's text is JSON.
        if let Ok(raw) = RawValue::from_string(value.to_string()) {
            cookie.insert_raw(key, &raw);
        }
    };
    set("originalMaxAge", Value::Null);
    if options.partitioned {
        set("partitioned", true.into());
    }
    if let Some(priority) = options.priority {
        let name = match priority {
            Priority::Low => "low",
            Priority::Medium => "medium",
            Priority::High => "high",
        };
        set("priority", name.into());
    }
    set("expires", Value::Null);
    if options.secure == Secure::On {
        set("secure", true.into());
    }
    set("httpOnly", options.http_only.into());
    if let Some(domain) = &options.domain {
        set("domain", domain.as_str().into());
    }
    set("path", options.path.as_str().into());
    let same_site = match options.same_site {
        SameSite::Strict => "strict",
        SameSite::Lax => "lax",
        SameSite::None => "none",
    };
    set("sameSite", same_site.into());
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_327);
    const MINUTE: Duration = Duration::from_secs(60);

    fn text(user_path: Option<&str>) -> Text {
        let user_path = user_path.map(str::to_owned);
        Text::new(&ConnectOptions { user_path, ..ConnectOptions::with_ttl(14) })
    }

    #[test]
    fn what_express_wrote_is_read_and_its_keys_come_back_byte_for_byte() {
        let express = r#"{"cookie":{"originalMaxAge":60000,"expires":"2026-11-23T09:01:13.327Z","secure":true,"httpOnly":false,"domain":"a.test","path":"/x","sameSite":"strict"},"passport":{"user":"5f"},"n":1e+21,"odd":"\ud83d"}"#;
        let text = text(Some("passport.user"));
        let record = text.read(express, Some(NOW + MINUTE), NOW).unwrap();
        assert_eq!(record.user.as_deref(), Some("5f"));
        assert_eq!(record.lifetime, Lifetime { idle: MINUTE, until: None, persistent: true });
        assert_eq!((record.seen, record.created), (NOW, NOW));
        let written = text.write(&record, Some(express)).unwrap();
        let ours = r#","_hallpass":{"user":"5f","created":1795424473327,"seen":1795424473327,"idle":60000}}"#;
        let expected = express.replace("09:01:13.327Z", &(NOW + MINUTE).to_string()[11..]);
        assert_eq!(written, format!("{}{ours}", expected.strip_suffix('}').unwrap()));
        assert_eq!(text.read(&written, Some(NOW + MINUTE), NOW), Some(record));
    }

    #[test]
    fn the_row_decides_how_long_a_session_lives_but_never_beyond_its_absolute_end() {
        let text = text(None);
        let stale = r#"{"cookie":{"originalMaxAge":60000,"expires":"2020-01-01T00:00:00.000Z"}}"#;
        assert!(text.read(stale, Some(NOW + MINUTE), NOW).is_some(), "the text's own end is old news");
        assert!(text.read(stale, Some(NOW), NOW).is_none());
        assert!(text.read(stale, None, NOW).is_some(), "a row without an end lives");
        let limited = r#"{"cookie":{"originalMaxAge":null},"_hallpass":{"created":0,"seen":0,"idle":60000,"until":1795424473327}}"#;
        assert!(text.read(limited, Some(NOW + MINUTE), NOW).is_none(), "Express cannot move it");
    }

    #[test]
    fn who_is_named_is_found_by_the_search() {
        for (path, data, user) in [
            ("userId", r#"{"userId":"a\"b"}"#, Some("a\"b")),
            ("userId", r#"{"userId":17}"#, Some("17")),
            ("userId", r#"{"userId":""}"#, None),
            ("userId", r#"{"other":1}"#, None),
            ("passport.user", r#"{"passport":{}}"#, None),
            ("passport.user", r#"{"passport":{"user":"é"}}"#, Some("é")),
        ] {
            let record = text(Some(path)).read(data, Some(NOW + MINUTE), NOW).unwrap();
            assert_eq!(record.user.as_deref(), user, "{data}");
            assert!(user.is_none_or(|user| data.contains(&needle(user))), "{data}");
        }
    }

    #[test]
    fn nonsense_is_no_session() {
        for nonsense in ["", "[]", "5", "{", "\"[object Object]\""] {
            assert_eq!(text(None).read(nonsense, Some(NOW + MINUTE), NOW), None, "{nonsense}");
        }
    }
}

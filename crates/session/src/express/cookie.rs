//! [`ExpressCookie`]: the `cookie` object that express-session keeps in every session.
//!
//! It says how long the session lives and what its `Set-Cookie` looks like; the configuration only makes the first one. Values are kept
//! as JavaScript has them, odd ones too, because Express would keep them.

use std::{fmt::Write, time::UNIX_EPOCH};

use serde_json::{Map, Value};

use super::js;
use crate::{Timestamp, calendar};

/// The last time a JavaScript `Date` can hold, in milliseconds.
const LAST_TIME: f64 = 8.64e15;

/// A value of a property that may also be missing or no number.
#[derive(Clone, Debug, Default, PartialEq)]
enum Js {
    #[default]
    Undefined,
    Nan,
    Value(Value),
}

const NO_AGE: ExpressCookieError = ExpressCookieError("maxAge must be a number or Date");

impl Js {
    /// Whether `maxAge` refuses it.
    fn is_no_age(&self) -> bool {
        matches!(self, Self::Value(value) if !value.is_number() && truthy(Some(value)))
    }
}

/// `cookie.expires`.
#[derive(Clone, Debug, Default, PartialEq)]
enum Expires {
    #[default]
    Undefined,
    Date(Timestamp),
    InvalidDate,
    Value(Value),
}

/// The cookie of one session, as express-session 1.19 has it. Property names and their meaning are those of its `cookie` options.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpressCookie {
    original_max_age: Js,
    expires: Expires,
    /// All other properties, in the order in which they are written.
    partitioned: Option<Value>,
    priority: Option<Value>,
    secure: Option<Value>,
    http_only: Option<Value>,
    domain: Option<Value>,
    path: Option<Value>,
    same_site: Option<Value>,
}

/// The cookie cannot be what it is told to be, or not be sent. In express-session's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressCookieError(&'static str);

impl ExpressCookie {
    /// The cookie of a new session: `path` is `/`, `httpOnly` on, and then what `options` say, in their order.
    pub fn new(options: &Map<String, Value>, now: Timestamp) -> Result<Self, ExpressCookieError> {
        let null = || Js::Value(Value::Null);
        let mut cookie = Self {
            original_max_age: null(),
            expires: Expires::Value(Value::Null),
            partitioned: None,
            priority: None,
            secure: None,
            http_only: Some(true.into()),
            domain: None,
            path: Some("/".into()),
            same_site: None,
        };
        for (name, value) in options {
            cookie.set(name, value.clone(), now)?;
        }
        if matches!(&cookie.original_max_age, Js::Undefined | Js::Value(Value::Null)) {
            cookie.original_max_age = cookie.max_age_at(now);
        }
        Ok(cookie)
    }

    /// The cookie that a stored session has; an error when its lifetime cannot begin again, which every request does.
    pub(super) fn stored(json: &Map<String, Value>, now: Timestamp) -> Result<Self, ExpressCookieError> {
        let mut cookie = Self::new(json, now)?;
        if let Some(Value::String(text)) = json.get("expires") {
            cookie.expires = date(text);
        }
        cookie.original_max_age = json.get("originalMaxAge").cloned().map_or(Js::Undefined, Js::Value);
        if cookie.original_max_age.is_no_age() { Err(NO_AGE) } else { Ok(cookie) }
    }

    /// Assigns a property: `maxAge` (milliseconds), `expires` and the attributes. Unknown ones are not kept, as Express does not
    /// store them.
    pub fn set(&mut self, name: &str, value: Value, now: Timestamp) -> Result<(), ExpressCookieError> {
        match name {
            "maxAge" => return self.set_max_age(Js::Value(value), now),
            "expires" => self.set_expires(Expires::Value(value), now),
            "originalMaxAge" => self.original_max_age = Js::Value(value),
            "partitioned" => self.partitioned = Some(value),
            "priority" => self.priority = Some(value),
            "secure" => self.secure = Some(value),
            "httpOnly" => self.http_only = Some(value),
            "domain" => self.domain = Some(value),
            "path" => self.path = Some(value),
            "sameSite" => self.same_site = Some(value),
            _ => {}
        }
        Ok(())
    }

    /// Assigns `expires` a date.
    pub fn set_expires_at(&mut self, at: Timestamp, now: Timestamp) {
        self.set_expires(Expires::Date(at), now);
    }

    /// The time left until the cookie expires, in milliseconds, negative when it has; `None` when it goes with the browser.
    pub fn max_age(&self, now: Timestamp) -> Option<i64> {
        match self.expires {
            Expires::Date(at) => Some(at.as_millis() - now.as_millis()),
            _ => None,
        }
    }

    /// When the session ends, as the cookie has it; `None`: that is left to the store's own lifetime.
    pub fn expires_at(&self) -> Option<Timestamp> {
        match &self.expires {
            Expires::Date(at) => Some(*at),
            Expires::Value(Value::Number(number)) => number.as_f64().filter(|at| *at != 0.0).map(millis),
            Expires::Value(Value::String(text)) => match date(text) {
                Expires::Date(at) => Some(at),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it travels over https only.
    pub(super) fn is_secure(&self) -> bool {
        truthy(self.secure.as_ref())
    }

    /// Whether a change of the session is a reason to send it again.
    pub(super) fn is_lasting(&self) -> bool {
        !matches!(&self.expires, Expires::Undefined | Expires::Value(Value::Null))
    }

    /// A text that is a date becomes one: configuration has no other way to write it.
    pub(super) fn read_date(&mut self, now: Timestamp) {
        if let Expires::Value(Value::String(text)) = &self.expires {
            let expires = date(text);
            self.set_expires(expires, now);
        }
    }

    /// Replaces `auto` by what it means for a request that came like this.
    pub(super) fn resolve_auto(&mut self, secure: bool) {
        if self.secure.as_ref().is_some_and(|value| value == "auto") {
            self.secure = Some(secure.into());
        }
        if self.same_site.as_ref().is_some_and(|value| value == "auto") {
            self.same_site = Some(if secure { "none" } else { "lax" }.into());
        }
    }

    /// Whether it is the other one, but for when it ends.
    pub(super) fn differs_in_end_only(&self, other: &Self) -> bool {
        Self { expires: other.expires.clone(), ..self.clone() } == *other
    }

    /// Begins the lifetime anew.
    pub(super) fn reset_max_age(&mut self, now: Timestamp) -> Result<(), ExpressCookieError> {
        self.set_max_age(self.original_max_age.clone(), now)
    }

    /// As a session's JSON has it.
    pub fn to_json(&self) -> String {
        let max_age = match &self.original_max_age {
            Js::Undefined => None,
            Js::Nan => Some("null".to_owned()),
            Js::Value(value) => Some(write(value)),
        };
        let expires = match &self.expires {
            Expires::Undefined => None,
            Expires::Date(at) => Some(format!("\"{at}\"")),
            Expires::InvalidDate => Some("null".to_owned()),
            Expires::Value(value) => Some(write(value)),
        };
        let plain = |value: &Option<Value>| value.as_ref().map(write);
        let entries = [
            ("originalMaxAge", max_age),
            ("partitioned", plain(&self.partitioned)),
            ("priority", plain(&self.priority)),
            ("expires", expires),
            ("secure", plain(&self.secure)),
            ("httpOnly", plain(&self.http_only)),
            ("domain", plain(&self.domain)),
            ("path", plain(&self.path)),
            ("sameSite", plain(&self.same_site)),
        ];
        let entries = entries.into_iter().filter_map(|(name, value)| Some(format!("\"{name}\":{}", value?)));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    }

    /// The `Set-Cookie` for a signed value. Never `Max-Age`, as with express-session.
    pub(super) fn set_cookie(&self, name: &str, value: &str) -> Result<String, ExpressCookieError> {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(ExpressCookieError("argument name is invalid"));
        }
        let mut out = format!("{name}={value}");
        if let Some(domain) = attribute(self.domain.as_ref(), is_domain, "option domain is invalid")? {
            let _ = write!(out, "; Domain={domain}");
        }
        if let Some(path) = attribute(self.path.as_ref(), is_path, "option path is invalid")? {
            let _ = write!(out, "; Path={path}");
        }
        match &self.expires {
            Expires::Date(at) => {
                let _ = write!(out, "; Expires={}", calendar::http(at.as_millis()));
            }
            Expires::InvalidDate => return Err(ExpressCookieError("option expires is invalid")),
            Expires::Value(value) if truthy(Some(value)) => {
                return Err(ExpressCookieError("option expires is invalid"));
            }
            Expires::Undefined | Expires::Value(_) => {}
        }
        for (is_set, text) in [
            (truthy(self.http_only.as_ref()), "; HttpOnly"),
            (truthy(self.secure.as_ref()), "; Secure"),
            (truthy(self.partitioned.as_ref()), "; Partitioned"),
        ] {
            out.push_str(if is_set { text } else { "" });
        }
        out.push_str(self.priority()?);
        out.push_str(self.same_site()?);
        Ok(out)
    }

    /// The `Set-Cookie` that makes the browser forget it: same name, domain, path and attributes.
    pub(super) fn clear_cookie(&self, name: &str) -> Result<String, ExpressCookieError> {
        let past = Expires::Date(Timestamp::from_millis(0));
        Self { expires: past, ..self.clone() }.set_cookie(name, "")
    }

    fn priority(&self) -> Result<&'static str, ExpressCookieError> {
        match lower(self.priority.as_ref()).as_deref() {
            None => Ok(""),
            Some("low") => Ok("; Priority=Low"),
            Some("medium") => Ok("; Priority=Medium"),
            Some("high") => Ok("; Priority=High"),
            Some(_) => Err(ExpressCookieError("option priority is invalid")),
        }
    }

    fn same_site(&self) -> Result<&'static str, ExpressCookieError> {
        if self.same_site == Some(Value::Bool(true)) {
            return Ok("; SameSite=Strict");
        }
        match lower(self.same_site.as_ref()).as_deref() {
            None => Ok(""),
            Some("lax") => Ok("; SameSite=Lax"),
            Some("strict") => Ok("; SameSite=Strict"),
            Some("none") => Ok("; SameSite=None"),
            Some(_) => Err(ExpressCookieError("option sameSite is invalid")),
        }
    }

    /// `originalMaxAge` follows.
    fn set_expires(&mut self, expires: Expires, now: Timestamp) {
        self.expires = expires;
        self.original_max_age = self.max_age_at(now);
    }

    fn set_max_age(&mut self, max_age: Js, now: Timestamp) -> Result<(), ExpressCookieError> {
        let expires = match max_age {
            Js::Undefined => Expires::Undefined,
            Js::Nan => Expires::InvalidDate,
            Js::Value(Value::Number(number)) => time(exact(now) + number.as_f64().unwrap_or(f64::NAN)),
            age if age.is_no_age() => return Err(NO_AGE),
            Js::Value(value) => Expires::Value(value),
        };
        self.set_expires(expires, now);
        Ok(())
    }

    /// The getter `maxAge`.
    fn max_age_at(&self, now: Timestamp) -> Js {
        match &self.expires {
            Expires::Undefined => Js::Undefined,
            Expires::Date(at) => Js::Value((at.as_millis() - now.as_millis()).into()),
            Expires::InvalidDate => Js::Nan,
            Expires::Value(value) => Js::Value(value.clone()),
        }
    }
}

/// A text that is set, if it may be.
fn attribute<'a>(
    value: Option<&'a Value>,
    fits: fn(&str) -> bool,
    problem: &'static str,
) -> Result<Option<&'a str>, ExpressCookieError> {
    match value {
        value if !truthy(value) => Ok(None),
        Some(Value::String(text)) if fits(text) => Ok(Some(text)),
        _ => Err(ExpressCookieError(problem)),
    }
}

/// What JavaScript takes for true.
fn truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

/// A word in lower case; `None` when there is none. What is no word fits nothing.
fn lower(value: Option<&Value>) -> Option<String> {
    let value = value.filter(|value| truthy(Some(value)))?;
    Some(value.as_str().map_or_else(|| "no word".to_owned(), str::to_ascii_lowercase))
}

fn write(value: &Value) -> String {
    js::canonical(&value.to_string()).map_or_else(|_| "null".to_owned(), |raw| raw.get().to_owned())
}

/// `new Date(text)`, for the forms that are written by programs.
fn date(text: &str) -> Expires {
    let http = || httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok();
    let at = Timestamp::parse(text).or_else(|| Some(Timestamp::from_millis(0) + http()?));
    at.map_or(Expires::InvalidDate, Expires::Date)
}

/// `new Date(millis)`.
fn time(at: f64) -> Expires {
    if at.abs() <= LAST_TIME { Expires::Date(millis(at)) } else { Expires::InvalidDate }
}

#[expect(clippy::cast_possible_truncation, reason = "fractions are cut off, as a Date does")]
fn millis(at: f64) -> Timestamp {
    Timestamp::from_millis(at as i64)
}

#[expect(clippy::cast_precision_loss, reason = "times are exact in a double for 285,000 years")]
fn exact(at: Timestamp) -> f64 {
    at.as_millis() as f64
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Labels of letters, digits and inner hyphens, at most 63 long; a dot may stand in front.
fn is_domain(domain: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let inner = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && inner
    };
    domain.strip_prefix('.').unwrap_or(domain).split('.').all(label)
}

fn is_path(path: &str) -> bool {
    path.bytes().all(|byte| matches!(byte, b' '..=b':' | b'='..=b'~'))
}

//! [`Live`]: `req.session` of one request, its cookie and its data.

use std::collections::HashSet;

use serde_json::{Map, Value, value::RawValue};

use super::{
    ExpressCookie, ExpressError, js,
    meta::{self, META},
};
use crate::{Document, Timestamp};

/// express-session's own key.
pub(super) const COOKIE: &str = "cookie";

/// What every `Session` object has by itself; stored keys of these names are dropped when it is made.
const RESERVED: [&str; 20] = [
    "id",
    "req",
    "touch",
    "resetMaxAge",
    "save",
    "reload",
    "destroy",
    "regenerate",
    "constructor",
    "toString",
    "valueOf",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "__proto__",
    "__defineGetter__",
    "__lookupGetter__",
    "__defineSetter__",
    "__lookupSetter__",
];

/// `req.session`.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) cookie: ExpressCookie,
    /// The cookie as it was made or loaded.
    first_cookie: ExpressCookie,
    /// The data; `cookie` keeps its place in it.
    pub(super) document: Document,
    /// Whether a save of it is noticed: sessions made by `regenerate` are not, in express-session.
    pub(super) wrapped: bool,
}

impl Live {
    pub(super) fn new(cookie: ExpressCookie, wrapped: bool) -> Self {
        let mut document = Document::new();
        let place = RawValue::from_string("{}".to_owned());
        if let Ok(place) = place {
            document.insert_raw(COOKIE, &place);
        }
        Self { first_cookie: cookie.clone(), cookie, document, wrapped }
    }

    /// The session in a stored document.
    pub(super) fn stored(stored: &Document, wrapped: bool, now: Timestamp) -> Result<Self, ExpressError> {
        let cookie: Map<String, Value> = match stored.get::<Value>(COOKIE) {
            Ok(Some(Value::Object(cookie))) => cookie,
            Ok(Some(Value::Null)) => return Err(ExpressError::NullCookie),
            Ok(None) | Err(_) => return Err(ExpressError::NoCookie),
            Ok(Some(_)) => Map::new(),
        };
        let cookie = ExpressCookie::stored(&cookie, now)?;
        let mut document = stored.clone();
        for key in RESERVED {
            document.remove(key);
        }
        Ok(Self { first_cookie: cookie.clone(), cookie, document, wrapped })
    }

    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        self.document.get_raw(key).filter(|_| key != COOKIE)
    }

    pub(super) fn set(&mut self, key: &str, value: Option<&RawValue>) {
        if key == COOKIE || RESERVED.contains(&key) {
            return;
        }
        match value {
            Some(value) => self.document.insert_raw(key, value),
            None => {
                self.document.remove(key);
            }
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.document.iter().map(|(key, _)| key.to_owned()).filter(|key| key != COOKIE).collect()
    }

    pub(super) fn clear(&mut self) {
        self.document.retain(|key| key == COOKIE);
    }

    /// The whole session, as it is to be stored.
    pub(super) fn whole(&self) -> Document {
        let mut whole = self.document.clone();
        if let Ok(cookie) = RawValue::from_string(self.cookie.to_json()) {
            whole.insert_raw(COOKIE, &cookie);
        }
        whole
    }

    /// What changes are noticed by.
    pub(super) fn text(&self) -> String {
        js::text(&self.document, Some(COOKIE))
    }

    /// What was changed since `base`, on top of `newest`.
    pub(super) fn rebase(&mut self, base: &Document, newest: &Document, now: Timestamp) {
        let mut merged = newest.clone();
        let (before, after) = (base, &self.document);
        merged.retain(|key| before.get_raw(key).is_none() || after.get_raw(key).is_some());
        merged.append(&self.document, |key| before.get_raw(key) != after.get_raw(key));
        if let Some(meta) = meta::merged(&self.document, base, newest) {
            merged.insert_raw(META, &meta);
        }
        self.document = merged;
        let newest = newest.get::<Map<String, Value>>(COOKIE).ok().flatten();
        let newest = newest.and_then(|cookie| ExpressCookie::stored(&cookie, now).ok());
        if let Some(newest) = newest.filter(|_| self.cookie.differs_in_end_only(&self.first_cookie)) {
            // Only somebody else changed how long the session lives. One that cannot begin anew stays as it is.
            self.cookie = newest;
            let _ = self.cookie.reset_max_age(now);
        }
    }

    /// Keeps only what this request set, and the cookie: the rest belonged to a session that has ended.
    pub(super) fn let_stand(&mut self, base: &Document, keys: &[Box<str>]) {
        let (mut document, now) = (Document::new(), &self.document);
        let ours: HashSet<&str> = keys.iter().map(|key| &**key).collect();
        document.append(&self.document, |key| {
            key == COOKIE || ours.contains(key) || base.get_raw(key) != now.get_raw(key)
        });
        self.document = document;
    }

    /// Removes what a store took out of what it was given.
    pub(super) fn without(&mut self, given: &[String], stored: &Document) {
        let taken: HashSet<&str> =
            given.iter().map(String::as_str).filter(|key| stored.get_raw(key).is_none()).collect();
        if !taken.is_empty() {
            self.document.retain(|key| !taken.contains(key));
        }
    }
}

//! What express-session remembers of one request, and its decision at the end; all without waiting for anything.

use std::sync::Arc;

use http::HeaderValue;
use serde_json::{Map, Value};

use super::{
    ExpressCookie, ExpressCookieError, ExpressError, Fetched, Version,
    decision::Facts,
    js,
    live::{COOKIE, Live},
    meta::META,
};
use crate::{Document, SessionId, Timestamp};

/// The session as it stands in the store.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) version: Version,
    pub(super) document: Document,
}

/// A session that this request ends, once the handler is done.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) id: SessionId,
    pub(super) why: Why,
    /// Its cookie, to clear it with.
    pub(super) cookie: ExpressCookie,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Logout,
    /// Its data moves to a new id.
    Renewal,
    /// The same, because somebody signed in.
    Login,
}

/// One request's session.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Machine {
    /// The id that a correctly signed cookie brought.
    pub(super) cookie_id: Option<SessionId>,
    /// `req.sessionID`.
    pub(super) id: SessionId,
    /// `req.session`.
    pub(super) live: Option<Live>,
    original_id: SessionId,
    original: String,
    /// The session as it was last known to be saved.
    saved: Option<String>,
    /// The data that is stored under a new ID since the handler was done.
    moved: Option<String>,
    /// What the cookie names, if that is stored and makes no session: it ends when another session is stored, or by signing out.
    pub(super) unreadable: Option<SessionId>,
    pub(super) touched: bool,
    pub(super) kept: Option<Kept>,
    pub(super) ending: Option<Ending>,
    /// The response is made by somebody who says when it ends.
    pub(super) later: bool,
    /// The session has ended elsewhere.
    pub(super) gone: bool,
    /// What was set since somebody signed in, which must stand whatever becomes of the former session.
    pub(super) standing: Option<Vec<Box<str>>>,
    /// Makes the browser forget a session that this request ended.
    pub(super) cleared: Option<HeaderValue>,
    /// Changes that are applied again to what another request wrote.
    pub(super) updates: super::updates::Updates,
    /// The lease that this request holds the session by.
    pub(super) lease: Option<Box<str>>,
    /// The changes of this request are dropped.
    pub(super) discarded: bool,
}

impl Machine {
    /// `generate`: a new session.
    pub(super) fn generated(cookie_id: Option<SessionId>, id: SessionId, cookie: ExpressCookie) -> Self {
        let live = Live::new(cookie, true);
        Self {
            cookie_id,
            original_id: id.clone(),
            id,
            original: live.text(),
            live: Some(live),
            saved: None,
            moved: None,
            unreadable: None,
            touched: false,
            kept: None,
            ending: None,
            later: false,
            gone: false,
            standing: None,
            cleared: None,
            updates: super::updates::Updates::default(),
            lease: None,
            discarded: false,
        }
    }

    /// `inflate`: the session that the store has.
    pub(super) fn inflated(
        id: SessionId,
        fetched: Fetched,
        resave: bool,
        now: Timestamp,
    ) -> Result<Self, ExpressError> {
        let live = Live::stored(&fetched.session, true, now)?;
        let original = js::text(&fetched.session, Some(COOKIE));
        Ok(Self {
            cookie_id: Some(id.clone()),
            original_id: id.clone(),
            id,
            live: Some(live),
            saved: (!resave).then(|| original.clone()),
            original,
            moved: None,
            unreadable: None,
            touched: false,
            kept: Some(Kept { version: fetched.version, document: fetched.session }),
            ending: None,
            later: false,
            gone: false,
            standing: None,
            cleared: None,
            updates: super::updates::Updates::default(),
            lease: None,
            discarded: false,
        })
    }

    /// `regenerate`, once the old session is destroyed: another session, whose saves go unnoticed.
    pub(super) fn regenerated(&mut self, id: SessionId, cookie: ExpressCookie) {
        self.id = id;
        self.live = Some(Live::new(cookie, false));
        self.kept = None;
        self.gone = false;
        self.updates.clear();
    }

    /// `reload`, once the store has answered.
    pub(super) fn reloaded(&mut self, fetched: Fetched, now: Timestamp) -> Result<(), ExpressError> {
        let wrapped = self.live.as_ref().is_none_or(|live| live.wrapped);
        self.live = Some(Live::stored(&fetched.session, wrapped, now)?);
        self.updates.clear();
        self.kept = Some(Kept { version: fetched.version, document: fetched.session });
        Ok(())
    }

    /// What a save of the session as it is would be noticed by; `None`: it would not.
    pub(super) fn save_to_note(&self) -> Option<String> {
        self.live.as_ref().filter(|live| live.wrapped).map(Live::text)
    }

    pub(super) fn note_save(&mut self, text: Option<String>) {
        if text.is_some() {
            self.saved = text;
        }
    }

    /// The session gets a new id at the end of the request, and keeps its data.
    pub(super) fn renew(&mut self, id: SessionId, why: Why) {
        if let Some(ending) = self.ending.as_mut().filter(|ending| ending.why != Why::Logout) {
            // The id is new already.
            if why != Why::Renewal {
                ending.why = why;
            }
            return;
        }
        if let (None, Some(_), Some(live)) = (&self.ending, &self.kept, &self.live) {
            self.ending = Some(Ending { id: self.id.clone(), why, cookie: live.cookie.clone() });
        }
        self.id = id;
    }

    /// The session that is to get a new ID: its former ID, as it was read, and why.
    pub(super) fn moving(&self) -> Option<(SessionId, Kept, Why)> {
        let ending = self.ending.as_ref().filter(|ending| ending.why != Why::Logout)?;
        let kept = self.kept.as_ref().filter(|_| self.live.is_some())?;
        Some((ending.id.clone(), kept.clone(), ending.why))
    }

    /// The session is stored under its new ID. What is as it was then need not be stored at the end.
    pub(super) fn has_moved(&mut self, kept: Option<Kept>, is_last: bool) {
        self.ending = None;
        self.kept = kept;
        self.moved = self.live.as_ref().filter(|_| is_last && self.kept.is_some()).map(Live::text);
    }

    /// The session ends; what is set from now on begins another.
    ///
    /// An ID without a session ends too: it may be one that this program cannot read, or that Express saves later.
    pub(super) fn end(&mut self, id: SessionId, cookie: ExpressCookie) {
        self.renew(id.clone(), Why::Logout);
        if let (None, Some(absent)) = (&self.ending, &self.cookie_id) {
            self.ending = Some(Ending { id: absent.clone(), why: Why::Logout, cookie: cookie.clone() });
        }
        let (cookie_id, later, ending) = (self.cookie_id.take(), self.later, self.ending.take());
        let cleared = self.cleared.take();
        *self = Self { ending, later, cleared, ..Self::generated(cookie_id, id, cookie) };
    }

    /// Whether the store has the data as it is now.
    pub(super) fn is_stored(&self) -> bool {
        let (Some(kept), Some(live)) = (&self.kept, &self.live) else { return false };
        js::text(&kept.document, Some(COOKIE)) == live.text()
    }

    /// Begins the lifetime anew, once a request.
    pub(super) fn touch_once(&mut self, now: Timestamp) -> Result<(), ExpressCookieError> {
        if let Some(live) = self.live.as_mut().filter(|_| !self.touched) {
            live.cookie.reset_max_age(now)?;
            self.touched = true;
        }
        Ok(())
    }

    /// What the decision is made on.
    pub(super) fn facts(&self) -> Facts {
        let text = self.live.as_ref().map(Live::text);
        let same = self.original_id == self.id;
        let has_moved = text.is_some() && self.moved == text;
        Facts {
            present: text.is_some(),
            same_id: self.cookie_id.as_ref() == Some(&self.id),
            modified: text.as_ref().is_some_and(|text| !same || *text != self.original),
            saved: has_moved || same && text.is_some() && self.saved == text,
            noted: has_moved || self.saved.is_some(),
            lasting: self.live.as_ref().is_some_and(|live| live.cookie.is_lasting()),
        }
    }

    /// Whose session it is: whom the data names at `path`, or who was noted.
    pub(super) fn user(&self, path: &str) -> Option<Arc<str>> {
        named(&self.live.as_ref()?.document, path)
    }

    /// Makes the data name a user.
    pub(super) fn name(&mut self, path: &str, user: &str) {
        if let Some(live) = &mut self.live {
            let (first, rest) = path.split_once('.').unwrap_or((path, ""));
            let inner = live.document.get::<Value>(first).ok().flatten();
            let value = placed(inner, rest, user).to_string();
            live.set(first, js::canonical(&value).ok().as_deref());
        }
    }

    /// What is ours in the session.
    pub(super) fn meta(&self) -> Map<String, Value> {
        let meta = self.live.as_ref().and_then(|live| live.document.get(META).ok().flatten());
        meta.unwrap_or_default()
    }

    pub(super) fn set_meta(&mut self, meta: Map<String, Value>) {
        if let Some(live) = &mut self.live {
            live.set(META, js::canonical(&Value::Object(meta).to_string()).ok().as_deref());
        }
    }
}

fn named(document: &Document, path: &str) -> Option<Arc<str>> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let value: Value = document.get(first).ok().flatten()?;
    let value =
        rest.split('.').filter(|key| !key.is_empty()).try_fold(value, |value, key| value.get(key).cloned());
    match value? {
        Value::String(id) if !id.is_empty() => Some(id.into()),
        Value::Number(id) => Some(id.to_string().into()),
        _ => None,
    }
}

/// `user` at this path inside of `value`.
fn placed(value: Option<Value>, path: &str, user: &str) -> Value {
    if path.is_empty() {
        return user.into();
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let mut object = match value {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    };
    let inner = object.get(first).cloned();
    object.insert(first.to_owned(), placed(inner, rest, user));
    Value::Object(object)
}

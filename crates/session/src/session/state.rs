//! What a handle knows: the session as it was loaded, and what the request did to it.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::changes::Changes;
use crate::{
    Document, Lifetime, SessionId, SessionOptions, SessionRecord, Stored, Timestamp,
    commit::{self, Act, Arrived, Cookie, Outcome, Policy, Write},
    keys::Verified,
};

/// A session that is in the store.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) id: SessionId,
    pub(crate) stored: Stored,
    /// The cookie was signed with the first secret.
    pub(crate) current_key: bool,
}

impl Known {
    /// What a cookie opens.
    pub(crate) fn new(cookie: Verified, stored: Stored) -> Self {
        Self { id: cookie.id, stored, current_key: cookie.current_key }
    }
}

/// The mutable half of a [`Session`](crate::Session).
#[derive(Clone)]
pub(super) struct State {
    pub(super) known: Option<Known>,
    pub(super) outcome: Outcome,
    pub(super) changes: Changes,
    /// The handler asked to note this use now.
    pub(super) touch: bool,
    /// What the response owes the browser since an explicit save.
    pub(super) cookie: Cookie,
    /// Counts the acts, so that a save notices those which happened while it ran.
    pub(super) acts: u32,
    /// The lease that this request holds the session by.
    pub(super) held: Option<Box<str>>,
    /// A write of updates has begun whose result is not known: to write them again could apply them twice.
    pub(super) in_doubt: bool,
}

impl State {
    pub(super) fn new(known: Option<Known>) -> Self {
        Self {
            known,
            outcome: Outcome::Untouched,
            changes: Changes::default(),
            touch: false,
            cookie: Cookie::Leave,
            acts: 0,
            held: None,
            in_doubt: false,
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        self.outcome = self.outcome.then(act);
        self.acts += 1;
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Changes)) {
        change(&mut self.changes);
        self.act(Act::Change);
    }

    /// Drops this request's changes and hides what was loaded.
    pub(super) fn forget(&mut self) {
        self.changes = Changes::default();
        self.changes.clear();
    }

    /// Drops what is not written yet; the response owes the browser nothing.
    pub(super) fn discard(&mut self) {
        self.changes = Changes::default();
        self.outcome = Outcome::Untouched;
        self.touch = false;
        self.cookie = Cookie::Leave;
        self.in_doubt = false;
    }

    /// What was loaded, while it still counts.
    pub(super) fn base(&self) -> Option<&SessionRecord> {
        let ended = matches!(self.outcome, Outcome::Destroyed | Outcome::Replaced | Outcome::Unset);
        self.known.as_ref().filter(|_| !ended).map(|known| &*known.stored.record)
    }

    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        match self.changes.entry(key) {
            Some(changed) => changed.map(RawValue::get),
            None if self.changes.cleared => None,
            None => self.base()?.document.get_raw(key),
        }
    }

    pub(super) fn user(&self) -> Option<Arc<str>> {
        match &self.changes.established {
            Some(established) => Some(established.user.clone()),
            None => self.base()?.user.clone(),
        }
    }

    pub(super) fn authenticated(&self) -> Option<Timestamp> {
        match &self.changes.established {
            Some(established) => Some(established.proved),
            None => self.base()?.authenticated,
        }
    }

    pub(super) fn lifetime(&self, options: &SessionOptions, now: Timestamp) -> Lifetime {
        let loaded = || self.base().map(|record| record.lifetime);
        self.changes.lifetime.or_else(loaded).unwrap_or_else(|| initial_lifetime(options, now))
    }

    /// The document as it would be stored now.
    pub(super) fn document(&self, options: &SessionOptions, now: Timestamp) -> Document {
        let fresh = self.base().is_none().then(|| fresh(options, now));
        let base = self.base().or(fresh.as_ref());
        // Updates were computed from this very version, so they fit.
        base.and_then(|base| self.changes.apply(base, now).ok())
            .map(|record| record.document)
            .unwrap_or_default()
    }

    /// What is to be written, and what the browser is to be told.
    pub(super) fn commit(&self, options: &SessionOptions, now: Timestamp) -> (Write, Cookie) {
        let arrived = if self.known.is_some() { Arrived::Known } else { Arrived::Nobody };
        let noted_long_ago = |known: &Known| now.since(known.stored.record.seen) >= options.touch_after;
        let policy = Policy {
            save_uninitialized: options.save_uninitialized,
            resave: options.resave,
            rolling: options.rolling,
            unset: options.unset,
            persistent: self.lifetime(options, now).persistent,
            remembered: self.lifetime(options, now).persistent
                && options.cookie.max_age.is_none()
                && options.cookie.expires.is_none(),
            old_signature: self.known.as_ref().is_some_and(|known| !known.current_key),
            touch_due: self.touch || self.known.as_ref().is_some_and(noted_long_ago),
        };
        let (write, cookie) = commit::commit(arrived, self.outcome, policy);
        let releases = self.changes.release && matches!(write, Write::Nothing | Write::Touch);
        if releases && self.known.is_some() { (Write::Update, cookie) } else { (write, cookie) }
    }
}

/// A session nobody has stored yet.
pub(super) fn fresh(options: &SessionOptions, now: Timestamp) -> SessionRecord {
    SessionRecord {
        document: Document::new(),
        user: None,
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: initial_lifetime(options, now),
    }
}

/// The lifetime a session has from `now` on when nobody chose another.
pub(super) fn initial_lifetime(options: &SessionOptions, now: Timestamp) -> Lifetime {
    let absolute = options.absolute_timeout.map(|timeout| now + timeout);
    let until = [absolute, options.cookie.expires].into_iter().flatten().min();
    let persistent = options.cookie.max_age.is_some() || options.cookie.expires.is_some();
    Lifetime { idle: options.idle(), until, persistent }
}

//! What the native layouts of all databases have in common.

use std::time::Duration;

use hallpass_session::{Document, LogLimit, SessionHandle};
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
use hallpass_session::{Listed, Recent};

/// Idle times beyond 30,000 years would overflow `seen + idle`.
const MAX_IDLE_MILLIS: i64 = 1_000_000_000_000_000;

/// An idle time as databases keep it.
pub(crate) fn idle_millis(idle: Duration) -> i64 {
    i64::try_from(idle.as_millis()).unwrap_or(MAX_IDLE_MILLIS).min(MAX_IDLE_MILLIS)
}

#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
/// The first and the last id hash that a handle can stand for.
pub(crate) fn ids_of(handle: SessionHandle) -> ([u8; 32], [u8; 32]) {
    let (mut first, mut last) = ([0; 32], [u8::MAX; 32]);
    first[..16].copy_from_slice(&handle.0);
    last[..16].copy_from_slice(&handle.0);
    (first, last)
}

#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
pub(crate) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
/// The first of so many sessions of a user.
pub(crate) fn recent(first: Vec<Listed>, all: i64) -> Recent {
    let more = u64::try_from(all).unwrap_or(0).saturating_sub(first.len() as u64);
    Recent { listed: first, more }
}

/// A stored document; `None` when somebody else wrote something unreadable, which counts as no session.
pub(crate) fn document(text: &str) -> Option<Document> {
    let document = Document::from_json(text).ok();
    if document.is_none() {
        unreadable(None, "it is not a JSON object");
    }
    document
}

/// Says that a stored session cannot be read, but seldom: every request with its cookie meets it again.
pub(crate) fn unreadable(handle: Option<SessionHandle>, reason: &str) {
    static LIMIT: LogLimit = LogLimit::per_minute();
    if let Some(left_out) = LIMIT.allows() {
        let session = handle.map(tracing::field::display);
        let advice = "a stored session cannot be read and counts as missing";
        tracing::warn!(event = "session_unreadable", session, reason, left_out, advice);
    }
}

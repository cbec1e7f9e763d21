//! What the native layouts of all databases have in common.

use std::time::Duration;

use hallpass_session::Document;
#[cfg(any(feature = "mongodb", feature = "postgres", feature = "sqlite"))]
use hallpass_session::SessionHandle;

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

/// A stored document; `None` when somebody else wrote something unreadable, which counts as no session.
pub(crate) fn document(text: &str) -> Option<Document> {
    let document = Document::from_json(text).ok();
    if document.is_none() {
        let reason = "a stored session is not a JSON object and counts as missing";
        tracing::warn!(event = "session_unreadable", reason);
    }
    document
}

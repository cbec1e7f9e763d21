//! What Hallpass keeps in a session and Express has no place for. Express carries it along.

use serde_json::{Map, Value};

use crate::{Document, Timestamp};

/// The one key that is ours.
pub(super) const META: &str = "_hallpass";

/// A moment that is noted.
pub(super) fn time(meta: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    meta.get(name)?.as_i64().map(Timestamp::from_millis)
}

/// Whether the session's absolute end has come.
pub(super) fn has_ended(session: &Document, now: Timestamp) -> bool {
    let meta: Option<Map<String, Value>> = session.get(META).ok().flatten();
    meta.and_then(|meta| time(&meta, "until")).is_some_and(|until| until <= now)
}

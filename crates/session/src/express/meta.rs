//! What Hallpass keeps in a session and Express has no place for. Express carries it along.

use std::time::Duration;

use serde_json::{Map, Value, value::RawValue};

use super::js;
use crate::{Document, Timestamp};

/// The one key that is ours.
pub(super) const META: &str = "_hallpass";

/// A moment that is noted.
pub(super) fn time(meta: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    meta.get(name)?.as_i64().map(Timestamp::from_millis)
}

/// How long the session lives without use, where its cookie does not say.
pub(super) fn idle(meta: &Map<String, Value>) -> Option<Duration> {
    meta.get("idle")?.as_u64().map(Duration::from_millis)
}

/// Whether the session's absolute end has come.
pub(super) fn has_ended(session: &Document, now: Timestamp) -> bool {
    let meta: Option<Map<String, Value>> = session.get(META).ok().flatten();
    meta.and_then(|meta| time(&meta, "until")).is_some_and(|until| until <= now)
}

/// What each of two requests noted, member by member; `None` when there is nothing to merge.
pub(super) fn merged(ours: &Document, base: &Document, newest: &Document) -> Option<Box<RawValue>> {
    let read = |session: &Document| session.get::<Map<String, Value>>(META).ok().flatten();
    let (ours, base, mut merged) = (read(ours)?, read(base).unwrap_or_default(), read(newest)?);
    for (name, value) in &ours {
        if base.get(name) != Some(value) {
            merged.insert(name.clone(), value.clone());
        }
    }
    for name in base.keys().filter(|name| !ours.contains_key(*name)) {
        merged.remove(name);
    }
    js::canonical(&Value::Object(merged).to_string()).ok()
}

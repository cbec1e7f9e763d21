//! [`Touches`]: uses of sessions that are still to be noted, one a session.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{SessionHandle, Touch};

#[derive(Default)]
pub(super) struct Touches(Mutex<HashMap<SessionHandle, Touch>>);

impl Touches {
    fn all(&self) -> MutexGuard<'_, HashMap<SessionHandle, Touch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a use; how many sessions wait now.
    pub(super) fn add(&self, handle: SessionHandle, touch: &Touch) -> usize {
        let mut all = self.all();
        match all.entry(handle) {
            Entry::Vacant(place) => drop(place.insert(touch.clone())),
            Entry::Occupied(mut place) => {
                let waiting = place.get_mut();
                waiting.seen = waiting.seen.max(touch.seen);
                waiting.expires = waiting.expires.max(touch.expires);
            }
        }
        all.len()
    }

    pub(super) fn take(&self, handle: &SessionHandle) -> Option<Touch> {
        self.all().remove(handle)
    }

    /// At most `limit` of them.
    pub(super) fn take_some(&self, limit: usize) -> Vec<(SessionHandle, Touch)> {
        let mut all = self.all();
        let some: Vec<SessionHandle> = all.keys().take(limit).copied().collect();
        let taken = some.into_iter().filter_map(|handle| all.remove(&handle).map(|touch| (handle, touch)));
        let taken = taken.collect();
        if all.is_empty() {
            all.shrink_to(limit);
        }
        taken
    }
}

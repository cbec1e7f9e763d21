//! [`Trims`]: after a sign-in, the user's oldest sessions end if there are too many.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Semaphore, time::sleep};

use super::Chain;
use crate::{SessionId, shared::Shared};

/// How long after a sign-in its user's sessions are counted, so that nobody waits for it, and sign-ins that come together are one.
const PATIENCE: Duration = Duration::from_millis(500);

/// So many users' sessions are counted at a time.
const AT_ONCE: usize = 2;

/// Users who have just signed in, each with the newest session.
pub(crate) struct Trims {
    waiting: Mutex<HashMap<Arc<str>, SessionId>>,
    turns: Semaphore,
}

impl Default for Trims {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Trims {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Arc<str>, SessionId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the sessions of `user` soon, in a task of its own; `newest` stays.
pub(super) fn soon(shared: &Arc<Shared>, user: Arc<str>, newest: SessionId) {
    let Some(keep) = shared.options.max_per_user else { return };
    let Ok(runtime) = Handle::try_current() else { return };
    if shared.trims.waiting().insert(user.clone(), newest).is_some() {
        return;
    }
    let shared = shared.clone();
    runtime.spawn(async move {
        sleep(PATIENCE).await;
        let _turn = shared.trims.turns.acquire().await;
        let Some(newest) = shared.trims.waiting().remove(&user) else { return };
        let now = shared.options.clock.now();
        match shared.store.trim_user(&user, keep.get(), &newest, now).await {
            Ok(0) => {}
            Ok(ended) => tracing::info!(event = "oldest_sessions_ended", user = &*user, ended),
            // The next sign-in counts again.
            Err(error) => {
                tracing::warn!(event = "oldest_sessions_not_ended", user = &*user, error = %Chain(&error));
            }
        }
    });
}

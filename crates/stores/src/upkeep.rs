//! [`Upkeep`]: what stores need while a program runs.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use hallpass_auth::{CachedUsers, RecordStore};
use hallpass_session::{CacheOptions, CachedSessions, SessionStore, Sweeper};
use tokio::task::JoinHandle;

use crate::Stores;

/// What a program does for its stores in the background.
#[derive(Clone, Debug)]
pub struct UpkeepOptions {
    /// Removes expired sessions and records every minute. Default: yes. One program on a database is enough.
    pub sweep: bool,
    /// What is kept in memory, and how often uses of sessions are written. `None`: nothing, and every use at once.
    /// Default: as the server has it.
    pub cache: Option<CacheOptions>,
}

impl Default for UpkeepOptions {
    fn default() -> Self {
        Self { sweep: true, cache: Some(CacheOptions::default()) }
    }
}

/// The background tasks of [`Stores`]. They end with the last store that is in use, or when [`stop`](Self::stop) is called. Dropping
/// this ends nothing.
#[derive(Clone, Default)]
pub struct Upkeep(Option<Arc<Running>>);

struct Running {
    sessions: Option<Weak<CachedSessions>>,
    sweepers: Vec<JoinHandle<()>>,
}

impl Upkeep {
    /// Stops sweeping, and writes the uses of sessions that are still in memory. Call it before the program ends; without it the
    /// last uses may be forgotten, which shortens sessions by [`flush_every`](CacheOptions::flush_every) at most.
    pub async fn stop(&self) {
        let Some(running) = &self.0 else { return };
        running.sweepers.iter().for_each(JoinHandle::abort);
        let Some(sessions) = running.sessions.as_ref().and_then(Weak::upgrade) else { return };
        if let Err(error) = sessions.flush().await {
            tracing::warn!(event = "session_touch_failed", error = &error as &dyn std::error::Error);
        }
    }

    /// Whether anything runs in the background.
    pub fn is_running(&self) -> bool {
        self.0.as_ref().is_some_and(|running| running.sweepers.iter().any(|sweeper| !sweeper.is_finished()))
    }
}

impl fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upkeep").field("running", &self.is_running()).finish()
    }
}

impl Stores {
    /// These stores with caches in front and sweepers in the background. [`Stores::open`] does so by itself; needed only for stores that
    /// were put together from others. Must be called within a Tokio runtime.
    #[must_use]
    pub fn with_upkeep(self, options: &UpkeepOptions) -> Self {
        let Self { mut sessions, mut users, records, clock, .. } = self;
        let mut cached = None;
        if let Some(cache) = &options.cache {
            let cached_sessions = Arc::new(CachedSessions::new(sessions, cache));
            cached = Some(Arc::downgrade(&cached_sessions));
            sessions = cached_sessions;
            users = Arc::new(CachedUsers::new(users, cache));
        }
        let sweeper = Sweeper { clock: Arc::new(clock.clone()), ..Sweeper::default() };
        let sweepers = if options.sweep { start(&sweeper, &sessions, &records) } else { Vec::new() };
        let upkeep = Upkeep(Some(Arc::new(Running { sessions: cached, sweepers })));
        Self { sessions, users, records, clock, upkeep }
    }
}

/// Sweeps as long as somebody uses the stores: a sweeper alone keeps none of them open.
fn start(
    sweeper: &Sweeper,
    sessions: &Arc<dyn SessionStore>,
    records: &Arc<dyn RecordStore>,
) -> Vec<JoinHandle<()>> {
    let (sessions, records) = (Arc::downgrade(sessions), Arc::downgrade(records));
    let sweep_sessions = sweeper.clone().run_with(move |limit, now| {
        let sessions = sessions.upgrade();
        async move {
            match sessions {
                Some(sessions) => sessions.sweep(limit, now).await,
                None => std::future::pending().await,
            }
        }
    });
    let sweep_records = sweeper.clone().run_with(move |limit, now| {
        let records = records.upgrade();
        async move {
            match records {
                Some(records) => records.sweep(limit, now).await,
                None => std::future::pending().await,
            }
        }
    });
    vec![tokio::spawn(sweep_sessions), tokio::spawn(sweep_records)]
}

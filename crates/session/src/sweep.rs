//! [`Sweeper`]: removes expired sessions in the background.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{Clock, SessionStore, StoreError, session::Chain};

/// How the sweeper works. Spawn [`Sweeper::run`] once a process; end the task to stop it, at any moment.
#[derive(Clone)]
pub struct Sweeper {
    /// Pause between two sweeps.
    pub every: Duration,
    /// How many sessions one step removes: few enough that no request waits behind it.
    pub step: usize,
    /// Pause between two steps of a sweep.
    pub pause: Duration,
    /// What is expired; while its [`sweep_time`](Clock::sweep_time) is `None`, nothing is removed.
    pub clock: Arc<dyn Clock>,
}

impl Default for Sweeper {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            step: 200,
            pause: Duration::from_millis(20),
            clock: Arc::new(crate::SystemClock),
        }
    }
}

impl Sweeper {
    /// Sweeps `store` for ever. An error is logged and the next sweep comes as usual.
    pub async fn run(self, store: Arc<dyn SessionStore>) {
        self.run_with(|limit, now| {
            let store = store.clone();
            async move { store.sweep(limit, now).await }
        })
        .await;
    }

    /// The same for anything that can be swept: `sweep(limit, now)` removes at most `limit` expired things and says how many.
    pub async fn run_with<F, Fut>(self, sweep: F)
    where
        F: Fn(usize, crate::Timestamp) -> Fut,
        Fut: Future<Output = Result<usize, StoreError>>,
    {
        loop {
            // A clock in doubt says itself why.
            let Some(now) = self.clock.sweep_time() else {
                tokio::time::sleep(self.every).await;
                continue;
            };
            match sweep(self.step, now).await {
                Ok(removed) if removed >= self.step => {
                    tokio::time::sleep(self.pause).await;
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(event = "sweep_failed", error = %Chain(&error)),
            }
            tokio::time::sleep(self.every).await;
        }
    }
}

//! What the change feeds of all servers have in common: listening again when the connection breaks.

use std::{fmt::Display, time::Duration};

use hallpass_session::NoFeed;

/// The first pause before listening again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why listening has ended.
pub(crate) enum Ended {
    /// The connection broke: another may do better. Says whether it had listened before that.
    Broken { reason: String, listened: bool },
    /// This server, or this user, can never listen.
    Never(String),
}

impl Ended {
    /// Broke before it listened.
    pub(crate) fn early(error: impl Display) -> Self {
        Self::Broken { reason: format!("{error}"), listened: false }
    }

    /// Broke after it had listened.
    pub(crate) fn late(error: impl Display) -> Self {
        Self::Broken { reason: format!("{error}"), listened: true }
    }
}

/// After so many attempts in vain it is time to say so.
const PATIENCE: u32 = 5;

/// The pauses between two attempts to listen. While nobody listens, reads go to the store, so a pause loses nothing.
#[derive(Default)]
pub(crate) struct Pauses {
    in_vain: u32,
}

impl Pauses {
    /// Waits before the next attempt; `Some` when there should be none.
    pub(crate) async fn after(&mut self, ended: Ended) -> Option<NoFeed> {
        match ended {
            Ended::Never(reason) => return Some(NoFeed(reason)),
            Ended::Broken { reason, listened } => {
                self.in_vain = if listened { 0 } else { self.in_vain + 1 };
                if self.in_vain == PATIENCE {
                    let meaning = "every session check asks the store until this works";
                    tracing::warn!(event = "feed_broken", %reason, meaning);
                } else {
                    tracing::debug!(event = "feed_broken", %reason);
                }
            }
        }
        tokio::time::sleep((FIRST_PAUSE * 2_u32.pow(self.in_vain.min(5))).min(LONGEST_PAUSE)).await;
        None
    }
}

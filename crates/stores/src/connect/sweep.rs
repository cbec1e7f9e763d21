//! [`Turn`]: when it is time to remove expired rows, in the interval that Express's stores are configured with.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use hallpass_session::Timestamp;

/// Whose turn it is next.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When all that had expired was last removed, in milliseconds; 0: never.
    done: AtomicI64,
}

impl Turn {
    /// Whether the last one is `interval` ago.
    pub(super) fn has_come(&self, interval: Duration, now: Timestamp) -> bool {
        let done = Timestamp::from_millis(self.done.load(Ordering::Relaxed));
        // A clock that was set back must not stop it for long.
        done == Timestamp::from_millis(0) || now < done || now.since(done) >= interval
    }

    /// Notes that nothing expired is left.
    pub(super) fn is_done(&self, now: Timestamp) {
        self.done.store(now.as_millis(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_comes_at_once_and_then_in_intervals() {
        let (turn, minute) = (Turn::default(), Duration::from_secs(60));
        let now = Timestamp::from_millis(1_795_424_473_327);
        assert!(turn.has_come(minute, now));
        turn.is_done(now);
        assert!(!turn.has_come(minute, now + Duration::from_secs(59)));
        assert!(turn.has_come(minute, now + minute));
        assert!(turn.has_come(minute, Timestamp::from_millis(1)), "the clock was set back");
    }
}

//! [`LogLimit`]: writes a log line for an event that clients can repeat at will, but seldom.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Lets one log line through per period and counts the others. One for each kind of event, in a `static`.
#[derive(Debug)]
pub struct LogLimit {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl LogLimit {
    /// One line per `every`.
    pub const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new(State { last: None, left_out: 0 }) }
    }

    /// One line per minute: for what is stored and cannot be read, which every request with its cookie meets again.
    pub const fn per_minute() -> Self {
        Self::new(Duration::from_secs(60))
    }

    /// Whether to write a line now; then how many were left out since the last one.
    pub fn allows(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_is_written_per_period_and_says_how_many_were_left_out() {
        let limit = LogLimit::per_minute();
        assert_eq!(limit.allows(), Some(0));
        assert_eq!(limit.allows(), None);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(limit.allows(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((limit.allows(), limit.allows()), (Some(2), None));
    }
}

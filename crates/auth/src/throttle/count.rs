//! [`Count`]: attempts in a window, and [`Failures`]: failures in a row over days.

use std::time::Duration;

use hallpass_session::Timestamp;
use serde::{Deserialize, Serialize};

use super::Limit;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The longest that failures count without another one, in days.
const LONGEST: u32 = 30;

/// Attempts in a window, as `[attempts, blocked until, end of the window]`; times in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, i64, i64)", into = "(u32, i64, i64)")]
pub(super) struct Count {
    pub(super) attempts: u32,
    /// No attempt before this time.
    blocked_until: i64,
    ends: i64,
}

/// What came of counting an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It is one more.
    Allowed,
    /// It has to wait, and nothing has changed.
    Waits(Duration),
    /// It has to wait: a wait longer than the longest was cut, which must be stored.
    Cut(Duration),
}

impl Count {
    pub(super) fn ends(&self) -> Timestamp {
        Timestamp::from_millis(self.ends)
    }

    /// Whether the count can be dropped.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.ends() <= now || (self.attempts == 0 && self.wait(now).is_none())
    }

    /// Whether the limit is still far.
    pub(super) fn is_quiet(&self, limit: &Limit, now: Timestamp) -> bool {
        self.is_over(now) || self.attempts < limit.free.div_ceil(2)
    }

    /// How long to wait, if the next attempt has to.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let blocked_until = Timestamp::from_millis(self.blocked_until);
        (now < blocked_until).then(|| blocked_until.since(now))
    }

    /// Counts one attempt; from the last free one on, the next has to wait.
    ///
    /// A wait longer than `max_wait` was written when the clock was ahead, or the limit higher. It becomes `max_wait` from now on, so that
    /// it ends; the attempt has to wait, and is not counted.
    pub(super) fn charge(&mut self, limit: &Limit, now: Timestamp) -> Counted {
        if self.is_over(now) {
            *self = Self { ends: (now + limit.window).as_millis(), ..Self::default() };
        }
        let counted = match self.wait(now) {
            Some(wait) if wait <= limit.max_wait => return Counted::Waits(wait),
            Some(_) => {
                self.blocked_until = (now + limit.max_wait).as_millis();
                Counted::Cut(limit.max_wait)
            }
            None => {
                self.attempts = self.attempts.saturating_add(1);
                self.blocked_until = self.attempts.checked_sub(limit.free).map_or(0, |beyond| {
                    let wait = limit.first_wait.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX));
                    (now + wait.min(limit.max_wait)).as_millis()
                });
                Counted::Allowed
            }
        };
        let after_wait = Timestamp::from_millis(self.blocked_until) + limit.window;
        let latest = now + limit.max_wait.saturating_add(limit.window);
        self.ends = self.ends().max(after_wait).min(latest).as_millis();
        counted
    }

    /// Takes one attempt back: it succeeded, or was never decided. Whoever came right is not made to wait.
    pub(super) fn refund(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
        self.blocked_until = 0;
    }
}

impl From<(u32, i64, i64)> for Count {
    fn from((attempts, blocked_until, ends): (u32, i64, i64)) -> Self {
        Self { attempts, blocked_until, ends }
    }
}

impl From<Count> for (u32, i64, i64) {
    fn from(count: Count) -> Self {
        (count.attempts, count.blocked_until, count.ends)
    }
}

/// Failures in a row, as `[how many, time of the last]`. A success ends them. Without one they count for a day each after the last
/// failure, 30 days at most: what somebody mistypes once leaves nothing for long, and a long row stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, i64)", into = "(u32, i64)")]
pub(super) struct Failures {
    count: u32,
    last: i64,
}

impl Failures {
    pub(super) fn count(&self, now: Timestamp) -> u32 {
        if now < self.ends() { self.count } else { 0 }
    }

    pub(super) fn ends(&self) -> Timestamp {
        let days = self.count.min(LONGEST);
        Timestamp::from_millis(self.last) + DAY.saturating_mul(days)
    }

    pub(super) fn add(&mut self, now: Timestamp) {
        *self = Self { count: self.count(now).saturating_add(1), last: now.as_millis() };
    }

    /// The attempt that was counted last was never decided.
    pub(super) fn take_back(&mut self) {
        self.count = self.count.saturating_sub(1);
    }
}

impl From<(u32, i64)> for Failures {
    fn from((count, last): (u32, i64)) -> Self {
        Self { count, last }
    }
}

impl From<Failures> for (u32, i64) {
    fn from(failures: Failures) -> Self {
        (failures.count, failures.last)
    }
}

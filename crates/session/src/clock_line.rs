//! What two clocks say about each other: pure decisions of [`StoreClock`](crate::StoreClock).

use crate::Timestamp;

/// One reading of the store's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// How far the store's clock is ahead of the elapsed time, in nanoseconds.
    pub(crate) lead: i64,
    /// By how much that may be wrong: half the round trip.
    pub(crate) error: u64,
    /// The elapsed time of the reading, in nanoseconds.
    pub(crate) at: u64,
}

impl Reading {
    /// The store said `time` between these two elapsed times.
    pub(crate) fn between(before: u64, after: u64, time: Timestamp) -> Self {
        let half = after.saturating_sub(before) / 2;
        let at = before + half;
        // A store tells milliseconds: the middle of this one is the best guess.
        let nanos = time.as_millis().saturating_mul(1_000_000).saturating_add(500_000);
        Self { lead: nanos.saturating_sub(at.cast_signed()), error: half + 500_000, at }
    }

    /// The store's time at this elapsed time.
    pub(crate) fn time(lead: i64, elapsed: u64) -> Timestamp {
        Timestamp::from_millis(elapsed.cast_signed().saturating_add(lead).div_euclid(1_000_000))
    }

    /// The error after the clocks have drifted apart until `elapsed`, by 500 parts in a million at
    /// most.
    fn aged(&self, elapsed: u64) -> u64 {
        self.error.saturating_add(elapsed.saturating_sub(self.at) / 2000)
    }
}

/// The store's clock, as it was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StoreLine {
    /// The reading that counts.
    pub(crate) anchor: Option<Reading>,
    /// When it was last read, whether that reading counts or not.
    pub(crate) read_at: Option<u64>,
    /// By how many milliseconds its last reading differs from the anchor, if that was too much to
    /// follow.
    pub(crate) jump: Option<i64>,
}

impl StoreLine {
    /// Takes a reading. One that differs from what has elapsed by more than `max` milliseconds
    /// counts only if the machine's own clock (`wall`) confirms it: a failover to a host with a
    /// wrong clock must not end every session.
    pub(crate) fn take(&mut self, reading: Reading, wall: Timestamp, max: u64) {
        self.read_at = Some(reading.at);
        let Some(anchor) = self.anchor else {
            self.anchor = Some(reading);
            return;
        };
        let by = (reading.lead.saturating_sub(anchor.lead)) / 1_000_000;
        let said = Reading::time(reading.lead, reading.at);
        let confirmed = wall.as_millis().abs_diff(said.as_millis()) <= max;
        if by.unsigned_abs() > max && !confirmed {
            self.jump = Some(by);
            return;
        }
        self.jump = None;
        let aged = anchor.aged(reading.at);
        let moved = reading.lead.abs_diff(anchor.lead) > reading.error.saturating_add(aged);
        if moved || reading.error <= aged {
            self.anchor = Some(reading);
        }
    }
}

/// The machine's own clock, where the store has none: whether it moves as time passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineLine {
    /// How far the wall clock is ahead of the elapsed time, in milliseconds.
    lead: i64,
    /// Where it stands since it jumped, and since when (elapsed nanoseconds).
    moved: Option<(i64, u64)>,
    /// The newest stamp in the store, if that is later than the clock at start, and when the start
    /// was.
    behind: Option<(Timestamp, u64)>,
}

impl MachineLine {
    pub(crate) fn new(wall: Timestamp, elapsed: u64, newest: Option<Timestamp>, max: u64) -> Self {
        let is_later =
            |newest: &Timestamp| newest.as_millis() > wall.as_millis().saturating_add_unsigned(max);
        Self {
            lead: lead(wall, elapsed),
            moved: None,
            behind: newest.filter(is_later).map(|newest| (newest, elapsed)),
        }
    }

    /// Compares both clocks. A clock that jumped by more than `max` milliseconds is right again
    /// when it comes back, or has stood at its new time for `settle` nanoseconds.
    pub(crate) fn look(&mut self, wall: Timestamp, elapsed: u64, max: u64, settle: u64) {
        let lead = lead(wall, elapsed);
        let has_settled = |since: u64| elapsed.saturating_sub(since) >= settle;
        let reached = |newest: Timestamp| wall.as_millis().saturating_add_unsigned(max) >= newest.as_millis();
        let caught_up = self.behind.is_some_and(|(newest, _)| reached(newest));
        self.behind = self.behind.filter(|(_, since)| !caught_up && !has_settled(*since));
        let near = |other: i64| lead.abs_diff(other) <= max;
        let since = self.moved.filter(|(there, _)| near(*there)).map_or(elapsed, |(_, since)| since);
        // A clock that was behind at start and has jumped past the newest stamp was put right.
        if near(self.lead) || caught_up || has_settled(since) {
            (self.lead, self.moved) = (lead, None);
        } else {
            self.moved = Some((lead, since));
        }
    }

    /// By how many milliseconds the clock has jumped, or is behind the newest stamp; zero when it
    /// can be trusted.
    pub(crate) fn deviation(&self, wall: Timestamp) -> i64 {
        match (self.moved, self.behind) {
            (Some((there, _)), _) => there.saturating_sub(self.lead),
            (None, Some((newest, _))) => wall.as_millis().saturating_sub(newest.as_millis()),
            (None, None) => 0,
        }
    }
}

fn lead(wall: Timestamp, elapsed: u64) -> i64 {
    wall.as_millis().saturating_sub((elapsed / 1_000_000).cast_signed())
}

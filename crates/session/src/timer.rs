//! [`Timer`]: how much time has passed, including time while the machine was suspended.
//!
//! Linux and Android: `CLOCK_BOOTTIME`, which counts while the machine is suspended. Other systems:
//! the monotonic clock, which may stand still meanwhile; the wall clock then reveals the
//! suspension, as it does after a virtual machine was paused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// By how many milliseconds the wall clock may move against elapsed time before it counts as a jump. A
/// coarse reading is up to 10 behind, and a time service slews by less than a tenth.
pub(crate) const JUMP: u64 = 100;

/// One reading of both clocks of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds of elapsed time, from an arbitrary start.
    elapsed: u64,
    /// What the wall clock showed, in milliseconds since the Unix epoch.
    wall: i64,
}

impl Moment {
    /// The time that passed from `earlier` to this moment; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.elapsed.saturating_sub(earlier.elapsed))
    }

    /// Whether at most `span` has passed since `earlier`, and the wall clock agrees: if it jumped, the
    /// machine may have stood still.
    pub fn is_within(self, span: Duration, earlier: Self) -> bool {
        self.since(earlier) <= span && self.lead().abs_diff(earlier.lead()) <= JUMP
    }

    pub(crate) const fn elapsed(self) -> u64 {
        self.elapsed
    }

    /// How far the wall clock is ahead of the elapsed time, in milliseconds: constant unless
    /// somebody sets the wall clock, or the elapsed time stood still.
    pub(crate) const fn lead(self) -> i64 {
        self.wall.saturating_sub((self.elapsed / 1_000_000).cast_signed())
    }
}

/// Reads elapsed time and the wall clock. The default reads the clocks of this machine; a test
/// passes a [`ManualTimer`].
#[derive(Clone, Debug, Default)]
pub struct Timer(Option<ManualTimer>);

/// Two timers are equal if they read the same clocks.
impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(&one.0, &other.0),
            _ => false,
        }
    }
}

impl Eq for Timer {}

impl From<ManualTimer> for Timer {
    fn from(manual: ManualTimer) -> Self {
        Self(Some(manual))
    }
}

impl Timer {
    /// Reads both clocks. Allocates nothing; on Linux it makes no system call.
    pub fn read(&self) -> Moment {
        match &self.0 {
            None => Moment { elapsed: system::elapsed(), wall: system::wall() },
            Some(manual) => manual.read(),
        }
    }
}

/// Clocks that move only when a test moves them.
#[derive(Clone, Debug, Default)]
pub struct ManualTimer(Arc<(AtomicU64, AtomicI64)>);

impl ManualTimer {
    /// Clocks at this wall time.
    pub fn new(wall: crate::Timestamp) -> Self {
        Self(Arc::new((AtomicU64::new(0), AtomicI64::new(wall.as_millis()))))
    }

    fn read(&self) -> Moment {
        let (elapsed, wall) = &*self.0;
        Moment { elapsed: elapsed.load(Ordering::SeqCst), wall: wall.load(Ordering::SeqCst) }
    }

    /// Time passes: both clocks move.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.0.fetch_add(nanos, Ordering::SeqCst);
        self.step_wall(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    /// The wall clock alone is set forward, or back, by so many milliseconds.
    pub fn step_wall(&self, millis: i64) {
        self.0.1.fetch_add(millis, Ordering::SeqCst);
    }
}

/// Its wall clock.
impl crate::Clock for ManualTimer {
    fn now(&self) -> crate::Timestamp {
        crate::Timestamp::from_millis(self.read().wall)
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
mod system {
    use rustix::time::{ClockId, clock_gettime};

    pub(super) fn elapsed() -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
    }

    /// To some milliseconds, which costs a fraction of an exact reading.
    pub(super) fn wall() -> i64 {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        now.tv_sec.saturating_mul(1000) + now.tv_nsec / 1_000_000
    }
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
mod system {
    use std::{
        sync::OnceLock,
        time::{Instant, SystemTime, UNIX_EPOCH},
    };

    pub(super) fn elapsed() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "compared with the elapsed time, never used as the time")]
    pub(super) fn wall() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clocks_move_together() {
        let timer = Timer::default();
        let before = timer.read();
        std::thread::sleep(Duration::from_millis(20));
        let after = timer.read();
        assert!(after.since(before) >= Duration::from_millis(20));
        assert_eq!(before.since(after), Duration::ZERO);
    }

    #[test]
    fn the_lead_changes_when_the_wall_clock_is_set_and_not_as_time_passes() {
        let clocks = ManualTimer::new(crate::Timestamp::from_millis(1_000_000));
        let timer = Timer::from(clocks.clone());
        let lead = timer.read().lead();
        clocks.advance(Duration::from_secs(3600));
        assert_eq!(timer.read().lead(), lead);
        clocks.step_wall(-5000);
        assert_eq!(timer.read().lead(), lead - 5000);
    }
}

//! [`StoreClock`]: the time of the store, so that all servers on it agree when a session ends.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    Clock, SessionStore, StoreError, SystemClock, Timer, Timestamp,
    clock_line::{MachineLine, Reading, StoreLine},
    clock_report::Trouble,
    session::Chain,
};

/// How often both clocks of the machine are compared.
const TICK: Duration = Duration::from_secs(1);

/// Pause before a store whose clock could not be read is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// Readings of one synchronisation, of which the fastest counts.
const READINGS: usize = 3;

/// A reading whose error is below this many nanoseconds needs no better one.
const GOOD: u64 = 5_000_000;

/// After how many missed readings the clock is no longer synchronised.
const MISSED: u32 = 3;

/// A warning is repeated after so long.
const REPEAT: Duration = Duration::from_secs(3600);

/// In [`Inner::lead`]: the machine's clock counts.
const NO_LEAD: i64 = i64::MIN;

/// What a store knows about the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreTime {
    /// It has a clock, which shows this.
    Clock(Timestamp),
    /// It has none, and this is the newest stamp in it.
    Newest(Timestamp),
    /// It has no clock, and no stamps.
    Unknown,
}

/// How to follow a store's clock.
#[derive(Clone)]
pub struct ClockOptions {
    /// A deviation or a jump beyond this is logged, and nothing is swept until it has gone.
    /// Default: 5 seconds.
    pub max_deviation: Duration,
    /// How often the store's clock is read. Default: 1 minute.
    pub read_every: Duration,
    /// Without a store's clock: a machine's clock that jumped counts again when it has not jumped
    /// for so long. Default: 24 hours.
    pub settle_after: Duration,
    /// Elapsed time. Default: that of this machine.
    pub timer: Timer,
    /// The wall clock of the machine. Default: that of the operating system.
    pub machine: Arc<dyn Clock>,
}

impl Default for ClockOptions {
    fn default() -> Self {
        Self {
            max_deviation: Duration::from_secs(5),
            read_every: Duration::from_secs(60),
            settle_after: Duration::from_secs(24 * 3600),
            timer: Timer::default(),
            machine: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for ClockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockOptions")
            .field("max_deviation", &self.max_deviation)
            .field("read_every", &self.read_every)
            .field("settle_after", &self.settle_after)
            .finish_non_exhaustive()
    }
}

/// What is known about the clocks at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockStatus {
    /// Whether the time is the store's; else the machine's.
    pub follows_store: bool,
    /// Whether the store's clock has been read lately. Always true where it has none.
    pub is_synchronised: bool,
    /// By how many milliseconds the machine's clock is ahead of the store's. Where the store has no
    /// clock: by how many it has jumped, or, negative, is behind the newest stamp in the store.
    pub deviation: i64,
    /// By how many milliseconds the store's clock has jumped, when that is not followed.
    pub store_jump: i64,
    /// Whether expired things may be removed.
    pub sweeps: bool,
}

/// The store's time. Clones are the same clock.
///
/// The store's clock is read at start and then every minute, and moves on with the [elapsed
/// time](Timer) in between: so servers whose own clocks differ agree, and reading it costs no more
/// than reading the machine's. The error is half of a round trip to the store, and what clocks
/// drift in a minute.
///
/// A store that has no clock of its own (memory, SQLite) lies on this machine, and the machine's
/// clock counts. When that jumps against the elapsed time, nothing is swept.
#[derive(Clone)]
pub struct StoreClock(Arc<Inner>);

type Read =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<StoreTime, StoreError>> + Send>> + Send + Sync>;

struct Inner {
    /// How far the time is ahead of the elapsed time, in nanoseconds, or [`NO_LEAD`].
    lead: AtomicI64,
    lines: Mutex<Lines>,
    read: Read,
    options: ClockOptions,
}

#[derive(Default)]
struct Lines {
    store: StoreLine,
    /// Where the store has no clock.
    machine: Option<MachineLine>,
    /// When the store was last asked (elapsed nanoseconds).
    asked: u64,
    /// What was last logged, and when.
    logged: Option<(Trouble, u64)>,
}

impl StoreClock {
    /// The clock of what `read` reads, as [`SessionStore::time`](crate::SessionStore::time) does.
    /// Reads it at once and then in the background, so it must be called within a Tokio runtime;
    /// that ends with the last clone. A store whose clock cannot be read is asked again; until then
    /// the machine's clock counts, and nothing is swept.
    pub async fn start<F, Fut>(read: F, options: ClockOptions) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<StoreTime, StoreError>> + Send + 'static,
    {
        let clock = Self::new(Box::new(move || Box::pin(read())), options);
        clock.synchronise().await;
        tokio::spawn(keep(Arc::downgrade(&clock.0)));
        clock
    }

    /// The clock of a store of sessions; see [`start`](Self::start).
    pub async fn of(store: Arc<dyn SessionStore>) -> Self {
        let read = move || {
            let store = store.clone();
            async move { store.time().await }
        };
        Self::start(read, ClockOptions::default()).await
    }

    /// The clock of this machine, for stores that have none. Nothing runs in the background.
    pub fn of_machine() -> Self {
        let clock =
            Self::new(Box::new(|| Box::pin(async { Ok(StoreTime::Unknown) })), ClockOptions::default());
        clock.0.take_machine(None);
        clock
    }

    fn new(read: Read, options: ClockOptions) -> Self {
        Self(Arc::new(Inner { lead: AtomicI64::new(NO_LEAD), lines: Mutex::default(), read, options }))
    }

    /// Reads the store's clock now, and logs when clocks begin or cease to disagree.
    pub async fn synchronise(&self) {
        self.0.synchronise().await;
    }

    /// What is known about the clocks now.
    pub fn status(&self) -> ClockStatus {
        self.0.status(&mut self.0.lines()).0
    }

    /// See [`ClockOptions::max_deviation`].
    pub fn max_deviation(&self) -> Duration {
        self.0.options.max_deviation
    }
}

impl fmt::Debug for StoreClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreClock").field(&self.status()).finish()
    }
}

impl Clock for StoreClock {
    /// No lock, no allocation, no system call.
    fn now(&self) -> Timestamp {
        match self.0.lead.load(Ordering::Acquire) {
            NO_LEAD => self.0.options.machine.now(),
            lead => Reading::time(lead, self.0.elapsed()),
        }
    }

    fn sweep_time(&self) -> Option<Timestamp> {
        let (status, now) = self.0.status(&mut self.0.lines());
        status.sweeps.then_some(now)
    }
}

/// Synchronises a clock for as long as somebody has it.
async fn keep(clock: Weak<Inner>) {
    loop {
        sleep(TICK).await;
        let Some(clock) = clock.upgrade() else { return };
        if clock.is_due() {
            clock.synchronise().await;
        } else {
            clock.report();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Inner {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> u64 {
        self.options.timer.read().elapsed()
    }

    /// Whether the store is to be asked again: a minute has passed, it could not be read, or the
    /// machine's clock disagrees.
    fn is_due(&self) -> bool {
        let (waited, wait) = {
            let mut lines = self.lines();
            if lines.machine.is_some() {
                return false;
            }
            let is_calm = self.status(&mut lines).0.sweeps;
            let wait = if is_calm { self.options.read_every } else { self.options.read_every.min(RETRY) };
            (self.elapsed().saturating_sub(lines.asked), wait)
        };
        waited >= nanos(wait)
    }

    async fn synchronise(&self) {
        self.lines().asked = self.elapsed();
        match self.read_best().await {
            Ok(Some(reading)) => self.take(reading),
            Ok(None) => {}
            Err(error) => tracing::debug!(event = "clock_unreadable", error = %Chain(&error)),
        }
        self.report();
    }

    /// The fastest of some readings; `None` when the store has no clock.
    async fn read_best(&self) -> Result<Option<Reading>, StoreError> {
        let mut best: Option<Reading> = None;
        for _ in 0..READINGS {
            let before = self.elapsed();
            let time = match (self.read)().await? {
                StoreTime::Clock(time) => time,
                StoreTime::Newest(newest) => return Ok(self.take_machine(Some(newest))),
                StoreTime::Unknown => return Ok(self.take_machine(None)),
            };
            let reading = Reading::between(before, self.elapsed(), time);
            if best.is_none_or(|best| reading.error < best.error) {
                best = Some(reading);
            }
            if reading.error <= GOOD {
                break;
            }
        }
        // What took longer says too little.
        let most = nanos(self.options.max_deviation) / 2;
        match best.filter(|best| best.error <= most) {
            Some(best) => Ok(Some(best)),
            None => Err(StoreError::new("read the store's clock", "the answer took too long")),
        }
    }

    fn take(&self, reading: Reading) {
        let (wall, max) = (self.options.machine.now(), millis(self.options.max_deviation));
        let mut lines = self.lines();
        lines.store.take(reading, wall, max);
        if let Some(anchor) = lines.store.anchor {
            self.lead.store(anchor.lead, Ordering::Release);
        }
    }

    fn take_machine(&self, newest: Option<Timestamp>) -> Option<Reading> {
        let (wall, elapsed) = (self.options.machine.now(), self.elapsed());
        let line = MachineLine::new(wall, elapsed, newest, millis(self.options.max_deviation));
        self.lines().machine.get_or_insert(line);
        None
    }

    /// What is known, and the time it was known at.
    fn status(&self, lines: &mut Lines) -> (ClockStatus, Timestamp) {
        let (machine, elapsed) = (self.options.machine.now(), self.elapsed());
        let max = millis(self.options.max_deviation);
        let (now, is_synchronised, deviation) = if let Some(line) = &mut lines.machine {
            line.look(machine, elapsed, max, nanos(self.options.settle_after));
            (machine, true, line.deviation(machine))
        } else if let Some(anchor) = lines.store.anchor {
            let now = Reading::time(anchor.lead, elapsed);
            let since = elapsed.saturating_sub(lines.store.read_at.unwrap_or_default());
            let lately = since <= nanos(self.options.read_every.saturating_mul(MISSED));
            (now, lately, machine.as_millis().saturating_sub(now.as_millis()))
        } else {
            (machine, false, 0)
        };
        let store_jump = lines.store.jump.unwrap_or_default();
        let sweeps = is_synchronised && store_jump == 0 && deviation.unsigned_abs() <= max;
        let follows_store = lines.store.anchor.is_some();
        (ClockStatus { follows_store, is_synchronised, deviation, store_jump, sweeps }, now)
    }

    /// Logs what has begun or ended, and every hour what goes on.
    fn report(&self) {
        let mut lines = self.lines();
        let (status, _) = self.status(&mut lines);
        let trouble = Trouble::of(status);
        let elapsed = self.elapsed();
        let (last, at) = lines.logged.unwrap_or((Trouble::None, elapsed));
        // A clock that goes to and fro across the bound is not told of each time.
        let near = status.deviation.unsigned_abs() > millis(self.options.max_deviation) / 10 * 9;
        if trouble == Trouble::None && last == Trouble::Deviates && near {
            return;
        }
        let again = trouble != Trouble::None && elapsed.saturating_sub(at) >= nanos(REPEAT);
        if trouble != last || again {
            lines.logged = Some((trouble, elapsed));
            drop(lines);
            trouble.log(status);
        }
    }
}

//! The store's time counts, whatever the clocks of servers show, and nothing is swept by a clock in doubt.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use hallpass_session::{
    Clock, ClockOptions, ManualTimer, MemoryStore, SessionStore, StoreClock, StoreError, StoreTime, Sweeper,
    Timestamp,
};

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: i64 = 24 * 3600 * 1000;

/// A database host whose clock a test sets; it shares elapsed time with the servers.
#[derive(Clone)]
struct Host {
    time: Arc<ManualTimer>,
    /// How long the answer travels, in milliseconds.
    travels: Arc<AtomicI64>,
    down: Arc<AtomicBool>,
}

impl Host {
    fn new() -> Self {
        let time = Arc::new(ManualTimer::new(NOW));
        Self { time, travels: Arc::default(), down: Arc::default() }
    }

    /// A server whose wall clock is so many milliseconds ahead, and its clocks.
    async fn server(&self, ahead: i64) -> (StoreClock, ManualTimer) {
        let machine = ManualTimer::new(NOW);
        machine.step_wall(ahead);
        let (host, way) = (self.clone(), machine.clone());
        let read = move || {
            let (host, way) = (host.clone(), way.clone());
            async move {
                let half = Duration::from_millis(host.travels.load(SeqCst).unsigned_abs() / 2);
                pass(&[&host.time, &way], half);
                if host.down.load(SeqCst) {
                    return Err(StoreError::new("read the clock", "down"));
                }
                let time = host.time.now();
                pass(&[&host.time, &way], half);
                Ok(StoreTime::Clock(time))
            }
        };
        (StoreClock::start(read, options(&machine)).await, machine)
    }
}

fn options(machine: &ManualTimer) -> ClockOptions {
    let (timer, wall) = (machine.clone().into(), Arc::new(machine.clone()));
    ClockOptions { timer, machine: wall, ..ClockOptions::default() }
}

fn pass(clocks: &[&ManualTimer], time: Duration) {
    for clock in clocks {
        clock.advance(time);
    }
}

fn apart(one: Timestamp, other: Timestamp) -> u64 {
    one.as_millis().abs_diff(other.as_millis())
}

#[tokio::test(start_paused = true)]
async fn servers_whose_clocks_differ_agree_on_the_stores_time() {
    let host = Host::new();
    let (behind, one) = host.server(-300_000).await;
    let (ahead, other) = host.server(40 * DAY).await;
    for _ in 0..5 {
        pass(&[&host.time, &one, &other], MINUTE);
        assert!(apart(behind.now(), host.time.now()) <= 1 && apart(ahead.now(), host.time.now()) <= 1);
        behind.synchronise().await;
        ahead.synchronise().await;
    }
    assert_eq!(ahead.status().deviation, 40 * DAY);
    assert_eq!(behind.status().deviation, -300_000);
    assert!(
        ahead.sweep_time().is_none() && behind.sweep_time().is_none(),
        "a clock that disagrees sweeps nothing"
    );
    other.step_wall(-40 * DAY);
    assert!(ahead.sweep_time().is_some(), "and sweeps again once it agrees");
    assert!(ahead.status().follows_store && ahead.status().sweeps);
}

#[tokio::test(start_paused = true)]
async fn the_error_is_at_most_half_a_round_trip() {
    let host = Host::new();
    host.travels.store(400, SeqCst);
    let (clock, machine) = host.server(0).await;
    assert!(apart(clock.now(), host.time.now()) <= 200);
    // A faster answer makes it better.
    host.travels.store(2, SeqCst);
    clock.synchronise().await;
    assert!(apart(clock.now(), host.time.now()) <= 2);
    // A slower one does not make it worse.
    host.travels.store(4000, SeqCst);
    pass(&[&host.time, &machine], MINUTE);
    clock.synchronise().await;
    assert!(apart(clock.now(), host.time.now()) <= 2, "{}", apart(clock.now(), host.time.now()));
}

#[tokio::test(start_paused = true)]
async fn a_failover_to_a_host_with_a_wrong_clock_ends_nothing() {
    let host = Host::new();
    let (clock, machine) = host.server(0).await;
    for by in [40 * DAY, -40 * DAY, 3_600_000] {
        host.time.step_wall(by);
        pass(&[&host.time, &machine], MINUTE);
        clock.synchronise().await;
        assert!(apart(clock.now(), machine.now()) <= 1, "the time before the jump counts on");
        assert!(clock.sweep_time().is_none() && apart_of(clock.status().store_jump, by) <= 1);
        host.time.step_wall(-by);
        clock.synchronise().await;
        assert!(clock.sweep_time().is_some() && clock.status().store_jump == 0);
    }
}

fn apart_of(one: i64, other: i64) -> u64 {
    one.abs_diff(other)
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_clock_is_put_right_is_followed() {
    let host = Host::new();
    host.time.step_wall(3_600_000);
    let (clock, machine) = host.server(0).await;
    assert_eq!(clock.now(), host.time.now());
    assert!(clock.sweep_time().is_none(), "one of the two is wrong");
    host.time.step_wall(-3_600_000);
    pass(&[&host.time, &machine], MINUTE);
    clock.synchronise().await;
    assert!(apart(clock.now(), host.time.now()) <= 1 && clock.sweep_time().is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_swept_by_a_clock_that_was_never_read_or_long_ago() {
    let host = Host::new();
    host.down.store(true, SeqCst);
    let (clock, machine) = host.server(5000).await;
    assert_eq!(clock.now(), machine.now(), "until it can be read, the machine's clock counts");
    assert!(clock.sweep_time().is_none() && !clock.status().is_synchronised);
    host.down.store(false, SeqCst);
    clock.synchronise().await;
    assert!(apart(clock.now(), host.time.now()) <= 1);
    host.down.store(true, SeqCst);
    machine.step_wall(-5000);
    pass(&[&host.time, &machine], MINUTE * 2);
    clock.synchronise().await;
    assert!(clock.sweep_time().is_some(), "two missed readings are no reason");
    pass(&[&host.time, &machine], MINUTE * 2);
    clock.synchronise().await;
    assert!(clock.sweep_time().is_none());
    assert!(apart(clock.now(), host.time.now()) <= 1, "it is still the best time there is");
}

#[tokio::test]
async fn a_clock_that_was_wrong_while_the_store_was_down_is_read_in_the_background() {
    let host = Host::new();
    host.down.store(true, SeqCst);
    let (clock, machine) = host.server(0).await;
    host.down.store(false, SeqCst);
    pass(&[&host.time, &machine], MINUTE);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !clock.status().is_synchronised {
        assert!(tokio::time::Instant::now() < deadline, "nobody has read the clock");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A clock of a store without one, whose newest stamp is this.
async fn local(newest: StoreTime) -> (StoreClock, ManualTimer) {
    let machine = ManualTimer::new(NOW);
    (StoreClock::start(move || async move { Ok(newest) }, options(&machine)).await, machine)
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_machines_clock_stops_the_sweeper_until_it_is_back() {
    for by in [40 * DAY, 6000, -6000, -40 * DAY] {
        let (clock, machine) = local(StoreTime::Newest(NOW)).await;
        machine.advance(MINUTE * 60 * 24 * 30);
        assert_eq!(clock.sweep_time(), Some(machine.now()), "a month is no jump");
        machine.step_wall(by);
        assert_eq!(clock.sweep_time(), None);
        assert_eq!((clock.status().deviation, clock.now()), (by, machine.now()));
        machine.advance(MINUTE * 60);
        assert_eq!(clock.sweep_time(), None, "an hour later it is still in doubt");
        machine.step_wall(-by);
        assert_eq!(clock.sweep_time(), Some(machine.now()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stays_where_it_jumped_to_counts_after_a_day() {
    let (clock, machine) = local(StoreTime::Unknown).await;
    machine.step_wall(3_600_000);
    assert_eq!(clock.sweep_time(), None);
    machine.advance(MINUTE * 60 * 23);
    assert_eq!(clock.sweep_time(), None);
    machine.step_wall(60_000);
    assert_eq!(clock.sweep_time(), None, "another jump");
    machine.advance(MINUTE * 60 * 23);
    assert_eq!(clock.sweep_time(), None, "counts from the last one");
    machine.advance(MINUTE * 60);
    assert_eq!(clock.sweep_time(), Some(machine.now()));
}

#[tokio::test(start_paused = true)]
async fn a_clock_behind_the_newest_session_sweeps_nothing_until_it_has_caught_up() {
    let (clock, machine) = local(StoreTime::Newest(NOW + MINUTE * 60)).await;
    assert_eq!((clock.sweep_time(), clock.status().deviation), (None, -3_600_000));
    machine.advance(MINUTE * 60);
    assert_eq!(clock.sweep_time(), Some(machine.now()));
    let (clock, machine) = local(StoreTime::Newest(NOW + MINUTE * 60)).await;
    machine.step_wall(DAY);
    assert_eq!(clock.sweep_time(), Some(machine.now()), "the clock was put right");
    let (clock, machine) = local(StoreTime::Newest(NOW + MINUTE * 60 * 24 * 40)).await;
    machine.advance(MINUTE * 60 * 24);
    assert!(clock.sweep_time().is_some(), "stamps of a clock that was ahead do not stop it for 40 days");
}

#[tokio::test(start_paused = true)]
async fn the_sweeper_asks_the_clock_before_each_step() {
    let (clock, machine) = local(StoreTime::Unknown).await;
    let steps = Arc::new(AtomicUsize::new(0));
    let (counted, jumps) = (steps.clone(), machine.clone());
    let sweeper = Sweeper { clock: Arc::new(clock), every: SECOND, ..Sweeper::default() };
    let sweeping = tokio::spawn(sweeper.run_with(move |limit, _| {
        // The clock jumps while the first step is under way.
        if counted.fetch_add(1, SeqCst) == 0 {
            jumps.step_wall(40 * DAY);
        }
        async move { Ok(limit) }
    }));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(steps.load(SeqCst), 1, "nothing is removed by a clock that jumped");
    machine.step_wall(-40 * DAY);
    tokio::time::sleep(MINUTE).await;
    assert!(steps.load(SeqCst) > 1);
    sweeping.abort();
}

#[tokio::test]
async fn memory_has_no_clock() {
    let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
    assert!(matches!(store.time().await, Ok(StoreTime::Unknown)));
    assert!(!StoreClock::of_machine().status().follows_store);
}

#[test]
fn a_stamp_of_the_future_is_not_young() {
    let day = Duration::from_secs(24 * 3600);
    assert!(NOW.is_younger(MINUTE, NOW) && NOW.is_younger(MINUTE, NOW + MINUTE / 2));
    assert!(!NOW.is_younger(MINUTE, NOW + MINUTE));
    assert!((NOW + SECOND).is_younger(MINUTE, NOW), "clocks of two servers differ a little");
    assert!(!(NOW + SECOND * 2).is_younger(MINUTE, NOW) && !(NOW + day).is_younger(MINUTE, NOW));
}

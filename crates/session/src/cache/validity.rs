//! [`Validity`]: which cached values still count. Counters alone; the values lie elsewhere, each with the [`Mark`] it was loaded under.
//!
//! A change moves a counter on, and every value loaded under the old count is void from that moment, in the map or still on its way
//! there: who loads takes a [`Ticket`] first, and who reads compares. Nothing has to be removed, and no lock is held.
//!
//! Keys share counters, so a change may void a neighbour too, which is then loaded again.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that threads share. There is one implementation for programs, and one with which the tests try every interleaving.
pub(super) trait Counter {
    fn zero() -> Self;
    fn get(&self) -> u64;
    fn next(&self);
    /// Never moves back.
    fn raise(&self, value: u64);
}

impl Counter for AtomicU64 {
    fn zero() -> Self {
        Self::new(0)
    }

    fn get(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn next(&self) {
        self.fetch_add(1, Ordering::AcqRel);
    }

    fn raise(&self, value: u64) {
        self.fetch_max(value, Ordering::AcqRel);
    }
}

/// Counters for keys, for groups of keys (the sessions of one user), and for everything.
pub(super) struct Validity<C = AtomicU64> {
    everything: C,
    keys: Box<[C]>,
    /// Moves on with every change of a group, before the group's own counter does.
    any_group: C,
    groups: Box<[C]>,
    /// Until when values may be served: see [`Validity::is_proven`].
    proven_until: C,
}

/// Taken before a load.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    everything: u64,
    key: u64,
    any_group: u64,
}

/// Under which counts a value was loaded.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// The counts of everything, of the key and of the group, added up: no counter moves back, so the sum is the same as long as all are.
    counts: u64,
    /// Which group's counter, or [`NO_GROUP`].
    group: u32,
}

const NO_GROUP: u32 = u32::MAX;

impl<C: Counter> Validity<C> {
    /// With so many counters for keys and for groups.
    pub(super) fn new(keys: usize, groups: usize) -> Self {
        let zeros = |count: usize| (0..count.max(1)).map(|_| C::zero()).collect();
        Self {
            everything: C::zero(),
            keys: zeros(keys),
            any_group: C::zero(),
            groups: zeros(groups),
            proven_until: C::zero(),
        }
    }

    fn key(&self, key: u64) -> &C {
        &self.keys[place(key, self.keys.len())]
    }

    pub(super) fn ticket(&self, key: u64) -> Ticket {
        Ticket {
            everything: self.everything.get(),
            key: self.key(key).get(),
            any_group: self.any_group.get(),
        }
    }

    /// The mark of what was loaded with this ticket, now that its group is known; `None` when some group has changed meanwhile, perhaps
    /// this one.
    pub(super) fn mark(&self, ticket: Ticket, group: Option<u64>) -> Option<Mark> {
        let Ticket { everything, key, any_group } = ticket;
        let counts = everything + key;
        let Some(group) = group else { return Some(Mark { counts, group: NO_GROUP }) };
        let at = place(group, self.groups.len());
        // In this order: a change moves `any_group` first, so whoever sees the group's new count sees that too.
        let count = self.groups[at].get();
        let same = self.any_group.get() == any_group;
        let group = u32::try_from(at).unwrap_or_default();
        same.then_some(Mark { counts: counts + count, group })
    }

    /// Whether a value with this mark still counts.
    pub(super) fn is_current(&self, key: u64, mark: Mark) -> bool {
        let group = if mark.group == NO_GROUP { 0 } else { self.groups[mark.group as usize].get() };
        self.everything.get() + self.key(key).get() + group == mark.counts
    }

    pub(super) fn changed(&self, key: u64) {
        self.key(key).next();
    }

    pub(super) fn group_changed(&self, group: u64) {
        self.any_group.next();
        self.groups[place(group, self.groups.len())].next();
    }

    pub(super) fn everything_changed(&self) {
        self.everything.next();
    }

    /// Every change from before `at` has been told; so values may be served until `at + max_staleness`, on the clock that
    /// [`is_proven`](Self::is_proven) is asked with.
    pub(super) fn prove(&self, at: u64, max_staleness: u64) {
        self.proven_until.raise(at.saturating_add(max_staleness));
    }

    pub(super) fn is_proven(&self, now: u64) -> bool {
        now < self.proven_until.get()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash will do")]
fn place(hash: u64, count: usize) -> usize {
    hash as usize % count
}

#[cfg(test)]
mod tests {
    use loom::{
        model,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU64 as Tried, AtomicUsize, Ordering},
        },
        thread,
    };

    use super::*;

    impl Counter for Tried {
        fn zero() -> Self {
            Self::new(0)
        }

        fn get(&self) -> u64 {
            self.load(Ordering::Acquire)
        }

        fn next(&self) {
            self.fetch_add(1, Ordering::AcqRel);
        }

        fn raise(&self, value: u64) {
            self.fetch_max(value, Ordering::AcqRel);
        }
    }

    const KEY: u64 = 7;
    const GROUP: u64 = 3;

    /// A store with one session, its cache, and how often it was changed and that was told.
    struct World {
        store: AtomicUsize,
        validity: Validity<Tried>,
        map: Mutex<Option<(Mark, usize)>>,
        told: AtomicUsize,
    }

    impl World {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                store: AtomicUsize::new(1),
                validity: Validity::new(1, 1),
                map: Mutex::new(None),
                told: AtomicUsize::new(1),
            })
        }

        /// As `Coherent::load` does it.
        fn load(&self, group: Option<u64>) {
            let ticket = self.validity.ticket(KEY);
            let value = self.store.load(Ordering::Acquire);
            if let Some(mark) = self.validity.mark(ticket, group) {
                *self.map.lock().unwrap() = Some((mark, value));
            }
        }

        /// As `Coherent::get` does it: never a value from before what had been told when the question came.
        fn check(&self) {
            let told = self.told.load(Ordering::Acquire);
            let cached = *self.map.lock().unwrap();
            if let Some((_, value)) = cached.filter(|(mark, _)| self.validity.is_current(KEY, *mark)) {
                assert!(value >= told, "version {value} was served after version {told} had been told");
            }
        }

        fn change(&self, version: usize, tell: impl Fn(&Validity<Tried>)) {
            self.store.store(version, Ordering::Release);
            tell(&self.validity);
            self.told.store(version, Ordering::Release);
        }
    }

    fn try_all(group: Option<u64>, tell: fn(&Validity<Tried>)) {
        model(move || {
            let world = World::new();
            let (loader, changer) = (world.clone(), world.clone());
            let threads =
                [thread::spawn(move || loader.load(group)), thread::spawn(move || changer.change(2, tell))];
            world.check();
            for thread in threads {
                thread.join().unwrap();
            }
            world.check();
        });
    }

    #[test]
    fn a_load_that_races_a_change_leaves_nothing_stale() {
        try_all(None, |validity| validity.changed(KEY));
        try_all(Some(GROUP), |validity| validity.changed(KEY));
    }

    #[test]
    fn a_load_that_races_a_change_of_its_group_leaves_nothing_stale() {
        try_all(Some(GROUP), |validity| validity.group_changed(GROUP));
    }

    #[test]
    fn a_load_that_races_a_lost_feed_leaves_nothing_stale() {
        try_all(Some(GROUP), Validity::everything_changed);
    }

    #[test]
    fn two_loads_and_a_change_leave_nothing_stale() {
        let mut model = model::Builder::new();
        // All interleavings of three threads with at most two preemptions; all there are would take hours.
        model.preemption_bound = Some(2);
        model.check(|| {
            let world = World::new();
            let (one, two) = (world.clone(), world.clone());
            let threads =
                [thread::spawn(move || one.load(Some(GROUP))), thread::spawn(move || two.load(Some(GROUP)))];
            world.change(2, |validity| validity.group_changed(GROUP));
            world.check();
            for thread in threads {
                thread.join().unwrap();
            }
            world.check();
        });
    }

    /// The model finds the mistake that the order in `mark` and `group_changed` avoids.
    #[test]
    #[should_panic(expected = "was served after")]
    fn moving_the_group_first_would_be_a_mistake() {
        try_all(Some(GROUP), |validity| {
            validity.groups[0].next();
            validity.any_group.next();
        });
    }

    #[test]
    fn nothing_is_served_without_proof_or_after_it_has_run_out() {
        let validity: Validity = Validity::new(8, 8);
        assert!(!validity.is_proven(0));
        validity.prove(100, 50);
        validity.prove(80, 50);
        assert!(validity.is_proven(149) && !validity.is_proven(150));
    }
}

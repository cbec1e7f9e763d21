//! [`Coherent`]: a bounded map that serves only what is proven to be current.

use std::{
    hash::{BuildHasherDefault, Hasher},
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use quick_cache::{Weighter, sync::Cache};

use super::{
    CacheOptions,
    feed::Listener,
    flights::{Flight, Flights, Landing},
    key::{CacheKey, Cached},
    validity::{Mark, Ticket, Validity},
};
use crate::{Moment, Timer, timer::JUMP};

/// What an entry takes in the map beside key and value.
const SLOT: usize = 64;

/// About what a session takes; the number of counters follows from it.
const TYPICAL: usize = 512;

/// How many counters there are for groups.
const GROUPS: usize = 4096;

/// Copies of what a store holds, under its keys, as long as a feed proves that they are current. Knows no store: whoever reads gives what
/// loads.
pub struct Coherent<K, V> {
    map: Cache<K, Entry<V>, Weigh, BuildHasherDefault<MarkHasher>>,
    flights: Flights<K>,
    shared: Arc<Shared<K>>,
}

/// The part that feeds write to.
pub(super) struct Shared<K> {
    pub(super) validity: Validity,
    timer: Timer,
    /// The [lead](Moment::lead) of the wall clock at the moment of the last proof.
    lead: AtomicI64,
    max_staleness: Duration,
    keys: PhantomData<fn(K)>,
}

#[derive(Clone)]
struct Entry<V> {
    mark: Mark,
    /// In bytes; kept, because the map asks often.
    weight: u32,
    value: V,
}

impl<V: Cached> Entry<V> {
    fn new(mark: Mark, value: V) -> Self {
        Self { mark, weight: u32::try_from(value.weight()).unwrap_or(u32::MAX), value }
    }
}

#[derive(Clone)]
struct Weigh;

impl<K, V: Cached> Weighter<K, Entry<V>> for Weigh {
    fn weight(&self, _: &K, entry: &Entry<V>) -> u64 {
        u64::from(entry.weight) + (SLOT + size_of::<K>() + size_of::<Entry<V>>()) as u64
    }
}

/// Keys are hashes already, or end in one.
#[derive(Default)]
struct MarkHasher(u64);

impl Hasher for MarkHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}

impl<K> Shared<K> {
    pub(super) fn now(&self) -> Moment {
        self.timer.read()
    }

    pub(super) fn prove(&self, asked: Moment) {
        let staleness = u64::try_from(self.max_staleness.as_nanos()).unwrap_or(u64::MAX);
        self.lead.store(asked.lead(), Ordering::Release);
        self.validity.prove(asked.elapsed(), staleness);
    }

    fn is_proven(&self) -> bool {
        let now = self.timer.read();
        self.validity.is_proven(now.elapsed())
            && now.lead().abs_diff(self.lead.load(Ordering::Acquire)) <= JUMP
    }

    /// Four questions within the bound: one may be lost and one late.
    pub(super) fn pace(&self) -> Duration {
        (self.max_staleness / 4).clamp(Duration::from_millis(5), Duration::from_millis(250))
    }
}

impl<K: CacheKey, V: Cached> Coherent<K, V> {
    /// An empty one.
    pub fn new(options: &CacheOptions) -> Self {
        let entries = (options.size / TYPICAL).max(16);
        let counters = entries.next_power_of_two().clamp(1024, 1 << 20);
        let size = u64::try_from(options.size).unwrap_or(u64::MAX);
        let shared = Shared {
            validity: Validity::new(counters, GROUPS),
            timer: options.timer.clone(),
            lead: AtomicI64::new(0),
            max_staleness: options.max_staleness,
            keys: PhantomData,
        };
        Self {
            map: Cache::with(
                entries,
                size,
                Weigh,
                BuildHasherDefault::default(),
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            flights: Flights::default(),
            shared: Arc::new(shared),
        }
    }

    /// For the feed of the store that this caches.
    pub fn listener(&self) -> Listener<K> {
        Listener::new(self.shared.clone())
    }

    /// The value, if it is here and proven to be current.
    pub fn get(&self, key: &K) -> Option<V> {
        let entry = self.map.get(key)?;
        let serves = self.shared.validity.is_current(key.mark(), entry.mark) && self.shared.is_proven();
        serves.then_some(entry.value)
    }

    /// The value, if it is here and `usable`; else what `load` brings, which others who ask for the same meanwhile wait for and share.
    /// That something is not there is never remembered, and shared only with those who asked before the store was.
    pub async fn get_or_load<E>(
        &self,
        key: &K,
        usable: impl Fn(&V) -> bool,
        load: impl AsyncFnOnce() -> Result<Option<V>, E>,
    ) -> Result<Option<V>, E> {
        if let Some(value) = self.get(key).filter(&usable) {
            return Ok(Some(value));
        }
        if !self.is_proven() {
            // Nothing would be kept, so nothing could be shared.
            return self.load(key, load).await;
        }
        // What others ask for when we come may already be too old to say that something is absent, because nobody is told of what
        // is new; what they ask for next is not. A third wait would be a queue, and after an error everybody asks for himself.
        for absence_counts in [false, true] {
            match self.flights.join(key) {
                Flight::First(first) => {
                    let loaded = self.load(key, load).await;
                    first.land(match &loaded {
                        Ok(Some(_)) => Landing::Found,
                        Ok(None) => Landing::Absent,
                        Err(_) => Landing::Failed,
                    });
                    return loaded;
                }
                Flight::Beside(beside) => {
                    let landing = beside.landed().await;
                    if let Some(value) = self.get(key).filter(&usable) {
                        return Ok(Some(value));
                    }
                    match landing {
                        Landing::Absent if absence_counts => return Ok(None),
                        Landing::Failed => break,
                        Landing::Found | Landing::Absent => {}
                    }
                }
            }
        }
        self.load(key, load).await
    }

    /// What `load` brings, whatever is here.
    pub async fn load<E>(
        &self,
        key: &K,
        load: impl AsyncFnOnce() -> Result<Option<V>, E>,
    ) -> Result<Option<V>, E> {
        let ticket = self.shared.validity.ticket(key.mark());
        let loaded = load().await?;
        if let Some(value) = &loaded {
            self.keep(key, ticket, value.clone());
        }
        Ok(loaded)
    }

    fn keep(&self, key: &K, ticket: Ticket, value: V) {
        if !self.shared.is_proven() {
            return;
        }
        if let Some(mark) = self.shared.validity.mark(ticket, value.group()) {
            self.map.insert(key.clone(), Entry::new(mark, value));
        }
    }

    /// Puts a new version in the place of the value, for changes that need not be told, such as a use. What has become void stays so.
    pub fn amend(&self, key: &K, amend: impl FnOnce(&V) -> V) {
        if let Some(Entry { mark, value, .. }) = self.map.peek(key) {
            self.map.insert(key.clone(), Entry::new(mark, amend(&value)));
        }
    }

    /// This one was changed or deleted.
    pub fn changed(&self, key: &K) {
        self.shared.validity.changed(key.mark());
        self.map.remove(key);
    }

    /// All of this [group](Cached::group) were changed or deleted.
    pub fn group_changed(&self, group: u64) {
        self.shared.validity.group_changed(group);
    }

    /// How many values are here, void ones included.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How much memory they take, about, in bytes.
    pub fn weight(&self) -> u64 {
        self.map.weight()
    }

    /// Whether values are being served: the feed has spoken within the bound.
    pub fn is_proven(&self) -> bool {
        self.shared.is_proven()
    }
}

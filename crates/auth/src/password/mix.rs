//! [`CostMix`]: which costs the hashes of a table have, and which of them a login without a hash is given.
//!
//! Where hashes of several costs are stored, a dummy of one cost would tell by its time which logins have no hash. So each login has a
//! dummy of its own cost, drawn by a keyed hash of the login: costs are as frequent among dummies as among accounts, and a login
//! has the same cost each time. Beside that, no refusal is given sooner than after the [floor](CostMix::floor): somebody who asks for two
//! logins only cannot compare them either.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use hallpass_session::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::HashCost;
use crate::PasswordHash;

/// What is added to the time of the costliest hash, because no two take the same.
const MARGIN: f32 = 1.25;

/// The longest floor: a machine that was stopped must not slow everybody down for long.
const LONGEST: Duration = Duration::from_secs(3);

const PURPOSE: &[u8] = b"hallpass cost of a dummy hash\0";

pub(crate) struct CostMix {
    key: Hmac<Sha256>,
    /// What new hashes cost; the only cost until others are known.
    own: HashCost,
    seen: RwLock<BTreeMap<HashCost, Seen>>,
}

/// What is known of a cost.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// How many hashes of the sample have it.
    count: u64,
    /// How long one takes, on average; `None`: none was verified yet.
    took: Option<Duration>,
}

impl Seen {
    /// Follows a machine that becomes slower at once, and one that becomes quicker slowly: a floor that is too low tells something.
    fn observe(&mut self, took: Duration) {
        self.took = Some(match self.took {
            None => took,
            Some(before) if took > before => (before * 3 + took) / 4,
            Some(before) => (before * 15 + took) / 16,
        });
    }
}

impl CostMix {
    pub(crate) fn new(key: &Secret<Vec<u8>>, own: HashCost) -> Self {
        let key = Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        Self { key, own, seen: RwLock::default() }
    }

    /// Replaces what is known by a sample of the table's hashes. Returns the costs of which nobody knows how long they take.
    pub(crate) fn learn<'a>(&self, hashes: impl Iterator<Item = &'a PasswordHash>) -> Vec<HashCost> {
        let mut sample = BTreeMap::<_, Seen>::new();
        for cost in hashes.filter_map(|hash| HashCost::of(hash).ok()) {
            sample.entry(cost).or_default().count += 1;
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        for (cost, new) in &mut sample {
            new.took = seen.get(cost).and_then(|old| old.took);
        }
        *seen = sample;
        seen.iter().filter(|(_, seen)| seen.took.is_none()).map(|(cost, _)| *cost).collect()
    }

    /// Notes how long a hash took that somebody signs in with, and its cost if the sample has missed it.
    pub(crate) fn observe(&self, cost: HashCost, took: Duration) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.entry(cost).or_insert(Seen { count: 1, took: None });
        seen.observe(took);
    }

    /// How long hashing takes at least before somebody is refused: a quarter more than the costliest hash. Zero where all cost the same.
    pub(crate) fn floor(&self) -> Duration {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < 2 {
            return Duration::ZERO;
        }
        let slowest = seen.values().filter_map(|seen| seen.took).max().unwrap_or_default();
        slowest.mul_f32(MARGIN).min(LONGEST)
    }

    /// The cost for a login that has no hash. The same login has the same cost while the mix stays.
    pub(crate) fn choose(&self, login: &str) -> HashCost {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let total: u64 = seen.values().map(|seen| seen.count).sum();
        let mut at = self.draw(login, total);
        for (cost, Seen { count, .. }) in &*seen {
            match at.checked_sub(*count) {
                Some(rest) => at = rest,
                None => return *cost,
            }
        }
        self.own
    }

    /// A number below `total`, or 0.
    fn draw(&self, login: &str, total: u64) -> u64 {
        let digest = self.key.clone().chain_update(PURPOSE).chain_update(login).finalize().into_bytes();
        let drawn = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        u64::try_from((u128::from(drawn) * u128::from(total)) >> 64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: HashCost = HashCost::Bcrypt { cost: 10 };

    fn mix(key: &[u8]) -> CostMix {
        CostMix::new(&Secret::new(key.to_vec()), OWN)
    }

    fn hashes(costs: &[(u32, usize)]) -> Vec<PasswordHash> {
        let of = |(cost, count): &(u32, usize)| vec![HashCost::Bcrypt { cost: *cost }.dummy(); *count];
        costs.iter().flat_map(of).collect()
    }

    fn logins() -> impl Iterator<Item = String> {
        (0..10_000).map(|number| format!("nobody{number}@example.com"))
    }

    #[test]
    fn dummies_have_the_costs_of_the_table() {
        let mix = mix(b"key");
        assert!(logins().all(|login| mix.choose(&login) == OWN), "nothing is known yet");
        mix.learn(hashes(&[(10, 600), (12, 300), (4, 100)]).iter());
        let mut counts = BTreeMap::new();
        for login in logins() {
            let cost = mix.choose(&login);
            assert_eq!(mix.choose(&login), cost, "one login, one cost");
            *counts.entry(cost).or_insert(0_u32) += 1;
        }
        // Six standard deviations of 10,000 draws are 294, 275 and 180.
        for (cost, expected, deviation) in [(10, 6000, 294), (12, 3000, 275), (4, 1000, 180)] {
            let count = counts[&HashCost::Bcrypt { cost }];
            assert!(count.abs_diff(expected) < deviation, "{cost}: {count}");
        }
    }

    #[test]
    fn the_key_decides_and_a_cost_that_the_sample_missed_is_added() {
        let (one, other) = (mix(b"one"), mix(b"another"));
        for mix in [&one, &other] {
            mix.learn(hashes(&[(10, 1), (12, 1)]).iter());
        }
        let differs = logins().filter(|login| one.choose(login) != other.choose(login)).count();
        assert!((4000..6000).contains(&differs), "{differs}");
        one.observe(HashCost::Bcrypt { cost: 12 }, Duration::ZERO);
        assert_eq!(one.seen.read().unwrap().len(), 2);
        one.observe(HashCost::Bcrypt { cost: 13 }, Duration::ZERO);
        assert!(logins().any(|login| one.choose(&login) == HashCost::Bcrypt { cost: 13 }));
        one.learn([PasswordHash::new("no hash"), PasswordHash::new("$2b$31$x")].iter());
        assert!(logins().all(|login| one.choose(&login) == OWN));
    }

    #[test]
    fn nobody_is_refused_sooner_than_the_costliest_hash_takes() {
        let (mix, millis) = (mix(b"key"), Duration::from_millis);
        assert_eq!(mix.learn(hashes(&[(10, 9)]).iter()), [HashCost::Bcrypt { cost: 10 }]);
        mix.observe(HashCost::Bcrypt { cost: 10 }, millis(50));
        assert_eq!(mix.floor(), Duration::ZERO, "all cost the same");
        assert_eq!(mix.learn(hashes(&[(10, 9), (12, 1)]).iter()), [HashCost::Bcrypt { cost: 12 }]);
        mix.observe(HashCost::Bcrypt { cost: 12 }, millis(200));
        assert_eq!(mix.floor(), millis(250));
        for _ in 0..100 {
            mix.observe(HashCost::Bcrypt { cost: 12 }, millis(400));
        }
        assert!((millis(490)..=millis(500)).contains(&mix.floor()), "{:?}", mix.floor());
        mix.observe(HashCost::Bcrypt { cost: 12 }, Duration::from_secs(3600));
        assert_eq!(mix.floor(), LONGEST, "a machine that stood still");
    }
}

//! [`HashCost`]: the work that verifying a stored hash takes, read before any of it is done.

use std::str::FromStr;

use argon2::{MIN_SALT_LEN, Params, Version, password_hash::phc};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bcrypt::{BASE_64, HashParts};
use hallpass_session::random;

use crate::PasswordHash;

/// The highest accepted cost of a stored bcrypt hash. Each step doubles the time; 14 takes about one second.
pub const MAX_BCRYPT_COST: u32 = 14;

/// The most memory of an argon2 hash in KiB times its passes: 2 GiB once, RFC 9106's first choice, about two seconds.
pub const MAX_ARGON2_WORK: u64 = 2 * 1024 * 1024;

/// The most lanes of an argon2 hash.
const MAX_LANES: u32 = 64;

/// The lowest cost of bcrypt.
const MIN_BCRYPT_COST: u32 = 4;

/// The work that verifying a hash takes. Hashes of equal cost take equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashCost {
    /// bcrypt with the logarithm of its rounds.
    Bcrypt {
        /// From 4 to 31.
        cost: u32,
    },
    /// argon2d, argon2i or argon2id.
    Argon2 {
        /// Which of the three.
        algorithm: Argon2Kind,
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        iterations: u32,
        /// Lanes.
        parallelism: u32,
    },
}

/// A member of the argon2 family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Argon2Kind {
    /// `$argon2d$`
    D,
    /// `$argon2i$`
    I,
    /// `$argon2id$`
    Id,
}

impl Argon2Kind {
    fn name(self) -> &'static str {
        match self {
            Self::D => "argon2d",
            Self::I => "argon2i",
            Self::Id => "argon2id",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::D, Self::I, Self::Id].into_iter().find(|kind| kind.name() == name)
    }
}

/// Why a stored hash is not verified. No work was done to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    /// The text is no argon2 or bcrypt hash, or an incomplete one.
    #[error("the stored password hash is of no kind that can be verified")]
    Unknown,
    /// Verifying it would take longer than one sign-in may take.
    #[error(
        "verifying the stored password hash would take too long; bcrypt is accepted up to cost {MAX_BCRYPT_COST}, argon2 up to 2 GiB of memory times passes and {MAX_LANES} lanes"
    )]
    TooCostly,
}

impl HashCost {
    /// Reads the cost of a stored hash.
    ///
    /// # Errors
    /// When the hash cannot be verified, or only with more work than is accepted.
    pub fn of(hash: &PasswordHash) -> Result<Self, UnusableHash> {
        let text = hash.expose();
        let cost = if is_bcrypt(text) { of_bcrypt(text) } else { of_argon2(text) };
        let cost = cost.ok_or(UnusableHash::Unknown)?;
        if cost.is_accepted() { Ok(cost) } else { Err(UnusableHash::TooCostly) }
    }

    /// Whether the cost is within [`MAX_BCRYPT_COST`] and [`MAX_ARGON2_WORK`].
    pub fn is_accepted(self) -> bool {
        match self {
            Self::Bcrypt { cost } => cost <= MAX_BCRYPT_COST,
            Self::Argon2 { memory_kib, iterations, parallelism, .. } => {
                u64::from(memory_kib) * u64::from(iterations) <= MAX_ARGON2_WORK && parallelism <= MAX_LANES
            }
        }
    }

    /// A complete hash of this cost that belongs to no password.
    pub(crate) fn dummy(self) -> PasswordHash {
        match self {
            Self::Bcrypt { cost } => {
                let (salt, digest) = (BASE_64.encode(random::<16>()), BASE_64.encode(random::<23>()));
                PasswordHash::new(&format!("$2b${cost:02}${salt}{digest}"))
            }
            Self::Argon2 { algorithm, memory_kib, iterations, parallelism } => {
                let (salt, digest) = (random::<16>(), random::<32>());
                let (salt, digest) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(digest));
                PasswordHash::new(&format!(
                    "${}$v=19$m={memory_kib},t={iterations},p={parallelism}${salt}${digest}",
                    algorithm.name()
                ))
            }
        }
    }
}

pub(super) fn is_bcrypt(hash: &str) -> bool {
    ["$2$", "$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix))
}

/// `$2$` is the same algorithm for any password without a NUL byte, under a name that few verifiers know.
pub(super) fn modern_bcrypt(hash: &str) -> String {
    hash.strip_prefix("$2$").map_or_else(|| hash.to_owned(), |rest| format!("$2b${rest}"))
}

fn of_bcrypt(text: &str) -> Option<HashCost> {
    let cost = HashParts::from_str(&modern_bcrypt(text)).ok()?.get_cost();
    (MIN_BCRYPT_COST..=31).contains(&cost).then_some(HashCost::Bcrypt { cost })
}

fn of_argon2(text: &str) -> Option<HashCost> {
    let parsed = phc::PasswordHash::new(text).ok()?;
    let algorithm = Argon2Kind::from_name(parsed.algorithm.as_str())?;
    let params = Params::try_from(&parsed).ok()?;
    let version = parsed.version.is_none_or(|version| Version::try_from(version).is_ok());
    let salted = parsed.salt.as_ref().is_some_and(|salt| salt.len() >= MIN_SALT_LEN);
    (version && salted && parsed.hash.is_some()).then(|| HashCost::Argon2 {
        algorithm,
        memory_kib: params.m_cost(),
        iterations: params.t_cost(),
        parallelism: params.p_cost(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT_AND_DIGEST: &str = "nhXGy3YWmhpNoPQBjJtDNA$CTV9YTiYqmerSQccA0bu85xJaPEqL0fZ8+Z0lOmH0Ho";
    const BCRYPT: &str = "YbAdT18GFdNsG9hoEB94zeinAtcwOZTlloOj7zEIR9E9amKFSKY/K";

    fn of(text: &str) -> Result<HashCost, UnusableHash> {
        HashCost::of(&PasswordHash::new(text))
    }

    fn argon2(algorithm: &str, params: &str) -> Result<HashCost, UnusableHash> {
        of(&format!("${algorithm}$v=19${params}${SALT_AND_DIGEST}"))
    }

    #[test]
    fn costs_are_read_and_bounded_without_work() {
        for (cost, expected) in [
            (4, Ok(HashCost::Bcrypt { cost: 4 })),
            (14, Ok(HashCost::Bcrypt { cost: 14 })),
            (15, Err(UnusableHash::TooCostly)),
            (31, Err(UnusableHash::TooCostly)),
            (3, Err(UnusableHash::Unknown)),
            (32, Err(UnusableHash::Unknown)),
        ] {
            for version in ["2", "2a", "2b", "2y"] {
                assert_eq!(of(&format!("${version}${cost:02}${BCRYPT}")), expected, "{version} {cost}");
            }
        }
        for (params, accepted) in [
            ("m=19456,t=2,p=1", true),
            ("m=2097152,t=1,p=4", true),
            ("m=65536,t=3,p=4", true),
            ("m=2097152,t=2,p=4", false),
            ("m=4194304,t=1,p=1", false),
            ("m=4194304,t=100,p=1", false),
            ("m=4294967295,t=1,p=1", false),
            ("m=8,t=4294967295,p=1", false),
            ("m=8192,t=1,p=1024", false),
            ("m=134217720,t=1,p=16777215", false),
        ] {
            for algorithm in ["argon2d", "argon2i", "argon2id"] {
                let found = argon2(algorithm, params);
                assert_eq!(found.is_ok(), accepted, "{algorithm} {params} {found:?}");
                assert!(accepted || found == Err(UnusableHash::TooCostly), "{params} {found:?}");
            }
        }
    }

    #[test]
    fn incomplete_and_foreign_hashes_are_unknown() {
        for text in [
            "",
            "plain",
            "$2b$10$short",
            "$2b$xx$YbAdT18GFdNsG9hoEB94zeinAtcwOZTlloOj7zEIR9E9amKFSKY/K",
            "$argon2id$v=19$m=8,t=1,p=1$",
            "$argon2id$v=19$m=8,t=1,p=1$nhXGy3YWmhpNoPQBjJtDNA",
            "$argon2id$v=19$m=8,t=0,p=1$nhXGy3YWmhpNoPQBjJtDNA$CTV9YTiYqmerSQccA0bu85xJaPEqL0fZ8+Z0lOmH0Ho",
            "$scrypt$ln=17,r=8,p=1$nhXGy3YWmhpNoPQBjJtDNA$CTV9YTiYqmerSQccA0bu85xJaPEqL0fZ8+Z0lOmH0Ho",
            "$argon2id$v=19$m=8,t=1,p=1$c2hvcnQ$CTV9YTiYqmerSQccA0bu85xJaPEqL0fZ8+Z0lOmH0Ho",
            "$argon2id$v=7$m=8,t=1,p=1$nhXGy3YWmhpNoPQBjJtDNA$CTV9YTiYqmerSQccA0bu85xJaPEqL0fZ8+Z0lOmH0Ho",
        ] {
            let found = of(text);
            let hasher = crate::Hasher::new(crate::Argon2Params::insecure_for_tests());
            assert_eq!(found, Err(UnusableHash::Unknown), "{text}");
            assert_eq!(hasher.verify("p", &PasswordHash::new(text)), crate::Verdict::Wrong, "{text}");
        }
    }

    #[test]
    fn a_dummy_costs_what_it_stands_for() {
        for cost in [
            HashCost::Bcrypt { cost: 4 },
            HashCost::Bcrypt { cost: 12 },
            HashCost::Argon2 { algorithm: Argon2Kind::Id, memory_kib: 19_456, iterations: 2, parallelism: 1 },
            HashCost::Argon2 { algorithm: Argon2Kind::I, memory_kib: 4096, iterations: 3, parallelism: 2 },
        ] {
            assert_eq!(HashCost::of(&cost.dummy()), Ok(cost));
            assert_ne!(cost.dummy(), cost.dummy());
        }
    }
}

//! Hashing and verifying, on the calling thread.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc},
};
use hallpass_session::random;

use super::{
    Argon2Kind, HashCost, PasswordFormat,
    cost::{MAX_ARGON2_WORK, MAX_BCRYPT_COST, is_bcrypt, modern_bcrypt},
    format,
    policy::normalise,
};
use crate::PasswordHash;

/// The cost of argon2id. The default is OWASP's first choice for servers: 19 MiB, two passes, one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Params {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Default for Argon2Params {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

/// The parameters are too weak or impossible. Says what is enough.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "argon2id with {} KiB, {} passes and {} lanes is refused; it takes at least 47104 KiB with 1 pass, 19456 with 2, \
     12288 with 3, 9216 with 4 or 7168 with 5, 1 to 16 lanes, at most 2 GiB of memory times passes", .0.memory_kib, .0.iterations, .0.parallelism
)]
pub struct Argon2ParamsError(Argon2Params);

impl Argon2Params {
    /// OWASP's equivalent minima (ASVS 5.0 appendix C), by number of passes.
    pub fn check(self) -> Result<Self, Argon2ParamsError> {
        let least_memory = match self.iterations {
            0 => u32::MAX,
            1 => 47_104,
            2 => 19_456,
            3 => 12_288,
            4 => 9_216,
            _ => 7_168,
        };
        let work = u64::from(self.memory_kib) * u64::from(self.iterations);
        let possible = work <= MAX_ARGON2_WORK && (1..=16).contains(&self.parallelism);
        if self.memory_kib >= least_memory && possible { Ok(self) } else { Err(Argon2ParamsError(self)) }
    }

    /// Parameters that make tests quick and protect nothing.
    pub const fn insecure_for_tests() -> Self {
        Self { memory_kib: 8, iterations: 1, parallelism: 1 }
    }
}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right, and its hash is as it should be.
    Right,
    /// The password is right, but its hash should be replaced: bcrypt, or other parameters.
    Outdated,
    /// The password is wrong, or the hash is of no kind we know.
    Wrong,
}

/// Hashes with argon2id, or with bcrypt where another application must be able to verify; verifies argon2 and bcrypt.
#[derive(Clone, Debug)]
pub struct Hasher {
    params: Argon2Params,
    format: PasswordFormat,
}

impl Hasher {
    /// A hasher with these parameters.
    pub const fn new(params: Argon2Params) -> Self {
        Self { params, format: PasswordFormat::Argon2id }
    }

    /// A hasher that makes hashes of this format.
    pub const fn with_format(params: Argon2Params, format: PasswordFormat) -> Self {
        Self { params, format }
    }

    fn argon2(&self) -> Argon2<'static> {
        let Argon2Params { memory_kib, iterations, parallelism } = self.params;
        let params = Params::new(memory_kib, iterations, parallelism, None).unwrap_or_default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
    }

    /// A new hash of `password`, salted, as a PHC string.
    ///
    /// # Panics
    /// When memory for the hash cannot be had.
    pub fn hash(&self, password: &str) -> PasswordHash {
        self.hash_after(password, None)
    }

    /// The same, at no lower a cost than that of the former hash, if that is accepted.
    ///
    /// # Panics
    /// When memory for the hash cannot be had.
    pub fn hash_after(&self, password: &str, former: Option<&PasswordHash>) -> PasswordHash {
        if let PasswordFormat::Bcrypt { cost } = self.format {
            let former = former.and_then(format::bcrypt_cost).filter(|former| *former <= MAX_BCRYPT_COST);
            return format::bcrypt(password, cost.max(former.unwrap_or(cost)));
        }
        let password = normalise(password);
        let hash: phc::PasswordHash = self
            .argon2()
            .hash_password_with_salt(password.as_bytes(), &random::<16>())
            .expect("argon2 hashes any password of bounded length");
        PasswordHash::new(&hash.to_string())
    }

    /// What verifying a new hash costs.
    pub(crate) fn cost(&self) -> HashCost {
        if let PasswordFormat::Bcrypt { cost } = self.format {
            return HashCost::Bcrypt { cost: cost.clamp(4, MAX_BCRYPT_COST) };
        }
        let Argon2Params { memory_kib, iterations, parallelism } = self.params;
        HashCost::Argon2 { algorithm: Argon2Kind::Id, memory_kib, iterations, parallelism }
    }

    /// Whether `password` belongs to `hash`. A hash that [`HashCost::of`] refuses belongs to no password, and costs no work.
    pub fn verify(&self, password: &str, hash: &PasswordHash) -> Verdict {
        if HashCost::of(hash).is_err() {
            return Verdict::Wrong;
        }
        let text = hash.expose();
        if is_bcrypt(text) {
            // bcryptjs looks at the first 72 bytes of what was typed; so must we, and without normalising it.
            let right = bcrypt::verify(password, &modern_bcrypt(text)).unwrap_or(false);
            return match self.format {
                _ if !right => Verdict::Wrong,
                PasswordFormat::Argon2id if format::is_seen_whole(password) => Verdict::Outdated,
                _ => Verdict::Right,
            };
        }
        let Ok(parsed) = phc::PasswordHash::new(text) else { return Verdict::Wrong };
        self.verify_argon2(password, &parsed)
    }

    /// Another application hashes what was typed, this one its normal form. Where the two are the same, one hash decides.
    fn verify_argon2(&self, password: &str, hash: &phc::PasswordHash) -> Verdict {
        let normal = normalise(password);
        let is_of = |text: &str| Argon2::default().verify_password(text.as_bytes(), hash).is_ok();
        if !is_of(&normal) {
            // A new hash would be of the normal form, which the other application does not verify.
            let as_typed = normal.as_str() != password && is_of(password);
            return if as_typed { Verdict::Right } else { Verdict::Wrong };
        }
        let current = match self.format {
            PasswordFormat::Argon2id => self.is_current(hash),
            // bcrypt keeps one spelling, and so much of it: what may be typed otherwise, or would be cut off, stays.
            PasswordFormat::Bcrypt { .. } => !password.is_ascii() || !format::is_seen_whole(password),
        };
        if current { Verdict::Right } else { Verdict::Outdated }
    }

    fn is_current(&self, hash: &phc::PasswordHash) -> bool {
        let params = Params::try_from(hash).ok();
        hash.algorithm.as_str() == "argon2id"
            && hash.version == Some(Version::V0x13.into())
            && params.is_some_and(|params| {
                let stored = (params.m_cost(), params.t_cost(), params.p_cost());
                stored == (self.params.memory_kib, self.params.iterations, self.params.parallelism)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher() -> Hasher {
        Hasher::new(Argon2Params::insecure_for_tests())
    }

    #[test]
    fn own_hashes_verify_and_differ_by_salt() {
        let (one, two) = (hasher().hash("correct horse"), hasher().hash("correct horse"));
        assert_ne!(one, two);
        assert!(one.expose().starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        assert_eq!(hasher().verify("correct horse", &one), Verdict::Right);
        assert_eq!(hasher().verify("correct horsf", &one), Verdict::Wrong);
    }

    #[test]
    fn a_dummy_looks_like_a_hash_and_belongs_to_nobody() {
        let dummy = hasher().cost().dummy();
        assert!(hasher().is_current(&phc::PasswordHash::new(dummy.expose()).unwrap()));
        assert_eq!(dummy.expose().len(), hasher().hash("x").expose().len());
        assert_eq!(hasher().verify("x", &dummy), Verdict::Wrong);
    }

    /// bcrypt of 72 bytes and more is the same whatever follows, and `"ab\0ab"` the same as `"ab"`.
    #[test]
    fn a_password_that_bcrypt_did_not_see_whole_is_not_hashed_anew() {
        let of = |password: &str| format::bcrypt(password, 4);
        let long = "a".repeat(80);
        for (owner, typed) in [
            (&*long, "a".repeat(72)),
            (&*long, format!("{}wrong end", "a".repeat(72))),
            (&*long, long.clone()),
            (&*"é".repeat(40), "é".repeat(36)),
            ("ab", "ab\0ab".to_owned()),
        ] {
            assert_eq!(hasher().verify(&typed, &of(owner)), Verdict::Right, "{typed:?}");
        }
        let short = "a".repeat(71);
        assert_eq!(hasher().verify(&short, &of(&short)), Verdict::Outdated);
        assert_eq!(hasher().verify(&long, &of(&short)), Verdict::Wrong);
    }

    /// Accounts of another application are hashed as typed: "…", which macOS writes for three dots, is three dots in NFKC.
    #[test]
    fn hashes_of_what_was_typed_verify_and_stay() {
        let raw = |password: &str| {
            let hash = hasher().argon2().hash_password_with_salt(password.as_bytes(), b"sixteen bytes ok");
            PasswordHash::new(&hash.unwrap().to_string())
        };
        for typed in ["well then\u{2026}", "cafe\u{301}", "\u{a0}no-break"] {
            assert_eq!(hasher().verify(typed, &raw(typed)), Verdict::Right, "{typed:?}");
            assert_eq!(hasher().verify(&format!("{typed}."), &raw(typed)), Verdict::Wrong, "{typed:?}");
        }
        let other = Argon2Params { iterations: 2, ..Argon2Params::insecure_for_tests() };
        let other = Hasher::new(other);
        assert_eq!(other.verify("well then\u{2026}", &raw("well then\u{2026}")), Verdict::Right);
        assert_eq!(other.verify("plain", &raw("plain")), Verdict::Outdated);
    }

    #[test]
    fn nothing_is_cut_off_or_folded() {
        let long = "x".repeat(80);
        let hash = hasher().hash(&long);
        let differs_late = format!("{}y", &long[..79]);
        assert_eq!(hasher().verify(&differs_late, &hash), Verdict::Wrong);
        assert_eq!(hasher().verify(&long.to_uppercase(), &hash), Verdict::Wrong);
        let nul = hasher().hash("before\0after");
        assert_eq!(hasher().verify("before\0other", &nul), Verdict::Wrong);
    }

    #[test]
    fn two_spellings_of_one_glyph_are_one_password() {
        assert_eq!(hasher().verify("cafe\u{301}", &hasher().hash("caf\u{e9}")), Verdict::Right);
    }

    /// Made with bcryptjs 3.0.3 at cost 4: `bcrypt.hashSync(password, 4)`, prefixes changed by hand.
    #[test]
    fn bcryptjs_hashes_verify_and_are_outdated() {
        for hash in BCRYPTJS {
            let hash = PasswordHash::new(hash);
            assert_eq!(hasher().verify("hunter2 and more", &hash), Verdict::Outdated, "{hash:?}");
            assert_eq!(hasher().verify("hunter2 and mora", &hash), Verdict::Wrong, "{hash:?}");
        }
        let long = PasswordHash::new(BCRYPTJS_80);
        let first_72 = "a".repeat(72);
        assert_eq!(hasher().verify(&format!("{first_72}whatever"), &long), Verdict::Right);
        assert_eq!(hasher().verify(&"a".repeat(71), &long), Verdict::Wrong);
    }

    const BCRYPTJS: &[&str] = &[
        "$2b$04$YbAdT18GFdNsG9hoEB94zeinAtcwOZTlloOj7zEIR9E9amKFSKY/K",
        "$2a$04$YbAdT18GFdNsG9hoEB94zeinAtcwOZTlloOj7zEIR9E9amKFSKY/K",
        "$2y$04$YbAdT18GFdNsG9hoEB94zeinAtcwOZTlloOj7zEIR9E9amKFSKY/K",
        "$2$04$YbAdT18GFdNsG9hoEB94zeinAtcwOZTlloOj7zEIR9E9amKFSKY/K",
    ];
    const BCRYPTJS_80: &str = "$2b$04$Cic.Ph6fWdFa8hLVXeFBxu2Z6TqTu4qUn664CCvcHmRMFbDmMy1h6";

    #[test]
    fn other_parameters_are_outdated_and_other_text_is_wrong() {
        let other = Hasher::new(Argon2Params { iterations: 2, ..Argon2Params::insecure_for_tests() });
        assert_eq!(hasher().verify("p", &other.hash("p")), Verdict::Outdated);
        for odd in [
            "",
            "x",
            "$2b$10$short",
            "$2x$10$abcdefghijklmnopqrstuvwxyz",
            "$argon2id$v=19$m=8,t=1,p=1$",
            "plain",
        ] {
            assert_eq!(hasher().verify("p", &PasswordHash::new(odd)), Verdict::Wrong, "{odd}");
        }
    }

    #[test]
    fn owasps_floor_holds() {
        let params = |memory_kib, iterations, parallelism| {
            Argon2Params { memory_kib, iterations, parallelism }.check()
        };
        for (memory, iterations) in [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)] {
            assert!(params(memory, iterations, 1).is_ok());
            assert!(params(memory - 1, iterations, 1).unwrap_err().to_string().contains("at least"));
        }
        assert!(params(19_456, 0, 1).is_err() && params(19_456, 2, 0).is_err());
        assert!(
            Argon2Params::default().check().is_ok() && Argon2Params::insecure_for_tests().check().is_err()
        );
    }
}

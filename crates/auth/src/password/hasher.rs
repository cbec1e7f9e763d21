//! Hashing and verifying, on the calling thread.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc},
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use hallpass_session::random;

use super::{PasswordFormat, format, policy::normalise};
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
     12288 with 3, 9216 with 4 or 7168 with 5, 1 to 16 lanes, at most 4 GiB and 100 passes", .0.memory_kib, .0.iterations, .0.parallelism
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
        let possible = self.memory_kib <= 4 * 1024 * 1024
            && self.iterations <= 100
            && (1..=16).contains(&self.parallelism);
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

    /// The same, at no lower a cost than that of the former hash.
    ///
    /// # Panics
    /// When memory for the hash cannot be had.
    pub fn hash_after(&self, password: &str, former: Option<&PasswordHash>) -> PasswordHash {
        if let PasswordFormat::Bcrypt { cost } = self.format {
            return format::bcrypt(password, cost.max(former.and_then(format::bcrypt_cost).unwrap_or(cost)));
        }
        let password = normalise(password);
        let hash: phc::PasswordHash = self
            .argon2()
            .hash_password_with_salt(password.as_bytes(), &random::<16>())
            .expect("argon2 hashes any password of bounded length");
        PasswordHash::new(&hash.to_string())
    }

    /// A hash that no password has and that costs as much to verify as any.
    pub(super) fn nobody(&self) -> PasswordHash {
        if let PasswordFormat::Bcrypt { cost } = self.format {
            return format::bcrypt_of_nobody(cost);
        }
        let Argon2Params { memory_kib, iterations, parallelism } = self.params;
        let (salt, hash) = (STANDARD_NO_PAD.encode(random::<16>()), STANDARD_NO_PAD.encode(random::<32>()));
        PasswordHash::new(&format!(
            "$argon2id$v=19$m={memory_kib},t={iterations},p={parallelism}${salt}${hash}"
        ))
    }

    /// Whether `password` belongs to `hash`.
    pub fn verify(&self, password: &str, hash: &PasswordHash) -> Verdict {
        let text = hash.expose();
        if is_bcrypt(text) {
            // bcryptjs looks at the first 72 bytes of what was typed; so must we, and without normalising it.
            let right = bcrypt::verify(password, &modern_bcrypt(text)).unwrap_or(false);
            return match self.format {
                _ if !right => Verdict::Wrong,
                PasswordFormat::Argon2id => Verdict::Outdated,
                PasswordFormat::Bcrypt { .. } => Verdict::Right,
            };
        }
        let Ok(parsed) = phc::PasswordHash::new(text) else { return unknown(hash) };
        let password = normalise(password);
        if Argon2::default().verify_password(password.as_bytes(), &parsed).is_err() {
            return Verdict::Wrong;
        }
        let current = match self.format {
            PasswordFormat::Argon2id => self.is_current(&parsed),
            // What bcrypt would cut off stays as it is: a hash of the rest is no better one.
            PasswordFormat::Bcrypt { .. } => self.format.check(&password).is_err(),
        };
        if current { Verdict::Right } else { Verdict::Outdated }
    }

    fn is_current(&self, hash: &phc::PasswordHash) -> bool {
        let params = Params::try_from(hash).ok();
        hash.algorithm.as_str() == "argon2id"
            && params.is_some_and(|params| {
                let stored = (params.m_cost(), params.t_cost(), params.p_cost());
                stored == (self.params.memory_kib, self.params.iterations, self.params.parallelism)
            })
    }
}

fn is_bcrypt(hash: &str) -> bool {
    let prefixes = ["$2$", "$2a$", "$2b$", "$2y$"];
    prefixes.iter().any(|prefix| hash.starts_with(prefix))
}

/// `$2$` is the same algorithm for any password without a NUL byte, under a name that few verifiers still know.
fn modern_bcrypt(hash: &str) -> String {
    hash.strip_prefix("$2$").map_or_else(|| hash.to_owned(), |rest| format!("$2b${rest}"))
}

fn unknown(hash: &PasswordHash) -> Verdict {
    tracing::warn!(
        event = "password_hash_unknown",
        ?hash,
        "a stored password hash is of no kind that can be verified"
    );
    Verdict::Wrong
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
    fn nobodys_hash_is_complete_so_that_verifying_it_costs_as_much() {
        let nobody = hasher().nobody();
        let parsed = phc::PasswordHash::new(nobody.expose()).unwrap();
        assert!(hasher().is_current(&parsed));
        assert_eq!(nobody.expose().len(), hasher().hash("x").expose().len());
        assert_eq!(hasher().verify("x", &nobody), Verdict::Wrong);
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
        assert_eq!(hasher().verify(&format!("{first_72}whatever"), &long), Verdict::Outdated);
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

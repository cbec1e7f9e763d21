//! [`PasswordFormat`]: how new passwords are kept, and bcrypt as bcryptjs has it.

use bcrypt::Version;
use hallpass_session::random;

use super::{PasswordProblem, cost::MAX_BCRYPT_COST};
use crate::PasswordHash;

/// bcrypt looks at so many bytes, and ignores the rest.
const BCRYPT_BYTES: usize = 72;

/// The format of new password hashes. Whatever the format, hashes of the others are verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordFormat {
    /// argon2id; hashes of other formats are replaced at the next sign-in.
    #[default]
    Argon2id,
    /// bcrypt (`$2b$`), for accounts that another application verifies too, with bcryptjs say. Existing bcrypt hashes stay as they are;
    /// new passwords of more than 72 bytes are refused, because bcrypt would ignore what follows.
    Bcrypt {
        /// The logarithm of the number of rounds, from 4 to 14; bcryptjs and OWASP's minimum: 10. An account whose hash costs more
        /// keeps that when its password is changed.
        cost: u32,
    },
}

impl PasswordFormat {
    /// bcrypt as bcryptjs makes it.
    pub const BCRYPTJS: Self = Self::Bcrypt { cost: 10 };

    /// Whether the format keeps the whole password.
    pub(crate) fn check(self, password: &str) -> Result<(), PasswordProblem> {
        match self {
            Self::Bcrypt { .. } if password.len() > BCRYPT_BYTES => {
                Err(PasswordProblem::TooManyBytes { max: BCRYPT_BYTES })
            }
            // Some implementations end the password there.
            Self::Bcrypt { .. } if password.contains('\0') => Err(PasswordProblem::Nul),
            _ => Ok(()),
        }
    }
}

/// A new hash. The password is taken as it was typed, because bcryptjs compares it so.
pub(super) fn bcrypt(password: &str, cost: u32) -> PasswordHash {
    let hash = bcrypt::hash_with_salt(password, cost.clamp(4, MAX_BCRYPT_COST), random::<16>())
        .expect("bcrypt hashes anything at these costs");
    PasswordHash::new(&hash.format_for_version(Version::TwoB))
}

/// Whether bcrypt looks at every byte of this password and at its end. Where it does not, other passwords have the same hash.
pub(super) fn is_seen_whole(password: &str) -> bool {
    password.len() < BCRYPT_BYTES && !password.contains('\0')
}

/// What a bcrypt hash cost; `None` for other hashes.
pub(super) fn bcrypt_cost(hash: &PasswordHash) -> Option<u32> {
    let (version, rest) = hash.expose().strip_prefix("$2")?.split_once('$')?;
    let cost = rest.split('$').next()?.parse().ok()?;
    (version.len() <= 1).then_some(cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Argon2Params, Hasher, Verdict};

    fn hasher() -> Hasher {
        Hasher::with_format(Argon2Params::insecure_for_tests(), PasswordFormat::Bcrypt { cost: 4 })
    }

    #[test]
    fn hashes_are_as_bcryptjs_makes_them_and_stay() {
        let hash = hasher().hash("hunter2");
        assert!(hash.expose().starts_with("$2b$04$") && hash.expose().len() == 60, "{}", hash.expose());
        assert_eq!(hasher().verify("hunter2", &hash), Verdict::Right);
        assert_eq!(hasher().verify("hunter3", &hash), Verdict::Wrong);
        // Each of the two spellings of é is a password of its own, as with bcryptjs.
        assert_eq!(hasher().verify("cafe\u{301}", &hasher().hash("caf\u{e9}")), Verdict::Wrong);
    }

    #[test]
    fn a_higher_cost_is_kept_and_a_lower_one_raised() {
        let former = |cost| PasswordHash::new(&format!("$2a${cost:02}$whatever"));
        for (cost, kept) in [(5, "$2b$05$"), (4, "$2b$04$"), (3, "$2b$04$")] {
            assert!(hasher().hash_after("x", Some(&former(cost))).expose().starts_with(kept));
        }
        assert_eq!(bcrypt_cost(&PasswordHash::new("$argon2id$v=19$m=8,t=1,p=1$a$b")), None);
    }

    #[test]
    fn what_bcrypt_would_ignore_is_refused_and_not_cut() {
        let format = PasswordFormat::BCRYPTJS;
        assert_eq!(format.check(&"x".repeat(72)), Ok(()));
        assert_eq!(format.check(&"é".repeat(36)), Ok(()));
        for long in ["x".repeat(73), "é".repeat(37), "🦀".repeat(19)] {
            assert_eq!(format.check(&long), Err(PasswordProblem::TooManyBytes { max: 72 }));
            assert_eq!(PasswordFormat::Argon2id.check(&long), Ok(()));
        }
        assert_eq!(format.check("nul\0inside"), Err(PasswordProblem::Nul));
        assert_eq!(PasswordFormat::Argon2id.check("nul\0inside"), Ok(()));
    }

    /// A keyboard that writes é as two characters would not open a bcrypt hash of the other spelling.
    #[test]
    fn argon2_becomes_bcrypt_only_where_bcrypt_keeps_the_password() {
        let argon2 = Hasher::new(Argon2Params::insecure_for_tests());
        let verdict = |password: &str| hasher().verify(password, &argon2.hash(password));
        assert_eq!(verdict("short"), Verdict::Outdated);
        for kept in ["x".repeat(72), "x".repeat(73), "caf\u{e9}".to_owned(), "a\0b".to_owned()] {
            assert_eq!(verdict(&kept), Verdict::Right, "{kept:?}");
        }
    }
}

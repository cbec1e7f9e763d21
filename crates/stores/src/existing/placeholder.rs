//! What stands where a password was taken away, or where there must be something and a new account has none.
//!
//! Nothing at all would not do: columns that must not be null, mongoose's `required` and validators refuse it, and nothing would tell an
//! account that was taken over from what it was before. It looks like bcrypt's hashes, so that it goes wherever they go and whoever
//! compares a password with it takes as long as ever. It is nobody's: the last character of a digest of bcrypt's carries four bits only, and
//! this one has a fifth; nor does anybody know what would give the rest.

use hallpass_auth::PasswordHash;
use hallpass_session::random;

/// Version, cost, and a salt that no program draws.
const START: &str = "$2b$10$hallpass/no.password..";

/// bcrypt's digits; its sixty-four make one byte of four.
const DIGITS: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The length of a hash.
const LENGTH: usize = 60;

/// A fresh one: no two are the same, so that each removal ends what was opened before it.
pub(super) fn fresh() -> PasswordHash {
    let digits = random::<30>().map(|byte| char::from(DIGITS[usize::from(byte) % DIGITS.len()]));
    let digits: String = digits.iter().collect();
    PasswordHash::new(&format!("{START}{digits}/"))
}

/// What the text in the place of a password is: a password, or a placeholder.
pub(super) fn read(text: Option<&str>) -> (Option<PasswordHash>, Option<PasswordHash>) {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return (None, None) };
    let hash = Some(PasswordHash::new(text));
    if text.starts_with(START) && text.len() == LENGTH { (None, hash) } else { (hash, None) }
}

#[cfg(test)]
mod tests {
    use hallpass_auth::{Argon2Params, Hasher, PasswordFormat, Verdict};

    use super::*;

    #[test]
    fn it_looks_like_a_hash_and_is_nobodys() {
        let (one, other) = (fresh(), fresh());
        assert_eq!(one.expose().len(), LENGTH);
        assert_ne!(one, other);
        assert_eq!(read(Some(one.expose())), (None, Some(one.clone())));
        assert_eq!(read(Some("$2b$10$x")).0, Some(PasswordHash::new("$2b$10$x")));
        assert_eq!((read(None), read(Some(""))), ((None, None), (None, None)));
        for format in [PasswordFormat::Argon2id, PasswordFormat::BCRYPTJS] {
            let hasher = Hasher::with_format(Argon2Params::insecure_for_tests(), format);
            for guess in ["", "/", one.expose()] {
                assert_eq!(hasher.verify(guess, &one), Verdict::Wrong);
            }
        }
    }

    #[test]
    fn no_digest_ends_as_it_does() {
        let hasher =
            Hasher::with_format(Argon2Params::insecure_for_tests(), PasswordFormat::Bcrypt { cost: 4 });
        for number in 0..100 {
            let hash = hasher.hash(&number.to_string());
            let last =
                hash.expose().bytes().last().and_then(|last| DIGITS.iter().position(|one| *one == last));
            assert_eq!(last.unwrap_or(1) % 4, 0, "{}", hash.expose());
        }
        assert_eq!(DIGITS.iter().position(|digit| *digit == b'/'), Some(1));
    }
}

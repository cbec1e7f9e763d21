//! The session epoch of accounts whose table has no place for one: a digest of the password hash.
//!
//! epoch = (column + digest(hash)) mod 2^53; without a column, that is 0. Node reads numbers only up to there, and it is 53 bits of a
//! digest of 128 bits of salt and more: nobody learns a password from it, and two hashes share one once in 10^16.

use hallpass_auth::{PasswordHash, User};
use sha2::{Digest, Sha256};

const MASK: u64 = (1 << 53) - 1;

fn digest(hash: Option<&PasswordHash>) -> u64 {
    let Some(hash) = hash else { return 0 };
    let digest =
        Sha256::new().chain_update("hallpass session epoch\0").chain_update(hash.expose()).finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)) & MASK
}

/// The epoch of an account with this column and hash.
pub(super) fn epoch(column: i64, hash: Option<&PasswordHash>) -> u64 {
    column.cast_unsigned().wrapping_add(digest(hash)) & MASK
}

/// The epoch when only the hash changes.
pub(super) fn after(user: &User, to: Option<&PasswordHash>) -> u64 {
    user.session_epoch.wrapping_sub(digest(user.password.as_ref())).wrapping_add(digest(to)) & MASK
}

/// What is to be added to the column for the epoch to stay while the hash changes.
pub(super) fn make_up(from: &PasswordHash, to: &PasswordHash) -> i64 {
    digest(Some(from)).cast_signed() - digest(Some(to)).cast_signed()
}

#[cfg(test)]
mod tests {
    use hallpass_auth::Email;
    use hallpass_session::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_change_moves_on_and_a_better_hash_does_not(column: i64, from in "[a-z]{1,9}", to in "[A-Z]{1,9}") {
            let (from, to) = (PasswordHash::new(&from), PasswordHash::new(&to));
            let user = User {
                session_epoch: epoch(column, Some(&from)),
                password: Some(from.clone()),
                ..User::new(Email::verbatim("ann"), Timestamp::from_millis(0))
            };
            prop_assert!(user.session_epoch <= MASK);
            prop_assert_eq!(after(&user, Some(&to)), epoch(column, Some(&to)));
            prop_assert_eq!(after(&user, None), epoch(column, None));
            prop_assert_ne!(after(&user, Some(&to)), user.session_epoch);
            let made_up = column.wrapping_add(make_up(&from, &to));
            prop_assert_eq!(epoch(made_up, Some(&to)), user.session_epoch);
        }
    }
}

//! The session epoch of accounts whose table has no place for one: a digest of the password hash, or of what stands in its place.
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

/// The epoch of an account with this column.
pub(super) fn epoch(column: i64, user: &User) -> u64 {
    column.cast_unsigned().wrapping_add(digest(user.stored_password().as_ref())) & MASK
}

/// The epoch when only the hash changes.
pub(super) fn after(user: &User, to: &PasswordHash) -> u64 {
    let stored = user.stored_password();
    user.session_epoch.wrapping_sub(digest(stored.as_ref())).wrapping_add(digest(Some(to))) & MASK
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

    fn user(column: i64, password: Option<&PasswordHash>, placeholder: Option<&PasswordHash>) -> User {
        let mut user = User::new(Email::verbatim("ann"), Timestamp::from_millis(0));
        (user.password, user.placeholder) = (password.cloned(), placeholder.cloned());
        user.session_epoch = epoch(column, &user);
        user
    }

    proptest! {
        #[test]
        fn a_change_moves_on_and_a_better_hash_does_not(column: i64, from in "[a-z]{1,9}", to in "[A-Z]{1,9}") {
            let (from, to) = (PasswordHash::new(&from), PasswordHash::new(&to));
            let changed = user(column, Some(&to), None).session_epoch;
            for before in [user(column, Some(&from), None), user(column, None, Some(&from)), user(column, None, None)] {
                prop_assert!(before.session_epoch <= MASK);
                prop_assert_eq!(after(&before, &to), changed);
                prop_assert_ne!(changed, before.session_epoch);
            }
            let made_up = column.wrapping_add(make_up(&from, &to));
            prop_assert_eq!(user(made_up, Some(&to), None).session_epoch, user(column, Some(&from), None).session_epoch);
        }
    }
}

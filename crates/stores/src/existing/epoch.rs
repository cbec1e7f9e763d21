//! The session epoch of accounts whose table has no place for one: a digest of the password hash, or of what stands in its place.
//!
//! epoch = (column + digest(hash)) mod 2^53; without a column, that is 0. Node reads numbers only up to there, and it is 53 bits of a
//! digest of 128 bits of salt and more: nobody learns a password from it, and two hashes share one once in 10^16.

use hallpass_auth::{PasswordHash, Reuse, User};
use sha2::{Digest, Sha256};

const MASK: u64 = (1 << 53) - 1;

fn digest(text: Option<&str>) -> u64 {
    let Some(text) = text else { return 0 };
    let digest = Sha256::new().chain_update("hallpass session epoch\0").chain_update(text).finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)) & MASK
}

/// Of an account with nothing in the place of a password, what tells it from a former one with its id.
fn of(user: &User, reuse: Reuse) -> u64 {
    match user.stored_password() {
        Some(stored) => digest(Some(stored.expose())),
        None => digest(reuse.mark(user).as_deref()),
    }
}

/// The epoch of an account with this column.
pub(super) fn epoch(column: i64, user: &User, reuse: Reuse) -> u64 {
    column.cast_unsigned().wrapping_add(of(user, reuse)) & MASK
}

/// The epoch when only the hash changes.
pub(super) fn after(user: &User, to: &PasswordHash, reuse: Reuse) -> u64 {
    user.session_epoch.wrapping_sub(of(user, reuse)).wrapping_add(digest(Some(to.expose()))) & MASK
}

/// What is to be added to the column for the epoch to stay while the hash changes.
pub(super) fn make_up(from: &PasswordHash, to: &PasswordHash) -> i64 {
    digest(Some(from.expose())).cast_signed() - digest(Some(to.expose())).cast_signed()
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
        user.session_epoch = epoch(column, &user, Reuse::ByCreated);
        user
    }

    proptest! {
        #[test]
        fn a_change_moves_on_and_a_better_hash_does_not(column: i64, from in "[a-z]{1,9}", to in "[A-Z]{1,9}") {
            let (from, to) = (PasswordHash::new(&from), PasswordHash::new(&to));
            let changed = user(column, Some(&to), None).session_epoch;
            for before in [user(column, Some(&from), None), user(column, None, Some(&from)), user(column, None, None)] {
                prop_assert!(before.session_epoch <= MASK);
                prop_assert_eq!(after(&before, &to, Reuse::ByCreated), changed);
                prop_assert_ne!(changed, before.session_epoch);
            }
            let made_up = column.wrapping_add(make_up(&from, &to));
            prop_assert_eq!(user(made_up, Some(&to), None).session_epoch, user(column, Some(&from), None).session_epoch);
        }
    }
}

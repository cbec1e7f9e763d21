//! Logins that differ in capital letters only.
//!
//! An address is one however it is spelled, but most tables compare every letter. So who is not found as they typed it is searched for without
//! regard to capital letters. Without an index that serves this, the database reads the whole table, and anybody who signs in as nobody
//! can make it do so: there it is done in small tables only. New accounts are few, and always searched for.

use hallpass_auth::{Case, Email, LoginKind, User};

use super::UserMap;

/// The largest table that is read for a search, in rows: some milliseconds.
pub(super) const SMALL: u32 = 10_000;

/// How many accounts with one login in several spellings are looked at.
pub(super) const MOST: u32 = 8;

impl UserMap {
    /// Whether another spelling of a login that is taken would be a second account of one person.
    pub(super) fn is_spelled_freely(&self) -> bool {
        self.logins.kind == LoginKind::Email && self.logins.case == Case::Exact
    }
}

/// The account that is meant by a login, of those that the database takes for the same: the one that is spelled so, or the only one. What the
/// database takes for the same may be more than capital letters, and somebody else's address.
pub(super) fn meant(users: Vec<User>, login: &Email) -> Option<User> {
    let mut same: Vec<User> = users.into_iter().filter(|user| user.email.is_spelling_of(login)).collect();
    if let Some(exact) = same.iter().position(|user| user.email == *login) {
        return Some(same.swap_remove(exact));
    }
    if same.len() > 1 {
        let accounts: Vec<&str> = same.iter().map(|user| user.id.as_str()).collect();
        tracing::warn!(
            event = "login_ambiguous",
            ?accounts,
            "accounts have one address in several spellings: whoever types none of them is not found"
        );
        return None;
    }
    same.pop()
}

/// Says at start that people must type their address as it is stored, or in lower case.
pub(super) fn warn_unindexed(map: &UserMap, cure: &str) {
    tracing::warn!(
        event = "logins_not_indexed",
        table = map.table,
        cure,
        "the table is large, and no index serves a search without regard to capital letters: people are found by their address as it is stored or in lower case only, and new accounts take a search through all; run the cure, or set users.login_case = \"lower\" if all addresses are stored so"
    );
}

#[cfg(test)]
mod tests {
    use hallpass_session::Timestamp;

    use super::*;

    #[test]
    fn only_what_can_be_meant_is() {
        let login = Email::verbatim;
        let found = |stored: &[&str], typed: &str| {
            let user = |stored: &&str| User::new(login(stored), Timestamp::from_millis(0));
            meant(stored.iter().map(user).collect(), &login(typed)).map(|user| user.email.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(found(&["Ann@x", "ann@x"], "ann@x"), some("ann@x"));
        assert_eq!(found(&["Ann@x", "ann@x"], "ANN@x"), None);
        assert_eq!(found(&["Ann@x"], "ann@x"), some("Ann@x"));
        // A collation of strength 2 does not see a soft hyphen, nor that a letter is wide.
        assert_eq!(found(&["ann@x"], "an\u{ad}n@x"), None);
        assert_eq!(found(&["ann@x", "\u{ff41}nn@x"], "Ann@x"), some("ann@x"));
    }
}

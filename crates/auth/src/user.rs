//! [`User`]: an account as stores keep it.

use std::{fmt, sync::Arc};

use hallpass_session::{Timestamp, hex, random};

use crate::Email;

/// Names an account for ever. Ours are 32 hex digits; foreign ones (a MongoDB `ObjectId`, a number) are their text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

impl UserId {
    /// An existing id; from a store, a session or an operator.
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// A fresh id of 128 random bits.
    pub fn generate() -> Self {
        Self(hex(&random::<16>()).into())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Arc<str>> for UserId {
    fn from(id: Arc<str>) -> Self {
        Self(id)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password hash as text: PHC (`$argon2id$v=19$…`) or modular crypt (`$2b$10$…`). `Debug` shows the scheme only.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Box<str>);

impl PasswordHash {
    /// A hash that came from a hasher or a store.
    pub fn new(hash: &str) -> Self {
        Self(hash.into())
    }

    /// The hash's text, for stores and verifiers.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.split('$').nth(1).unwrap_or("unknown");
        write!(f, "PasswordHash({scheme})")
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Never changes, never reused.
    pub id: UserId,
    /// Unique among users.
    pub email: Email,
    /// What to call the person; free text.
    pub name: Option<String>,
    /// `None`: no password sign-in.
    pub password: Option<PasswordHash>,
    /// What another application's table has in the place of a password that was taken away; none opens it. Another one each time.
    pub placeholder: Option<PasswordHash>,
    /// What the person may do; meaning is the application's.
    pub roles: Vec<String>,
    /// A disabled user cannot sign in, and existing sessions stop working at once.
    pub disabled: bool,
    /// What another application's table says of whether the address is its owner's; `None`: nothing. Accounts of our own layouts have
    /// `Some(false)`, because what is known of their addresses [stands beside them](crate::Auth::is_verified).
    pub verified: Option<bool>,
    /// When the account was made.
    pub created: Timestamp,
    /// Sessions carry the epoch they began in; those of another are void. A change of password and disabling the account move it
    /// on in the same write, so that neither a crash nor a sign-in that was under way leaves a session behind.
    pub session_epoch: u64,
}

impl User {
    /// A new account without password, name or roles.
    pub fn new(email: Email, now: Timestamp) -> Self {
        Self {
            id: UserId::generate(),
            email,
            name: None,
            password: None,
            placeholder: None,
            roles: Vec::new(),
            disabled: false,
            verified: Some(false),
            created: now,
            session_epoch: 0,
        }
    }

    /// What stands in the place of the password: what a [`Change::Password`](crate::Change::Password) begins from.
    pub fn stored_password(&self) -> Option<PasswordHash> {
        self.password.clone().or_else(|| self.placeholder.clone())
    }
}

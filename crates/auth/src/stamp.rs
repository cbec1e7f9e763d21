//! [`Stamp`]: what a session of ours remembers of the account it was opened for, and of how it was opened.

use std::sync::Once;

use hallpass_session::{Session, Slot};
use serde::{Deserialize, Serialize};

use crate::{Auth, UserId};

/// Stands in the session's data, where Express carries it along untouched.
pub(crate) const STAMP: Slot<Stamp> = Slot::new("hallpass");

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The account's [`session_epoch`](crate::User::session_epoch), read together with the password that was verified.
    pub(crate) epoch: u64,
    /// The provider that somebody signed in with; `None`: with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) via: Option<Via>,
}

/// How a provider opened a session.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Via {
    /// The provider's name.
    pub(crate) provider: String,
    /// The link that opened it.
    pub(crate) link: String,
    /// A hash of the provider's name for the session there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<String>,
    /// What the provider wants to see again at sign-out, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// Shows no hint.
impl std::fmt::Debug for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Via").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Auth {
    /// Whom the session names, if they have signed in: here, which left a stamp, or, where [that is
    /// accepted](crate::AuthOptions::accept_foreign_sign_ins), in another application.
    pub(crate) fn signed_in(&self, session: &Session) -> Option<(UserId, Option<Stamp>)> {
        let id = self.options().login_key.user(session)?;
        // A stamp that cannot be read proves nothing.
        if let Some(stamp) = STAMP.get(session).ok()? {
            return Some((id, Some(stamp)));
        }
        // What began with a sign-in here has lost its stamp, and what it was worth nobody can tell.
        if self.options().accept_foreign_sign_ins && session.authenticated().is_none() {
            return Some((id, None));
        }
        warn_of_no_stamp();
        None
    }
}

/// An application that writes the user's ID into the session by itself looks like nobody is ever signed in: say why, once.
fn warn_of_no_stamp() {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            event = "session_without_sign_in",
            "a session names a user who did not sign in here, and counts as anonymous: sign in with Auth::log_in or Auth::log_in_verified, or set accept_foreign_sign_ins where another application signs in"
        );
    });
}

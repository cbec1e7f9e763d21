//! [`Stamp`]: what a session of ours remembers of the account it was opened for, and of how it was opened.

use hallpass_session::Slot;
use serde::{Deserialize, Serialize};

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

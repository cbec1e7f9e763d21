//! [`Stamp`]: what a session of ours remembers of the account it was opened for.

use hallpass_session::Slot;
use serde::{Deserialize, Serialize};

/// Stands in the session's data, where Express carries it along untouched.
pub(crate) const STAMP: Slot<Stamp> = Slot::new("hallpass");

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The account's [`session_epoch`](crate::User::session_epoch), read together with the password that was verified.
    pub(crate) epoch: u64,
}

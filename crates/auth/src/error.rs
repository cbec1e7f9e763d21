//! [`Error`]: what can go wrong that is not an answer.

use std::time::Duration;

use hallpass_session::{StoreError, ValueError};

/// The request could not be decided. Wrong passwords, taken addresses and the like are answers, not errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many passwords are being hashed; answer 503 with `Retry-After`.
    #[error("too many sign-ins at once; try again in a moment")]
    Busy {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// A store is broken or cannot be reached; answer 503.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session holds something unreadable under one of our keys; answer 500.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A job ended without an answer.
    #[error("could not {doing}")]
    Internal {
        /// Completes "could not …".
        doing: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

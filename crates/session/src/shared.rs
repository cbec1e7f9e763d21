//! [`Shared`]: what a layer hands to each of its sessions.

use std::sync::Arc;

use crate::{Keys, SessionOptions, SessionStore, express::Profile, session::Trims};

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) keys: Keys,
    pub(crate) options: SessionOptions,
    /// The layer does as express-session does.
    pub(crate) express: Option<Arc<Profile>>,
    /// Whose oldest sessions may have to end.
    pub(crate) trims: Trims,
}

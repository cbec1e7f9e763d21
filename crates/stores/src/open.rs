//! [`Stores`]: from a URL to everything that is kept.

use std::sync::Arc;

use hallpass_auth::{RecordStore, UserStore};
use hallpass_session::SessionStore;

use crate::{OpenError, Sqlite, SqliteOptions};

/// The three stores of a program.
#[derive(Clone)]
pub struct Stores {
    /// Sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Users.
    pub users: Arc<dyn UserStore>,
    /// Records.
    pub records: Arc<dyn RecordStore>,
}

/// The URL leads to no stores.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// No store of this kind is built in.
    #[error(
        "the database {url:?} is of no kind this program knows; write sqlite:PATH, such as sqlite:hallpass.db"
    )]
    Unknown {
        /// What was given, up to the first colon: the rest may hold a password.
        url: String,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Stores {
    /// Opens the stores at `sqlite:PATH`.
    pub fn open(url: &str) -> Result<Self, StoresError> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        if scheme != "sqlite" || rest.is_empty() {
            return Err(StoresError::Unknown { url: format!("{scheme}:…") });
        }
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let sqlite = Arc::new(Sqlite::open(path, &SqliteOptions::default())?);
        Ok(Self { sessions: sqlite.clone(), users: sqlite.clone(), records: sqlite })
    }
}

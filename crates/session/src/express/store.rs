//! [`ExpressStore`]: what express-session asks of a store, kept as its own stores keep it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Document, SessionId, SessionStore, StoreError, Timestamp};

/// Which writing of a session was read; opaque, for the store that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Version(pub Arc<[u8]>);

/// The bytes of a version may hold the session.
impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Version(…)")
    }
}

/// A session as a store has it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// All of it, `cookie` included.
    pub session: Document,
    /// For the next [`set`](ExpressStore::set).
    pub version: Version,
}

/// What a [`set`](ExpressStore::set) may write over.
#[derive(Clone, Copy, Debug)]
pub enum Over<'a> {
    /// Whatever is there, or nothing: what Express's stores do.
    Anything,
    /// This version only: a session that ended meanwhile stays ended, one that changed stays as it is.
    Version(&'a Version),
}

/// The answer of [`ExpressStore::get`].
#[derive(Clone, Debug)]
pub enum Got {
    /// There is no session that lives.
    Missing,
    /// Something is stored that makes no session: broken JSON, bytes that are no text, values nested too deeply. Express
    /// may see a session there.
    Unreadable,
    /// The session.
    Session(Fetched),
}

/// A session that gets a new ID; see [`ExpressStore::rotate`].
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// The ID that the session has.
    pub old: &'a SessionId,
    /// What must be stored there now.
    pub version: &'a Version,
    /// The ID that the session gets.
    pub new: &'a SessionId,
    /// Who is signed in to the session from now on.
    pub user: Option<&'a str>,
    /// When the session's cookie ends.
    pub expires: Option<Timestamp>,
}

/// The answer of [`ExpressStore::set`] and [`ExpressStore::rotate`].
#[derive(Clone, Debug)]
pub enum Set {
    /// It is stored.
    Done(Version),
    /// Another version is stored; nothing was changed.
    Conflict,
    /// The session has ended; nothing was changed.
    Gone,
}

/// The store interface of express-session, with the rules of each store's own package about keys, texts and ends.
///
/// `expires` is what the session's cookie says; without it the store's own lifetime (`ttl`) counts.
#[async_trait]
pub trait ExpressStore: Send + Sync + 'static {
    /// The same store under our own contract: for listing and ending sessions.
    fn sessions(self: Arc<Self>) -> Arc<dyn SessionStore>;

    /// `get`: the session, if there is one that lives. `Err` means that the store failed, never that a session cannot be read.
    async fn get(&self, id: &SessionId, now: Timestamp) -> Result<Got, StoreError>;

    /// `set`. The store may take out of the session what it put there itself (connect-mongo's `lastModified`).
    async fn set(
        &self,
        id: &SessionId,
        session: &mut Document,
        expires: Option<Timestamp>,
        over: Over<'_>,
        now: Timestamp,
    ) -> Result<Set, StoreError>;

    /// `touch`: moves the end of the session; `false` when there is none. Nothing else is changed.
    async fn touch(
        &self,
        id: &SessionId,
        session: &Document,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Moves a session from an ID to a new one, with new content, if it still is the version that was read. The old ID has
    /// ended then as after [`destroy`](Self::destroy). Ending all sessions of a user meanwhile ends this one too.
    ///
    /// Where the database cannot do both in one step, a crash between the two ends the session.
    async fn rotate(
        &self,
        rotation: Rotation<'_>,
        session: &mut Document,
        now: Timestamp,
    ) -> Result<Set, StoreError>;

    /// `destroy`, also of what cannot be read. The ID is remembered as ended: a save by an Express process that loaded the
    /// session before is refused, or removed again.
    async fn destroy(&self, id: &SessionId, now: Timestamp) -> Result<(), StoreError>;
}

//! The contract between the session layer and a database.
//!
//! Every store, ours or a stranger's, keeps these promises, and [`conformance`](crate::conformance) checks them:
//!
//! * `None` and the "no" answers ([`Created::Taken`], [`Updated::Gone`], …) are answers. `Err` means that the
//!   store is broken or unreachable, never that a session is missing, expired or not ours.
//! * A session is expired from the millisecond [`SessionRecord::expires`] on; expired sessions are invisible to
//!   every method, swept or not.
//! * **Nothing but `create` and `rotate` makes a session appear.** `update` and `touch` of a missing session change
//!   nothing, so a logout is final whatever else is in flight.
//! * Every successful `create`, `update` and `rotate` gives a [`Revision`] that differs from all earlier ones of that
//!   session; `touch` keeps the revision, so readers never disturb writers.
//! * What is acknowledged survives the end of the process.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{ChangeFeed, Document, SessionHandle, SessionId, StoreTime, Timestamp};

/// How long a session lives; stored with it, so that a choice made at login ("remember me") survives later writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The session ends this long after its last request.
    pub idle: Duration,
    /// The session ends at this time whatever happens; `None`: no absolute limit.
    pub until: Option<Timestamp>,
    /// The browser keeps the cookie when it is closed (the cookie has `Max-Age`).
    pub persistent: bool,
}

/// One session as a store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// The application's data.
    pub document: Document,
    /// Under whose name the session is listed; opaque here.
    pub user: Option<Arc<str>>,
    /// What a list of sessions shows to tell them apart, such as browser and address; opaque here.
    pub label: Option<Arc<str>>,
    /// When the session was first stored.
    pub created: Timestamp,
    /// When somebody last proved who they are in it.
    pub authenticated: Option<Timestamp>,
    /// When it was last used, to the precision of [`touch_after`](crate::SessionOptions::touch_after).
    pub seen: Timestamp,
    /// When it ends.
    pub lifetime: Lifetime,
}

impl SessionRecord {
    /// The first millisecond at which the session no longer exists: the idle deadline or the absolute one, whichever is earlier.
    pub fn expires(&self) -> Timestamp {
        self.expires_if_seen(self.seen)
    }

    /// When the session ends if it is (also) used at `now`.
    pub fn expires_if_seen(&self, now: Timestamp) -> Timestamp {
        let idle = self.seen.max(now) + self.lifetime.idle;
        self.lifetime.until.map_or(idle, |until| until.min(idle))
    }
}

/// Which version of a session was read. Compare for equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision(pub u64);

/// A session and the revision it was read at.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Shared, because a cache may hand out the same record many times.
    pub record: Arc<SessionRecord>,
    /// For the next [`update`](SessionStore::update).
    pub revision: Revision,
}

/// The answer of [`SessionStore::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The session exists now.
    Done(Revision),
    /// A live session has this id already; nothing was changed.
    Taken,
}

/// The answer of [`SessionStore::update`] and [`SessionStore::rotate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The change is stored.
    Done(Revision),
    /// Somebody else changed the session since it was read; nothing was changed.
    Conflict,
    /// The session has ended; nothing was changed.
    Gone,
}

/// A use of a session to be noted; see [`SessionStore::touch`].
#[derive(Clone, Debug)]
pub struct Touch {
    /// Which session.
    pub id: SessionId,
    /// When it was used.
    pub seen: Timestamp,
    /// The end of the session that follows from it.
    pub expires: Timestamp,
}

/// A session in a listing: everything but the token and the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Names the session in [`SessionStore::delete_handle`].
    pub handle: SessionHandle,
    /// See [`SessionRecord::user`].
    pub user: Option<Arc<str>>,
    /// See [`SessionRecord::label`].
    pub label: Option<Arc<str>>,
    /// See [`SessionRecord::created`].
    pub created: Timestamp,
    /// See [`SessionRecord::authenticated`].
    pub authenticated: Option<Timestamp>,
    /// See [`SessionRecord::seen`].
    pub seen: Timestamp,
    /// See [`SessionRecord::expires`].
    pub expires: Timestamp,
}

/// Some of a user's sessions; see [`SessionStore::recent_of_user`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recent {
    /// Those that were used last, the last one first.
    pub listed: Vec<Listed>,
    /// How many more there are.
    pub more: u64,
}

impl Recent {
    /// The first `limit` of all sessions of a user.
    pub fn of(mut all: Vec<Listed>, limit: usize) -> Self {
        let more = u64::try_from(all.len().saturating_sub(limit)).unwrap_or(u64::MAX);
        all.truncate(limit);
        Self { listed: all, more }
    }
}

/// Keeps sessions. The [module documentation](self) states what every implementation promises.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// The live session of this id; `None` when it is missing, expired or not readable as a session.
    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError>;

    /// Stores a new session. An expired one of the same id counts as absent.
    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError>;

    /// Replaces a live session that still is at `expected`. The stored `seen` never moves backwards.
    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError>;

    /// Moves a live session that still is at `expected` to a new id with new content: login, step-up, renewal.
    /// The old id is dead before the new one can be seen; a crash between the two logs out, never in.
    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError>;

    /// Notes that sessions were used. Missing sessions stay missing; neither `seen` nor the end ever moves backwards;
    /// document and revision stay as they are.
    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError>;

    /// Ends a session; `true` when there was a live one.
    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError>;

    /// Gives a session up because another store holds it now; `true` when there was a live one. Like [`delete`](Self::delete), except that
    /// [`create`](Self::create) may bring it back: a store that remembers what ended must not refuse a session that only went elsewhere.
    async fn release(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        self.delete(id, now).await
    }

    /// The live sessions of a user, the most recently used first.
    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError>;

    /// The live sessions of a user for a page: at most `limit`, the most recently used first, and how many more there are.
    ///
    /// Unlike [`of_user`](Self::of_user), a store that has no index of users may leave out, for about a minute, sessions that other
    /// programs opened; it says so.
    async fn recent_of_user(&self, user: &str, limit: usize, now: Timestamp) -> Result<Recent, StoreError> {
        Ok(Recent::of(self.of_user(user, now).await?, limit))
    }

    /// Ends the sessions of a user that were used longest ago, so that `keep` remain, `newest` among them; returns how many ended.
    /// At least one remains. May count as [`recent_of_user`](Self::recent_of_user) does.
    async fn trim_user(
        &self,
        user: &str,
        keep: usize,
        newest: &SessionId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (all, newest) = (self.of_user(user, now).await?, newest.handle());
        let others = all.iter().filter(|listed| listed.handle != newest);
        let mut ended = 0;
        for old in others.skip(keep.saturating_sub(1)) {
            ended += u64::from(self.delete_handle(old.handle, Some(user), now).await?);
        }
        Ok(ended)
    }

    /// Ends all sessions of a user, `except` one if given; returns how many live ones ended.
    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Ends the session of this handle, if it is `user`'s when a user is given; `true` when there was such a live one.
    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// A page of all live sessions in the order of their handles, for operators: those after `after`, at most `limit`.
    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError>;

    /// Removes at most `limit` expired sessions; returns how many. Fewer than `limit` means that none are left. A database that
    /// removes them by itself answers 0.
    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError>;

    /// A page of all live sessions with their data, in the order of their handles, for moving them to another store: those after
    /// `after`, at most `limit`. A store that keeps only hashes gives [ids of hashes](SessionId::from_hash), and takes them in `create`.
    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError>;

    /// Whether the store accepts changes now: makes a small one, as durable as every other. `Err` means that changes fail, be it
    /// because the database is down, full, read-only, or without its majority.
    ///
    /// The default stores a session that has expired already, always under the same ID: no method shows it, and sweeping removes it.
    /// A probe of a load balancer may cause this write, so callers limit how often they ask.
    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        let (id, record) = probe();
        // Where two servers check at once, one of them may be told that the other was first.
        for _ in 0..PROBES {
            if let Created::Done(_) = self.create(&id, &record, now).await? {
                return Ok(());
            }
        }
        Err(StoreError::new("check the store", "it takes an expired session for a live one"))
    }

    /// What the store knows about the time, for a [`StoreClock`](crate::StoreClock): its own clock, read without
    /// waiting for anything; or the newest stamp in it. Several servers must see the same clock.
    async fn time(&self) -> Result<StoreTime, StoreError> {
        Ok(StoreTime::Unknown)
    }

    /// Tells what happens to the sessions here, whoever does it, so that a [cache](crate::CachedSessions) can keep copies. `None`: the store
    /// cannot tell, or copies would be no faster than it is.
    fn changes(&self) -> Option<ChangeFeed<SessionHandle>> {
        None
    }

    /// The live session of this id, if that can be told without waiting; `None` says nothing about whether there is one.
    fn cached(&self, id: &SessionId, now: Timestamp) -> Option<Stored> {
        let _ = (id, now);
        None
    }
}

/// How often a check writes when another server checks at the same time.
const PROBES: usize = 3;

/// What [`SessionStore::check`] writes: a session that ended in 1970, without a user. The ID opens nothing, because it is never live.
fn probe() -> (SessionId, SessionRecord) {
    let start = Timestamp::from_millis(0);
    let record = SessionRecord {
        document: Document::new(),
        user: None,
        label: None,
        created: start,
        authenticated: None,
        seen: start,
        lifetime: Lifetime { idle: Duration::from_millis(1), until: None, persistent: false },
    };
    (SessionId::probe(), record)
}

/// A store is broken or cannot be reached. Says what was being done; the cause is the [source](std::error::Error::source).
#[derive(Debug)]
pub struct StoreError {
    doing: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// `doing` completes "could not …": `"load a session"`.
    pub fn new(doing: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { doing, source: source.into() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.doing)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

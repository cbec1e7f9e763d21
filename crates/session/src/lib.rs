//! Sessions as a Tower layer: signed cookies, one pure decision about what to write, and stores in which a logout is final.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::{Router, routing::get};
//! use hallpass_session::{Keys, MemoryStore, Session, SessionLayer, SessionOptions};
//!
//! async fn count(session: Session) -> Result<String, hallpass_session::ValueError> {
//!     let visits = session.get::<u32>("visits")?.unwrap_or(0) + 1;
//!     session.insert("visits", &visits)?;
//!     Ok(format!("visit number {visits}"))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Keys::from_secret("at least 32 bytes from a secret place")?;
//! let sessions = SessionLayer::new(Arc::new(MemoryStore::new()), keys, SessionOptions::default())?;
//! let app: Router = Router::new().route("/", get(async |session| count(session).await.unwrap_or_default())).layer(sessions);
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! * Extracting [`Session`] loads it; after that all access is plain and immediate. A request that never asks costs nothing.
//! * Options have express-session's names and mean the same, with safe defaults: [`SessionOptions`], [`CookieOptions`].
//! * A store keeps the promises of [`store`], and [`conformance`] checks them.
//! * [`TrustProxyLayer`] says who is really calling.

mod cache;
mod calendar;
mod clock_line;
mod clock_report;
mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
mod cookie;
mod document;
pub mod express;
#[cfg(feature = "axum")]
mod extract;
mod id;
mod keys;
mod layer;
mod log_limit;
mod memory;
mod options;
mod place;
mod proxy;
mod secret;
mod session;
mod shared;
pub mod store;
mod store_clock;
mod sweep;
mod time;
mod timer;

pub use cache::{
    CacheKey, CacheOptions, Cached, CachedSessions, ChangeFeed, Coherent, Listener, NoFeed, text_mark,
};
pub use cookie::{CookieOptions, Priority, SameSite, Secure, pairs as cookie_pairs};
pub use document::{Document, ValueError};
#[cfg(feature = "axum")]
pub use extract::HeldSession;
pub use id::{
    IdGenerator, IdHash, InvalidHandle, MAX_ID_LENGTH, RandomIds, SessionHandle, SessionId, hex, random,
    unhex,
};
pub use keys::{Keys, KeysError, MIN_SECRET_LENGTH, Verified, fingerprint};
pub use layer::{SessionFuture, SessionLayer, SessionService, StoreUnavailable};
pub use log_limit::LogLimit;
pub use memory::MemoryStore;
pub use options::{Hold, OptionsError, SessionOptions, Unset};
pub use place::LoadError;
pub use proxy::{
    Client, PeerAddr, Scheme, TrustProxy, TrustProxyError, TrustProxyFuture, TrustProxyLayer,
    TrustProxyService,
};
pub use secret::Secret;
pub use session::{HoldError, Session, Slot, TakeError};
pub use store::{
    Created, Lifetime, Listed, Recent, Revision, SessionRecord, SessionStore, StoreError, Stored, Touch,
    Updated,
};
pub use store_clock::{ClockOptions, ClockStatus, StoreClock, StoreTime};
pub use sweep::Sweeper;
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use timer::{ManualTimer, Moment, Timer};

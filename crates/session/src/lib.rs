//! Sessions as a Tower layer.

mod document;
mod id;
mod secret;
mod store;
mod time;

pub use document::{Document, ValueError};
pub use id::{
    IdGenerator, IdHash, InvalidHandle, MAX_ID_LENGTH, RandomIds, SessionHandle, SessionId, random,
};
pub use secret::Secret;
pub use store::{
    Created, Lifetime, Listed, Revision, SessionRecord, SessionStore, StoreError, Stored, Touch, Updated,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};

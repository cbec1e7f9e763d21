//! Who you are, on top of [`hallpass_session`].

mod email;
mod records;
mod user;
mod users;

pub use email::{Email, InvalidEmail};
pub use records::{Inserted, Record, RecordKey, RecordStore, Replaced};
pub use user::{PasswordHash, User, UserId};
pub use users::{Change, UserChanged, UserCreated, UserStore};

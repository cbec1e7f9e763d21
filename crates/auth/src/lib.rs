//! Who you are, on top of [`hallpass_session`]: users, passwords, signing in and out, and guards.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::{Router, routing::get};
//! use hallpass_auth::{Auth, AuthOptions, CurrentUser, MemoryRecords, MemoryUsers};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let auth = Auth::new(Arc::new(MemoryUsers::new()), Arc::new(MemoryRecords::new()), AuthOptions::default())?;
//! let app: Router = Router::new().route("/me", get(async |user: CurrentUser| user.email.to_string())).with_state(auth);
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! * [`Auth`] registers, signs in and out, and changes passwords; its answers are enums, not errors.
//! * [`CurrentUser`] and [`RequireLogin`] answer 401 to scripts and send page loads to the sign-in page.
//! * `oauth` (feature of that name) lets people sign in with Google, GitHub, or any OpenID provider.
//! * [`users`] and [`records`] are the contracts of the databases behind it, and [`conformance`] checks them.

mod account;
mod admin;
mod auth;
mod cached_users;
#[cfg(feature = "conformance")]
pub mod conformance;
mod conventions;
#[cfg(feature = "axum")]
mod csrf;
mod device;
mod email;
mod ending;
mod error;
mod known_browser;
mod login;
mod login_key;
mod mac;
mod memory;
#[cfg(feature = "oauth")]
pub mod oauth;
mod operator;
mod origin;
mod password;
mod provision;
pub mod records;
mod redirect;
mod register;
mod stamp;
mod throttle;
mod user;
pub mod users;
mod verified;
mod verify;
#[cfg(feature = "axum")]
mod web;

pub use account::{EndedSessions, OwnSession, OwnSessions, PasswordChanged, PasswordSet, Remains};
pub use admin::{Deleted, Disabled};
pub use auth::{Auth, AuthOptions};
pub use cached_users::CachedUsers;
pub use conventions::{Case, Conventions, LoginKind, Logins, Reuse};
#[cfg(feature = "axum")]
pub use csrf::{CSRF_FIELD, CSRF_HEADER, Csrf, CsrfOptions, Visitor};
pub use device::DeviceCookies;
pub use email::{Email, InvalidEmail, domain_form};
pub use ending::Ending;
pub use error::Error;
pub use login::{Attempt, LoginOutcome};
pub use login_key::LoginKey;
pub use mac::MacKeys;
pub use memory::{MemoryRecords, MemoryUsers};
pub use operator::{EmailChanged, PasswordReset, RolesChanged};
pub use origin::Origin;
pub use password::{
    Argon2Kind, Argon2Params, Argon2ParamsError, HashCost, HashPool, HashPoolOptions, Hasher,
    MAX_ARGON2_WORK, MAX_BCRYPT_COST, PasswordFormat, PasswordPolicy, PasswordProblem, Requester,
    UnusableHash, Verdict,
};
/// The kinds of records there are, for moving them to another store.
pub const RECORD_KINDS: &[&str] = &[
    throttle::KIND,
    records::kinds::VERIFIED_EMAIL,
    records::kinds::PROVISIONED,
    records::kinds::SESSION_ENDED,
    records::kinds::OAUTH_ATTEMPT,
    records::kinds::OAUTH_LINK,
    records::kinds::OAUTH_LOGOUT,
    records::kinds::OAUTH_DEPARTURE,
    records::kinds::OAUTH_SESSION,
    records::kinds::OAUTH_TOKENS,
];

pub use records::{Inserted, Record, RecordKey, RecordStore, Replaced};
pub use redirect::RedirectPath;
pub use register::{Refusal, RegisterOutcome, Registration};
pub use throttle::{Limit, ThrottleOptions};
pub use user::{PasswordHash, User, UserId};
pub use users::{Change, UserChanged, UserCreated, UserStore};
#[cfg(feature = "axum")]
pub use web::{
    CurrentUser, CurrentUserId, FreshUser, Rejection, RequireLogin, RequireLoginService, whole_seconds,
};

//! The Express-exact profile: sessions that behave, on the wire and in the store, as express-session 1.19 has them.
//!
//! For a team that moves an Express app route by route: both apps use one cookie and one store at the same time, and which of them serves
//! a request makes no difference that anybody could see. [`SessionLayer::express`](crate::SessionLayer::express) makes the layer;
//! handlers use [`Session`](crate::Session) as ever, or [`ExpressSession`], which has the methods of `req.session`.
//!
//! Better than Express in these, by choice:
//!
//! * the session is saved before the response leaves, and a store that cannot save is a 503 instead of a success that did not happen;
//! * a store that cannot be read never ends the session (express-session destroys it with `unset: 'destroy'`);
//! * a stored session that cannot be read counts as missing (express-session answers every request with 500 until the row expires):
//!   a sign-in or another new session replaces it, a sign-out ends it;
//! * requests that cross lose nothing and bring no ended session back ([`Races`]);
//! * `Session::destroy`, unlike `ExpressSession::destroy`, makes the browser forget the cookie;
//! * a response with `Set-Cookie` tells shared caches not to keep it;
//! * a request whose handler never asks for its session costs no store access, so it is no use of the session either.

mod cookie;
mod decision;
mod handle;
mod held;
pub(crate) mod js;
mod live;
mod machine;
mod meta;
mod mount;
mod options;
mod plain;
mod rotation;
mod store;
mod updates;

use crate::StoreError;

pub use self::{
    cookie::{ExpressCookie, ExpressCookieError},
    handle::{ExpressSession, Finish},
    js::JsonError,
    options::{CookieFunction, CookieSource, ExpressIds, ExpressOptions, Proxy, Races},
    store::{ExpressStore, Fetched, Got, Over, Rotation, Set, Version},
};
pub(crate) use self::{
    held::Held,
    mount::{Mounted, Profile},
};

/// The object that a stored text holds, read and written as JavaScript would; for stores. `None` when it holds something else.
pub fn parse(text: &str) -> Result<Option<crate::Document>, JsonError> {
    js::object(text)
}

/// A session's text, as `JSON.stringify` writes it; for stores.
pub fn stringify(session: &crate::Document) -> String {
    js::text(session, None)
}

/// What express-session answers with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressError {
    /// The stored session has no `cookie` object.
    #[error("Cannot read properties of undefined (reading 'expires')")]
    NoCookie,
    /// It is `null`.
    #[error("Cannot read properties of null (reading 'expires')")]
    NullCookie,
    /// The cookie cannot be what it is told to be.
    #[error(transparent)]
    Cookie(#[from] ExpressCookieError),
    /// `reload` of a session that the store does not have.
    #[error("failed to load session")]
    NotFound,
    /// There is no session to do this with.
    #[error("no session")]
    NoSession,
}

/// Why an operation of a session failed.
#[derive(Debug, thiserror::Error)]
pub enum ExpressFailure {
    /// As in Express.
    #[error(transparent)]
    Session(#[from] ExpressError),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ExpressCookieError> for ExpressFailure {
    fn from(error: ExpressCookieError) -> Self {
        Self::Session(error.into())
    }
}

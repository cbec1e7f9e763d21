//! [`ExpressSession`]: `req.session` with the methods it has in Express.

use http::request::Parts;
use serde_json::Value;

use super::{ExpressCookie, ExpressError, ExpressFailure, Held};
use crate::{LoadError, Session, StoreError, Timestamp};

/// The session of the request, with the methods that express-session gives it. For handlers that are moved from Express line by line;
/// [`Session`] is the same session.
#[derive(Clone, Debug)]
pub struct ExpressSession(Session);

impl ExpressSession {
    /// The session of the request with these parts. The layer must have the [Express profile](super).
    pub async fn of(parts: &Parts) -> Result<Self, LoadError> {
        let session = Session::of(parts).await?;
        if session.express().is_some() { Ok(Self(session)) } else { Err(LoadError::NoLayer) }
    }

    /// The same session as everybody else sees it: its data, its user.
    pub fn session(&self) -> &Session {
        &self.0
    }

    fn held(&self) -> &Held {
        self.0.express().unwrap_or_else(|| unreachable!("checked when it was made"))
    }

    /// `req.sessionID`.
    pub fn id(&self) -> String {
        self.held().machine().id.expose().to_owned()
    }

    /// Whether `req.session` is there: neither destroyed nor let go of.
    pub fn exists(&self) -> bool {
        self.held().machine().live.is_some()
    }

    /// `req.session.cookie`.
    pub fn cookie(&self) -> Option<ExpressCookie> {
        self.held().machine().live.as_ref().map(|live| live.cookie.clone())
    }

    /// Assigns a property of `req.session.cookie`. By itself that is no change that is saved, as in Express.
    pub fn set_cookie(&self, property: &str, value: Value) -> Result<(), ExpressError> {
        let (held, now) = (self.held(), self.held().now());
        match &mut held.machine().live {
            Some(live) => Ok(live.cookie.set(property, value, now)?),
            None => Err(ExpressError::NoSession),
        }
    }

    /// Replaces `req.session.cookie`.
    pub fn put_cookie(&self, cookie: ExpressCookie) -> Result<(), ExpressError> {
        match &mut self.held().machine().live {
            Some(live) => {
                live.cookie = cookie;
                Ok(())
            }
            None => Err(ExpressError::NoSession),
        }
    }

    /// Assigns `req.session.cookie.expires` a date.
    pub fn set_expires(&self, at: Timestamp) -> Result<(), ExpressError> {
        let (held, now) = (self.held(), self.held().now());
        match &mut held.machine().live {
            Some(live) => {
                live.cookie.set_expires_at(at, now);
                Ok(())
            }
            None => Err(ExpressError::NoSession),
        }
    }

    /// `JSON.stringify(req.session)`.
    pub fn to_json(&self) -> Option<String> {
        self.held().machine().live.as_ref().map(|live| super::stringify(&live.whole()))
    }

    /// `touch`: the lifetime begins anew. Happens by itself at the end of every request.
    pub fn touch(&self) -> Result<(), ExpressError> {
        let (held, now) = (self.held(), self.held().now());
        match &mut held.machine().live {
            Some(live) => Ok(live.cookie.reset_max_age(now)?),
            None => Err(ExpressError::NoSession),
        }
    }

    /// `save`: stores the session now; `false` when it has ended meanwhile and its changes are dropped.
    pub async fn save(&self) -> Result<bool, ExpressFailure> {
        self.held().save().await
    }

    /// `reload`: this request's changes are dropped, and the session is as the store has it.
    pub async fn reload(&self) -> Result<(), ExpressFailure> {
        self.held().reload().await
    }

    /// `regenerate`: the session ends, another begins, without data. Done even if the old one could not be destroyed, as in Express.
    pub async fn regenerate(&self) -> Result<(), ExpressFailure> {
        self.held().regenerate().await
    }

    /// `destroy`: the session ends now; there is no `req.session` afterwards. The browser keeps its cookie, as with Express.
    pub async fn destroy(&self) -> Result<(), ExpressFailure> {
        self.held().destroy().await
    }

    /// `req.session = null`: see [`Unset`](crate::Unset).
    pub fn unset(&self) {
        self.held().machine().live = None;
    }

    /// For responses whose body is still being made when their head leaves: the cookie goes with the head, and the session is written when
    /// [`Finish::finish`] is called. Whoever drops it drops the changes.
    pub fn finish_later(&self) -> Finish {
        self.held().machine().later = true;
        Finish(self.0.clone())
    }
}

/// The right to say when a response has ended; see [`ExpressSession::finish_later`].
#[derive(Debug)]
#[must_use = "the session is written only when finish is called"]
pub struct Finish(Session);

impl Finish {
    /// Writes the session as it would be written at the end of any request.
    pub async fn finish(self) -> Result<(), StoreError> {
        match self.0.express() {
            Some(held) => {
                held.end_former(true).await?;
                held.end().await
            }
            None => Ok(()),
        }
    }
}

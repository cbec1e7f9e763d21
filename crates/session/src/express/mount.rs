//! Where the profile is mounted, and how it loads a session.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderMap, request::Parts};
use serde_json::{Map, Value};

use super::{
    CookieSource, ExpressCookie, ExpressCookieError, ExpressError, ExpressFailure, ExpressOptions,
    ExpressStore, Fetched, Got, Held, Proxy, machine::Machine, meta,
};
use crate::{Client, Keys, LogLimit, Scheme, SessionId, Timestamp, cookie};

/// The profile of a layer.
pub(crate) struct Profile {
    pub(super) store: Arc<dyn ExpressStore>,
    pub(super) options: ExpressOptions,
    warned: AtomicBool,
}

/// In the extensions of a request that a layer of this profile serves already: others behind it step aside.
#[derive(Clone, Copy)]
pub(crate) struct Mounted;

impl Profile {
    pub(crate) fn new(store: Arc<dyn ExpressStore>, options: ExpressOptions) -> Self {
        Self { store, options, warned: AtomicBool::new(false) }
    }

    /// Whether the request is within the cookie's path. By text, as in express-session 1.19: `/admin` covers `/adminfoo` too.
    pub(crate) fn covers(&self, parts: &Parts) -> bool {
        let cookie = self.template(parts);
        let path = cookie.get("path").and_then(Value::as_str).filter(|path| !path.is_empty());
        parts.uri.path().starts_with(path.unwrap_or("/"))
    }

    /// The session of a request: the stored one that its cookie names, or a new one.
    pub(crate) async fn load(self: &Arc<Self>, keys: &Keys, parts: &Parts) -> Result<Held, ExpressFailure> {
        let now = self.options.clock.now();
        let secure = self.is_secure(parts);
        let template = self.template(parts);
        let cookie_id = cookie_id(&parts.headers, &self.options.name, keys);
        let mut unreadable = None;
        if let Some(id) = &cookie_id {
            match self.store.get(id, now).await? {
                Got::Missing => {}
                Got::Unreadable => unreadable = Some(id.clone()),
                Got::Session(fetched) => match self.inflate(id, fetched, now) {
                    Some(machine) => {
                        return Ok(Held::new(self.clone(), keys.clone(), template, secure, machine));
                    }
                    None => unreadable = Some(id.clone()),
                },
            }
        }
        let cookie = self.new_cookie(&template, secure, now)?;
        let mut machine = Machine::generated(cookie_id, self.options.ids.generate(), cookie);
        machine.unreadable = unreadable;
        Ok(Held::new(self.clone(), keys.clone(), template, secure, machine))
    }

    /// The session that is stored; `None` when it has reached its absolute end, or its cookie makes none.
    fn inflate(&self, id: &SessionId, fetched: Fetched, now: Timestamp) -> Option<Machine> {
        if meta::has_ended(&fetched.session, now) {
            return None;
        }
        match Machine::inflated(id.clone(), fetched, self.options.resave, now) {
            Ok(machine) => Some(machine),
            Err(error) => {
                warn_of_unreadable(id, &error);
                None
            }
        }
    }

    /// What the cookie of a new session is made of.
    fn template(&self, parts: &Parts) -> Map<String, Value> {
        match &self.options.cookie {
            CookieSource::Fixed(options) => options.clone(),
            CookieSource::PerRequest(options) => options(parts),
        }
    }

    pub(super) fn new_cookie(
        &self,
        template: &Map<String, Value>,
        secure: bool,
        now: Timestamp,
    ) -> Result<ExpressCookie, ExpressCookieError> {
        let mut cookie = ExpressCookie::new(template, now)?;
        cookie.read_date(now);
        if matches!(self.options.cookie, CookieSource::Fixed(_)) {
            cookie.resolve_auto(secure);
        }
        Ok(cookie)
    }

    /// Whether the request came over https.
    fn is_secure(&self, parts: &Parts) -> bool {
        let tls = parts.uri.scheme_str() == Some("https");
        match self.options.proxy {
            Proxy::Never => tls,
            Proxy::Always => {
                tls || first_proto(&parts.headers).is_some_and(|proto| proto.eq_ignore_ascii_case("https"))
            }
            Proxy::App => match parts.extensions.get::<Client>() {
                Some(client) => client.scheme == Scheme::Https,
                None => tls,
            },
        }
    }

    /// Says once why browsers do not get a cookie.
    pub(super) fn warn_of_insecure(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "session_cookie_not_sent",
                "the session's cookie is for https only and the request did not come over https; behind a proxy, trust it"
            );
        }
    }
}

/// Says that a stored session has no cookie, but seldom: every request with its ID meets it again.
fn warn_of_unreadable(id: &SessionId, error: &ExpressError) {
    static LIMIT: LogLimit = LogLimit::per_minute();
    if let Some(left_out) = LIMIT.allows() {
        let advice = "a stored session cannot be read and counts as missing";
        tracing::warn!(event = "session_unreadable", session = %id.handle(), reason = %error, left_out, advice);
    }
}

fn first_proto(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-forwarded-proto")?.to_str().ok()?.split(',').next().map(str::trim)
}

/// The id in the first cookie of this name, if it is signed. Others of the name are never tried, as in Express.
fn cookie_id(headers: &HeaderMap, name: &str, keys: &Keys) -> Option<SessionId> {
    let (_, value) = cookie::of_request(headers).find(|(cookie, _)| *cookie == name)?;
    let verified = keys.verify(value);
    if verified.is_none() {
        crate::keys::unknown(value);
    }
    verified.map(|verified| verified.id)
}

//! [`ExpressOptions`]: express-session's options, with its names and its defaults.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::request::Parts;
use serde_json::{Map, Value};

use crate::{Clock, Hold, IdGenerator, SessionId, SystemClock, Unset, random};

/// What an Express app's `session({…})` is given. Write `ExpressOptions { rolling: true, ..Default::default() }`.
#[derive(Clone)]
pub struct ExpressOptions {
    /// `name` of the cookie. Default: `connect.sid`.
    pub name: String,
    /// `cookie`: what the cookies of new sessions are like.
    pub cookie: CookieSource,
    /// `genid`. Default: 24 random bytes as 32 characters of base64url, as express-session makes them.
    pub ids: Arc<dyn IdGenerator>,
    /// `resave`. Default: no. (express-session's own default is yes, with a warning.)
    pub resave: bool,
    /// `rolling`. Default: no.
    pub rolling: bool,
    /// `saveUninitialized`. Default: no. (express-session's own default is yes, with a warning.)
    pub save_uninitialized: bool,
    /// `unset`. Default: keep.
    pub unset: Unset,
    /// `proxy`: whose word counts for whether a request came over https.
    pub proxy: Proxy,
    /// Where the data of a session names its user: `passport.user`, or `userId`, say. Default: `passport.user`.
    pub user_path: String,
    /// What happens when requests of one session cross.
    pub races: Races,
    /// Which requests [hold](crate::Session::hold) their session from the beginning. express-session knows no such thing. Default:
    /// those that ask for it.
    pub hold: Hold,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Makes the cookie options for a request.
pub type CookieFunction = Arc<dyn Fn(&Parts) -> Map<String, Value> + Send + Sync>;

/// `cookie`, as an object or as a function of the request.
#[derive(Clone)]
pub enum CookieSource {
    /// The object, as JSON: `{"maxAge": 604800000, "sameSite": "lax", "secure": "auto"}`.
    Fixed(Map<String, Value>),
    /// Called for every request. As in Express, `auto` is then not resolved.
    PerRequest(CookieFunction),
}

/// `proxy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Not given: what a [`TrustProxyLayer`](crate::TrustProxyLayer) says, as Express's `trust proxy` would.
    #[default]
    App,
    /// `true`: the first `X-Forwarded-Proto`, from whomever it comes.
    Always,
    /// `false`: the connection alone.
    Never,
}

/// What happens when requests of one session cross, with each other or with a logout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Races {
    /// Changes of different keys all last, and a session that has ended stays ended.
    #[default]
    Settled,
    /// As in Express: the last whole session written wins, and writing brings an ended one back. For comparisons; no application
    /// wants it.
    AsExpress,
}

impl Default for ExpressOptions {
    fn default() -> Self {
        Self {
            name: "connect.sid".to_owned(),
            cookie: CookieSource::Fixed(Map::new()),
            ids: Arc::new(ExpressIds),
            resave: false,
            rolling: false,
            save_uninitialized: false,
            unset: Unset::Keep,
            proxy: Proxy::App,
            user_path: "passport.user".to_owned(),
            races: Races::Settled,
            hold: Hold::OnDemand,
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for ExpressOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpressOptions")
            .field("name", &self.name)
            .field("resave", &self.resave)
            .field("rolling", &self.rolling)
            .field("save_uninitialized", &self.save_uninitialized)
            .field("unset", &self.unset)
            .field("races", &self.races)
            .finish_non_exhaustive()
    }
}

/// 24 random bytes as 32 characters of base64url.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpressIds;

impl IdGenerator for ExpressIds {
    fn generate(&self) -> SessionId {
        let id = URL_SAFE_NO_PAD.encode(random::<24>());
        SessionId::new(&id).unwrap_or_else(|| unreachable!("32 characters are an id"))
    }
}

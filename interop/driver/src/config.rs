//! What a case configures: the options of express-session and the app, as JSON; those of its store are in `stores`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hallpass_session::{
    CookieOptions, IdGenerator, Secure, SessionId, SessionOptions, Timestamp, Unset,
    express::{CookieSource, ExpressIds, ExpressOptions, Proxy, Races},
};
use serde_json::{Map, Value};

use crate::net::Trust;

/// A case's configuration.
pub(crate) struct Config {
    pub(crate) whole: Value,
    pub(crate) trust: Trust,
    pub(crate) genid: Genid,
}

/// `genid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Genid {
    Default,
    Sequence,
    Special,
    /// Ids that are no text are never stored, nor sent.
    Number,
    Throws,
}

/// The id that stands for one that could not be made, or is no text.
pub(crate) const NO_ID: &str = "42";

impl Config {
    pub(crate) fn new(whole: Value) -> Result<Self, String> {
        let trust = Trust::new(&whole["app"]["trustProxy"])?;
        let genid = match whole["session"]["genid"].as_str() {
            None => Genid::Default,
            Some("seq") => Genid::Sequence,
            Some("special") => Genid::Special,
            Some("number") => Genid::Number,
            Some("throw") => Genid::Throws,
            Some(other) => return Err(format!("there is no genid {other:?}")),
        };
        Ok(Self { whole, trust, genid })
    }

    /// The secrets; none: every request fails.
    pub(crate) fn secrets(&self) -> Vec<String> {
        match &self.whole["session"]["secret"] {
            Value::String(secret) => vec![secret.clone()],
            Value::Array(secrets) => secrets.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// What is ours alone: `handlers`, `layer`, `races`, `userPath`. Express ignores it.
    fn own(&self, name: &str) -> Option<&str> {
        self.whole["hallpass"][name].as_str()
    }

    /// Whether requests may cross as the library has them by default.
    pub(crate) fn settled(&self, default: bool) -> bool {
        self.own("races").map_or(default, |races| races == "settled")
    }

    /// Whether handlers know [`Session`](hallpass_session::Session) alone, as those of an application do.
    pub(crate) fn plain_handlers(&self) -> bool {
        self.own("handlers") == Some("plain")
    }

    /// Whether the layer is the ordinary one, which shares the sessions but not Express's ways.
    pub(crate) fn ordinary_layer(&self) -> bool {
        self.own("layer") == Some("ordinary")
    }

    pub(crate) fn user_path(&self) -> Option<&str> {
        self.own("userPath")
    }

    /// The options of the ordinary layer.
    pub(crate) fn ordinary(&self) -> SessionOptions {
        let session = &self.whole["session"];
        let cookie = self.cookie_options();
        SessionOptions {
            ids: Arc::new(ExpressIds),
            rolling: session["rolling"].as_bool().unwrap_or_default(),
            touch_after: Duration::ZERO,
            cookie,
            ..SessionOptions::default()
        }
    }

    /// The cookie of sessions that begin in the ordinary layer.
    pub(crate) fn cookie_options(&self) -> CookieOptions {
        let session = &self.whole["session"];
        CookieOptions {
            name: session["name"].as_str().unwrap_or("connect.sid").to_owned(),
            secure: Secure::Off,
            max_age: session["cookie"]["maxAge"].as_u64().map(Duration::from_millis),
            ..CookieOptions::default()
        }
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.whole[name].as_bool().unwrap_or_default()
    }

    pub(crate) fn session(&self, settled: bool, now: Timestamp) -> ExpressOptions {
        let session = &self.whole["session"];
        let on = |name: &str, default: bool| session[name].as_bool().unwrap_or(default);
        let text = |name: &str| session[name].as_str();
        let cookie = match session.get("cookieFn") {
            Some(options) => {
                let options = options.as_object().cloned().unwrap_or_default();
                CookieSource::PerRequest(Arc::new(move |_| options.clone()))
            }
            None => CookieSource::Fixed(cookie(&session["cookie"], now)),
        };
        ExpressOptions {
            name: text("name").unwrap_or("connect.sid").to_owned(),
            cookie,
            ids: self.ids(),
            // express-session's own defaults, which the library does not share.
            resave: on("resave", true),
            save_uninitialized: on("saveUninitialized", true),
            rolling: on("rolling", false),
            unset: if text("unset") == Some("destroy") { Unset::Destroy } else { Unset::Keep },
            proxy: match session["proxy"].as_bool() {
                None => Proxy::App,
                Some(true) => Proxy::Always,
                Some(false) => Proxy::Never,
            },
            races: if settled { Races::Settled } else { Races::AsExpress },
            user_path: self.user_path().unwrap_or("passport.user").to_owned(),
            ..ExpressOptions::default()
        }
    }

    pub(crate) fn second_session(&self, settled: bool, now: Timestamp) -> ExpressOptions {
        ExpressOptions {
            name: "second.sid".to_owned(),
            cookie: CookieSource::Fixed(Map::new()),
            resave: true,
            save_uninitialized: true,
            ..self.session(settled, now)
        }
    }

    fn ids(&self) -> Arc<dyn IdGenerator> {
        let counter = AtomicU64::default();
        match self.genid {
            Genid::Default => Arc::new(ExpressIds),
            Genid::Sequence => Arc::new(Counted { counter, name: |n| format!("id{n}") }),
            Genid::Special => Arc::new(Counted { counter, name: |n| format!("a b;\u{e9}/+=\"{n}") }),
            Genid::Number | Genid::Throws => Arc::new(Counted { counter, name: |_| NO_ID.to_owned() }),
        }
    }
}

/// Cookie options; `expiresInMs` stands for a date.
fn cookie(options: &Value, now: Timestamp) -> Map<String, Value> {
    let mut cookie = options.as_object().cloned().unwrap_or_default();
    if let Some(left) = cookie.remove("expiresInMs").and_then(|left| left.as_i64()) {
        // A number, because JSON has no dates; the cookie takes it for one.
        cookie
            .insert("expires".to_owned(), Timestamp::from_millis(now.as_millis() + left).to_string().into());
    }
    cookie
}

/// Ids by number.
struct Counted {
    counter: AtomicU64,
    name: fn(u64) -> String,
}

impl IdGenerator for Counted {
    #[expect(clippy::expect_used, reason = "the names above are ids")]
    fn generate(&self) -> SessionId {
        let number = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        SessionId::new(&(self.name)(number)).expect("the name is an id")
    }
}

//! What a case configures: the options of express-session, connect-mongo and the app, as JSON.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hallpass_session::{
    IdGenerator, SessionId, Timestamp, Unset,
    express::{CookieSource, ExpressIds, ExpressOptions, Proxy, Races},
};
use hallpass_stores::{AutoRemove, ConnectMongoOptions, Crypto, TransformId, WebCrypto};
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

    pub(crate) fn store(&self, database: &str) -> ConnectMongoOptions {
        let store = &self.whole["store"];
        let mut options = ConnectMongoOptions {
            database: Some(database.to_owned()),
            touch_after: seconds(&store["touchAfter"]).unwrap_or_default(),
            stringify: store["stringify"].as_bool().unwrap_or(true),
            timestamps: store["timestamps"].as_bool().unwrap_or_default(),
            ..ConnectMongoOptions::default()
        };
        if let Some(ttl) = seconds(&store["ttl"]) {
            options.connect.ttl = ttl;
        }
        if let Some(collection) = store["collectionName"].as_str() {
            collection.clone_into(&mut options.collection);
        }
        let minutes =
            store["autoRemoveInterval"].as_u64().and_then(NonZeroU64::new).map_or(10, NonZeroU64::get);
        options.auto_remove = match store["autoRemove"].as_str() {
            None | Some("native") => AutoRemove::Native,
            Some("interval") => AutoRemove::Interval(Duration::from_secs(60 * minutes)),
            Some(_) => AutoRemove::Disabled,
        };
        if let Some(prefix) = store["transformIdPrefix"].as_str() {
            options.transform_id = TransformId::Prefix(prefix.to_owned());
        }
        let secret = |options: &Value| options["secret"].as_str().unwrap_or_default().to_owned();
        if let Some(crypto) = store.get("webcrypto") {
            options.crypto = Some(Crypto::WebCrypto(WebCrypto::new(secret(crypto))));
        }
        if let Some(crypto) = store.get("crypto") {
            options.crypto = Some(Crypto::Kruptein(secret(crypto).into()));
        }
        options
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

fn seconds(value: &Value) -> Option<Duration> {
    value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
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

//! Where things are kept: the settings of databases, and of a move.

use std::time::Duration;

use hallpass_session::{CacheOptions, ClockOptions, CookieOptions};
use hallpass_stores::{
    Layout, OpenOptions, ServerOptions, StoreUrl, StoreUrlError, Stores, StoresError, TransformId,
    open_sessions,
};

use super::{
    connect,
    gather::Values,
    users::{self, ExistingUsers},
};

/// What one server can serve.
const MOST_CONNECTIONS: u64 = 1000;

/// A proof that travels to a database and back takes its time; and nobody means to be refused a minute late.
const MIN_STALENESS: Duration = Duration::from_millis(50);
const MAX_STALENESS: Duration = Duration::from_secs(60);

const SMALLEST_CACHE: u64 = 1 << 20;

/// A reading of a clock takes its time; and who means more than a day means no limit at all.
const LEAST_DEVIATION: Duration = Duration::from_millis(100);
const MOST_DEVIATION: Duration = Duration::from_secs(24 * 3600);

/// Where things are kept, and how.
#[derive(Clone, Debug)]
pub struct StoresConfig {
    /// Everything, or everything but sessions.
    pub database: StoreUrl,
    /// Sessions, if they are not in the database.
    pub sessions: Option<StoreUrl>,
    /// Accounts, if another application made them.
    pub users: Option<ExistingUsers>,
    /// How.
    pub options: OpenOptions,
    /// What is kept in memory of them.
    pub cache: CacheOptions,
    /// How far the machine's clock may differ from theirs before the server is not ready; zero: any.
    pub not_ready_beyond: Duration,
    /// Where things come from that are not there yet.
    pub moving: Option<Source>,
}

/// Stores that things are moved from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where they are.
    pub url: StoreUrl,
    /// How sessions are stored there.
    pub layout: Layout,
    /// Accounts stay where they are.
    pub sessions_only: bool,
}

impl StoresConfig {
    /// Opens them; without `make`, a file that is not there is an error.
    pub async fn open(&self, make: bool) -> Result<Stores, StoresError> {
        let stores = self.open_target(make).await?;
        match &self.moving {
            None => Ok(stores),
            Some(source) => Ok(source.open(self, &stores).await?.serve(stores)),
        }
    }

    /// The stores that everything moves to, without those it comes from.
    pub async fn open_target(&self, make: bool) -> Result<Stores, StoresError> {
        let options = OpenOptions { make, ..self.options.clone() };
        let stores = Stores::open_with(&self.database, self.sessions.as_ref(), &options).await?;
        let Some(ExistingUsers { url, map }) = &self.users else { return Ok(stores) };
        stores.with_users(url.as_ref().unwrap_or(&self.database), map, &options).await
    }

    /// Where sessions are.
    fn place_of_sessions(&self) -> &StoreUrl {
        self.sessions.as_ref().unwrap_or(&self.database)
    }

    /// Whether sessions of which only the hash of the id is known can be stored here.
    pub fn takes_hashed_ids(&self) -> bool {
        match (&self.options.layout, self.place_of_sessions()) {
            (Layout::Native, _) => true,
            (Layout::Connect(layouts), StoreUrl::Mongo(_)) => {
                layouts.mongo.transform_id == TransformId::Sha256
            }
            (Layout::Connect(_), _) => false,
        }
    }
}

/// What a source holds.
pub enum Old {
    /// Everything.
    All(Stores),
    /// Sessions; accounts are where they go to already.
    Sessions(Stores),
}

impl Source {
    /// Opens what things are moved from.
    pub async fn open(&self, target: &StoresConfig, new: &Stores) -> Result<Old, StoresError> {
        let options = OpenOptions { make: false, layout: self.layout.clone(), ..target.options.clone() };
        if self.is_sessions_only() {
            let sessions = open_sessions(&self.url, &options).await?;
            return Ok(Old::Sessions(Stores { sessions, ..new.clone() }));
        }
        Ok(Old::All(Stores::open_with(&self.url, None, &options).await?))
    }

    /// Redis holds no accounts, and where Express's sessions are, the accounts are Express's too.
    pub fn is_sessions_only(&self) -> bool {
        self.sessions_only || self.is_connect() || matches!(self.url, StoreUrl::Redis(_))
    }

    /// Whether sessions there are stored as Express does it.
    pub fn is_connect(&self) -> bool {
        matches!(self.layout, Layout::Connect(_))
    }
}

impl Old {
    fn serve(self, new: Stores) -> Stores {
        match self {
            Self::All(old) => new.moving_from(old),
            Self::Sessions(old) => new.moving_sessions_from(old.sessions),
        }
    }
}

/// Reads the settings; problems are noted with the values.
pub(super) fn check(values: &mut Values, cookie: &CookieOptions) -> Option<StoresConfig> {
    let database = url(values, "database");
    if matches!(database, Some(StoreUrl::Redis(_))) {
        values.problem("database", StoresError::SessionsOnly.to_string());
    }
    let sessions = optional_url(values, "sessions");
    let layouts = Box::new(connect::check(values, cookie));
    let layout = |values: &Values, path| match values.text(path) {
        "connect" => Layout::Connect(layouts.clone()),
        _ => Layout::Native,
    };
    let options = OpenOptions {
        server: server(values),
        layout: layout(values, "session.layout"),
        clock: clock(values),
        // The server begins its own; commands have none.
        upkeep: None,
        ..OpenOptions::default()
    };
    let sessions_only = values.flag_of("moving.sessions_only");
    let layout = layout(values, "moving.layout");
    let moving = optional_url(values, "moving.from").map(|url| Source { url, layout, sessions_only });
    let cache = cache(values);
    let users_url = optional_url(values, "users.url");
    let users = users::check(values, users_url);
    let config = StoresConfig {
        database: database?,
        sessions,
        users,
        options,
        cache,
        not_ready_beyond: values.duration("clock.not_ready_beyond"),
        moving,
    };
    check_layouts(values, &config);
    check_moving(values, &config);
    users::check_stores(values, &config);
    Some(config)
}

/// Layouts that cannot be where they are, and settings of layouts that are nowhere.
fn check_layouts(values: &mut Values, config: &StoresConfig) {
    let mut shared = Vec::new();
    if matches!(config.options.layout, Layout::Connect(_)) {
        shared.push(("session.layout", config.place_of_sessions()));
    }
    if let Some(source) = config.moving.as_ref().filter(|source| source.is_connect()) {
        shared.push(("moving.layout", &source.url));
    }
    for (path, url) in &shared {
        if matches!(url, StoreUrl::Sqlite(_)) {
            values.problem(path, StoresError::NativeOnly.to_string());
        }
    }
    let places: Vec<&StoreUrl> = shared.iter().map(|(_, url)| *url).collect();
    connect::refuse_idle(values, &places);
}

/// Moves from a place to itself, which would end there.
fn check_moving(values: &mut Values, config: &StoresConfig) {
    let Some(source) = &config.moving else {
        if values.is_changed("moving.layout") {
            values.problem("moving.layout", "is only for a move: moving.from names no stores".to_owned());
        }
        return;
    };
    let target_is_connect = matches!(config.options.layout, Layout::Connect(_));
    if source.url == *config.place_of_sessions() && source.is_connect() == target_is_connect {
        values.problem("moving.from", "is where sessions are kept already".to_owned());
    } else if source.url == config.database && !source.is_sessions_only() {
        let advice = "is where accounts are kept already; give moving.sessions_only = true (or --sessions-only) to move its sessions";
        values.problem("moving.from", advice.to_owned());
    }
}

fn clock(values: &mut Values) -> ClockOptions {
    let max_deviation = values.duration("clock.max_deviation");
    if !(LEAST_DEVIATION..=MOST_DEVIATION).contains(&max_deviation) {
        values.problem("clock.max_deviation", "must be from 100ms to 1d".to_owned());
    }
    let beyond = values.duration("clock.not_ready_beyond");
    if !beyond.is_zero() && beyond < max_deviation {
        let advice = "must be 0s, or at least clock.max_deviation".to_owned();
        values.problem("clock.not_ready_beyond", advice);
    }
    ClockOptions { max_deviation, ..ClockOptions::default() }
}

fn cache(values: &mut Values) -> CacheOptions {
    let (size, max_staleness) =
        (values.number("session.cache_size"), values.duration("session.max_staleness"));
    if !(MIN_STALENESS..=MAX_STALENESS).contains(&max_staleness) {
        let advice = "must be from 50ms to 60s; session.cache_size = 0 turns copies off";
        values.problem("session.max_staleness", advice.to_owned());
    }
    if usize::try_from(size).is_err() || (size > 0 && size < SMALLEST_CACHE) {
        values.problem("session.cache_size", "must be 0 or at least 1MiB".to_owned());
    }
    CacheOptions { size: usize::try_from(size).unwrap_or(0), max_staleness, ..CacheOptions::default() }
}

fn url(values: &mut Values, path: &'static str) -> Option<StoreUrl> {
    match values.text(path).parse() {
        Ok(url) => Some(url),
        Err(error) => {
            let error: StoreUrlError = error;
            values.problem(path, error.to_string());
            None
        }
    }
}

fn optional_url(values: &mut Values, path: &'static str) -> Option<StoreUrl> {
    if values.text(path).is_empty() { None } else { url(values, path) }
}

fn server(values: &mut Values) -> ServerOptions {
    let (connections, timeout) = (values.number("store.connections"), values.duration("store.timeout"));
    if !(1..=MOST_CONNECTIONS).contains(&connections) {
        values.problem("store.connections", format!("must be from 1 to {MOST_CONNECTIONS}"));
    }
    if timeout < Duration::from_millis(100) {
        values.problem("store.timeout", "must be at least 100ms".to_owned());
    }
    ServerOptions { connections: usize::try_from(connections).unwrap_or(1), timeout }
}

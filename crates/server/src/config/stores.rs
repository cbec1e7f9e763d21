//! Where things are kept: the settings of databases, and of a move.

use std::time::Duration;

use hallpass_stores::{
    OpenOptions, ServerOptions, StoreUrl, StoreUrlError, Stores, StoresError, open_sessions,
};

use super::gather::Values;

/// What one server can serve.
const MOST_CONNECTIONS: u64 = 1000;

/// Where things are kept, and how.
#[derive(Clone, Debug)]
pub struct StoresConfig {
    /// Everything, or everything but sessions.
    pub database: StoreUrl,
    /// Sessions, if they are not in the database.
    pub sessions: Option<StoreUrl>,
    /// How.
    pub options: OpenOptions,
    /// Where things come from that are not there yet.
    pub moving: Option<Source>,
}

/// Stores that things are moved from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where they are.
    pub url: StoreUrl,
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
        Stores::open_with(&self.database, self.sessions.as_ref(), &options).await
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
        let options = OpenOptions { make: false, server: target.options.server.clone() };
        if self.is_sessions_only() {
            let sessions = open_sessions(&self.url, &options).await?;
            return Ok(Old::Sessions(Stores { sessions, ..new.clone() }));
        }
        Ok(Old::All(Stores::open_with(&self.url, None, &options).await?))
    }

    /// Redis holds no accounts.
    pub fn is_sessions_only(&self) -> bool {
        self.sessions_only || matches!(self.url, StoreUrl::Redis(_))
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
pub(super) fn check(values: &mut Values) -> Option<StoresConfig> {
    let database = url(values, "database");
    if matches!(database, Some(StoreUrl::Redis(_))) {
        values.problem("database", StoresError::SessionsOnly.to_string());
    }
    let sessions = optional_url(values, "sessions");
    let options = OpenOptions { server: server(values), ..OpenOptions::default() };
    let sessions_only = values.flag_of("moving.sessions_only");
    let moving = optional_url(values, "moving.from").map(|url| Source { url, sessions_only });
    Some(StoresConfig { database: database?, sessions, options, moving })
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

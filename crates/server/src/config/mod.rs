//! The configuration: flags over environment over file over defaults, parsed once into types that cannot be wrong.

mod check;
mod check_auth;
mod check_session;
mod connect;
mod gather;
mod provider_settings;
mod providers;
pub(crate) mod schema;
mod session_settings;
mod settings;
mod stores;
mod users;
mod web_settings;

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use hallpass_auth::{
    AuthOptions,
    oauth::{ForwardProxy, Provider},
};
use hallpass_session::{Secret, SessionOptions, TrustProxy};
use http::HeaderValue;
use url::Url;

pub(crate) use self::gather::{Values, lines};
pub use self::stores::{Old, Source, StoresConfig};
use crate::{cors::CorsPolicy, host::AllowedHosts};

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config FILE`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--public-url`
    pub public_url: Option<String>,
    /// `--database`
    pub database: Option<String>,
    /// `--sessions`
    pub sessions: Option<String>,
    /// `--layout`, or `--to-layout` of a move
    pub layout: Option<String>,
    /// `--moving-from`
    pub moving_from: Option<String>,
    /// `--moving-layout`, or `--from-layout` of a move
    pub moving_layout: Option<String>,
}

/// A complete, consistent configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where browsers reach the server; `None`: `http://localhost:PORT`.
    pub public_url: Option<Url>,
    /// Where everything is kept.
    pub stores: StoresConfig,
    /// Whose word on the client counts.
    pub trust_proxy: TrustProxy,
    /// What the pages call the service.
    pub service_name: String,
    /// Secrets that sign cookies; empty: those of `key_file`.
    pub secrets: Vec<Secret<String>>,
    /// The file that holds `secrets`, if they are in one of their own.
    pub secrets_file: Option<PathBuf>,
    /// Where secrets are kept that nobody configured.
    pub key_file: PathBuf,
    /// The files that hold secrets of any kind.
    pub secret_files: Vec<PathBuf>,
    /// How sessions behave.
    pub session: SessionOptions,
    /// How authentication behaves.
    pub auth: AuthOptions,
    /// Providers to sign in with.
    pub providers: Vec<Provider>,
    /// The way to them.
    pub proxy: Option<ForwardProxy>,
    /// What browsers forget at sign-out, as a header value; empty: nothing.
    pub clear_site_data: String,
    /// Whether visitors can make accounts.
    pub registration_open: bool,
    /// Which other origins may call the API.
    pub cors: CorsPolicy,
    /// Whether changes must carry the session's token.
    pub csrf_token: bool,
    /// Under which host names the server may be addressed.
    pub allowed_hosts: AllowedHosts,
    /// What `Strict-Transport-Security` says; `None` on http.
    pub hsts: Option<HeaderValue>,
    /// Which origins may make changes: that of `public_url` and others that are trusted.
    pub trusted_origins: Vec<String>,
    /// A folder of templates that replace ours.
    pub templates: Option<PathBuf>,
    /// What is logged.
    pub log_level: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Limits of the HTTP server.
    pub limits: Limits,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Limits of the HTTP server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long its head may take to arrive.
    pub header_timeout: Duration,
    /// How long a client may take to send the next request.
    pub keep_alive_timeout: Duration,
    /// How long a client may leave an answer unread.
    pub write_timeout: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections of one client at once; 0: a quarter of all.
    pub max_connections_per_client: usize,
    /// What unfinished requests may take of memory together, in bytes.
    pub receive_memory: usize,
    /// How long connections are accepted after SIGTERM.
    pub drain_delay: Duration,
    /// How long requests in flight may take then.
    pub drain_timeout: Duration,
}

/// One thing that is wrong with the configuration, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, variable, flag or file.
    pub at: String,
    /// What is wrong and what to write instead.
    pub advice: String,
}

/// The configuration cannot be used. Prints all problems, a line each.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// All of them.
    pub problems: Vec<Problem>,
    /// How the log looks, as far as that could be read.
    pub log_format: LogFormat,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.problems.iter().try_for_each(|Problem { at, advice }| write!(f, "\n  {at}: {advice}"))
    }
}

pub(crate) fn log_format(values: &Values) -> LogFormat {
    match values.text("log.format") {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => LogFormat::Auto,
    }
}

impl Config {
    /// Reads everything, and reports all problems together.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::load_with_values(flags, environment).map(|(config, _)| config)
    }

    pub(crate) fn load_with_values(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Values), ConfigError> {
        let mut values = Values::defaults();
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        if let Some(path) = &flags.config {
            values.read_file(path);
        }
        values.read_environment(environment.iter().cloned());
        values.read_usual_environment(&environment);
        values.flag("listen", flags.listen.as_deref());
        values.flag("public_url", flags.public_url.as_deref());
        values.flag("database", flags.database.as_deref());
        values.flag("sessions", flags.sessions.as_deref());
        values.flag("session.layout", flags.layout.as_deref());
        values.flag("moving.from", flags.moving_from.as_deref());
        values.flag("moving.layout", flags.moving_layout.as_deref());
        let config = check::check(&mut values);
        match config {
            Some(config) if values.problems.is_empty() => Ok((config, values)),
            _ => Err(ConfigError { log_format: log_format(&values), problems: values.problems }),
        }
    }

    /// Where browsers reach a server that listens there.
    pub fn public_url(&self, address: SocketAddr) -> String {
        let (ip, port) = (address.ip(), address.port());
        let usual = ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST || ip.is_unspecified();
        match &self.public_url {
            Some(url) => format!("{}{}", url.origin().ascii_serialization(), self.base_path()),
            None if usual => format!("http://localhost:{port}"),
            None => format!("http://{address}"),
        }
    }

    /// The path of `public_url`, without a slash at the end; empty: there is none.
    pub fn base_path(&self) -> &str {
        self.public_url.as_ref().map_or("", |url| url.path().trim_end_matches('/'))
    }

    /// Whether browsers come over https.
    pub fn is_https(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }
}

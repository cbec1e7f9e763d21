//! From a configuration to a server that answers, and to its end.

use std::{io, net::SocketAddr, time::Duration};

use hallpass_auth::Auth;
use hallpass_session::{Clock, Keys, KeysError, Secret};
use hallpass_stores::{StoresError, UpkeepOptions};
use tokio::time::sleep;

use crate::{
    app::{App, AppError},
    config::Config,
    connections::{self, Connections},
    key_file::{self, KeyFileError},
    log,
    log_limit::LIMIT,
    modes,
    pages::Pages,
    peers::Announcement,
    router::{RouterError, router},
    signals::Signals,
};

/// The server cannot start. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}{}", advice(source))]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Stores(#[from] StoresError),
    /// The configured secrets are no use.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The key file is no use.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The state cannot be made.
    #[error(transparent)]
    App(#[from] AppError),
    /// The router cannot be made.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// The operating system refuses to tell about signals.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

impl ServeError {
    /// Whether the configuration must be changed: what `check-config` finds as well.
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Keys(_) | Self::KeyFile(KeyFileError::Keys { .. }) | Self::Router(_) => true,
            Self::App(error) => !matches!(error, AppError::Certificates(_)),
            Self::KeyFile(_) | Self::Listen { .. } | Self::Stores(_) | Self::Signals(_) => false,
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program uses this port: stop it, or choose another with --listen"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 are for root: choose another with --listen",
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    }
}

/// Serves until SIGTERM or SIGINT. `ready` is called with the address once connections are accepted.
pub async fn serve(config: Config, ready: impl FnOnce(&str)) -> Result<(), ServeError> {
    Pages::new(&config).and_then(|pages| pages.check()).map_err(AppError::from)?;
    let address = config.listen;
    let refused = |source| ServeError::Listen { address, source };
    // Before any file is made.
    let socket = connections::bind(address).map_err(refused)?;
    if config.secrets.is_empty() {
        key_file::check(&config.key_file)?;
    }
    let upkeep = UpkeepOptions { cache: Some(config.stores.cache.clone()), ..UpkeepOptions::default() };
    let stores = config.stores.open(true).await?.with_upkeep(&upkeep);
    key_file::bring(&config, &*stores.sessions, stores.clock.now()).await?;
    let (keys, secrets) = keys(&config)?;
    let mut announcement = Announcement::new(stores.records.clone(), stores.clock.clone(), &secrets);
    announcement.say().await;
    let listener = connections::listen(socket).map_err(refused)?;
    let address = listener.local_addr().unwrap_or(address);
    let mut signals = Signals::new().map_err(ServeError::Signals)?;
    warn_of_development(&config);
    for file in modes::loose(&config) {
        let path = file.path.display();
        tracing::warn!(event = file.event, %path, "{}", file.advice);
    }
    let public_url = config.public_url(address);
    let app = App::new(config.clone(), stores.clone(), &secrets, &public_url)?;
    let router = router(app.clone(), keys)?;
    let background =
        [tokio::spawn(learn_hash_costs(app.auth().clone())), tokio::spawn(log::report_what_is_left_out())];
    ready(&public_url);
    tracing::info!(event = "listening", %address, public_url);
    for provider in app.providers().iter() {
        let redirect_uri = app.providers().redirect_uri(&provider.name);
        tracing::info!(
            event = "provider",
            name = provider.name,
            redirect_uri,
            "register this redirect URI there"
        );
    }
    let connections = Connections::new(router, config.limits, config.trust_proxy.clone());
    tokio::select! {
        () = connections.accept_until(&listener, signals.next()) => {}
        () = announcement.run() => {}
    }
    app.drain();
    connections.drain();
    tracing::info!(event = "draining");
    let drained = async {
        connections.accept_until(&listener, sleep(config.limits.drain_delay)).await;
        connections.close(listener).await;
        connections.finish(config.limits.drain_timeout).await;
    };
    tokio::select! {
        () = drained => {}
        () = signals.next() => tracing::warn!(event = "stopped_at_once"),
    }
    announcement.leave().await;
    background.iter().for_each(tokio::task::JoinHandle::abort);
    stores.upkeep.stop().await;
    LIMIT.report(Duration::ZERO);
    tracing::info!(event = "stopped");
    Ok(())
}

/// The keys that sign cookies, and the secrets they are made of.
pub(crate) fn keys(config: &Config) -> Result<(Keys, Vec<Secret<String>>), ServeError> {
    if !config.secrets.is_empty() {
        let keys = Keys::new(config.secrets.iter().map(|secret| secret.expose().as_str()))?;
        return Ok((keys, config.secrets.clone()));
    }
    let found = key_file::read_or_make(&config.key_file)?;
    let path = config.key_file.display();
    if found.made {
        tracing::info!(event = "key_file_made", %path, "made a signing secret; keep this file, all sessions depend on it");
    }
    if found.loose {
        tracing::warn!(event = "key_file_readable", %path, "others can read the signing secrets; run chmod 600 on the file");
    }
    Ok((found.keys, found.secrets))
}

/// Says what must not stay as it is in production.
fn warn_of_development(config: &Config) {
    if !config.is_https() {
        tracing::warn!(
            event = "no_https",
            "good for development only: cookies travel without https; put a TLS proxy in front and give --public-url https://..."
        );
    }
}

/// How often accounts are looked at for what their hashes cost.
const LEARN_EVERY: Duration = Duration::from_secs(3600);

/// Keeps the dummy hashes of logins without an account as costly as those of accounts.
async fn learn_hash_costs(auth: Auth) {
    loop {
        if let Err(error) = auth.learn_hash_costs().await {
            tracing::warn!(event = "hash_costs_unknown", error = &error as &dyn std::error::Error);
        }
        sleep(LEARN_EVERY).await;
    }
}

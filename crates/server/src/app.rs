//! What all requests share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{extract::FromRef, response::Redirect};
use hallpass_auth::{
    Argon2ParamsError, Auth, Csrf, CsrfOptions, DeviceCookies,
    oauth::{HttpClient, ProviderError, Providers, ProvidersOptions, SealKeys},
};
use hallpass_session::{Clock, KeysError, SameSite, Secret, StoreClock, Timestamp};
use hallpass_stores::Stores;

use crate::{
    config::Config,
    pages::{Pages, PagesError},
    routes::Readiness,
};

/// The server's state: cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    stores: Stores,
    auth: Auth,
    providers: Providers,
    public_url: String,
    base: String,
    pages: Pages,
    csrf: Option<Csrf>,
    draining: AtomicBool,
    readiness: Readiness,
}

/// The state cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Hashes would be too weak.
    #[error(transparent)]
    Argon2(#[from] Argon2ParamsError),
    /// The secrets cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A provider cannot be used.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The system has no certificates to verify providers with.
    #[error(
        "cannot read the system's certificates, which verify sign-in providers: {0}; install ca-certificates"
    )]
    Certificates(std::io::Error),
    /// A template is broken.
    #[error(transparent)]
    Pages(#[from] PagesError),
}

impl App {
    /// The state of a server on these stores, which browsers reach at `public_url`. `secrets` seal what providers give out.
    pub fn new(
        config: Config,
        stores: Stores,
        secrets: &[Secret<String>],
        public_url: &str,
    ) -> Result<Self, AppError> {
        let mut options = config.auth.clone();
        if let Some(secret) = secrets.first() {
            options.secret = Secret::new(secret.expose().as_bytes().to_vec());
        }
        options.sign_in_path = Some(format!("{}/login", config.base_path()));
        options.device_cookies = Some(device_cookies(&config, secrets, public_url)?);
        let auth = Auth::new(stores.users.clone(), stores.records.clone(), options)?;
        let providers = providers(&config, &auth, secrets, public_url)?;
        let base = config.base_path().to_owned();
        let pages = Pages::new(&config)?;
        let csrf = config.csrf_token.then(|| csrf(&config, secrets, public_url));
        let (public_url, draining) = (public_url.to_owned(), AtomicBool::new(false));
        let readiness = Readiness::new(config.stores.options.server.timeout);
        let inner =
            Inner { config, stores, auth, providers, public_url, base, pages, csrf, draining, readiness };
        Ok(Self(Arc::new(inner)))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn stores(&self) -> &Stores {
        &self.0.stores
    }

    /// The time by which everything expires, wherever it is kept.
    pub(crate) fn clock(&self) -> &StoreClock {
        &self.0.stores.clock
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    pub(crate) fn providers(&self) -> &Providers {
        &self.0.providers
    }

    /// The path below which browsers reach the server, without a slash at the end: that of `public_url`.
    pub(crate) fn base(&self) -> &str {
        &self.0.base
    }

    /// The path at which browsers reach this path of ours.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    /// Sends a browser to this path of ours, with 303.
    pub(crate) fn redirect(&self, path: &str) -> Redirect {
        Redirect::to(&self.at(path))
    }

    /// Where browsers reach the server, without a slash at the end.
    pub(crate) fn public_url(&self) -> &str {
        &self.0.public_url
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.0.pages
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.0.readiness
    }

    /// In token mode: what makes and checks tokens against cross-site request forgery.
    pub(crate) fn csrf(&self) -> Option<&Csrf> {
        self.0.csrf.as_ref()
    }

    /// From now on `/readyz` says no.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }
}

/// As `Secure` as the session's cookie, and `SameSite=None` where that has it.
fn device_cookies(
    config: &Config,
    secrets: &[Secret<String>],
    public_url: &str,
) -> Result<DeviceCookies, KeysError> {
    let cookies = DeviceCookies::new(secrets.iter().map(Secret::expose))?;
    let cookies = if public_url.starts_with("https://") { cookies } else { cookies.insecure() };
    let cross_site = config.session.cookie.same_site == SameSite::None;
    Ok(if cross_site { cookies.cross_site() } else { cookies })
}

fn csrf(config: &Config, secrets: &[Secret<String>], public_url: &str) -> Csrf {
    let cookie = &config.session.cookie;
    let options = CsrfOptions {
        secure: public_url.starts_with("https://"),
        cross_site: cookie.same_site == SameSite::None,
        partitioned: cookie.partitioned,
    };
    Csrf::new(secrets.iter().map(Secret::expose), options)
}

/// The configured providers. Certificates are read only when there are any.
pub(crate) fn providers(
    config: &Config,
    auth: &Auth,
    secrets: &[Secret<String>],
    public_url: &str,
) -> Result<Providers, AppError> {
    if config.providers.is_empty() {
        return Ok(Providers::none(auth.clone()));
    }
    let seal = SealKeys::new(secrets.iter().map(Secret::expose));
    let cross_site = config.session.cookie.same_site == SameSite::None;
    let options = ProvidersOptions { seal, cross_site, ..ProvidersOptions::new(public_url) };
    let client = Arc::new(HttpClient::through(config.proxy.clone()).map_err(AppError::Certificates)?);
    Ok(Providers::new(auth.clone(), client, config.providers.clone(), options)?)
}

impl FromRef<App> for Auth {
    fn from_ref(app: &App) -> Self {
        app.auth().clone()
    }
}

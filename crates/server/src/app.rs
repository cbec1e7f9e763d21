//! What all requests share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::extract::FromRef;
use hallpass_auth::{Argon2ParamsError, Auth};
use hallpass_stores::Stores;

use crate::{
    config::Config,
    pages::{Pages, PagesError},
};

/// The server's state: cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    stores: Stores,
    auth: Auth,
    pages: Pages,
    draining: AtomicBool,
}

/// The state cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Hashes would be too weak.
    #[error(transparent)]
    Argon2(#[from] Argon2ParamsError),
    /// A template is broken.
    #[error(transparent)]
    Pages(#[from] PagesError),
}

impl App {
    /// The state of a server on these stores.
    pub fn new(config: Config, stores: Stores) -> Result<Self, AppError> {
        let auth = Auth::new(stores.users.clone(), stores.records.clone(), config.auth.clone())?;
        let pages = Pages::new(&config)?;
        Ok(Self(Arc::new(Inner { config, stores, auth, pages, draining: AtomicBool::new(false) })))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn stores(&self) -> &Stores {
        &self.0.stores
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.0.pages
    }

    /// From now on `/readyz` says no.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }
}

impl FromRef<App> for Auth {
    fn from_ref(app: &App) -> Self {
        app.auth().clone()
    }
}

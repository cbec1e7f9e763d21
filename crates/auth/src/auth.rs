//! [`Auth`]: users, passwords and limits behind one handle.

use std::{sync::Arc, time::Duration};

use hallpass_session::{Secret, random};

use crate::{
    Argon2Params, Argon2ParamsError, Conventions, DeviceCookies, HashPool, HashPoolOptions, LoginKey,
    PasswordPolicy, RecordStore, ThrottleOptions, UserStore, device::LogKey, password::CostMix,
    throttle::Throttle,
};

/// How authentication behaves. Write `AuthOptions { sign_in_path: .., ..Default::default() }`.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// Where in the session the user stands. Default: `userId`.
    pub login_key: LoginKey,
    /// Which new passwords are accepted.
    pub password: PasswordPolicy,
    /// What a hash costs.
    pub argon2: Argon2Params,
    /// How much hashing happens at once.
    pub hashing: HashPoolOptions,
    /// How often somebody may try.
    pub throttle: ThrottleOptions,
    /// Signs the cookies of browsers that have signed in to an account, so that guesses from elsewhere do not lock its owner out.
    /// `None`, the default: browsers are known by their address alone.
    pub device_cookies: Option<DeviceCookies>,
    /// How long "remember me" keeps an unused session. Default: 30 days.
    pub remember_for: Duration,
    /// Keys what must look random to clients and be the same on every server and after a restart: which dummy hash stands for a login
    /// without a password, and the hashes of logins in the log. Default: random for this process.
    pub secret: Secret<Vec<u8>>,
    /// Roles that mean nothing more than having an account, such as the default of an application's table. An account with any other role
    /// is connected to a provider only by whoever is signed in to it. Default: none.
    pub ordinary_roles: Vec<String>,
    /// Accepts sessions that another application signed in: their data names the user at [`login_key`](Self::login_key), and nothing says
    /// that the sign-in was here. For stores that an Express app shares, and signs in at. Such a session does not end by itself with a
    /// change of password; it is ended if the store lists it under its user, as the layouts of Express do. Default: no.
    pub accept_foreign_sign_ins: bool,
    /// Where guards send page loads of visitors, with `?next=` and the way back. `None`: 401 for everybody.
    pub sign_in_path: Option<String>,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            login_key: LoginKey::default(),
            password: PasswordPolicy::default(),
            argon2: Argon2Params::default(),
            hashing: HashPoolOptions::default(),
            throttle: ThrottleOptions::default(),
            device_cookies: None,
            remember_for: Duration::from_secs(30 * 24 * 3600),
            accept_foreign_sign_ins: false,
            secret: Secret::new(random::<32>().to_vec()),
            ordinary_roles: Vec::new(),
            sign_in_path: None,
        }
    }
}

/// Signs people in and out, and keeps their accounts. Cheap to clone; with axum, make it (part of) the state.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) users: Arc<dyn UserStore>,
    pub(crate) records: Arc<dyn RecordStore>,
    pub(crate) hashing: HashPool,
    pub(crate) costs: CostMix,
    pub(crate) throttle: Throttle,
    pub(crate) log_key: LogKey,
    pub(crate) conventions: Conventions,
    pub(crate) options: AuthOptions,
}

impl Auth {
    /// Authentication over these stores. Hash parameters below OWASP's minimum are refused.
    pub fn new(
        users: Arc<dyn UserStore>,
        records: Arc<dyn RecordStore>,
        options: AuthOptions,
    ) -> Result<Self, Argon2ParamsError> {
        if options.argon2 != Argon2Params::insecure_for_tests() {
            options.argon2.check()?;
        }
        let conventions = users.conventions();
        let hashing = HashPool::with_format(options.argon2, conventions.passwords, options.hashing);
        let costs = CostMix::new(&options.secret, hashing.cost());
        let (throttle, log_key) = (Throttle::new(records.clone()), LogKey::new(options.secret.expose()));
        let inner = Inner { users, records, hashing, costs, throttle, log_key, conventions, options };
        Ok(Self(Arc::new(inner)))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// The options it was made with.
    pub fn options(&self) -> &AuthOptions {
        &self.0.options
    }

    /// How the accounts are kept.
    pub fn conventions(&self) -> &Conventions {
        &self.0.conventions
    }

    /// The users.
    pub fn users(&self) -> &Arc<dyn UserStore> {
        &self.0.users
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Auth").field(&self.0.options).finish()
    }
}

//! An application on the library's Express profile: accounts, and sessions in the store of an Express app. It has the routes of the
//! `hallpass` server that the tables of `interop/faults` and `interop/express/ended.mjs` use, so that they run with either.
//!
//! Run with: `cargo run -p interop-driver --bin express-app -- --database postgres://… --user-path userId`

#![expect(clippy::print_stdout, reason = "a program of its own")]

mod account;
mod stores;

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    routing::{delete, get, post},
};
use clap::Parser;
use hallpass_auth::{Argon2Params, Auth, AuthOptions, Limit, LoginKey, ThrottleOptions};
use hallpass_session::{
    Clock, Keys, SessionLayer, SessionStore, StoreClock, Sweeper, express::ExpressOptions,
};
use hallpass_stores::Stores;

/// What the program is told.
#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:4300")]
    listen: SocketAddr,
    /// Where accounts are, and sessions too unless `--sessions` says otherwise.
    #[arg(long)]
    database: String,
    /// Where sessions are.
    #[arg(long)]
    sessions: Option<String>,
    /// The secret that signs cookies.
    #[arg(long, env = "HALLPASS__SESSION__SECRETS")]
    secret: String,
}

/// Where the data of a session names its user.
const USER_PATH: &str = "userId";

/// What the routes need.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) auth: Auth,
    pub(crate) stores: Arc<Stores>,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) clock: StoreClock,
}

impl axum::extract::FromRef<App> for Auth {
    fn from_ref(app: &App) -> Self {
        app.auth.clone()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let stores = Arc::new(stores::accounts(&args.database).await?);
    let store = stores::sessions(args.sessions.as_ref().unwrap_or(&args.database)).await?;
    let sessions = store.clone().sessions();
    let clock = StoreClock::of(sessions.clone()).await;
    let sweeper = Sweeper { clock: Arc::new(clock.clone()), ..Sweeper::default() };
    tokio::spawn(sweeper.run(sessions.clone()));
    let auth = Auth::new(stores.users.clone(), stores.records.clone(), auth_options())?;
    let options = ExpressOptions {
        user_path: USER_PATH.to_owned(),
        clock: Arc::new(clock.clone()),
        ..ExpressOptions::default()
    };
    let layer = SessionLayer::express(store, Keys::from_secret(&args.secret)?, options);
    let app = routes().layer(layer).with_state(App { auth, stores, sessions, clock });
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    println!("{{\"ready\":\"http://{}\"}}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// Hashes that cost little, and no limits: hundreds of accounts are made from one address.
fn auth_options() -> AuthOptions {
    let none = |limit: Limit| Limit { free: 1_000_000, ..limit };
    let default = ThrottleOptions::default();
    let throttle =
        ThrottleOptions { register: none(default.register), address: none(default.address), ..default };
    AuthOptions {
        login_key: LoginKey::plain(USER_PATH),
        argon2: Argon2Params::insecure_for_tests(),
        throttle,
        ..AuthOptions::default()
    }
}

fn routes() -> Router<App> {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(account::ready))
        .route("/auth/register", post(account::register))
        .route("/auth/login", post(account::log_in))
        .route("/auth/logout", post(account::log_out))
        .route("/auth/destroy", post(account::destroy))
        .route("/auth/regenerate", post(account::regenerate))
        .route("/auth/me", get(account::me).patch(account::rename))
        .route("/auth/password", post(account::change_password))
        .route("/auth/sessions", get(account::sessions))
        .route("/auth/sessions/{handle}", delete(account::end_session))
}

impl App {
    pub(crate) fn now(&self) -> hallpass_session::Timestamp {
        self.clock.now()
    }
}

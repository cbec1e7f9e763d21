//! The Express session tutorial everybody knows, as an axum app: log in, a guarded route, log out.
//!
//! Run with: `SESSION_SECRET=$(openssl rand -base64 32) cargo run -p tutorial`
//! Add a user with: `cargo run -p hallpass-server -- user create ann@example.com --database sqlite:tutorial.db`

use std::{env, error::Error, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    response::{IntoResponse, Response},
    routing::post,
};
use hallpass_auth::{Attempt, Auth, AuthOptions, CurrentUser, DeviceCookies, LoginOutcome, Origin};
use hallpass_session::{
    CookieOptions, Keys, Secret, Secure, Session, SessionOptions, TrustProxy, TrustProxyLayer,
};
use hallpass_stores::Stores;
use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::json;
use tower_http::{cors::CorsLayer, csrf::CsrfLayer};

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: Secret<String>,
}

#[tokio::main]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a program of its own")]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let production = setting("APP_ENV", "development") == "production";
    let stores = Stores::open(&setting("DATABASE", "sqlite:tutorial.db")).await?;
    let secret = setting("SESSION_SECRET", "");
    // Guesses from elsewhere do not lock out a browser that has signed in before.
    let devices = DeviceCookies::new([&secret])?;
    let devices = if production { devices } else { devices.insecure() };
    let options = AuthOptions { device_cookies: Some(devices), ..AuthOptions::default() };
    let cookie = CookieOptions {
        secure: if production { Secure::On } else { Secure::Off },
        max_age: Some(Duration::from_secs(7 * 24 * 3600)),
        ..CookieOptions::default() // HttpOnly, SameSite=Lax
    };
    let session_options = SessionOptions { cookie, rolling: true, ..SessionOptions::default() };
    let sessions = stores.session_layer(Keys::from_secret(&secret)?, session_options)?;
    let auth = Auth::new(stores.users, stores.records, options)?;
    let front_end = setting("FRONT_END", "http://localhost:5173");
    let cors = CorsLayer::new()
        .allow_origin(front_end.parse::<HeaderValue>()?)
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([CONTENT_TYPE]);
    let proxy = TrustProxyLayer::with_peer(TrustProxy::Hops(1), |connection| {
        connection.get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip())
    });
    let app = Router::new()
        .route("/auth/login", post(log_in))
        .route("/create", post(create))
        .route("/logout", post(log_out))
        .layer(sessions)
        .layer(CsrfLayer::new().add_trusted_origin(&front_end)?)
        .layer(cors)
        .layer(proxy)
        .with_state(auth);
    let listener = tokio::net::TcpListener::bind(setting("LISTEN", "127.0.0.1:3000")).await?;
    println!("open http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?)
}

fn says(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

async fn log_in(
    State(auth): State<Auth>,
    session: Session,
    origin: Origin,
    Json(Credentials { email, password }): Json<Credentials>,
) -> Result<Response, hallpass_auth::Error> {
    Ok(match auth.log_in(&session, Attempt { email, password, remember: false, origin }).await? {
        LoginOutcome::LoggedIn(_) => says(StatusCode::OK, "Logged in successfully"),
        LoginOutcome::Refused => says(StatusCode::BAD_REQUEST, "Invalid credentials"),
        LoginOutcome::Throttled { .. } => says(StatusCode::TOO_MANY_REQUESTS, "Too many attempts"),
        LoginOutcome::Locked => says(StatusCode::FORBIDDEN, "Sign in from a browser you have used before"),
    })
}

/// The guard is the extractor: without a user it answers 401 `{"message":"Unauthorized"}`.
async fn create(CurrentUser(user): CurrentUser) -> Response {
    says(StatusCode::CREATED, &format!("Created by {}", user.email))
}

async fn log_out(State(auth): State<Auth>, session: Session) -> Response {
    auth.log_out(&session);
    says(StatusCode::OK, "Logged out successfully")
}

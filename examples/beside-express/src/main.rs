//! The Hallpass app beside an Express app: the same cookie, the same sessions, the same accounts. `./run` starts both behind one nginx.
//!
//! What Express calls `session({ name, secret, cookie, rolling })` is [`SessionLayer`], `MongoStore.create` is [`ConnectMongo`], the mongoose
//! model is a [`UserMap`]. It serves Express's own routes too, so that each can move by one line of nginx.

use std::{env, error::Error, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hallpass_auth::{
    Attempt, Auth, AuthOptions, CurrentUser, DeviceCookies, EndedSessions, LoginKey, LoginOutcome, Origin,
    PasswordChanged, PasswordPolicy, Remains,
};
use hallpass_session::{
    CookieOptions, Keys, Secret, Secure, Session, SessionLayer, SessionOptions, StoreClock, TrustProxy,
    TrustProxyLayer,
};
use hallpass_stores::{
    ConnectMongo, ConnectMongoOptions, ConnectOptions, Mongo, MongoUsers, ServerOptions, UserMap,
};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower_http::set_header::SetResponseHeaderLayer;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Answer = Result<Response, hallpass_auth::Error>;

#[tokio::main]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a program of its own")]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let url = setting("MONGO_URL", "mongodb://127.0.0.1/shop");
    let secure = if setting("NODE_ENV", "") == "production" { Secure::On } else { Secure::Off };
    let secret = setting("SESSION_SECRET", "");
    // Guesses from elsewhere do not lock out a browser that has signed in here before.
    let devices = DeviceCookies::new([&secret])?;
    let devices = if secure == Secure::On { devices } else { devices.insecure() };
    let sessions = sessions(&url, Keys::from_secret(&secret)?, secure).await?;
    let app = router(sessions, people(&url, devices).await?);
    let listener = tokio::net::TcpListener::bind(setting("LISTEN", "127.0.0.1:3001")).await?;
    println!("hallpass listens on {}", listener.local_addr()?);
    Ok(axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?)
}

/// `session({ name, secret, cookie, rolling: true, store: MongoStore.create({ collectionName: "sessions", ttl }) })`
async fn sessions(url: &str, keys: Keys, secure: Secure) -> Result<SessionLayer, Box<dyn Error>> {
    let cookie = CookieOptions {
        name: "connect.sid".to_owned(), // Express's default
        max_age: Some(7 * DAY),
        secure,
        ..CookieOptions::default() // HttpOnly, SameSite=Lax, Path=/
    };
    let connect = ConnectOptions {
        ttl: 14 * DAY,
        cookie: cookie.clone(),
        user_path: Some("userId".to_owned()), // where its sessions say who is logged in
        ..ConnectOptions::default()
    };
    let options = ConnectMongoOptions { connect, ..ConnectMongoOptions::default() };
    let store = Arc::new(ConnectMongo::connect(url, &options).await?);
    let clock = StoreClock::of(store.clone()).await;
    // Express knows no end but the idle one.
    let options =
        SessionOptions { cookie, rolling: true, absolute_timeout: None, ..SessionOptions::with_clock(clock) };
    Ok(SessionLayer::new(store, keys, options)?)
}

/// `mongoose.model("User")`: collection `users`, `email`, `password` as bcryptjs writes it, `name`.
async fn people(url: &str, devices: DeviceCookies) -> Result<Auth, Box<dyn Error>> {
    let users = MongoUsers::connect(url, &UserMap::default(), &ServerOptions::default()).await?;
    // What Express has no place for, such as counts of failed sign-ins, is in collections of its own.
    let records = Mongo::connect(url, &ServerOptions::default()).await?;
    let options = AuthOptions {
        login_key: LoginKey::plain("userId"),
        accept_foreign_sign_ins: true, // people sign in at Express too
        device_cookies: Some(devices),
        password: PasswordPolicy { min_length: 8, ..PasswordPolicy::default() }, // as long as Express has its own say
        ..AuthOptions::default()
    };
    Ok(Auth::new(Arc::new(users), Arc::new(records), options)?)
}

fn router(sessions: SessionLayer, auth: Auth) -> Router {
    // app.set("trust proxy", 1)
    let proxy = TrustProxyLayer::with_peer(TrustProxy::Hops(1), |connection| {
        connection.get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip())
    });
    let served_by = SetResponseHeaderLayer::overriding(
        http::HeaderName::from_static("x-served-by"),
        HeaderValue::from_static("hallpass"),
    );
    Router::new()
        .route("/auth/login", post(log_in))
        .route("/auth/logout", post(log_out))
        .route("/auth/me", get(me))
        .route("/account", get(account))
        .route("/account/logout", post(log_out))
        .route("/account/logout-everywhere", post(log_out_everywhere))
        .route("/account/password", post(change_password))
        .route("/cart", get(cart).post(add_to_cart))
        .route("/orders", get(orders).post(order))
        .layer(sessions)
        .layer(proxy)
        .layer(served_by)
        .with_state(auth)
}

fn says(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: Secret<String>,
}

async fn log_in(
    State(auth): State<Auth>,
    session: Session,
    origin: Origin,
    Json(Credentials { email, password }): Json<Credentials>,
) -> Answer {
    Ok(match auth.log_in(&session, Attempt { email, password, remember: false, origin }).await? {
        LoginOutcome::LoggedIn(_) => says(StatusCode::OK, "Logged in successfully"),
        LoginOutcome::Refused => says(StatusCode::BAD_REQUEST, "Invalid credentials"),
        LoginOutcome::Throttled { .. } => says(StatusCode::TOO_MANY_REQUESTS, "Too many attempts"),
        LoginOutcome::Locked => says(StatusCode::FORBIDDEN, "Sign in from a browser you have used before"),
    })
}

async fn log_out(State(auth): State<Auth>, session: Session) -> Response {
    auth.log_out(&session);
    says(StatusCode::OK, "Logged out successfully")
}

/// Also where the person logged in at Express: sessions are found by the `userId` in them.
async fn log_out_everywhere(State(auth): State<Auth>, session: Session) -> Answer {
    let EndedSessions { count, remains } = auth.log_out_everywhere(&session).await?;
    let message = match remains {
        None => "Logged out everywhere",
        Some(Remains::KnownBrowsers) => "Logged out everywhere. Other browsers are still known",
        Some(Remains::ThisSession) => "Logged out everywhere else. Log out here once more",
    };
    Ok(Json(json!({ "message": message, "others": count })).into_response())
}

async fn me(CurrentUser(user): CurrentUser) -> Response {
    Json(json!({ "email": user.email.as_str(), "name": user.name })).into_response()
}

async fn account(State(auth): State<Auth>, CurrentUser(user): CurrentUser, session: Session) -> Answer {
    let sessions = auth.sessions(&session, &user, 100).await?.listed.len();
    Ok(Json(json!({ "email": user.email.as_str(), "name": user.name, "sessions": sessions })).into_response())
}

#[derive(Deserialize)]
struct NewPassword {
    current: Secret<String>,
    new: Secret<String>,
}

async fn change_password(
    State(auth): State<Auth>,
    CurrentUser(user): CurrentUser,
    session: Session,
    origin: Origin,
    Json(NewPassword { current, new }): Json<NewPassword>,
) -> Answer {
    Ok(match auth.change_password(&session, &user, current, new, &origin).await? {
        PasswordChanged::Done => says(StatusCode::OK, "Password changed"),
        PasswordChanged::SignInAgain => says(StatusCode::OK, "Password changed; sign in again"),
        PasswordChanged::OthersRemain => {
            says(StatusCode::OK, "Password changed; other sessions end as soon as the database answers")
        }
        PasswordChanged::WrongPassword => says(StatusCode::BAD_REQUEST, "Invalid credentials"),
        PasswordChanged::Refused(problem) => says(StatusCode::UNPROCESSABLE_ENTITY, &problem.to_string()),
        PasswordChanged::NotFresh => says(StatusCode::FORBIDDEN, "Sign in again to do this"),
        PasswordChanged::Throttled { .. } => says(StatusCode::TOO_MANY_REQUESTS, "Too many attempts"),
    })
}

/// What is in the cart, as Express has it: `{"apple": 2}`.
fn cart_of(session: &Session) -> Result<Map<String, Value>, hallpass_auth::Error> {
    Ok(session.get("cart")?.unwrap_or_default())
}

async fn cart(CurrentUser(_): CurrentUser, session: Session) -> Answer {
    Ok(Json(json!({ "cart": cart_of(&session)? })).into_response())
}

#[derive(Deserialize)]
struct Item {
    item: String,
}

async fn add_to_cart(
    CurrentUser(_): CurrentUser,
    session: Session,
    Json(Item { item }): Json<Item>,
) -> Answer {
    let mut cart = cart_of(&session)?;
    let count = cart.get(&item).and_then(Value::as_u64).unwrap_or(0) + 1;
    cart.insert(item, count.into());
    session.insert("cart", &cart)?;
    Ok(Json(json!({ "cart": cart })).into_response())
}

async fn orders(CurrentUser(_): CurrentUser, session: Session) -> Answer {
    let orders: Vec<Value> = session.get("orders")?.unwrap_or_default();
    Ok(Json(json!({ "orders": orders })).into_response())
}

/// Orders what is in the cart.
async fn order(CurrentUser(_): CurrentUser, session: Session) -> Answer {
    let mut orders: Vec<Value> = session.get("orders")?.unwrap_or_default();
    orders.push(cart_of(&session)?.into());
    session.insert("orders", &orders)?;
    session.remove("cart");
    Ok((StatusCode::CREATED, Json(json!({ "orders": orders }))).into_response())
}

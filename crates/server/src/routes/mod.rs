//! The routes, a file a feature. Each takes JSON from programs and forms from our pages.

mod account;
mod csrf;
mod health;
mod links;
mod login;
mod logout;
pub(crate) mod oauth;
mod register;
mod sessions;

use axum::{
    Json, Router,
    extract::{FromRequestParts, Query, State},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use hallpass_auth::{CurrentUser, RedirectPath, User};
use http::{StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use self::health::Readiness;
use crate::{app::App, pages::ASSETS};

/// All routes.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(home))
        .route("/login", get(login::page))
        .route("/auth/login", post(login::log_in))
        .route("/register", get(register::page))
        .route("/auth/register", post(register::register))
        .route("/auth/logout", post(logout::log_out))
        .route("/logout", post(logout::log_out))
        .route("/account", get(account::page))
        .route("/auth/me", get(account::me).patch(account::change_name).post(account::change_name))
        .route("/auth/password", post(account::change_password))
        .route("/auth/sessions", get(sessions::list).delete(sessions::end_others))
        .route("/auth/sessions/end", post(sessions::end_others))
        .route("/auth/sessions/{handle}", axum::routing::delete(sessions::end))
        .route("/auth/sessions/{handle}/end", post(sessions::end))
        .route("/auth/providers", get(oauth::list))
        .route("/auth/oauth/{name}", get(oauth::begin))
        .route("/auth/oauth/{name}/callback", get(oauth::callback).post(oauth::posted_callback))
        .route("/auth/oauth/{name}/end-session", get(oauth::depart))
        .route("/auth/oauth/{name}/jwks", get(oauth::client_keys))
        .route("/auth/oauth/{name}/link", post(oauth::link))
        .route("/auth/oauth/{name}/backchannel-logout", post(oauth::back_channel_logout))
        .route("/auth/links", get(links::list))
        .route("/auth/links/{id}", axum::routing::delete(links::end))
        .route("/auth/links/{id}/end", post(links::end))
        .route("/auth/csrf", get(csrf::token))
        .route("/assets/{file}", get(asset))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
}

/// Whether the path takes passwords, which may be long.
pub(crate) fn takes_password(path: &str) -> bool {
    matches!(path, "/auth/login" | "/auth/register" | "/auth/password")
}

/// Whether the path is for load balancers and supervisors.
pub(crate) fn is_health(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// The account of who is signed in, the sign-in page for others.
async fn home(user: Option<CurrentUser>) -> Redirect {
    Redirect::to(if user.is_some() { "/account" } else { "/login" })
}

async fn asset(State(app): State<App>, parts: Asset) -> Response {
    if parts.0 != app.pages().style_name() {
        return StatusCode::NOT_FOUND.into_response();
    }
    // The name holds a hash of the content: it never changes.
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, app.pages().style().to_owned()).into_response()
}

/// The file's name in the path.
struct Asset(String);

impl<S: Send + Sync> FromRequestParts<S> for Asset {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        Ok(Self(parts.uri.path().trim_start_matches(ASSETS).to_owned()))
    }
}

/// What a page is told in its address.
#[derive(Default, Deserialize)]
struct PageQuery {
    /// Where to go afterwards.
    next: Option<String>,
    /// What has just been done.
    done: Option<String>,
    /// What did not work, at a provider.
    failed: Option<String>,
    /// Which provider.
    with: Option<String>,
    /// Sign in although somebody is signed in.
    again: Option<String>,
    /// What lets a browser sign out at a provider.
    ticket: Option<String>,
}

impl PageQuery {
    fn next(&self) -> Option<RedirectPath> {
        self.next.as_deref().and_then(RedirectPath::parse)
    }
}

/// The query of a page; what cannot be read is as good as none.
struct ThePageQuery(PageQuery);

impl<S: Send + Sync> FromRequestParts<S> for ThePageQuery {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Query::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default()))
    }
}

/// `{"message": …}`
fn done(message: &str) -> Response {
    Json(json!({ "message": message })).into_response()
}

/// The same with a code, for what is done and asks for something more.
fn done_but(message: &str, code: &str) -> Response {
    Json(json!({ "message": message, "code": code })).into_response()
}

/// A user as the API shows them.
fn shown(user: &User) -> Value {
    json!({ "id": user.id, "email": user.email.as_str(), "name": user.name })
}

/// Where somebody goes who has just signed in.
fn onward(next: Option<&str>) -> Redirect {
    let next = next.and_then(RedirectPath::parse);
    Redirect::to(next.as_ref().map_or("/account", RedirectPath::as_str))
}

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
    extract::{FromRequestParts, Query, Request, State},
    handler::Handler,
    middleware::{Next, from_fn},
    response::{IntoResponse, Redirect, Response},
    routing::{MethodRouter, delete, get, post},
};
use hallpass_auth::{CurrentUser, RedirectPath, User};
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use self::health::Readiness;
use crate::{app::App, error::ApiError, pages::ASSETS};

/// All routes. Where two paths fit, the first counts.
fn table() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/", get(home)),
        ("/login", get(login::page)),
        ("/auth/login", post(login::log_in)),
        ("/register", get(register::page)),
        ("/auth/register", post(register::register)),
        ("/auth/logout", post(logout::log_out)),
        ("/logout", post(logout::log_out)),
        ("/account", get(account::page)),
        ("/auth/me", get(account::me).patch(account::change_name).post(account::change_name)),
        ("/auth/password", post(account::change_password)),
        ("/auth/sessions", get(sessions::list).delete(sessions::end_others)),
        ("/auth/sessions/end", post(sessions::end_others)),
        ("/auth/sessions/{handle}", delete(sessions::end)),
        ("/auth/sessions/{handle}/end", post(sessions::end)),
        ("/auth/providers", get(oauth::list)),
        ("/auth/oauth/{name}", visit(oauth::begin)),
        ("/auth/oauth/{name}/callback", visit(oauth::callback).post(oauth::posted_callback)),
        ("/auth/oauth/{name}/end-session", visit(oauth::depart)),
        ("/auth/oauth/{name}/jwks", get(oauth::client_keys)),
        ("/auth/oauth/{name}/link", post(oauth::link)),
        ("/auth/oauth/{name}/backchannel-logout", post(oauth::back_channel_logout)),
        ("/auth/links", get(links::list)),
        ("/auth/links/{id}", delete(links::end)),
        ("/auth/links/{id}/end", post(links::end)),
        ("/auth/csrf", get(csrf::token)),
        ("/assets/{file}", get(asset)),
        ("/healthz", get(health::alive)),
        ("/readyz", get(health::ready)),
    ]
}

/// A GET that changes something, because a provider or a link leads there. HEAD and a browser that only prepares for a visit change nothing.
fn visit<H, T>(handler: H) -> MethodRouter<App>
where
    H: Handler<T, App>,
    T: 'static,
{
    get(handler).layer(from_fn(only_visits))
}

async fn only_visits(request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD {
        return StatusCode::NO_CONTENT.into_response();
    }
    if is_ahead(request.headers()) {
        // An error, so that the browser asks again when the person goes there.
        let message = "This address is only for visits";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_prefetch", message).into_response();
    }
    next.run(request).await
}

/// Whether a browser asks before the person goes there: a prefetch, a prerendering or a preview.
fn is_ahead(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"].iter().any(|name| {
        let purposes = headers.get_all(*name).iter().filter_map(|purpose| purpose.to_str().ok());
        let ahead = |purpose: &str| {
            let purpose = purpose.to_ascii_lowercase();
            ["prefetch", "prerender", "preview"].iter().any(|ahead| purpose.contains(ahead))
        };
        purposes.into_iter().any(ahead)
    })
}

/// All routes as a router.
pub(crate) fn routes() -> Router<App> {
    table().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods))
}

/// The paths of all routes, with `{…}` for what differs.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    table().into_iter().map(|(path, _)| path)
}

/// Whether a page stands there, which people open by its address.
pub(crate) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/login" | "/register" | "/account")
}

/// Whether the path takes passwords, which may be long.
pub(crate) fn takes_password(path: &str) -> bool {
    matches!(path, "/auth/login" | "/auth/register" | "/auth/password")
}

/// Whether somebody signs in there, or registers.
pub(crate) fn is_sign_in(path: &str) -> bool {
    matches!(path, "/auth/login" | "/auth/register")
}

/// Whether somebody signs out there.
pub(crate) fn is_sign_out(path: &str) -> bool {
    matches!(path, "/auth/logout" | "/logout")
}

/// Whether the path is for load balancers and supervisors.
pub(crate) fn is_health(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// The account of who is signed in, the sign-in page for others.
async fn home(State(app): State<App>, user: Option<CurrentUser>) -> Redirect {
    app.redirect(if user.is_some() { "/account" } else { "/login" })
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
    json!({ "id": user.id, "email": user.email.as_str(), "name": user.name, "roles": user.roles })
}

/// Where somebody goes who has just signed in.
fn onward(app: &App, next: Option<&str>) -> Redirect {
    match next.and_then(RedirectPath::parse) {
        Some(next) => Redirect::to(next.as_str()),
        None => app.redirect("/account"),
    }
}

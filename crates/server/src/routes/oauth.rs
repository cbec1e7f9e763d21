//! Signing in with a provider: there and back.
//!
//! Whatever comes back, the answer is a redirect without a body: the address holds a code, and a page could leak it.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Redirect, Response},
};
use hallpass_auth::{
    CurrentUser, RedirectPath,
    oauth::{Begun, Callback, Departed, Departure, Failure, Finished, LogoutRefused, Outcome},
};
use hallpass_session::{SameSite, Session};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{REFERRER_POLICY, SET_COOKIE},
};
use serde_json::json;
use url::form_urlencoded::Serializer;

use super::{ThePageQuery, done, logout, onward};
use crate::{
    app::App,
    error::ApiError,
    input::{Asker, Fields},
};

const PREFIX: &str = "/auth/oauth/";
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Where people are told that they are out.
const SIGNED_OUT: &str = "/login?done=logout";

/// Marks an answer that went through a page of ours.
const AGAIN: &str = "again=1";

/// Whether providers, or their pages, post to this path. What comes proves itself: by state and cookie, or by a signature.
pub(crate) fn is_posted_by_providers(path: &str) -> bool {
    let rest = path.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/'));
    rest.is_some_and(|(_, rest)| matches!(rest, "callback" | "backchannel-logout"))
}

fn known(app: &App, name: &str) -> Result<(), ApiError> {
    let missing = || ApiError::of_status(StatusCode::NOT_FOUND);
    app.providers().get(name).map(drop).ok_or_else(missing)
}

/// Refuses whatever is no page of its own: scripts and what is embedded.
fn as_a_page(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.get(FETCH_DEST).is_some_and(|dest| dest != "document") {
        let message = "Open this address in a window of its own.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    Ok(())
}

/// GET /auth/providers
pub(super) async fn list(State(app): State<App>) -> Response {
    let provider = |provider: &hallpass_auth::oauth::Provider| {
        let path = app.at(&format!("{PREFIX}{}", provider.name));
        json!({ "name": provider.name, "label": provider.label, "path": path })
    };
    Json(json!({ "providers": app.providers().iter().map(provider).collect::<Vec<_>>() })).into_response()
}

/// GET /auth/oauth/{name}: to the provider, with `again` to sign in there anew. Only as a page of its own: nothing that is embedded begins to sign in.
pub(super) async fn begin(
    State(app): State<App>,
    Path(name): Path<String>,
    ThePageQuery(query): ThePageQuery,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    known(&app, &name)?;
    as_a_page(&headers)?;
    let next = query.next();
    let now = app.now();
    if let Err(failure) = app.providers().admit(&asker.origin, now).await? {
        return Ok(failed(&app, "/login", failure, &name, next.as_ref()));
    }
    let begun = match query.again {
        Some(_) => app.providers().begin_anew(&name, &headers, next.as_ref(), now).await?,
        None => app.providers().begin(&name, &headers, next.as_ref(), now).await?,
    };
    match begun {
        Begun::Away { location, cookies } => Ok(with(Redirect::to(&location).into_response(), cookies)),
        Begun::Failed(failure) => Ok(failed(&app, "/login", failure, &name, next.as_ref())),
    }
}

/// POST /auth/oauth/{name}/link: to the provider, to connect an account there. A page leads on, because browsers hold the target of a
/// form, through all redirects, against `form-action`.
pub(super) async fn link(
    State(app): State<App>,
    Path(name): Path<String>,
    CurrentUser(user): CurrentUser,
    session: Session,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    known(&app, &name)?;
    match app.providers().begin_link(&name, &headers, &session, &user).await? {
        Begun::Away { location, cookies } if asker.page => Ok(with(app.pages().away(&location)?, cookies)),
        Begun::Away { location, cookies } => {
            Ok(with(Json(json!({ "location": location })).into_response(), cookies))
        }
        Begun::Failed(failure) if asker.page => Ok(failed(&app, "/account", failure, &name, None)),
        Begun::Failed(failure) => Err(refused(&app, failure, &name)),
    }
}

/// GET /auth/oauth/{name}/callback
pub(super) async fn callback(
    State(app): State<App>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    session: Session,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    known(&app, &name)?;
    let query = query.unwrap_or_default();
    let Some(callback) = Callback::parse(&query) else {
        return Ok(failed(&app, "/login", Failure::Unexpected, &name, None));
    };
    let strict = app.config().session.cookie.same_site == SameSite::Strict;
    if strict && !query.ends_with(AGAIN) {
        return through_us(&app, &name, &callback);
    }
    let finished = app.providers().finish(&name, &session, &headers, &callback, &asker.origin).await?;
    Ok(finish(&app, &name, finished))
}

/// POST /auth/oauth/{name}/callback, from providers that answer with a form. A post from their page brings no cookie, so it changes
/// nothing; a page of ours brings the same as a GET.
pub(super) async fn posted_callback(
    State(app): State<App>,
    Path(name): Path<String>,
    body: String,
) -> Result<Response, ApiError> {
    known(&app, &name)?;
    match Callback::parse(&body) {
        Some(callback) => through_us(&app, &name, &callback),
        None => Ok(failed(&app, "/login", Failure::Unexpected, &name, None)),
    }
}

/// The same answer once more, but from a page of this site: now the browser sends all cookies.
fn through_us(app: &App, name: &str, callback: &Callback) -> Result<Response, ApiError> {
    let location = app.at(&format!("{PREFIX}{name}/callback?{}&{AGAIN}", callback.to_query()));
    Ok(private(app.pages().away(&location)?))
}

fn finish(app: &App, name: &str, Finished { outcome, next, linking, cookies }: Finished) -> Response {
    let response = match outcome {
        Outcome::SignedIn { claimed: true, .. } => app.redirect("/account?done=claimed").into_response(),
        Outcome::SignedIn { .. } => onward(app, next.as_ref().map(RedirectPath::as_str)).into_response(),
        Outcome::Linked => app.redirect("/account?done=linked").into_response(),
        Outcome::Failed(failure) if linking => failed(app, "/account", failure, name, None),
        Outcome::Failed(failure) => failed(app, "/login", failure, name, next.as_ref()),
    };
    with(private(response), cookies)
}

/// To a page that says what went wrong.
fn failed(app: &App, page: &str, failure: Failure, name: &str, next: Option<&RedirectPath>) -> Response {
    let mut query = Serializer::new(String::new());
    query.append_pair("failed", failure.code()).append_pair("with", name);
    if let Some(next) = next {
        query.append_pair("next", next.as_str());
    }
    private(app.redirect(&format!("{page}?{}", query.finish())).into_response())
}

/// The sentence for what a page's address says went wrong; `None` when it says nothing that we said.
pub(super) fn sentence(app: &App, failed: Option<&str>, name: Option<&str>) -> Option<String> {
    let provider = app.providers().get(name?)?;
    Some(Failure::from_code(failed?)?.sentence(&provider.label))
}

fn refused(app: &App, failure: Failure, name: &str) -> ApiError {
    let label = app.providers().get(name).map_or(name, |provider| &provider.label);
    let (status, code) = match failure {
        Failure::NotSignedIn => (StatusCode::FORBIDDEN, "reauth_required"),
        Failure::Unreachable | Failure::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable")
        }
        _ => (StatusCode::BAD_GATEWAY, "provider_failed"),
    };
    ApiError::new(status, code, failure.sentence(label))
}

/// Where whoever has signed out here goes next: an address of ours that leads on to the provider once, in this browser.
pub(super) fn departure_path(departure: &Departure) -> String {
    format!("{PREFIX}{}/end-session?ticket={}", departure.provider, departure.ticket)
}

/// GET /auth/oauth/{name}/end-session: on to the provider, to sign out there. Only as a page: its address holds the provider's ID token.
pub(super) async fn depart(
    State(app): State<App>,
    Path(name): Path<String>,
    ThePageQuery(query): ThePageQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    known(&app, &name)?;
    as_a_page(&headers)?;
    let return_to = format!("{}/login", app.public_url());
    let ticket = query.ticket.unwrap_or_default();
    let now = app.now();
    // Anybody may lead people here; there is nothing to forget then.
    let departed = app.providers().depart(&name, &ticket, &headers, &return_to, now).await?;
    let Some(Departed { location, cookie }) = departed else {
        return Ok(app.redirect(SIGNED_OUT).into_response());
    };
    let away = location.map_or_else(|| app.redirect(SIGNED_OUT), |location| Redirect::to(&location));
    let away = away.into_response();
    let mut response = with(private(away), cookie.into_iter().collect());
    logout::forget(&app, &mut response);
    Ok(response)
}

/// GET /auth/oauth/{name}/jwks: the keys that prove this service to the provider, for the provider.
pub(super) async fn client_keys(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let missing = || ApiError::of_status(StatusCode::NOT_FOUND);
    Ok(Json(app.providers().client_keys(&name).ok_or_else(missing)?).into_response())
}

/// POST /auth/oauth/{name}/backchannel-logout `{logout_token}`, from the provider itself (OpenID Connect Back-Channel Logout 1.0 §2.8).
pub(super) async fn back_channel_logout(
    State(app): State<App>,
    Path(name): Path<String>,
    fields: Fields,
) -> Result<Response, ApiError> {
    known(&app, &name)?;
    let token = fields.required("logout_token")?;
    let sessions = &*app.stores().sessions;
    match app.providers().back_channel_logout(&name, &token, sessions, app.now()).await? {
        Ok(_) => Ok(done("Logged out")),
        Err(refused @ LogoutRefused::Invalid) => Err(ApiError::invalid(refused.to_string())),
        Err(LogoutRefused::Unavailable) => Err(ApiError::of_status(StatusCode::SERVICE_UNAVAILABLE)),
        Err(refused @ LogoutRefused::Interrupted) => {
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "interrupted", refused.to_string()))
        }
    }
}

pub(super) fn with(mut response: Response, cookies: Vec<HeaderValue>) -> Response {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// No site, this one included, learns from where its next request came.
fn private(mut response: Response) -> Response {
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

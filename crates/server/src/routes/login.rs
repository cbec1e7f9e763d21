//! Signing in with a password.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use hallpass_auth::{Attempt, CurrentUser, LoginOutcome, RedirectPath};
use hallpass_session::Session;
use http::StatusCode;
use minijinja::context;
use serde_json::json;

use super::{ThePageQuery, oauth, onward, shown};
use crate::{
    app::App,
    error::ApiError,
    input::{Asker, Fields},
};

/// GET /login
pub(super) async fn page(
    State(app): State<App>,
    ThePageQuery(query): ThePageQuery,
    user: Option<CurrentUser>,
    session: Session,
) -> Result<Response, ApiError> {
    let next = query.next();
    let failed = oauth::sentence(&app, query.failed.as_deref(), query.with.as_deref());
    if user.is_some() && failed.is_some() {
        let (failed, with) = (query.failed.unwrap_or_default(), query.with.unwrap_or_default());
        return Ok(Redirect::to(&format!("/account?failed={failed}&with={with}")).into_response());
    }
    // Who signs in again proves once more who they are.
    if user.is_some() && query.again.is_none() {
        return Ok(Redirect::to(next.as_ref().map_or("/account", RedirectPath::as_str)).into_response());
    }
    let notice = match query.done.as_deref() {
        Some("logout") => Some("You are signed out."),
        Some("registered") => Some("Your account is made. Sign in to go on."),
        Some("password") => Some("Your password is changed. Sign in again with it."),
        _ => None,
    };
    let next = next.as_ref().map(RedirectPath::as_str);
    let again = user.is_some();
    app.pages().render(&session, StatusCode::OK, "login.html", context! { next, notice, failed, again })
}

/// POST /auth/login `{email, password, remember?}`
pub(super) async fn log_in(
    State(app): State<App>,
    session: Session,
    asker: Asker,
    fields: Fields,
) -> Result<Response, ApiError> {
    let page = asker.page;
    match attempt(&app, &session, asker, &fields).await {
        Ok(response) => Ok(response),
        Err(error) if page && error.status.is_client_error() => {
            let (email, next) = (fields.text("email")?, fields.text("next")?);
            let remember = fields.flag("remember");
            let again = session.user().is_some();
            let context = context! { email, next, remember, again, error => error.message.as_ref() };
            app.pages().render(&session, error.status, "login.html", context)
        }
        Err(error) => Err(error),
    }
}

async fn attempt(app: &App, session: &Session, asker: Asker, fields: &Fields) -> Result<Response, ApiError> {
    let attempt = Attempt {
        email: fields.required("email")?,
        password: fields.secret("password")?,
        remember: fields.flag("remember"),
        origin: asker.origin,
    };
    match app.auth().log_in(session, attempt).await? {
        LoginOutcome::LoggedIn(_) if asker.page => Ok(onward(fields.text("next")?).into_response()),
        LoginOutcome::LoggedIn(user) => {
            Ok(Json(json!({ "message": "Logged in successfully", "user": shown(&user) })).into_response())
        }
        LoginOutcome::Refused => {
            let message =
                if asker.page { "The address or the password is not right." } else { "Invalid credentials" };
            Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_credentials", message))
        }
        LoginOutcome::Throttled { retry_after } => Err(ApiError::throttled(retry_after)),
        LoginOutcome::Locked => Err(ApiError::locked()),
    }
}

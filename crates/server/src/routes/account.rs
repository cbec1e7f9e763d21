//! The account: who am I, name, password.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use hallpass_auth::{CurrentUser, PasswordChanged, Refusal, User};
use hallpass_session::Session;
use http::StatusCode;
use minijinja::{Value, context};
use serde_json::json;

use super::{ThePageQuery, done, register::refused, sessions::ShownSession, shown};
use crate::{
    app::App,
    device,
    error::ApiError,
    input::{Asker, Fields},
};

/// GET /auth/me
pub(super) async fn me(CurrentUser(user): CurrentUser) -> Response {
    Json(json!({ "user": shown(&user) })).into_response()
}

/// GET /account
pub(super) async fn page(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    session: Session,
    ThePageQuery(query): ThePageQuery,
) -> Result<Response, ApiError> {
    let notice = match query.done.as_deref() {
        Some("name") => Some("Your name is saved."),
        Some("password") => Some("Your password is changed. You are signed out everywhere else."),
        Some("ended") => Some("That session has ended."),
        Some("others") => Some("You are signed out everywhere else."),
        _ => None,
    };
    render(&app, &session, &user, StatusCode::OK, context! { notice }).await
}

/// The account page; `more` says what has just happened.
async fn render(
    app: &App,
    session: &Session,
    user: &User,
    status: StatusCode,
    more: Value,
) -> Result<Response, ApiError> {
    let mut sessions = app.auth().sessions(session, user).await?;
    sessions.sort_by_key(|own| !own.current);
    let sessions: Vec<Value> = sessions
        .iter()
        .map(|own| {
            let shown = ShownSession::from(own);
            let device = device::describe(shown.user_agent.as_deref());
            let seen = device::ago(session.now().since(own.listed.seen));
            context! {
                device,
                seen,
                handle => shown.handle,
                current => shown.current,
                last_seen_at => shown.last_seen_at,
                address => shown.address,
            }
        })
        .collect();
    let user = context! { email => user.email.as_str(), name => user.name.as_deref() };
    app.pages().render(session, status, "account.html", context! { user, sessions, ..more })
}

/// PATCH /auth/me `{name}`, null removes it; from a page, POST
pub(super) async fn change_name(
    State(app): State<App>,
    CurrentUser(mut user): CurrentUser,
    session: Session,
    asker: Asker,
    fields: Fields,
) -> Result<Response, ApiError> {
    if !fields.has("name") {
        return Err(ApiError::invalid("name is missing; null removes it"));
    }
    let typed = fields.text("name")?.unwrap_or_default();
    match app.auth().change_name(&user, typed).await? {
        Ok(_) if asker.page => Ok(Redirect::to("/account?done=name").into_response()),
        Ok(name) => {
            user.name = name;
            Ok(Json(json!({ "message": "Saved", "user": shown(&user) })).into_response())
        }
        Err(refusal) => answer(&app, &session, &user, asker.page, refused(refusal), "name").await,
    }
}

/// POST /auth/password `{current_password, new_password}`
pub(super) async fn change_password(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    session: Session,
    asker: Asker,
    fields: Fields,
) -> Result<Response, ApiError> {
    let (current, new) = match (fields.secret("current_password"), fields.secret("new_password")) {
        (Ok(current), Ok(new)) => (current, new),
        (Err(error), _) | (_, Err(error)) => {
            return answer(&app, &session, &user, asker.page, error, "password").await;
        }
    };
    let error = match app.auth().change_password(&session, &user, current, new, &asker.origin).await? {
        PasswordChanged::Done if asker.page => {
            return Ok(Redirect::to("/account?done=password").into_response());
        }
        PasswordChanged::Done => return Ok(done("Password changed")),
        PasswordChanged::WrongPassword => ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_credentials",
            "The current password is not right.",
        ),
        PasswordChanged::Refused(problem) => refused(Refusal::Password(problem)),
        PasswordChanged::Throttled { retry_after } => ApiError::throttled(retry_after),
    };
    answer(&app, &session, &user, asker.page, error, "password").await
}

/// The error as JSON, or on the page beside the form it belongs to.
async fn answer(
    app: &App,
    session: &Session,
    user: &User,
    page: bool,
    error: ApiError,
    form: &str,
) -> Result<Response, ApiError> {
    if !page {
        return Err(error);
    }
    render(app, session, user, error.status, context! { error => error.message.as_ref(), form }).await
}

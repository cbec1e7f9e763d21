//! Signing in with a password.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hallpass_auth::{Attempt, CurrentUser, Ending, LoginOutcome, RedirectPath};
use hallpass_session::Session;
use http::StatusCode;
use minijinja::{Value, context};
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
        return Ok(app.redirect(&format!("/account?failed={failed}&with={with}")).into_response());
    }
    // Who signs in again proves once more who they are.
    if user.is_some() && query.again.is_none() {
        return Ok(onward(&app, next.as_ref().map(RedirectPath::as_str)).into_response());
    }
    let notice = match query.done.as_deref() {
        Some("logout") => Some("You are signed out."),
        Some("registered") => Some("Your account is made. Sign in to go on."),
        Some("password") => Some("Your password is changed. Sign in again with it."),
        _ => None,
    };
    let notice = match notice {
        None => app.auth().why_ended(&session).await.map(why),
        notice => notice,
    };
    let next = next.as_ref().map(RedirectPath::as_str);
    let again = again(&app, &session, user.as_ref()).await?;
    app.pages().render(&session, StatusCode::OK, "login.html", context! { next, notice, failed, again })
}

/// What a page shows that asks a signed-in user to prove once more who they are: with the password, or with a connected
/// provider. `None` for a visitor.
async fn again(app: &App, session: &Session, user: Option<&CurrentUser>) -> Result<Option<Value>, ApiError> {
    let Some(CurrentUser(user)) = user else { return Ok(None) };
    let links = app.providers().links(user, session.now()).await?;
    let connected =
        app.providers().iter().filter(|provider| links.iter().any(|link| link.provider == provider.name));
    let providers: Vec<Value> =
        connected.map(|provider| context! { name => &provider.name, label => &provider.label }).collect();
    let (email, has_password) = (user.email.as_str(), user.password.is_some());
    let remember = session.lifetime().persistent;
    Ok(Some(context! { email, has_password, providers, remember }))
}

/// Why the browser is signed out, in words.
fn why(ending: Ending) -> &'static str {
    match ending {
        Ending::User => "You signed out here from another browser.",
        Ending::Password => "You were signed out because the password of your account has changed.",
        Ending::Operator => "The operator of this service has signed you out.",
        Ending::Provider => {
            "You were signed out because you signed out at the provider that you had signed in with."
        }
        Ending::Disconnected => {
            "You were signed out because the provider that you had signed in with was disconnected from your account."
        }
        _ => "Your session has ended. Sign in again to go on.",
    }
}

/// POST /auth/login `{email, password, remember?}`
pub(super) async fn log_in(
    State(app): State<App>,
    user: Option<CurrentUser>,
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
            let again = again(&app, &session, user.as_ref()).await?;
            let (error, code, status) = (error.message.as_ref(), error.code, error.status);
            let context = context! { email, next, remember, again, error, code };
            app.pages().render(&session, status, "login.html", context)
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
        LoginOutcome::LoggedIn(_) if asker.page => Ok(onward(app, fields.text("next")?).into_response()),
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

//! Making an account.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hallpass_auth::{CurrentUser, RedirectPath, Refusal, RegisterOutcome, Registration};
use hallpass_session::Session;
use http::StatusCode;
use minijinja::context;
use serde_json::json;

use super::{ThePageQuery, onward, shown};
use crate::{
    app::App,
    error::ApiError,
    input::{Asker, Fields},
};

fn closed() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "registration_closed",
        "New accounts are made by the operator of this service.",
    )
}

/// GET /register
pub(super) async fn page(
    State(app): State<App>,
    ThePageQuery(query): ThePageQuery,
    user: Option<CurrentUser>,
    session: Session,
) -> Result<Response, ApiError> {
    if !app.config().registration_open {
        return Err(closed());
    }
    let next = query.next();
    let next = next.as_ref().map(RedirectPath::as_str);
    if user.is_some() {
        return Ok(onward(&app, next).into_response());
    }
    app.pages().render(&session, StatusCode::OK, "register.html", context! { next })
}

/// POST /auth/register `{email, password, name?}`
pub(super) async fn register(
    State(app): State<App>,
    session: Session,
    asker: Asker,
    fields: Fields,
) -> Result<Response, ApiError> {
    let page = asker.page;
    match attempt(&app, &session, asker, &fields).await {
        Ok(response) => Ok(response),
        Err(error) if page && error.status.is_client_error() => {
            let (email, name, next) = (fields.text("email")?, fields.text("name")?, fields.text("next")?);
            let context = context! { email, name, next, error => error.message.as_ref(), code => error.code };
            app.pages().render(&session, error.status, "register.html", context)
        }
        Err(error) => Err(error),
    }
}

async fn attempt(app: &App, session: &Session, asker: Asker, fields: &Fields) -> Result<Response, ApiError> {
    if !app.config().registration_open {
        return Err(closed());
    }
    let registration = Registration {
        email: fields.required("email")?,
        password: fields.secret("password")?,
        name: fields.text("name")?.map(str::to_owned),
    };
    match app.auth().register(session, registration, &asker.origin).await? {
        RegisterOutcome::Registered(_) if asker.page => Ok(onward(app, fields.text("next")?).into_response()),
        RegisterOutcome::Registered(user) => {
            let body = json!({ "message": "Registered", "user": shown(&user) });
            Ok((StatusCode::CREATED, Json(body)).into_response())
        }
        RegisterOutcome::SignInAgain(_) if asker.page => {
            Ok(app.redirect("/login?done=registered").into_response())
        }
        RegisterOutcome::SignInAgain(user) => {
            let message = "Registered. Sign in to go on";
            let body = json!({ "message": message, "code": "sign_in_again", "user": shown(&user) });
            Ok((StatusCode::CREATED, Json(body)).into_response())
        }
        RegisterOutcome::Taken => Err(ApiError::new(
            StatusCode::CONFLICT,
            "email_taken",
            "There is an account with this address already.",
        )),
        RegisterOutcome::Refused(refusal) => Err(refused(refusal)),
        // Why is in the log; it is not for visitors.
        RegisterOutcome::Closed(_) => Err(closed()),
        RegisterOutcome::Throttled { retry_after } => Err(ApiError::throttled(retry_after)),
    }
}

/// 422 with the reason.
pub(super) fn refused(refusal: Refusal) -> ApiError {
    let code = match refusal {
        Refusal::Email(_) => "invalid_email",
        Refusal::UserName(_) => "invalid_username",
        Refusal::Name | Refusal::NoNames => "invalid_name",
        Refusal::Password(_) => "invalid_password",
        Refusal::Role => "invalid_role",
    };
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, refusal.to_string())
}

//! The account: who am I, name, password.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hallpass_auth::oauth::Failure;
use hallpass_auth::{CurrentUser, OwnSessions, PasswordChanged, PasswordSet, Refusal, User};
use hallpass_session::Session;
use http::StatusCode;
use minijinja::{Value, context};
use serde_json::json;

use super::{
    ThePageQuery, done, done_but, links, oauth,
    register::refused,
    sessions::{self, ShownSession},
    shown,
};
use crate::{
    app::App,
    device,
    error::ApiError,
    input::{Asker, Fields},
};

/// What somebody is told who took over an account that anybody may have made.
const CLAIMED: &str = "You are signed in. Nobody had confirmed the address of this account before, so its password was removed and other devices were signed out. You can set a new password below.";

/// The notice when the other sessions could not be ended.
const OTHERS_REMAIN: &str = "Your password is changed. The list of your other sessions could not be cleared right now. End them below.";

/// The notice when a link was removed and its sessions could not be ended.
const UNLINKED_ONLY: &str =
    "The account is disconnected. Sessions that it opened could not be ended right now. End them below.";

/// The notice when a connection was removed from the application's table alone.
pub(super) const UNLINK_INTERRUPTED: &str = "The application no longer knows this connection, but it still opens your account here. Disconnect it again.";

/// The notice when other browsers are still known.
const BROWSERS_REMAIN: &str = "You are signed out everywhere else. Other browsers that you used could not be forgotten right now. Sign out everywhere else once more.";

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
        Some("password-only") => Some(OTHERS_REMAIN),
        Some("unlinked-only") => Some(UNLINKED_ONLY),
        Some("unlink-interrupted") => Some(UNLINK_INTERRUPTED),
        Some("ended") => Some("You are signed out there."),
        Some("others") => Some("You are signed out everywhere else."),
        Some("others-only") => Some(BROWSERS_REMAIN),
        Some("linked") => Some("The account is connected. You can sign in with it from now on."),
        Some("unlinked") => Some("The account is disconnected."),
        Some("claimed") => Some(CLAIMED),
        _ => None,
    };
    let error = oauth::sentence(&app, query.failed.as_deref(), query.with.as_deref());
    let form = error.is_some().then_some("account");
    let again = [Failure::NotSignedIn, Failure::StaleSignIn];
    let again = again.iter().any(|failure| query.failed.as_deref() == Some(failure.code()));
    render(&app, &session, &user, StatusCode::OK, context! { notice, error, form, again }).await
}

/// The account page; `more` says what has just happened.
async fn render(
    app: &App,
    session: &Session,
    user: &User,
    status: StatusCode,
    more: Value,
) -> Result<Response, ApiError> {
    let OwnSessions { listed: mut own, more: more_sessions } =
        app.auth().sessions(session, user, sessions::SHOWN).await?;
    own.sort_by_key(|own| !own.current);
    let sessions: Vec<Value> = own
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
    let links = links::context(app, user, session.now()).await?;
    let has_password = user.password.is_some();
    let user = context! { email => user.email.as_str(), name => user.name.as_deref() };
    let context = context! { user, sessions, more_sessions, has_password, ..links };
    app.pages().render(session, status, "account.html", context! { ..more, ..context })
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
        Ok(_) if asker.page => Ok(app.redirect("/account?done=name").into_response()),
        Ok(name) => {
            user.name = name;
            Ok(Json(json!({ "message": "Saved", "user": shown(&user) })).into_response())
        }
        Err(refusal) => answer(&app, &session, &user, asker.page, refused(refusal), "name").await,
    }
}

/// POST /auth/password `{current_password, new_password}`; who has none yet needs no current one.
pub(super) async fn change_password(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    session: Session,
    asker: Asker,
    fields: Fields,
) -> Result<Response, ApiError> {
    let error = match changed(&app, &user, &session, &asker, &fields).await {
        Ok(changed) => return Ok(changed.answer(&app, asker.page)),
        Err(error) if error.status.is_server_error() => return Err(error),
        Err(error) => error,
    };
    answer(&app, &session, &user, asker.page, error, "password").await
}

/// A password that was changed, and what became of the sessions.
enum Changed {
    Done,
    SignInAgain,
    OthersRemain,
}

impl Changed {
    fn answer(self, app: &App, page: bool) -> Response {
        let (path, message, code) = match self {
            Self::Done => ("/account?done=password", "Password changed", None),
            Self::SignInAgain => {
                ("/login?done=password", "Password changed. Sign in again with it", Some("sign_in_again"))
            }
            Self::OthersRemain => (
                "/account?done=password-only",
                "Password changed. Other sessions could not be ended",
                Some("sessions_remain"),
            ),
        };
        match code {
            _ if page => app.redirect(path).into_response(),
            Some(code) => done_but(message, code),
            None => done(message),
        }
    }
}

async fn changed(
    app: &App,
    user: &User,
    session: &Session,
    asker: &Asker,
    fields: &Fields,
) -> Result<Changed, ApiError> {
    let new = fields.secret("new_password")?;
    if user.password.is_none() {
        return match app.auth().set_password(session, user, new, &asker.origin).await? {
            PasswordSet::Done => Ok(Changed::Done),
            PasswordSet::SignInAgain => Ok(Changed::SignInAgain),
            PasswordSet::OthersRemain => Ok(Changed::OthersRemain),
            PasswordSet::HasOne => Err(wrong_password()),
            PasswordSet::Refused(problem) => Err(refused(Refusal::Password(problem))),
            PasswordSet::NotFresh => Err(not_fresh()),
        };
    }
    let current = fields.secret("current_password")?;
    match app.auth().change_password(session, user, current, new, &asker.origin).await? {
        PasswordChanged::Done => Ok(Changed::Done),
        PasswordChanged::SignInAgain => Ok(Changed::SignInAgain),
        PasswordChanged::OthersRemain => Ok(Changed::OthersRemain),
        PasswordChanged::WrongPassword => Err(wrong_password()),
        PasswordChanged::Refused(problem) => Err(refused(Refusal::Password(problem))),
        PasswordChanged::NotFresh => Err(not_fresh()),
        PasswordChanged::Throttled { retry_after } => Err(ApiError::throttled(retry_after)),
    }
}

fn wrong_password() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_credentials", "The current password is not right.")
}

/// 403: the proof of identity is too old for this.
pub(super) fn not_fresh() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "reauth_required", "Sign in again to do this.")
}

/// The error as JSON, or on the page beside the form it belongs to.
pub(super) async fn answer(
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
    let again = error.code == "reauth_required";
    let form = if again { "account" } else { form };
    render(
        app,
        session,
        user,
        error.status,
        context! { error => error.message.as_ref(), code => error.code, form, again },
    )
    .await
}

//! The routes: an account and its sessions.

use std::net::Ipv4Addr;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use hallpass_auth::{
    Attempt, CurrentUser, Error, LoginOutcome, Origin, PasswordChanged, RegisterOutcome, Registration, User,
};
use hallpass_session::{Secret, Session, express::ExpressSession};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;

type Answer = Result<Response, Error>;

/// What is sent to register or sign in.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    email: String,
    password: Secret<String>,
    name: Option<String>,
}

/// What is sent to change a password.
#[derive(Deserialize)]
pub(crate) struct Passwords {
    current_password: Secret<String>,
    new_password: Secret<String>,
}

fn says(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}

fn shown(user: &User) -> Value {
    json!({ "user": { "id": user.id.as_str(), "name": user.name } })
}

fn origin() -> Origin {
    Origin::new(Ipv4Addr::LOCALHOST.into())
}

/// An answer; when something failed, nothing of the request is kept in its session.
fn settled(session: &Session, done: Answer) -> Answer {
    if done.as_ref().map_or(true, |response| response.status().is_server_error()) {
        session.discard();
    }
    done
}

pub(crate) async fn ready(State(app): State<App>) -> StatusCode {
    let (now, sessions, accounts) = (app.now(), app.sessions, app.stores);
    match tokio::try_join!(sessions.check(now), accounts.check(now)) {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub(crate) async fn register(
    State(app): State<App>,
    session: Session,
    Json(Credentials { email, password, name }): Json<Credentials>,
) -> Answer {
    let registered = app.auth.register(&session, Registration { email, password, name }, &origin()).await;
    settled(
        &session,
        registered.map(|outcome| match outcome {
            RegisterOutcome::Registered(user) | RegisterOutcome::SignInAgain(user) => {
                says(StatusCode::CREATED, shown(&user))
            }
            RegisterOutcome::Taken => says(StatusCode::CONFLICT, json!({ "code": "taken" })),
            other => says(StatusCode::BAD_REQUEST, json!({ "code": format!("{other:?}") })),
        }),
    )
}

pub(crate) async fn log_in(
    State(app): State<App>,
    session: Session,
    Json(Credentials { email, password, .. }): Json<Credentials>,
) -> Answer {
    let attempt = Attempt { email, password, remember: false, origin: origin() };
    let outcome = app.auth.log_in(&session, attempt).await;
    settled(
        &session,
        outcome.map(|outcome| match outcome {
            LoginOutcome::LoggedIn(user) => says(StatusCode::OK, shown(&user)),
            _ => says(StatusCode::UNAUTHORIZED, json!({ "code": "refused" })),
        }),
    )
}

/// Signs out as the library does.
pub(crate) async fn log_out(State(app): State<App>, session: Session) -> StatusCode {
    app.auth.log_out(&session);
    StatusCode::OK
}

/// Signs out as an Express app does: `req.session.destroy()`.
pub(crate) async fn destroy(session: ExpressSession) -> StatusCode {
    ended(session.destroy().await)
}

/// Signs out as passport does: `req.session.regenerate()`.
pub(crate) async fn regenerate(session: ExpressSession) -> StatusCode {
    ended(session.regenerate().await)
}

fn ended<E>(done: Result<(), E>) -> StatusCode {
    done.map_or(StatusCode::SERVICE_UNAVAILABLE, |()| StatusCode::OK)
}

pub(crate) async fn me(CurrentUser(user): CurrentUser) -> Json<Value> {
    Json(shown(&user))
}

#[derive(Deserialize)]
pub(crate) struct Name {
    name: String,
}

pub(crate) async fn rename(
    State(app): State<App>,
    CurrentUser(user): CurrentUser,
    Json(Name { name }): Json<Name>,
) -> Answer {
    Ok(match app.auth.change_name(&user, &name).await? {
        Ok(name) => says(StatusCode::OK, json!({ "user": { "name": name } })),
        Err(refusal) => says(StatusCode::BAD_REQUEST, json!({ "code": refusal.to_string() })),
    })
}

pub(crate) async fn change_password(
    State(app): State<App>,
    session: Session,
    CurrentUser(user): CurrentUser,
    Json(Passwords { current_password, new_password }): Json<Passwords>,
) -> Answer {
    let changed = app.auth.change_password(&session, &user, current_password, new_password, &origin()).await;
    settled(
        &session,
        changed.map(|changed| match changed {
            PasswordChanged::Done | PasswordChanged::SignInAgain | PasswordChanged::OthersRemain => {
                says(StatusCode::OK, json!({}))
            }
            other => says(StatusCode::BAD_REQUEST, json!({ "code": format!("{other:?}") })),
        }),
    )
}

pub(crate) async fn sessions(
    State(app): State<App>,
    session: Session,
    CurrentUser(user): CurrentUser,
) -> Answer {
    let own = app.auth.sessions(&session, &user, 100).await?;
    let listed: Vec<Value> = own
        .listed
        .iter()
        .map(|one| json!({ "handle": one.listed.handle.to_string(), "current": one.current }))
        .collect();
    Ok(says(StatusCode::OK, json!({ "sessions": listed })))
}

pub(crate) async fn end_session(
    State(app): State<App>,
    session: Session,
    CurrentUser(user): CurrentUser,
    Path(handle): Path<String>,
) -> Answer {
    let ended = match handle.parse() {
        Ok(handle) => app.auth.end_session(&session, &user, handle).await?,
        Err(_) => false,
    };
    Ok(says(if ended { StatusCode::OK } else { StatusCode::NOT_FOUND }, json!({})))
}

//! `GET /auth/csrf`: the token that scripts send with changes in token mode.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hallpass_auth::{CSRF_HEADER, csrf_token};
use hallpass_session::Session;
use http::StatusCode;
use serde_json::json;

use crate::{app::App, error::ApiError};

/// The session's token; makes a session for visitors, because signing in needs a token too.
pub(super) async fn token(State(app): State<App>, session: Session) -> Result<Response, ApiError> {
    if !app.config().csrf_token {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There are no tokens: csrf.mode is \"origin\"",
        ));
    }
    let token = csrf_token(&session).map_err(hallpass_auth::Error::from)?;
    Ok(Json(json!({ "token": token, "header": CSRF_HEADER })).into_response())
}

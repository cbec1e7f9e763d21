//! `GET /auth/csrf`: the token that scripts send with changes in token mode.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use hallpass_auth::CSRF_HEADER;
use hallpass_session::Session;
use http::StatusCode;
use serde_json::json;

use crate::{csrf, error::ApiError};

/// A token for the session; for a visitor, who needs one to sign in, one for the browser.
pub(super) async fn token(session: Session) -> Result<Response, ApiError> {
    let none =
        || ApiError::new(StatusCode::NOT_FOUND, "not_found", "There are no tokens: csrf.mode is \"origin\"");
    let token = csrf::token(&session).ok_or_else(none)?;
    Ok(Json(json!({ "token": token, "header": CSRF_HEADER })).into_response())
}

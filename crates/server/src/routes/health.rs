//! For load balancers and supervisors.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hallpass_session::{Clock, SystemClock};
use http::StatusCode;
use serde_json::json;

use crate::{app::App, error::ApiError};

/// The process runs and answers.
pub(super) async fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Requests can be served: the store answers, and the server is not about to stop.
pub(super) async fn ready(State(app): State<App>) -> Result<Response, ApiError> {
    let not_ready = |code, message| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
    if app.is_draining() {
        return Err(not_ready("draining", "The server is about to stop"));
    }
    if let Err(error) = app.stores().check(SystemClock.now()).await {
        tracing::error!(event = "store_unavailable", error = &error as &dyn std::error::Error);
        return Err(not_ready("store_unavailable", "The database does not answer"));
    }
    Ok(Json(json!({ "status": "ready" })).into_response())
}

//! For load balancers and supervisors.

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hallpass_session::ClockStatus;
use http::StatusCode;
use serde_json::json;

use crate::{app::App, error::ApiError};

/// The process runs and answers.
pub(super) async fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Requests can be served: the store answers, and the server is not about to stop.
pub(super) async fn ready(State(app): State<App>) -> Result<Response, ApiError> {
    let not_ready =
        |code, message: Cow<'static, str>| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
    if app.is_draining() {
        return Err(not_ready("draining", "The server is about to stop".into()));
    }
    if let Err(error) = app.stores().check(app.now()).await {
        tracing::error!(event = "store_unavailable", error = &error as &dyn std::error::Error);
        return Err(not_ready("store_unavailable", "The database does not answer".into()));
    }
    let (clock, beyond) = (app.clock().status(), app.config().stores.not_ready_beyond);
    if clock.follows_store && !beyond.is_zero() && deviation(clock) > beyond {
        let seconds = clock.deviation / 1000;
        let message = format!("This machine's clock differs from the database's by {seconds} seconds");
        return Err(not_ready("clock_deviates", message.into()));
    }
    let mut body = json!({ "status": "ready" });
    if !clock.sweeps {
        body["clock"] = json!({
            "source": if clock.follows_store { "database" } else { "machine" },
            "synchronised": clock.is_synchronised,
            "deviation_ms": clock.deviation,
            "database_jump_ms": clock.store_jump,
        });
    }
    Ok(Json(body).into_response())
}

fn deviation(clock: ClockStatus) -> Duration {
    Duration::from_millis(clock.deviation.unsigned_abs())
}

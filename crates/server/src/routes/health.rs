//! For load balancers and supervisors.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hallpass_session::{ClockStatus, StoreError, Timestamp};
use hallpass_stores::Stores;
use http::StatusCode;
use serde_json::json;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{app::App, error::ApiError};

/// How long the result of a readiness check counts.
const PAUSE: Duration = Duration::from_secs(1);

/// The process runs and answers.
pub(super) async fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Requests can be served: the stores accept changes, and the server is not about to stop.
pub(super) async fn ready(State(app): State<App>) -> Result<Response, ApiError> {
    let not_ready =
        |code, message: Cow<'static, str>| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
    if app.is_draining() {
        return Err(not_ready("draining", "The server is about to stop".into()));
    }
    if !app.readiness().ask(app.stores(), app.now()).await {
        return Err(not_ready("store_unavailable", "The database does not accept changes".into()));
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

/// Whether the stores accept changes, shared by all who ask: however many they are, at most one of them causes a write in
/// [`PAUSE`], and the others are told its result.
pub(crate) struct Readiness {
    /// How long the stores may take.
    timeout: Duration,
    last: Arc<Mutex<Option<(Instant, bool)>>>,
}

impl Readiness {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, last: Arc::default() }
    }

    async fn ask(&self, stores: &Stores, now: Timestamp) -> bool {
        // Who comes while the stores are asked waits for the same result.
        let mut last = self.last.clone().lock_owned().await;
        if let Some((when, ready)) = *last
            && when.elapsed() < PAUSE
        {
            return ready;
        }
        let (stores, timeout) = (stores.clone(), self.timeout);
        // In a task, so that a client that goes away neither ends the check nor has the next one begin another.
        let check = tokio::spawn(async move {
            let ready = accept_changes(&stores, timeout, now).await;
            *last = Some((Instant::now(), ready));
            ready
        });
        check.await.unwrap_or(false)
    }
}

async fn accept_changes(stores: &Stores, patience: Duration, now: Timestamp) -> bool {
    let error = match timeout(patience, stores.check(now)).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error,
        Err(_) => StoreError::new("check the stores", format!("no answer within {patience:?}")),
    };
    tracing::error!(event = "store_unavailable", error = &error as &dyn std::error::Error);
    false
}

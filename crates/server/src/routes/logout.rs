//! Signing out.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use hallpass_session::Session;
use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::done;
use crate::{app::App, error::ApiError, input::Asker};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// POST /auth/logout, also /logout. Harmless when nobody is signed in. A provider that is told of sign-outs is told by the browser.
pub(super) async fn log_out(
    State(app): State<App>,
    session: Session,
    asker: Asker,
) -> Result<Response, ApiError> {
    let return_to = format!("{}/login", app.public_url());
    let location = app.providers().end_session_url(&session, &return_to).await?;
    app.auth().log_out(&session);
    let mut response = match location {
        Some(location) if asker.page => app.pages().away(&location)?,
        Some(location) => {
            Json(json!({ "message": "Logged out successfully", "location": location })).into_response()
        }
        None if asker.page => Redirect::to("/login?done=logout").into_response(),
        None => done("Logged out successfully"),
    };
    forget(&app, &mut response);
    Ok(response)
}

/// Tells the browser to forget what it keeps of this site (ASVS 5.0 14.3.1).
pub(super) fn forget(app: &App, response: &mut Response) {
    let kinds = HeaderValue::from_str(&app.config().clear_site_data).ok().filter(|kinds| !kinds.is_empty());
    if let Some(kinds) = kinds {
        response.headers_mut().insert(CLEAR_SITE_DATA, kinds);
    }
}

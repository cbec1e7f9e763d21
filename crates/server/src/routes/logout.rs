//! Signing out.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hallpass_session::Session;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::{done, oauth};
use crate::{app::App, error::ApiError, input::Asker};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// POST /auth/logout, also /logout. Harmless when nobody is signed in. A provider that is told of sign-outs is told by the browser.
pub(super) async fn log_out(
    State(app): State<App>,
    session: Session,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // Whatever happens to the provider's part, the session here ends.
    let departure = app.providers().begin_departure(&session, &headers).await.unwrap_or_else(|error| {
        tracing::error!(event = "provider_not_told", error = &error as &dyn std::error::Error);
        None
    });
    app.auth().log_out(&session);
    let Some(departure) = departure else {
        let mut response = if asker.page {
            app.redirect("/login?done=logout").into_response()
        } else {
            done("Logged out successfully")
        };
        forget(&app, &mut response);
        return Ok(response);
    };
    let path = oauth::departure_path(&departure);
    let mut response = if asker.page {
        app.pages().away(&app.at(&path))?
    } else {
        let location = format!("{}{path}", app.public_url());
        Json(json!({ "message": "Logged out successfully", "location": location })).into_response()
    };
    forget_all_but_cookies(&app, &mut response);
    Ok(oauth::with(response, departure.cookies))
}

/// Tells the browser to forget what it keeps of this site (ASVS 5.0 14.3.1).
pub(super) fn forget(app: &App, response: &mut Response) {
    tell_to_forget(response, &app.config().clear_site_data);
}

/// The same for whoever needs a cookie still; when they are done, [`forget`].
fn forget_all_but_cookies(app: &App, response: &mut Response) {
    let kinds = app.config().clear_site_data.split(", ").filter(|kind| *kind != "\"cookies\"");
    tell_to_forget(response, &kinds.collect::<Vec<_>>().join(", "));
}

fn tell_to_forget(response: &mut Response, kinds: &str) {
    if let Some(kinds) = HeaderValue::from_str(kinds).ok().filter(|kinds| !kinds.is_empty()) {
        response.headers_mut().insert(CLEAR_SITE_DATA, kinds);
    }
}

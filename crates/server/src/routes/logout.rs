//! Signing out.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use hallpass_session::Session;
use http::{HeaderName, HeaderValue};

use super::done;
use crate::{app::App, input::Asker};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// POST /auth/logout, also /logout. Harmless when nobody is signed in.
pub(super) async fn log_out(State(app): State<App>, session: Session, asker: Asker) -> Response {
    app.auth().log_out(&session);
    let mut response = if asker.page {
        Redirect::to("/login?done=logout").into_response()
    } else {
        done("Logged out successfully")
    };
    forget(&app, &mut response);
    response
}

/// Tells the browser to forget what it keeps of this site (ASVS 5.0 14.3.1).
pub(super) fn forget(app: &App, response: &mut Response) {
    let kinds = HeaderValue::from_str(&app.config().clear_site_data).ok().filter(|kinds| !kinds.is_empty());
    if let Some(kinds) = kinds {
        response.headers_mut().insert(CLEAR_SITE_DATA, kinds);
    }
}

//! Cross-site request forgery: every change, sign-in included, must come from this site or a trusted origin; in token
//! mode it must also carry the token of its session.

mod origin;

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hallpass_auth::{CSRF_FIELD, CSRF_HEADER, verify_csrf};
use hallpass_session::{LoadError, Session};
use http::StatusCode;

pub(crate) use self::origin::refuse_other_sites;
use crate::{
    app::App,
    error::ApiError,
    input::{MAX_BODY, form_field, is_safe, media_type},
    routes::oauth,
};

fn refused() -> ApiError {
    let message =
        "This request came from another site, or its form is too old. Open the page again and retry.";
    ApiError::new(StatusCode::FORBIDDEN, "csrf", message)
}

/// In token mode: refuses changes that do not carry the session's token, in the header or in the form.
pub(crate) async fn demand_token(State(app): State<App>, request: Request, next: Next) -> Response {
    let posted_by_provider = oauth::is_posted_by_providers(request.uri().path());
    if !app.config().csrf_token || posted_by_provider || is_safe(request.method()) {
        return next.run(request).await;
    }
    match carries_token(request).await {
        Ok(Some(request)) => next.run(request).await,
        Ok(None) => refused().into_response(),
        Err(response) => response,
    }
}

/// The request again, if it carries the token. Reads the body of forms only.
async fn carries_token(request: Request) -> Result<Option<Request>, Response> {
    let (parts, body) = request.into_parts();
    let session = Session::of(&parts).await.map_err(LoadError::into_response)?;
    if let Some(header) = parts.headers.get(CSRF_HEADER) {
        let matches = header.to_str().is_ok_and(|given| verify_csrf(&session, given));
        return Ok(matches.then(|| Request::from_parts(parts, body)));
    }
    if media_type(&parts.headers).as_deref() != Some("application/x-www-form-urlencoded") {
        return Ok(None);
    }
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| refused().into_response())?;
    let matches = form_field(&body, CSRF_FIELD).is_some_and(|given| verify_csrf(&session, &given));
    Ok(matches.then(|| Request::from_parts(parts, Body::from(body))))
}

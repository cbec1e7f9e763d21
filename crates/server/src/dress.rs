//! The form of errors: a page when a browser shows it, else JSON; whoever made them.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE},
};

use crate::{app::App, error::ApiError, input::wants_page, log::REQUEST_ID, pages::Trouble};

/// Gives every error its form.
pub(crate) async fn dress(State(app): State<App>, request: Request, next: Next) -> Response {
    let page = wants_page(request.headers()).then(|| Trouble::of(&request));
    let mut response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    if status == StatusCode::SERVICE_UNAVAILABLE && response.headers_mut().remove(SET_COOKIE).is_some() {
        // "Try again" and a new cookie contradict each other; whoever sent both is to be found.
        tracing::error!(event = "cookie_on_503");
    }
    let is = |kind: &str| {
        response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(kind.as_bytes()))
    };
    // The guards of the library say `{"message":"Unauthorized"}`, as Express apps do; here every error has a code too.
    let complete = is("application/json")
        && (status != StatusCode::UNAUTHORIZED || response.extensions().get::<ApiError>().is_some());
    if is("text/html") || page.is_none() && complete {
        return response;
    }
    let error = response.extensions().get().cloned().unwrap_or_else(|| ApiError::of_status(status));
    let dressed = match page {
        Some(trouble) => Html(app.pages().error(&error, &trouble)).into_response(),
        None => error.into_response(),
    };
    let (parts, body) = dressed.into_parts();
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    for (name, value) in &parts.headers {
        headers.insert(name, value.clone());
    }
    if status == StatusCode::SERVICE_UNAVAILABLE && !headers.contains_key(RETRY_AFTER) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    *response.body_mut() = body;
    response
}

impl Trouble {
    fn of(request: &Request) -> Self {
        let id = request.headers().get(REQUEST_ID).cloned();
        let (path, query) = (request.uri().path(), request.uri().path_and_query());
        // A form is sent again from the page that holds it: a link cannot repeat it.
        let retry = match path {
            "/auth/login" => "/login",
            "/auth/register" => "/register",
            "/auth/logout" | "/logout" => "/account",
            _ if path.starts_with("/auth/oauth/") => "/login",
            _ if path.starts_with("/auth/") => "/account",
            _ => query.map_or("/", |query| query.as_str()),
        };
        Self { request_id: id, retry: retry.to_owned() }
    }
}

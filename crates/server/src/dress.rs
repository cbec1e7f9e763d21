//! The form of errors: a page when a browser shows it, else JSON; whoever made them.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use hallpass_auth::RedirectPath;
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
        // "Try again" and a new cookie contradict each other: the handler that sent both is at fault.
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
        let path = request.uri().path();
        // A form is sent again from the page that holds it: a link cannot repeat it.
        let retry = match path {
            "/auth/login" => "/login",
            "/auth/register" => "/register",
            "/auth/logout" | "/logout" => "/account",
            _ if path.starts_with("/auth/oauth/") => "/login",
            _ if path.starts_with("/auth/") => "/account",
            _ => request.uri().path_and_query().map_or("/", |whole| whole.as_str()),
        };
        // A path such as `//elsewhere.example` would make the link lead to another site.
        let retry = RedirectPath::parse(retry).map_or_else(|| "/".to_owned(), |path| path.to_string());
        Self { request_id: id, retry }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn retry(path: &str) -> String {
        Trouble::of(&Request::get(path).body(Body::empty()).unwrap()).retry
    }

    #[test]
    fn trying_again_stays_on_this_site() {
        assert_eq!(retry("/account?from=mail"), "/account?from=mail");
        assert_eq!(retry("/auth/login"), "/login");
        assert_eq!(retry("/auth/password"), "/account");
        assert_eq!(retry("/auth/oauth/google/callback?code=secret"), "/login", "no code in a link");
        for elsewhere in ["//evil.test/x", "/%2fevil.test", "/%5cevil.test"] {
            assert_eq!(retry(elsewhere), "/", "{elsewhere}");
        }
    }
}

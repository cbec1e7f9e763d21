//! What clients are told when something does not work: `{"message", "code"}`. [`dress`](crate::dress) makes pages of it.

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hallpass_auth::{Error, whole_seconds};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::json;

/// An answer that says no.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// For programs; never changes.
    pub(crate) code: &'static str,
    /// For people; never holds what they typed.
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// 400: the request is not what the route takes.
    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// 429 with the time to wait.
    pub(crate) fn throttled(retry_after: Duration) -> Self {
        let message = format!("Too many attempts. Try again in {}.", wait(retry_after));
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message);
        Self { retry_after: Some(retry_after), ..error }
    }

    /// 403: a password alone is not enough, whether it is right or not.
    pub(crate) fn locked() -> Self {
        let message = "Too many attempts have failed. Sign in from a browser that you have used here before, or with a connected provider, or ask the operator of this service.";
        Self::new(StatusCode::FORBIDDEN, "account_locked", message)
    }

    /// What is said when nobody said more than the status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::UNAUTHORIZED => ("unauthorized", "Unauthorized"),
            StatusCode::FORBIDDEN => ("forbidden", "Forbidden"),
            StatusCode::NOT_FOUND => ("not_found", "There is nothing at this address"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "This address does not take this method")
            }
            StatusCode::REQUEST_TIMEOUT => ("request_timeout", "The request took too long to arrive"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "The request is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ("unsupported_media_type", "Send application/json or application/x-www-form-urlencoded")
            }
            StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "Service Unavailable"),
            status if status.is_server_error() => {
                ("internal", "Something went wrong here; it has been logged")
            }
            _ => ("invalid_request", "The request cannot be understood"),
        };
        Self::new(status, code, message)
    }
}

/// A time to wait, in words.
pub(crate) fn wait(duration: Duration) -> String {
    let seconds = whole_seconds(duration);
    match (seconds, seconds.div_ceil(60)) {
        (1, _) => "a second".to_owned(),
        (2..120, _) => format!("{seconds} seconds"),
        (_, minutes) => format!("{minutes} minutes"),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "message": self.message, "code": self.code }).to_string();
        let mut response = (self.status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        if let Error::Value(error) = error {
            tracing::error!(event = "session_value_unreadable", %error);
            return Self::of_status(StatusCode::INTERNAL_SERVER_ERROR);
        }
        tracing::error!(event = "auth_unavailable", error = &error as &dyn std::error::Error);
        let retry_after =
            if let Error::Busy { retry_after } = error { retry_after } else { Duration::from_secs(1) };
        Self { retry_after: Some(retry_after), ..Self::of_status(StatusCode::SERVICE_UNAVAILABLE) }
    }
}

/// A handler panicked: 500, and a line in the log; where it happened is on standard error.
pub(crate) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> http::Response<Body> {
    tracing::error!(event = "handler_panicked");
    ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_in_words() {
        for (seconds, words) in [
            (0, "a second"),
            (1, "a second"),
            (30, "30 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (121, "3 minutes"),
        ] {
            assert_eq!(wait(Duration::from_secs(seconds)), words);
        }
    }
}

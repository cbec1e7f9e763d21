//! The axum extractor.

use axum_core::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use crate::{LoadError, Session, ValueError, express::ExpressSession, layer::unavailable};

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = LoadError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, LoadError> {
        Self::of(parts).await
    }
}

impl<S: Sync> FromRequestParts<S> for ExpressSession {
    type Rejection = LoadError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, LoadError> {
        Self::of(parts).await
    }
}

impl IntoResponse for LoadError {
    fn into_response(self) -> Response {
        match self {
            Self::Store(error) => unavailable::<Body>(&error),
            Self::Session(error) => {
                tracing::error!(event = "session_unreadable", error = %error);
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Self::NoLayer => (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response(),
        }
    }
}

/// 500, and a line in the log that names the key: what is stored is of another shape than the program expects. Lets handlers use `?`.
impl IntoResponse for ValueError {
    fn into_response(self) -> Response {
        tracing::error!(event = "session_value_unreadable", error = %self);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;

    #[test]
    fn a_value_of_another_shape_is_our_mistake_and_shows_nothing() {
        let document = Document::from_json(r#"{"cart":"hunter2"}"#).unwrap();
        let error = document.get::<u32>("cart").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
        assert_eq!(error.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}

//! The axum extractor.

use axum_core::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use crate::{LoadError, Session, layer::unavailable};

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = LoadError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, LoadError> {
        Self::of(parts).await
    }
}

impl IntoResponse for LoadError {
    fn into_response(self) -> Response {
        match self {
            Self::Store(error) => unavailable::<Body>(&error),
            Self::NoLayer => (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response(),
        }
    }
}

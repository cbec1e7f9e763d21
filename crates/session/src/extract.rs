//! The axum extractor.

use axum_core::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use crate::{
    HoldError, LoadError, Session, StoreError, TakeError, ValueError, express::ExpressSession,
    layer::unavailable,
};

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

/// The request's session, [held](Session::hold) until the response leaves: requests that extract this wait for each other.
///
/// ```
/// # use hallpass_session::HeldSession;
/// async fn transfer(HeldSession(session): HeldSession) {
///     // no other request that holds the session changes it until the response leaves
/// #   drop(session);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct HeldSession(pub Session);

impl<S: Sync> FromRequestParts<S> for HeldSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let session = Session::of(parts).await.map_err(LoadError::into_response)?;
        session.hold().await.map_err(HoldError::into_response)?;
        Ok(Self(session))
    }
}

/// 503 with `Retry-After`.
impl IntoResponse for HoldError {
    fn into_response(self) -> Response {
        match self {
            Self::Store(error) => unavailable::<Body>(&error),
            Self::Waited => unavailable::<Body>(&StoreError::new("hold a session", self)),
        }
    }
}

/// 503 when the store failed, 500 when the value is of another shape.
impl IntoResponse for TakeError {
    fn into_response(self) -> Response {
        match self {
            Self::Store(error) => unavailable::<Body>(&error),
            Self::Value(error) => error.into_response(),
        }
    }
}

impl IntoResponse for LoadError {
    fn into_response(self) -> Response {
        match self {
            Self::Store(error) => unavailable::<Body>(&error),
            Self::Held => HoldError::Waited.into_response(),
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

//! Cross-site request forgery: every change, sign-in included, must come from this site or a trusted origin; in token
//! mode it must also carry the token of its session.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hallpass_auth::{CSRF_FIELD, CSRF_HEADER, verify_csrf};
use hallpass_session::{LoadError, Session};
use http::{StatusCode, header::ORIGIN};
use tower::{Layer, Service};
use tower_http::csrf::{ConfigError, Csrf, CsrfLayer, ProtectionError, ResponseForProtectionError};

use crate::{
    app::App,
    config::Config,
    cors::CorsPolicy,
    error::ApiError,
    input::{MAX_BODY, form_field, is_safe, media_type},
    routes::oauth,
};

fn refused() -> ApiError {
    let message =
        "This request came from another site, or its form is too old. Open the page again and retry.";
    ApiError::new(StatusCode::FORBIDDEN, "csrf", message)
}

/// Refuses changes from other sites by `Sec-Fetch-Site`, then `Origin`; but not those that the CORS policy lets act.
#[derive(Clone)]
pub(crate) struct OriginLayer {
    csrf: CsrfLayer<Refused>,
    cors: CorsPolicy,
}

impl OriginLayer {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let csrf = config.trusted_origins.iter().try_fold(CsrfLayer::new(), CsrfLayer::add_trusted_origin)?;
        Ok(Self { csrf: csrf.with_rejection_response(Refused), cors: config.cors.clone() })
    }
}

#[derive(Clone)]
pub(crate) struct Refused;

impl ResponseForProtectionError<Body> for Refused {
    fn response_for_protection_error(&mut self, _: ProtectionError) -> http::Response<Body> {
        refused().into_response()
    }
}

impl<S: Clone> Layer<S> for OriginLayer {
    type Service = OriginService<S>;

    fn layer(&self, inner: S) -> OriginService<S> {
        OriginService { guarded: self.csrf.layer(inner.clone()), open: inner, cors: self.cors.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct OriginService<S> {
    guarded: Csrf<S, Refused>,
    open: S,
    cors: CorsPolicy,
}

impl<S> Service<Request> for OriginService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        std::task::ready!(self.open.poll_ready(cx))?;
        Service::<Request>::poll_ready(&mut self.guarded, cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if oauth::is_posted_by_providers(request.uri().path()) {
            return Box::pin(self.open.call(request));
        }
        let origin = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok());
        if origin.is_some_and(|origin| self.cors.allows_acting(origin)) {
            Box::pin(self.open.call(request))
        } else {
            Box::pin(self.guarded.call(request))
        }
    }
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

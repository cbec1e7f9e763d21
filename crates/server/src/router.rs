//! The routes and everything around them, from the outside in.

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
};
use hallpass_session::{Keys, OptionsError, SessionLayer, SessionOptions, TrustProxyLayer};
use http::StatusCode;
use tower::util::option_layer;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use crate::{
    app::App,
    csrf::{demand_token, refuse_other_sites},
    dress::dress,
    error::panicked,
    headers::secure,
    host::{demand_http, demand_known_host},
    input::receive,
    log,
    paths::{Paths, read_path, to_canonical},
    routes,
};

/// The router cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The session options contradict each other.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

/// The whole server as a Tower service. It expects a [`PeerAddr`](hallpass_session::PeerAddr) in each request's extensions.
pub fn router(app: App, keys: Keys) -> Result<Router, RouterError> {
    let config = app.config();
    let session = SessionOptions { clock: Arc::new(app.clock().clone()), ..config.session.clone() };
    let sessions = SessionLayer::new(app.stores().sessions.clone(), keys, session)?;
    let trust_proxy = TrustProxyLayer::new(config.trust_proxy.clone());
    let timeout =
        TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, config.limits.request_timeout);
    let cors = option_layer(config.cors.layer());
    let paths = Arc::new(Paths::new(app.base(), routes::paths()));
    // Read from the bottom up: the last layer added is the first that a request meets.
    let routes = routes::routes()
        .layer(from_fn_with_state(app.clone(), demand_token))
        .layer(sessions)
        .layer(from_fn_with_state(app.clone(), to_canonical))
        .layer(from_fn_with_state(app.clone(), demand_known_host))
        .layer(from_fn_with_state(app.clone(), refuse_other_sites))
        .layer(timeout)
        .layer(from_fn_with_state(app.clone(), receive))
        .layer(cors)
        .layer(from_fn(demand_http))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), dress))
        .layer(from_fn_with_state(app.clone(), secure))
        .layer(from_fn(log::responses))
        .layer(trust_proxy)
        .with_state(app);
    // Outside, because a router's own layers run after it has chosen the route.
    Ok(Router::new().fallback_service(routes).layer(from_fn_with_state(paths, read_path)))
}

//! One configuration's stack: cors, session, passport, routes, script.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, State},
    http::{HeaderMap, Request, StatusCode, request::Parts},
    response::Response,
};
use hallpass_session::{
    Clock, Keys, LoadError, SessionLayer, SystemClock,
    express::{ExpressSession, ExpressStore, Finish},
};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::{
    config::{Config, Genid, NO_ID},
    cors,
    net::Net,
    passport, plain,
    request::{Current, failed},
    script::{self, Next, message},
    seed,
    spy::{Shared, Spy},
    stores::Servers,
    streaming,
};

/// A stack that serves requests.
pub(crate) struct Stack {
    config: Config,
    clock: Arc<dyn Clock>,
    session: Option<SessionLayer>,
    second: Option<SessionLayer>,
}

impl Stack {
    /// Connects to the store and makes its index, if it is to have one.
    pub(crate) async fn new(
        whole: Value,
        servers: &Servers,
        settled: bool,
        notes: Shared,
    ) -> Result<Self, String> {
        let config = Config::new(whole)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let settled = config.settled(settled);
        let store = Arc::new(Spy { store: servers.store(&config).await?, notes });
        let layer = |secrets: Vec<String>, options| {
            let keys = Keys::of_express(secrets).ok()?;
            Some(SessionLayer::express(store.clone(), keys, options))
        };
        let session = if config.ordinary_layer() {
            let keys = Keys::of_express(config.secrets()).map_err(|error| error.to_string())?;
            let layer = SessionLayer::new(store.clone().sessions(), keys, config.ordinary());
            Some(layer.map_err(|error| error.to_string())?)
        } else {
            layer(config.secrets(), config.session(settled, clock.now()))
        };
        let second = || layer(vec!["other".to_owned()], config.second_session(settled, clock.now()));
        let second = if config.is_on("doubleMount") { second() } else { None };
        Ok(Self { config, clock, session, second })
    }

    pub(crate) async fn serve(self: Arc<Self>, connected: bool, request: Request<Body>) -> Response {
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let (cors, preflight) = cors::handle(&self.config.whole["cors"], &method, &headers);
        let mut response = match preflight {
            Some(response) => response,
            None if self.session.is_none() => {
                failed(StatusCode::INTERNAL_SERVER_ERROR, "secret option required for sessions")
            }
            None => self.behind_session(connected, request).await,
        };
        for (name, value) in &cors {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    async fn behind_session(self: Arc<Self>, connected: bool, mut request: Request<Body>) -> Response {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let peer = peer.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
        let net = Net::new(&self.config.trust, peer, request.headers());
        request.extensions_mut().insert(net.client());
        let mut app = Router::new().fallback(handle).with_state(self.clone());
        let layers = [self.second.clone(), self.session.clone()];
        // A store that is disconnected leaves requests without a session.
        for layer in layers.into_iter().flatten().filter(|_| connected) {
            app = app.layer(layer);
        }
        let Ok(response) = app.oneshot(request).await;
        response
    }
}

async fn handle(State(stack): State<Arc<Stack>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    if stack.config.plain_handlers() {
        return plain::run(&parts).await;
    }
    let session = match ExpressSession::of(&parts).await {
        Ok(session) => Some(session),
        Err(LoadError::NoLayer) => None,
        Err(error) => return failed(StatusCode::INTERNAL_SERVER_ERROR, &message(&error)),
    };
    let unnamed = session.as_ref().filter(|session| session.id() == NO_ID);
    // Without a text for its id, express-session neither stores a session nor sends it.
    let unnamed: Option<Finish> = unnamed.map(ExpressSession::finish_later);
    if unnamed.is_some() && stack.config.genid == Genid::Throws {
        return failed(StatusCode::INTERNAL_SERVER_ERROR, "genid failed");
    }
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let net =
        Net::new(&stack.config.trust, peer.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into()), &parts.headers);
    let mut current = Current {
        session,
        user: None,
        passport: stack.config.is_on("passport"),
        net,
        genid: stack.config.genid,
        results: Vec::new(),
        status: StatusCode::OK,
        headers: HeaderMap::new(),
    };
    if current.passport {
        match passport::authenticate(current.live()) {
            Ok(user) => current.user = user,
            Err(error) => return failed(StatusCode::INTERNAL_SERVER_ERROR, &error),
        }
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    route(&stack, current, &parts, body).await
}

async fn route(stack: &Stack, current: Current, parts: &Parts, body: Bytes) -> Response {
    if stack.config.whole["seed"].is_string() && parts.method == "POST" {
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        match seed::answer(current, &stack.config.whole, parts.uri.path(), &body).await {
            Ok(response) => return response,
            Err(current) => return run(stack, current, parts).await,
        }
    }
    run(stack, current, parts).await
}

async fn run(stack: &Stack, mut current: Current, parts: &Parts) -> Response {
    let steps = match script::read(parts.headers.get("x-script")) {
        Ok(steps) => steps,
        Err(error) => return failed(StatusCode::INTERNAL_SERVER_ERROR, &error),
    };
    let mut steps = steps.into_iter();
    while let Some(step) = steps.next() {
        match script::step(&mut current, &step, stack.clock.now()).await {
            Next::Step => {}
            Next::Write(first) => {
                return streaming::stream(current, first, steps.collect(), stack.clock.clone());
            }
            Next::End(content_type, body) => return current.respond(content_type, body),
            Next::Throw(error) => {
                let mut response = failed(StatusCode::INTERNAL_SERVER_ERROR, &error);
                for (name, value) in &current.headers {
                    response.headers_mut().append(name, value.clone());
                }
                return response;
            }
        }
    }
    let report = current.report();
    current.respond("application/json; charset=utf-8", report)
}

//! [`SessionLayer`]: the Tower middleware around it all.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, Entry, RETRY_AFTER, SET_COOKIE, VARY},
};
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Keys, OptionsError, Session, SessionOptions, SessionStore, StoreError,
    express::{ExpressOptions, ExpressStore, Mounted, Profile},
    place::{PLACE, Place},
    session::{Chain, Trims},
    shared::Shared,
};

/// Gives the handlers behind it a [`Session`] and writes it back before the response head leaves.
///
/// A request whose handler never asks for its session costs nothing: no store access, no allocation. A store that
/// cannot be reached is answered with 503 and `Retry-After`, never with an empty session.
#[derive(Clone)]
pub struct SessionLayer {
    shared: Arc<Shared>,
}

impl SessionLayer {
    /// A layer over `store`, signing cookies with `keys`. Impossible combinations of options are refused, all at once.
    pub fn new(
        store: Arc<dyn SessionStore>,
        keys: Keys,
        options: SessionOptions,
    ) -> Result<Self, OptionsError> {
        options.validate()?;
        Ok(Self { shared: Arc::new(Shared { store, keys, options, express: None, trims: Trims::default() }) })
    }

    /// A layer that does as express-session does, over a store that an Express app may use at the same time; see [`express`](crate::express).
    pub fn express(store: Arc<dyn ExpressStore>, keys: Keys, options: ExpressOptions) -> Self {
        let others =
            SessionOptions { clock: options.clock.clone(), hold: options.hold, ..SessionOptions::default() };
        let sessions = store.clone().sessions();
        let express = Some(Arc::new(Profile::new(store, options)));
        Self {
            shared: Arc::new(Shared {
                store: sessions,
                keys,
                options: others,
                express,
                trims: Trims::default(),
            }),
        }
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { inner, shared: self.shared.clone() }
    }
}

impl std::fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionLayer")
            .field("cookie", &self.shared.options.cookie.name)
            .finish_non_exhaustive()
    }
}

/// The service that [`SessionLayer`] makes.
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, In, Out> Service<Request<In>> for SessionService<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    Out: From<&'static str> + Send + 'static,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = SessionFuture<S::Future, Out>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let request = match &self.shared.express {
            None => request,
            Some(profile) => {
                let (mut parts, body) = request.into_parts();
                let mine = parts.extensions.get::<Mounted>().is_none() && profile.covers(&parts);
                if !mine {
                    let inner = self.inner.call(Request::from_parts(parts, body));
                    return SessionFuture::Aside { inner };
                }
                parts.extensions.insert(Mounted);
                Request::from_parts(parts, body)
            }
        };
        let place = Place::new(self.shared.clone());
        SessionFuture::Serving { inner: PLACE.scope(place, self.inner.call(request)) }
    }
}

pin_project! {
    /// The response future of [`SessionService`].
    #[project = FutureState]
    pub enum SessionFuture<F, Out> {
        /// The handler is at work.
        #[doc(hidden)]
        Serving { #[pin] inner: TaskLocalFuture<Place, F> },
        /// The layer has nothing to do with this request.
        #[doc(hidden)]
        Aside { #[pin] inner: F },
        /// The handler is done, its session is being written.
        #[doc(hidden)]
        Writing { write: Pin<Box<dyn Future<Output = Response<Out>> + Send>> },
    }
}

impl<F, E, Out> Future for SessionFuture<F, Out>
where
    F: Future<Output = Result<Response<Out>, E>>,
    Out: From<&'static str> + Send + 'static,
{
    type Output = Result<Response<Out>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, session) = match self.as_mut().project() {
            FutureState::Writing { write } => return write.as_mut().poll(cx).map(Ok),
            FutureState::Aside { inner } => return inner.poll(cx),
            FutureState::Serving { mut inner } => {
                let response = ready!(inner.as_mut().poll(cx))?;
                (response, inner.take_value().and_then(Place::into_session))
            }
        };
        let Some(session) = session else { return Poll::Ready(Ok(response)) };
        if response.status() == StatusCode::SERVICE_UNAVAILABLE && session.express().is_none() {
            // Whoever is told to try again must find everything as it was.
            session.discard();
        }
        if session.express().is_none() && session.is_settled() {
            return Poll::Ready(Ok(announce(&session, response)));
        }
        let write = Box::pin(write_then_answer(session, response));
        self.set(SessionFuture::Writing { write });
        self.poll(cx)
    }
}

/// Writes the session, then lets the response go; or 503 in its place, so that nobody is told what did not happen.
async fn write_then_answer<Out: From<&'static str>>(
    session: Session,
    response: Response<Out>,
) -> Response<Out> {
    let written = match session.express() {
        None => session.write_last().await.map(|_| announce(&session, response)),
        Some(held) => held.finish().await.map(|cookie| append_cookies(&session, cookie, response)),
    };
    written.unwrap_or_else(|error| unavailable(&error))
}

/// Adds `Set-Cookie` and tells caches that the response depends on the cookie.
fn announce<Out>(session: &Session, mut response: Response<Out>) -> Response<Out> {
    match response.headers_mut().entry(VARY) {
        Entry::Vacant(place) => drop(place.insert(HeaderValue::from_static("Cookie"))),
        Entry::Occupied(place) if mention_cookie(place.iter()) => {}
        Entry::Occupied(mut place) => place.append(HeaderValue::from_static("Cookie")),
    }
    let failed = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    append_cookies(session, session.set_cookie().filter(|_| !failed), response)
}

/// Adds `Set-Cookie` alone: the session's own, and what the application appended.
fn append_cookies<Out>(
    session: &Session,
    own: Option<HeaderValue>,
    mut response: Response<Out>,
) -> Response<Out> {
    let headers = response.headers_mut();
    for cookie in own.into_iter().chain(session.take_cookies()) {
        headers.append(SET_COOKIE, cookie);
        if !headers.contains_key(CACHE_CONTROL) {
            // A shared cache that replays Set-Cookie hands one person's session to another.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache=\"Set-Cookie\""));
        }
    }
    response
}

fn mention_cookie<'a>(vary: impl Iterator<Item = &'a HeaderValue>) -> bool {
    let names = vary.filter_map(|value| value.to_str().ok());
    names.flat_map(|value| value.split(',')).any(|name| matches!(name.trim(), "*" | "Cookie" | "cookie"))
}

/// Marks a 503 that was made because the session store could not be reached, in the response's extensions,
/// so that an outer layer can dress it.
#[derive(Clone, Copy, Debug)]
pub struct StoreUnavailable;

/// The answer while the store cannot be reached. The cause goes to the log only.
pub(crate) fn unavailable<Out: From<&'static str>>(error: &StoreError) -> Response<Out> {
    tracing::error!(event = "session_store_unavailable", error = %Chain(error));
    let body = r#"{"message":"Service Unavailable","code":"unavailable"}"#;
    let mut response = Response::new(Out::from(body));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response.extensions_mut().insert(StoreUnavailable);
    response
}

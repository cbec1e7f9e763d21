//! What answers the requests of one connection: the router, which is told how much room there is.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{Router, response::Response, routing::future::RouteFuture};
use bytes::Bytes;
use hallpass_session::PeerAddr;
use http::{HeaderValue, Request, header::CONNECTION};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::task::yield_now;
use tower::Service;

use super::{admission::Use, stream::Shared};

/// In the extensions of requests that need room: those with a body, and those of connections beyond the limit.
#[derive(Clone)]
pub(crate) struct Room(Arc<Shared>);

impl Room {
    /// Whether the connection is one too many, so that only health checks are answered.
    pub(crate) fn is_for_health_only(&self) -> bool {
        self.0.place.allowed() == Use::Health
    }

    /// Whether all that is being received, or what this client sends, takes more memory than it may.
    pub(crate) fn is_over(&self) -> bool {
        self.0.place.is_over()
    }

    /// What has arrived so far is dropped, and takes no memory.
    pub(crate) fn release(&self) {
        self.0.place.release();
    }
}

/// The service of one connection.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) router: Router,
    pub(super) peer: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) draining: Arc<AtomicBool>,
}

impl<B> Service<Request<B>> for Served
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Answer {
        // Who sends requests without waiting waits for everybody else after each.
        let turn = self.shared.begin().then(|| Box::pin(yield_now()) as Turn);
        let busy = Busy(self.shared.clone());
        let one_too_many = self.shared.place.allowed() == Use::Health;
        request.extensions_mut().insert(PeerAddr(self.peer));
        if one_too_many || !request.body().is_end_stream() {
            request.extensions_mut().insert(Room(self.shared.clone()));
        }
        Answer {
            routed: self.router.call(request),
            busy,
            turn,
            draining: self.draining.clone(),
            one_too_many,
        }
    }
}

/// Ends with the request: whoever is waited for then is the client.
struct Busy(Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
        self.0.place.release();
    }
}

/// Ends when the other tasks had theirs.
type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

pin_project! {
    /// The future of [`Served`].
    pub(super) struct Answer {
        #[pin]
        routed: RouteFuture<Infallible>,
        busy: Busy,
        turn: Option<Turn>,
        draining: Arc<AtomicBool>,
        one_too_many: bool,
    }
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(turn) = this.turn {
            ready!(turn.as_mut().poll(cx));
            *this.turn = None;
        }
        let mut response = ready!(this.routed.poll(cx))?;
        if *this.one_too_many || this.draining.load(Ordering::Relaxed) {
            // hyper closes the connection after this answer, and the client knows before it asks again.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

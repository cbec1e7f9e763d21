//! A real axum app around the layer whose handler is given per request, and a store that says what it was asked.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

pub mod express;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Extension, Router, body::Body, response::Response};
use hallpass_session::{
    conformance::{Call, Watch, Watched, Work},
    *,
};
use http::{Request, header};
use tower::ServiceExt;

pub const SECRET: &str = "an-old-secret-of-at-least-32-bytes";
pub const START: Timestamp = Timestamp::from_millis(1_795_424_473_000);

/// A memory store that notes its operations and fails those it is told to.
pub type Spy = Watched<MemoryStore, Spying>;

/// What happens to the operations of a [`Spy`].
#[derive(Default)]
pub struct Spying {
    pub asked: Mutex<Vec<&'static str>>,
    pub broken: Mutex<HashSet<&'static str>>,
    /// Those that are done, and fail all the same: the answer was lost.
    pub lost: Mutex<HashSet<&'static str>>,
    /// Every update meets another one.
    pub contended: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Watch for Spying {
    async fn around(&self, call: Call, work: Work<'_>) -> Result<(), StoreError> {
        // Lists are asked for by what runs in the background too.
        if !call.name.contains("user") && !["list", "delete_handle"].contains(&call.name) {
            self.asked.lock().unwrap().push(call.name);
        }
        if self.broken.lock().unwrap().contains(call.name) {
            return Err(StoreError::new("reach the store", "connection refused"));
        }
        work.await;
        if call.name == "update" {
            // As over a network, others get a turn before the answer is there.
            tokio::task::yield_now().await;
        }
        if self.lost.lock().unwrap().contains(call.name) {
            return Err(StoreError::new("reach the store", "connection reset"));
        }
        Ok(())
    }

    fn conflicts(&self) -> bool {
        self.contended.load(std::sync::atomic::Ordering::SeqCst)
    }
}

type Handler = Arc<dyn Fn(Session) -> Boxed + Send + Sync>;

type Boxed = std::pin::Pin<Box<dyn Future<Output = Response> + Send>>;

/// The app under test.
#[derive(Clone)]
pub struct App {
    pub store: Arc<Spy>,
    pub clock: ManualClock,
    pub router: Router,
}

/// What came back, as a browser sees it.
pub struct Answer {
    pub status: u16,
    pub set_cookie: Option<String>,
    pub headers: http::HeaderMap,
    /// Store operations of this request, in order.
    pub asked: Vec<&'static str>,
}

impl Answer {
    /// `name=value` of the cookie that was set, to be sent back.
    pub fn cookie(&self) -> String {
        let cookie = self.set_cookie.as_deref().expect("the answer sets a cookie");
        cookie.split(';').next().unwrap().to_owned()
    }
}

pub fn app(options: SessionOptions) -> App {
    app_with(Keys::from_secret(SECRET).unwrap(), options)
}

pub fn app_with(keys: Keys, mut options: SessionOptions) -> App {
    App::on(Arc::new(Spy::default()), ManualClock::new(START), keys, &mut options)
}

impl App {
    pub fn on(store: Arc<Spy>, clock: ManualClock, keys: Keys, options: &mut SessionOptions) -> Self {
        async fn run(Extension(handler): Extension<Handler>, session: Session) -> Response {
            handler(session).await
        }
        options.clock = Arc::new(clock.clone());
        let layer = SessionLayer::new(store.clone(), keys, options.clone()).unwrap();
        let router = Router::new()
            .route("/untouched", axum::routing::get(|| async { "no session needed" }))
            .fallback(run)
            .layer(layer);
        Self { store, clock, router }
    }

    /// One request with this Cookie header; `handler` is what the app does.
    pub async fn request<F, Fut, R>(&self, cookie: Option<&str>, handler: F) -> Answer
    where
        F: Fn(Session) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: axum::response::IntoResponse,
    {
        let mut request = Request::get("/");
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        self.send_with(request.body(Body::empty()).unwrap(), handler).await
    }

    /// The same for any request.
    pub async fn send_with<F, Fut, R>(&self, mut request: Request<Body>, handler: F) -> Answer
    where
        F: Fn(Session) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: axum::response::IntoResponse,
    {
        let handler: Handler = Arc::new(move |session| {
            let answer = handler(session);
            Box::pin(async move { answer.await.into_response() })
        });
        request.extensions_mut().insert(handler);
        self.send(request).await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        self.store.asked.lock().unwrap().clear();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let further = |cookie: &&http::HeaderValue| cookie.as_bytes().starts_with(b"device=");
        let set: Vec<_> =
            response.headers().get_all(header::SET_COOKIE).iter().filter(|cookie| !further(cookie)).collect();
        assert!(set.len() <= 1, "at most one session cookie: {set:?}");
        Answer {
            status: response.status().as_u16(),
            set_cookie: set.first().map(|value| value.to_str().unwrap().to_owned()),
            headers: response.headers().clone(),
            asked: self.store.asked.lock().unwrap().clone(),
        }
    }

    /// A new session holding `n: 1`; its cookie.
    pub async fn begin(&self) -> String {
        self.request(None, |session| async move { session.insert("n", &1).unwrap() }).await.cookie()
    }

    /// What `key` holds for this cookie.
    pub async fn read(&self, cookie: &str, key: &'static str) -> Option<serde_json::Value> {
        let seen = Arc::new(Mutex::new(None));
        let slot = seen.clone();
        let handler = move |session: Session| {
            *slot.lock().unwrap() = session.get(key).unwrap();
            async {}
        };
        self.request(Some(cookie), handler).await;
        let value: Option<serde_json::Value> = seen.lock().unwrap().take();
        value
    }

    pub fn break_store(&self, operations: &[&'static str]) {
        *self.store.broken.lock().unwrap() = operations.iter().copied().collect();
    }
}

pub const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

/// Sets a value.
pub fn insert(key: &'static str, value: i32) -> impl Fn(Session) -> std::future::Ready<()> + Send + Sync {
    move |session| {
        session.insert(key, &value).unwrap();
        std::future::ready(())
    }
}

/// Only looks at the session.
pub fn nothing(_: Session) -> std::future::Ready<()> {
    std::future::ready(())
}

/// Proves to be `user`.
pub fn log_in(user: &'static str) -> impl Fn(Session) -> std::future::Ready<()> + Send + Sync {
    move |session| {
        session.establish(user);
        session.insert("userId", user).unwrap();
        std::future::ready(())
    }
}

/// Requests of one session at the same moment: each has loaded it before the first goes on.
pub async fn at_once<Fut>(
    app: &App,
    cookie: &str,
    count: usize,
    handler: impl Fn(Session, usize) -> Fut + Clone + Send + Sync + 'static,
) -> Vec<Answer>
where
    Fut: Future<Output = u16> + Send + 'static,
{
    let gate = Arc::new(tokio::sync::Barrier::new(count));
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..count {
        let (app, cookie, gate, handler) = (app.clone(), cookie.to_owned(), gate.clone(), handler.clone());
        requests.spawn(async move {
            let handler = move |session: Session| {
                let (gate, handler) = (gate.clone(), handler.clone());
                async move {
                    gate.wait().await;
                    http::StatusCode::from_u16(handler(session, number).await).unwrap()
                }
            };
            app.request(Some(&cookie), handler).await
        });
    }
    requests.join_all().await
}

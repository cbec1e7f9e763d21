//! An app with the Express profile, over a store that keeps texts as Express's stores do.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{Extension, Router, body::Body, response::Response};
use hallpass_session::{express::*, *};
use http::{Request, header};
use tower::ServiceExt;

/// Texts by id, with their ends.
#[derive(Default)]
pub struct Texts {
    pub rows: Mutex<HashMap<String, (String, Option<Timestamp>)>>,
    pub asked: Mutex<Vec<&'static str>>,
    pub broken: Mutex<HashSet<&'static str>>,
    /// What fails the next time it is asked, and not again.
    pub shaky: Mutex<HashSet<&'static str>>,
}

impl Texts {
    pub fn fail_once(&self, operation: &'static str) {
        self.shaky.lock().unwrap().insert(operation);
    }

    fn note(&self, operation: &'static str) -> Result<(), StoreError> {
        self.asked.lock().unwrap().push(operation);
        let shaky = self.shaky.lock().unwrap().remove(operation);
        if shaky || self.broken.lock().unwrap().contains(operation) {
            return Err(StoreError::new("reach the store", "connection refused"));
        }
        Ok(())
    }

    fn live(&self, id: &SessionId, now: Timestamp) -> Option<String> {
        let rows = self.rows.lock().unwrap();
        rows.get(id.expose()).filter(|(_, end)| end.is_none_or(|end| end > now)).map(|(text, _)| text.clone())
    }
}

#[async_trait]
impl ExpressStore for Texts {
    fn sessions(self: Arc<Self>) -> Arc<dyn SessionStore> {
        Arc::new(MemoryStore::default())
    }

    async fn get(&self, id: &SessionId, now: Timestamp) -> Result<Got, StoreError> {
        self.note("get")?;
        let Some(text) = self.live(id, now) else { return Ok(Got::Missing) };
        let Ok(Some(session)) = parse(&text) else { return Ok(Got::Unreadable) };
        Ok(Got::Session(Fetched { session, version: Version(text.into_bytes().into()) }))
    }

    async fn set(
        &self,
        id: &SessionId,
        session: &mut Document,
        expires: Option<Timestamp>,
        over: Over<'_>,
        now: Timestamp,
    ) -> Result<Set, StoreError> {
        self.note("set")?;
        let text = stringify(session);
        if let Over::Version(version) = over {
            match self.live(id, now) {
                None => return Ok(Set::Gone),
                Some(stored) if stored.as_bytes() != &*version.0 => return Ok(Set::Conflict),
                Some(_) => {}
            }
        }
        self.rows.lock().unwrap().insert(id.expose().to_owned(), (text.clone(), expires));
        Ok(Set::Done(Version(text.into_bytes().into())))
    }

    async fn touch(
        &self,
        id: &SessionId,
        _: &Document,
        expires: Option<Timestamp>,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        self.note("touch")?;
        let mut rows = self.rows.lock().unwrap();
        Ok(rows.get_mut(id.expose()).map(|row| row.1 = expires).is_some())
    }

    async fn rotate(
        &self,
        rotation: Rotation<'_>,
        session: &mut Document,
        now: Timestamp,
    ) -> Result<Set, StoreError> {
        self.note("rotate")?;
        match self.live(rotation.old, now) {
            None => return Ok(Set::Gone),
            Some(stored) if stored.as_bytes() != &*rotation.version.0 => return Ok(Set::Conflict),
            Some(_) => {}
        }
        let (text, mut rows) = (stringify(session), self.rows.lock().unwrap());
        rows.remove(rotation.old.expose());
        rows.insert(rotation.new.expose().to_owned(), (text.clone(), rotation.expires));
        Ok(Set::Done(Version(text.into_bytes().into())))
    }

    async fn destroy(&self, id: &SessionId, _: Timestamp) -> Result<(), StoreError> {
        self.note("destroy")?;
        self.rows.lock().unwrap().remove(id.expose());
        Ok(())
    }
}

type Handler = Arc<dyn Fn(ExpressSession) -> Boxed + Send + Sync>;

type Boxed = std::pin::Pin<Box<dyn Future<Output = Response> + Send>>;

/// The app under test.
#[derive(Clone)]
pub struct ExpressApp {
    pub store: Arc<Texts>,
    pub clock: ManualClock,
    pub router: Router,
}

/// What came back.
pub struct ExpressAnswer {
    pub status: u16,
    pub set_cookie: Vec<String>,
    pub asked: Vec<&'static str>,
}

impl ExpressAnswer {
    /// `name=value` of the cookie that was set.
    pub fn cookie(&self) -> String {
        assert_eq!(self.set_cookie.len(), 1, "{:?}", self.set_cookie);
        self.set_cookie[0].split(';').next().unwrap().to_owned()
    }
}

/// The options of most Express apps: an hour, nothing else.
pub fn options() -> ExpressOptions {
    ExpressOptions { cookie: fixed(r#"{"maxAge":3600000}"#), ..ExpressOptions::default() }
}

/// A `cookie` object.
pub fn fixed(json: &str) -> CookieSource {
    CookieSource::Fixed(serde_json::from_str(json).unwrap())
}

pub fn app(options: ExpressOptions) -> ExpressApp {
    app_over(Arc::new(Texts::default()), ManualClock::new(super::START), options)
}

/// An app over a store that another one may use too.
pub fn app_over(store: Arc<Texts>, clock: ManualClock, options: ExpressOptions) -> ExpressApp {
    async fn run(Extension(handler): Extension<Handler>, session: ExpressSession) -> Response {
        handler(session).await
    }
    let options = ExpressOptions { clock: Arc::new(clock.clone()), ..options };
    let layer = SessionLayer::express(store.clone(), Keys::of_express(["s1"]).unwrap(), options);
    let router = Router::new()
        .route("/untouched", axum::routing::get(|| async { "no session needed" }))
        .fallback(run)
        .layer(layer);
    ExpressApp { store, clock, router }
}

impl ExpressApp {
    /// `GET /` with this Cookie header.
    pub async fn get<F, Fut>(&self, cookie: &str, handler: F) -> ExpressAnswer
    where
        F: Fn(Session) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.express(cookie, move |express| handler(express.session().clone())).await
    }

    /// Any request.
    pub async fn send<F, Fut>(&self, mut request: Request<Body>, handler: F) -> ExpressAnswer
    where
        F: Fn(ExpressSession) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |session| {
            let done = handler(session);
            Box::pin(async move {
                done.await;
                Response::new(Body::empty())
            })
        });
        request.extensions_mut().insert(handler);
        self.store.asked.lock().unwrap().clear();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let cookies = response.headers().get_all(header::SET_COOKIE).iter();
        ExpressAnswer {
            status: response.status().as_u16(),
            set_cookie: cookies.map(|value| value.to_str().unwrap().to_owned()).collect(),
            asked: self.store.asked.lock().unwrap().clone(),
        }
    }

    /// The same with the methods that Express has.
    pub async fn express<F, Fut>(&self, cookie: &str, handler: F) -> ExpressAnswer
    where
        F: Fn(ExpressSession) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.send(Request::get("/").header(header::COOKIE, cookie).body(Body::empty()).unwrap(), handler)
            .await
    }

    /// A new session with `a: 1`; its cookie.
    pub async fn begin(&self) -> String {
        self.get("", |session| async move { session.insert("a", &1).unwrap() }).await.cookie()
    }

    /// What a session of this cookie holds.
    pub async fn read(&self, cookie: &str, key: &'static str) -> Option<serde_json::Value> {
        let seen = Arc::new(Mutex::new(None));
        let slot = seen.clone();
        let handler = move |session: Session| {
            *slot.lock().unwrap() = session.get(key).unwrap();
            async {}
        };
        self.get(cookie, handler).await;
        let value: Option<serde_json::Value> = seen.lock().unwrap().take();
        value
    }

    /// The only text that is stored.
    pub fn text(&self) -> String {
        let rows = self.store.rows.lock().unwrap();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.values().next().unwrap().0.clone()
    }

    pub fn break_store(&self, operations: &[&'static str]) {
        *self.store.broken.lock().unwrap() = operations.iter().copied().collect();
    }
}

/// The id in a cookie.
pub fn id_of(cookie: &str) -> String {
    let value = cookie.split_once('=').unwrap().1;
    value.strip_prefix("s%3A").unwrap().split('.').next().unwrap().to_owned()
}

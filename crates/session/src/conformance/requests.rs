//! What the session layer promises to applications on this store: requests of one session at once lose no change.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, header::COOKIE};
use tokio::{sync::Barrier, task::JoinSet};
use tower_layer::Layer;
use tower_service::Service;

use super::{Contract, NOW, Store, load, promises, record, stored};
use crate::{Keys, ManualClock, Session, SessionId, SessionLayer, SessionOptions};

/// How many requests are at once.
const REQUESTS: u32 = 32;

pub(super) fn contracts() -> Vec<Contract> {
    promises! {
        "of many requests that update one key at once, each counts" => updates,
        "of many requests that take a value at once, one gets it" => takes,
        "requests that hold the session come one after the other" => holds,
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

/// A handler as a service.
#[derive(Clone)]
struct Handler<F>(F);

impl<F, Fut> Service<Request<()>> for Handler<F>
where
    F: Fn(Session) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send + 'static,
{
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Answer {
        let handler = self.0.clone();
        Box::pin(async move {
            let session = Session::of(&request.into_parts().0).await.expect("the session");
            Ok(Response::new(handler(session).await.to_string()))
        })
    }
}

/// Requests with this session at the same moment; how many handlers returned `true`. Each request must succeed.
async fn requests<Fut>(
    store: Store,
    id: &SessionId,
    handler: impl Fn(Session) -> Fut + Clone + Send + 'static,
) -> u32
where
    Fut: Future<Output = bool> + Send + 'static,
{
    let keys = Keys::from_secret("the secret of the conformance suite").expect("a secret");
    let cookie = format!("{}={}", SessionOptions::default().cookie.name, keys.sign(id));
    let options = SessionOptions { clock: Arc::new(ManualClock::new(NOW)), ..SessionOptions::default() };
    let layer = SessionLayer::new(store, keys, options).expect("a layer");
    let gate = Arc::new(Barrier::new(REQUESTS as usize));
    let handler = move |session| {
        let (gate, handler) = (gate.clone(), handler.clone());
        async move {
            gate.wait().await;
            handler(session).await
        }
    };
    let mut answers = JoinSet::new();
    for _ in 0..REQUESTS {
        let mut service = layer.layer(Handler(handler.clone()));
        let request = Request::builder().header(COOKIE, &cookie).body(()).expect("a request");
        answers.spawn(async move {
            let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
            let Ok(response) = service.call(request).await;
            assert_eq!(response.status(), 200, "a request failed");
            u32::from(response.into_body() == "true")
        });
    }
    answers.join_all().await.into_iter().sum()
}

async fn count(store: &Store, id: &SessionId) -> Option<u32> {
    let session = load(store, id, NOW).await.expect("the session");
    session.document.get("n").expect("a number")
}

async fn updates(store: Store) {
    let (id, _) = stored(&store, &record(r#"{"n":0}"#)).await;
    requests(store.clone(), &id, async |session: Session| {
        session.update("n", |n: Option<u32>| n.unwrap_or_default() + 1).is_ok()
    })
    .await;
    assert_eq!(count(&store, &id).await, Some(REQUESTS), "updates were lost");
}

async fn takes(store: Store) {
    let (id, _) = stored(&store, &record(r#"{"n":5}"#)).await;
    let taken = requests(store.clone(), &id, async |session: Session| {
        session.take::<u32>("n").await.expect("take").is_some()
    })
    .await;
    assert_eq!((taken, count(&store, &id).await), (1, None));
}

async fn holds(store: Store) {
    let (id, _) = stored(&store, &record(r#"{"n":0}"#)).await;
    requests(store.clone(), &id, async |session: Session| {
        session.hold().await.expect("hold");
        let n: Option<u32> = session.get("n").expect("a number");
        tokio::task::yield_now().await;
        session.insert("n", &(n.unwrap_or_default() + 1)).is_ok()
    })
    .await;
    let session = load(&store, &id, NOW).await.expect("the session");
    assert_eq!(session.document.to_json(), format!(r#"{{"n":{REQUESTS}}}"#), "changes were lost");
}

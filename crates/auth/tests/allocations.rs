//! What sessions cost in memory allocations, exactly: a request that does not ask costs none, a warm session check a handful.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{alloc::System, sync::Arc};

use axum::{Router, body::Body, extract::FromRef, routing::get};
use hallpass_auth::{Auth, AuthOptions, CurrentUserId, MemoryRecords, MemoryUsers};
use hallpass_session::{Keys, MemoryStore, Session, SessionLayer, SessionOptions};
use http::{Request, StatusCode, header};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Service, ServiceExt, util::MapRequestLayer};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Clone)]
struct App(Auth);

impl FromRef<App> for Auth {
    fn from_ref(app: &App) -> Self {
        app.0.clone()
    }
}

fn routes() -> Router<App> {
    Router::new().route("/anonymous", get(async || "hello"))
}

fn app() -> App {
    let (users, records) = (Arc::new(MemoryUsers::new()), Arc::new(MemoryRecords::new()));
    App(Auth::new(users, records, AuthOptions::default()).unwrap())
}

fn request(path: &str, cookie: &str) -> Request<Body> {
    let mut request = Request::get(path);
    if !cookie.is_empty() {
        request = request.header(header::COOKIE, cookie);
    }
    request.body(Body::empty()).unwrap()
}

/// The allocations of one request, once everything is warm. The request itself is made before.
async fn allocations(router: &Router, path: &str, cookie: &str) -> usize {
    let mut service = router.clone().into_service::<Body>();
    let mut counts = Vec::new();
    for _ in 0..8 {
        let request = request(path, cookie);
        let region = Region::new(COUNTED);
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        let change = region.change();
        assert_eq!(response.status(), StatusCode::OK);
        counts.push(change.allocations + change.reallocations);
    }
    counts.into_iter().min().unwrap()
}

#[tokio::test]
async fn sessions_cost_no_more_than_they_must() {
    let bare = routes().route("/read", get(async || "hello ann")).with_state(app());
    let keys = Keys::from_secret("a secret of at least 32 bytes for a test").unwrap();
    let layer = SessionLayer::new(Arc::new(MemoryStore::new()), keys, SessionOptions::default()).unwrap();
    let with_sessions = routes()
        .route("/read", get(async |_: CurrentUserId| "hello ann"))
        .route(
            "/login",
            get(async |session: Session| {
                session.establish("ann");
                session.insert("userId", "ann").unwrap();
                // As a sign-in leaves it.
                session.insert("hallpass", &serde_json::json!({ "epoch": 0 })).unwrap();
            }),
        )
        .layer(layer)
        .with_state(app());
    let response = with_sessions.clone().oneshot(request("/login", "")).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();

    // axum boxes what it wraps in a layer, any layer: that is not ours.
    let idle_layer = bare.clone().layer(MapRequestLayer::new(|request: Request<Body>| request));
    for cookie in ["", &cookie] {
        let ours = allocations(&with_sessions, "/anonymous", cookie).await;
        assert_eq!(
            ours,
            allocations(&idle_layer, "/anonymous", cookie).await,
            "a handler that does not ask pays"
        );
    }
    let over_bare =
        allocations(&with_sessions, "/read", &cookie).await - allocations(&bare, "/read", &cookie).await;
    assert!(over_bare <= 6, "a session check took {over_bare} allocations");
}

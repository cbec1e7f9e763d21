//! Requests to a router in this process, one after the other: no sockets, no HTTP to parse. What a session check adds to the bare route shows here
//! without the noise of a network.

use std::{alloc::System, hint::black_box};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use cpu_time::ProcessTime;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Service, ServiceExt};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 200;
const REQUESTS: usize = 500;

/// A router and what is asked of it.
pub struct Asked {
    pub router: Router,
    pub path: &'static str,
    pub cookie: String,
}

/// What one request takes more than the bare one.
pub struct Cost {
    /// Processor time of this process, nanoseconds: the median of rounds in which both were asked by turns.
    pub nanoseconds: f64,
    /// The bare request itself.
    pub bare: f64,
    /// Exact, once everything is warm.
    pub allocations: usize,
}

impl Asked {
    pub fn new(router: Router, path: &'static str, cookie: &str) -> Self {
        Self { router, path, cookie: cookie.to_owned() }
    }

    fn request(&self) -> Request<Body> {
        let request = Request::get(self.path).header(header::HOST, "127.0.0.1").header(header::COOKIE, &self.cookie);
        request.body(Body::empty()).expect("a request")
    }

    /// Nanoseconds of one of many.
    pub async fn round(&self, count: usize) -> f64 {
        let mut service = self.router.clone().into_service::<Body>();
        let requests: Vec<_> = (0..count).map(|_| self.request()).collect();
        let began = ProcessTime::now();
        for request in requests {
            let response = service.ready().await.expect("ready").call(request).await.expect("an answer");
            assert_eq!(response.status(), StatusCode::OK, "{}", self.path);
            black_box(response);
        }
        let spent = began.elapsed();
        spent.as_secs_f64() * 1e9 / count as f64
    }

    async fn allocations(&self) -> usize {
        let mut service = self.router.clone().into_service::<Body>();
        let mut fewest = usize::MAX;
        for _ in 0..32 {
            let request = self.request();
            let region = Region::new(COUNTED);
            let response = service.ready().await.expect("ready").call(request).await.expect("an answer");
            let change = region.change();
            assert_eq!(response.status(), StatusCode::OK);
            fewest = fewest.min(change.allocations + change.reallocations);
        }
        fewest
    }
}

/// What `asked` costs over `bare`.
pub async fn over(bare: &Asked, asked: &Asked) -> Cost {
    let (_, _) = (bare.round(REQUESTS).await, asked.round(REQUESTS).await);
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let floor = bare.round(REQUESTS).await;
        rounds.push((asked.round(REQUESTS).await - floor, floor));
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost {
        nanoseconds: median(rounds.iter().map(|(over, _)| *over).collect()),
        bare: median(rounds.iter().map(|(_, floor)| *floor).collect()),
        allocations: asked.allocations().await.saturating_sub(bare.allocations().await),
    }
}

/// The cookie that an answer sets, as a browser sends it back.
pub async fn sign_in(router: &Router) -> String {
    let request = Request::post("/login").body(Body::empty()).expect("a request");
    let response = router.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK, "the sign-in");
    let cookie = response.headers()[header::SET_COOKIE].to_str().expect("text");
    cookie.split(';').next().unwrap_or_default().to_owned()
}

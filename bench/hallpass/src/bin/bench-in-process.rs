//! `bench-in-process STORE…`: what a session check adds to the bare route, in this process. A line for each store: its name, nanoseconds, allocations,
//! and the bare route's nanoseconds. `bench-in-process --profile STORE REQUESTS` only asks, for a profiler.

use std::env;

use bench_hallpass::{bare, with_sessions};
use bench_measure::{Asked, over, sign_in};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, store, requests] = &arguments[..]
        && flag == "--profile"
    {
        return profile(store, requests.parse().expect("a number")).await;
    }
    for store in &arguments {
        for (kind, path) in [("check", "/read"), ("user", "/user"), ("anonymous", "/anonymous")] {
            let router = with_sessions(store, false, false).await;
            let cookie = sign_in(&router).await;
            let floor = Asked::new(bare(), path, &cookie);
            let cost = over(&floor, &Asked::new(router, path, &cookie)).await;
            let name = store.split(':').next().unwrap_or(store);
            println!("{name} {kind} {:.0} {} {:.0}", cost.nanoseconds, cost.allocations, cost.bare);
        }
    }
}

async fn profile(store: &str, requests: usize) {
    let (router, cookie) = if store == "bare" {
        (bare(), "a=b".to_owned())
    } else {
        let router = with_sessions(store, false, false).await;
        let cookie = sign_in(&router).await;
        (router, cookie)
    };
    let asked = Asked::new(router, "/read", &cookie);
    for _ in 0..requests.div_ceil(1000) {
        asked.round(1000).await;
    }
}

//! `peers-in-process STACK URL…`: what a session check of tower-sessions, and of axum-login on it, adds to the bare route in this process; as
//! bench-in-process prints it.

use std::env;

use axum::{Router, routing::get};
use bench_measure::{Asked, over, sign_in};
use bench_peers::tower::router_of;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        let [stack, url] = pair else { panic!("peers-in-process STACK URL…") };
        let router = router_of(stack, url, false).await;
        let cookie = sign_in(&router).await;
        for (kind, path) in [("check", "/read"), ("user", "/user"), ("anonymous", "/anonymous")] {
            let floor = Asked::new(bare(), path, &cookie);
            let cost = over(&floor, &Asked::new(router.clone(), path, &cookie)).await;
            println!("{stack} {kind} {:.0} {} {:.0}", cost.nanoseconds, cost.allocations, cost.bare);
        }
    }
}

fn bare() -> Router {
    let hello = || get(async || "hello ann");
    Router::new().route("/anonymous", hello()).route("/read", hello()).route("/user", hello())
}

//! `bench-hallpass STORE [--rolling] [--cold]`: a server on a free port, which it prints. STORE: `bare` (no sessions at all), `memory`, or the URL
//! of a store; Redis keeps sessions beside users in memory.
//!
//! `--cold` caches nothing, so that every read is the first. Signing in checks no password: hashing is the same everywhere, and hides the rest.

use std::env;

use bench_hallpass::{bare, with_sessions};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let store = arguments.first().expect("bench-hallpass STORE");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    let router =
        if store == "bare" { bare() } else { with_sessions(store, has("--rolling"), has("--cold")).await };
    axum::serve(listener, router).await.unwrap();
}

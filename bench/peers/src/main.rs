//! `bench-peers STACK [URL] [--rolling]`: a server on a free port, which it prints. STACK: `tower-memory`, `tower-sqlite`, `tower-postgres`,
//! `tower-redis` (tower-sessions with axum-login, users in memory), `actix-bare`, `actix-cookie`, `actix-redis`.
//!
//! Routes as in bench-hallpass. `/read` asks the session, `/user` the user that axum-login finds.

use std::env;

use bench_peers::{actix, tower};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let rolling = arguments.iter().any(|argument| argument == "--rolling");
    let stack = arguments.first().expect("bench-peers STACK [URL]").clone();
    let url = arguments.get(1).filter(|url| !url.starts_with("--")).cloned().unwrap_or_default();
    if stack.starts_with("actix") {
        actix_web::rt::System::new().block_on(actix::serve(&stack, &url));
    } else {
        tokio::runtime::Runtime::new().unwrap().block_on(tower::serve(&stack, &url, rolling));
    }
}

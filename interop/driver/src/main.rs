//! A server that does what scripts in its requests say, with the library's Express profile behind it.
//!
//! The same scripts drive a server on the real express-session; whoever compares the two sees whether the profile is exact.
//!
//! Run with: `cargo run -p interop-driver -- --listen 127.0.0.1:4200 --mongo mongodb://127.0.0.1:27017 --db express`

#![expect(clippy::print_stdout, reason = "a program of its own")]

mod config;
mod control;
mod cookies;
mod cors;
mod net;
mod passport;
mod plain;
mod request;
mod script;
mod seed;
mod spy;
mod stack;
mod stores;
mod streaming;

use std::{error::Error, net::SocketAddr};

use clap::Parser;

/// What the driver is told.
#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:4200")]
    listen: SocketAddr,
    /// The MongoDB server, for cases that want connect-mongo.
    #[arg(long)]
    mongo: Option<String>,
    /// The database in it.
    #[arg(long, default_value = "express")]
    db: String,
    /// The Redis server and database, for cases that want connect-redis.
    #[arg(long)]
    redis: Option<String>,
    /// The PostgreSQL database, for cases that want connect-pg-simple.
    #[arg(long)]
    postgres: Option<String>,
    /// Let requests of one session cross as the library has them by default, not as Express has them.
    #[arg(long)]
    settled: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Args { listen, mongo, db, redis, postgres, settled } = Args::parse();
    let driver = control::Driver::new(
        stores::Servers { mongo, db, redis, postgres, known: std::sync::Mutex::default() },
        settled,
    );
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("interop-driver listens on http://{}", listener.local_addr()?);
    axum::serve(listener, control::app(driver).into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

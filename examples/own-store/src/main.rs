//! An application on the store: `cargo run -p own-store`, then `curl -c jar -b jar http://127.0.0.1:3000/` a few times.

use std::{error::Error, path::Path, sync::Arc};

use axum::{Router, routing::get};
use hallpass_session::{
    CookieOptions, Keys, Secure, Session, SessionLayer, SessionOptions, Sweeper, ValueError, hex, random,
};
use own_store::RedbStore;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program of its own")]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(RedbStore::open(Path::new("own-store.redb"))?);
    tokio::spawn(Sweeper::default().run(store.clone()));
    // A real application keeps its secret; here, a restart forgets the visitors.
    let keys = Keys::from_secret(&hex(&random::<32>()))?;
    // curl speaks http.
    let cookie = CookieOptions { secure: Secure::Off, ..CookieOptions::default() };
    let options = SessionOptions { cookie, ..SessionOptions::default() };
    let app = Router::new().route("/", get(visit)).layer(SessionLayer::new(store, keys, options)?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("open http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn visit(session: Session) -> Result<String, ValueError> {
    let visits = session.get::<u32>("visits")?.unwrap_or(0) + 1;
    session.insert("visits", &visits)?;
    Ok(format!("visit number {visits}\n"))
}

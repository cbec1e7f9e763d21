//! What does `SameSite` protect, and what does it not? A bank of one route to attack from another site.
//!
//! Run with: `cargo run -p cross-site -- --same-site lax --csrf on`, then open the printed address.
//! `interop/browser/cross-site.test.mjs` drives it in Chromium and proves the table in docs/cross-site.md.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::State,
    response::Html,
    routing::{get, post},
};
use clap::{Parser, ValueEnum};
use hallpass_session::{CookieOptions, Keys, MemoryStore, SameSite, Session, SessionLayer, SessionOptions};
use tower_http::csrf::CsrfLayer;

#[derive(Parser)]
struct Arguments {
    /// The cookie's `SameSite` attribute.
    #[arg(long, value_enum)]
    same_site: Attribute,
    /// Whether requests from other sites are refused by their `Sec-Fetch-Site` and `Origin` headers.
    #[arg(long, value_enum)]
    csrf: Switch,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Attribute {
    Strict,
    Lax,
    None,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// How many transfers were made in the name of the person who signed in.
type Transfers = Arc<AtomicUsize>;

/// Signs in. Chromium accepts `Secure` cookies from `*.localhost` without TLS.
async fn sign_in(session: Session) -> Html<&'static str> {
    session.establish("ann");
    Html("<title>bank</title>signed in")
}

/// What a link, an image or a fetch from elsewhere finds out.
async fn who(session: Session) -> String {
    session.user().map_or_else(|| "nobody".to_owned(), |user| user.to_string())
}

/// What must never happen on behalf of another site.
async fn transfer(State(transfers): State<Transfers>, session: Session) -> String {
    if session.user().is_some() {
        transfers.fetch_add(1, Ordering::SeqCst);
    }
    who(session).await
}

async fn transferred(State(transfers): State<Transfers>) -> String {
    transfers.load(Ordering::SeqCst).to_string()
}

fn bank(arguments: &Arguments) -> Result<Router, Box<dyn std::error::Error>> {
    let same_site = match arguments.same_site {
        Attribute::Strict => SameSite::Strict,
        Attribute::Lax => SameSite::Lax,
        Attribute::None => SameSite::None,
    };
    let cookie = CookieOptions { same_site, ..Default::default() };
    let options = SessionOptions { cookie, ..Default::default() };
    let keys = Keys::from_secret("a secret for a playground, 32 bytes long")?;
    let sessions = SessionLayer::new(Arc::new(MemoryStore::new()), keys, options)?;
    let refuse_other_sites = tower::util::option_layer((arguments.csrf == Switch::On).then(CsrfLayer::new));
    Ok(Router::new()
        .route("/sign-in", get(sign_in))
        .route("/who", get(who))
        .route("/transfer", post(transfer))
        .route("/transferred", get(transferred))
        .layer(sessions)
        .layer(refuse_other_sites)
        .with_state(Transfers::default()))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the address is what the person who started it needs")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let bank = bank(&arguments)?;
    let listener = tokio::net::TcpListener::bind(&arguments.listen).await?;
    println!("open http://bank.localhost:{}/sign-in", listener.local_addr()?.port());
    Ok(axum::serve(listener, bank).await?)
}

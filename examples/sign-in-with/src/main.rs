//! Sign in with GitHub or any OpenID provider, and use GitHub's API in the person's name: an axum app on the library alone.
//!
//! Run with: `SESSION_SECRET=$(openssl rand -base64 32) GITHUB_ID=… GITHUB_SECRET=… cargo run -p sign-in-with`
//! Register `http://localhost:3000/auth/oauth/github/callback` at GitHub first. For another provider give `ISSUER`, `OPENID_ID`
//! and `OPENID_SECRET`, and register `http://localhost:3000/auth/oauth/openid/callback` there.

use std::{env, error::Error, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, FromRef, Path, RawQuery, State},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use hallpass_auth::{
    Auth, AuthOptions, CurrentUser, Error as AuthError, Origin, RedirectPath,
    oauth::{
        Begun, Callback, ClientAuth, HttpClient, Outcome, Provider, Providers, ProvidersOptions, SealKeys,
    },
};
use hallpass_session::{Clock, CookieOptions, Keys, Secret, Secure, Session, SessionOptions, StoreClock};
use hallpass_stores::Stores;
use http::{HeaderMap, HeaderValue, header::SET_COOKIE};

/// What handlers share.
#[derive(Clone)]
struct App {
    auth: Auth,
    providers: Providers,
    /// The time of the stores, by which an attempt ends.
    clock: StoreClock,
}

/// `CurrentUser` asks for it.
impl FromRef<App> for Auth {
    fn from_ref(app: &App) -> Self {
        app.auth.clone()
    }
}

#[tokio::main]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a program of its own")]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name| env::var(name).unwrap_or_default();
    let secret = |name| Secret::new(setting(name));
    let mut providers = Vec::new();
    if !setting("GITHUB_ID").is_empty() {
        let github = Provider::github(&setting("GITHUB_ID"), secret("GITHUB_SECRET"));
        providers.push(Provider { keep_tokens: true, ..github });
    }
    if !setting("ISSUER").is_empty() {
        let auth = ClientAuth::Secret(secret("OPENID_SECRET"));
        providers.push(Provider::openid("openid", "OpenID", &setting("ISSUER"), &setting("OPENID_ID"), auth));
    }
    let stores = Stores::open("sqlite:sign-in-with.db").await?;
    let app = app(stores, &setting("SESSION_SECRET"), providers)?;
    println!("open http://localhost:3000");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?)
}

fn app(stores: Stores, secret: &str, providers: Vec<Provider>) -> Result<Router, Box<dyn Error>> {
    let cookie = CookieOptions { secure: Secure::Off, ..CookieOptions::default() }; // On, behind https
    let session_options = SessionOptions { cookie, ..SessionOptions::default() };
    let sessions = stores.session_layer(Keys::from_secret(secret)?, session_options)?;
    let auth = Auth::new(stores.users, stores.records, AuthOptions::default())?;
    let options = ProvidersOptions {
        seal: SealKeys::new([secret]), // tokens are kept encrypted
        ..ProvidersOptions::new("http://localhost:3000")
    };
    let providers = Providers::new(auth.clone(), Arc::new(HttpClient::new()?), providers, options)?;
    Ok(Router::new()
        .route("/", get(home))
        .route("/auth/oauth/{name}", get(begin))
        .route("/auth/oauth/{name}/callback", get(callback))
        .route("/logout", post(log_out))
        .layer(sessions)
        .with_state(App { auth, providers, clock: stores.clock }))
}

async fn home(State(app): State<App>, user: Option<CurrentUser>) -> Result<Html<String>, AuthError> {
    let Some(CurrentUser(user)) = user else {
        let link = |provider: &Provider| {
            format!("<p><a href=\"/auth/oauth/{}\">Continue with {}</a></p>", provider.name, provider.label)
        };
        return Ok(Html(app.providers.iter().map(link).collect()));
    };
    // A token of the person for GitHub's API, refreshed if need be: it never reaches the browser.
    let token = app.providers.access_token(&user, "github", app.clock.now()).await?;
    let api = if token.is_some() { "GitHub's API can be asked." } else { "No token for GitHub." };
    let form = "<form method=\"post\" action=\"/logout\"><button>Sign out</button></form>";
    Ok(Html(format!("<p>Hello {}. {api}</p>{form}", user.email.as_str().replace(['<', '&'], ""))))
}

async fn begin(
    State(app): State<App>,
    Path(name): Path<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, AuthError> {
    let (origin, now) = (Origin::new(peer.ip()), app.clock.now());
    if let Err(failure) = app.providers.admit(&origin, now).await? {
        return Ok(Html(failure.sentence(&name)).into_response());
    }
    let next = RedirectPath::parse("/");
    Ok(match app.providers.begin(&name, &headers, next.as_ref(), now).await? {
        Begun::Away { location, cookies } => with(Redirect::to(&location), cookies),
        Begun::Failed(failure) => Html(failure.sentence(&name)).into_response(),
    })
}

async fn callback(
    State(app): State<App>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    session: Session,
    headers: HeaderMap,
) -> Result<Response, AuthError> {
    let Some(callback) = Callback::parse(&query.unwrap_or_default()) else {
        return Ok(Redirect::to("/").into_response());
    };
    let origin = Origin::new(peer.ip()).with_headers(&headers);
    let finished = app.providers.finish(&name, &session, &headers, &callback, &origin).await?;
    Ok(match finished.outcome {
        Outcome::Failed(failure) => with(Html(failure.sentence(&name)), finished.cookies),
        Outcome::SignedIn { .. } | Outcome::Linked => with(Redirect::to("/"), finished.cookies),
    })
}

async fn log_out(State(auth): State<Auth>, session: Session) -> Redirect {
    auth.log_out(&session);
    Redirect::to("/")
}

/// The answer with the cookies that bind attempts to this browser.
fn with(answer: impl IntoResponse, cookies: Vec<HeaderValue>) -> Response {
    let mut response = answer.into_response();
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::{Request, StatusCode, header::LOCATION};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_button_leads_to_github_with_pkce_and_a_cookie_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("example.db").display());
        let github = Provider::github("Iv1.8a61f9b3a7aba766", Secret::new("secret".to_owned()));
        let stores = Stores::open(&database).await.unwrap();
        let app = app(stores, "a secret of at least thirty-two bytes", vec![github]).unwrap();
        let ask = async |path: &str| {
            let peer = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5000)));
            let request = Request::get(path).extension(peer).body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap()
        };
        assert_eq!(ask("/").await.status(), StatusCode::OK);
        let answer = ask("/auth/oauth/github").await;
        let location = answer.headers()[LOCATION].to_str().unwrap();
        assert!(location.starts_with("https://github.com/login/oauth/authorize?"), "{location}");
        assert!(location.contains("code_challenge_method=S256"), "{location}");
        assert!(answer.headers()[SET_COOKIE].to_str().unwrap().starts_with("hallpass-oauth-"));
    }
}

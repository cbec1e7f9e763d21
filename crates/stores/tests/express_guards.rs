//! Signing in, guards and signing out in the Express profile: the same accounts and extractors, with the cookie and the document of express-session.

#![cfg(all(feature = "redis", feature = "auth"))]
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{net::Ipv4Addr, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use engines::redis;
use hallpass_auth::{
    Argon2Params, Attempt, Auth, AuthOptions, CurrentUser, Error, FreshUser, LoginOutcome, MemoryRecords,
    MemoryUsers, Origin, PasswordChanged, Registration, RequireLogin,
};
use hallpass_session::{Clock, Keys, Secret, Session, SessionLayer, SystemClock, express::ExpressOptions};
use hallpass_stores::{ConnectRedis, ConnectRedisOptions};
use http::{Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery";
const NEW: &str = "another horse, another battery";
const EMAIL: &str = "ann@example.com";

struct Site {
    router: Router,
    auth: Auth,
    store: Arc<ConnectRedis>,
    port: String,
    _engine: engines::Engine,
}

struct Answer {
    status: StatusCode,
    cookie: Option<String>,
    body: String,
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn origin() -> Origin {
    Origin::new(Ipv4Addr::LOCALHOST.into())
}

async fn log_in(State(auth): State<Auth>, session: Session, password: String) -> Result<Response, Error> {
    let attempt = Attempt {
        email: EMAIL.to_owned(),
        password: Secret::new(password),
        remember: false,
        origin: origin(),
    };
    Ok(match auth.log_in(&session, attempt).await? {
        LoginOutcome::LoggedIn(_) => StatusCode::OK.into_response(),
        _ => StatusCode::UNAUTHORIZED.into_response(),
    })
}

async fn change_password(
    State(auth): State<Auth>,
    session: Session,
    CurrentUser(user): CurrentUser,
) -> Result<StatusCode, Error> {
    let changed = auth.change_password(&session, &user, secret(PASSWORD), secret(NEW), &origin()).await?;
    Ok(if matches!(changed, PasswordChanged::Done) { StatusCode::OK } else { StatusCode::BAD_REQUEST })
}

impl Site {
    async fn open() -> Option<Self> {
        let engine = redis::start()?;
        let store =
            ConnectRedis::connect(&redis::url(&engine), &ConnectRedisOptions::default()).await.unwrap();
        let store = Arc::new(store);
        let options = AuthOptions {
            argon2: Argon2Params::insecure_for_tests(),
            accept_foreign_sign_ins: true,
            ..AuthOptions::default()
        };
        let auth = Auth::new(Arc::new(MemoryUsers::new()), Arc::new(MemoryRecords::new()), options).unwrap();
        let account = Registration { email: EMAIL.into(), password: secret(PASSWORD), name: None };
        auth.create_user(account, Vec::new(), SystemClock.now()).await.unwrap();
        let keys = Keys::from_secret("a secret that the Express app has too").unwrap();
        let options = ExpressOptions { user_path: "userId".to_owned(), ..ExpressOptions::default() };
        let router = Router::new()
            .route("/guarded", get(async || "in"))
            .route_layer(RequireLogin::new(auth.clone()))
            .route("/who", get(async |CurrentUser(user): CurrentUser| user.email.as_str().to_owned()))
            .route("/fresh", get(async |FreshUser(user): FreshUser| user.email.as_str().to_owned()))
            .route("/login", post(log_in))
            .route("/password", post(change_password))
            .route("/cart", post(async |session: Session| session.insert("cart", "pear").unwrap()))
            .route("/logout", post(async |State(auth): State<Auth>, session: Session| auth.log_out(&session)))
            .layer(SessionLayer::express(store.clone(), keys, options))
            .with_state(auth.clone());
        let port = engine.port.to_string();
        Some(Self { router, auth, store, port, _engine: engine })
    }

    async fn send(&self, method: &str, path: &str, cookie: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::COOKIE, cookie);
        let answer =
            self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let set = answer.headers().get(header::SET_COOKIE).map(|set| set.to_str().unwrap().to_owned());
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        Answer {
            status,
            cookie: set.and_then(|set| Some(set.split(';').next()?.to_owned())),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn log_in(&self, cookie: &str, password: &str) -> Option<String> {
        self.send("POST", "/login", cookie, password).await.cookie
    }

    async fn may(&self, cookie: &str) -> [u16; 3] {
        let mut statuses = [0; 3];
        for (status, path) in statuses.iter_mut().zip(["/who", "/guarded", "/fresh"]) {
            *status = self.send("GET", path, cookie, "").await.status.as_u16();
        }
        statuses
    }

    fn redis(&self, words: &[&str]) -> String {
        let words: Vec<String> =
            [&["-p", &self.port], words].concat().into_iter().map(str::to_owned).collect();
        redis::cli(&words).trim().to_owned()
    }

    /// What Express finds.
    fn document(&self, cookie: &str) -> Value {
        serde_json::from_str(&self.redis(&["get", &format!("sess:{}", id_of(cookie))])).unwrap_or_default()
    }
}

fn id_of(cookie: &str) -> &str {
    cookie.strip_prefix("connect.sid=s%3A").unwrap().split('.').next().unwrap()
}

const IN: [u16; 3] = [200; 3];
const OUT: [u16; 3] = [401; 3];

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_a_new_id_with_the_visitors_data_and_guards_know_the_person() {
    let Some(site) = Site::open().await else { return };
    assert_eq!(site.may("").await, OUT);
    assert!(site.log_in("", "a guess").await.is_none(), "a refused sign-in begins no session");
    let visitor = site.send("POST", "/cart", "", "").await.cookie.unwrap();
    assert_eq!(site.may(&visitor).await, OUT);
    let signed_in = site.log_in(&visitor, PASSWORD).await.unwrap();
    assert_ne!(id_of(&visitor), id_of(&signed_in));
    assert_eq!(site.may(&signed_in).await, IN);
    assert_eq!(site.send("GET", "/who", &signed_in, "").await.body, EMAIL);
    assert_eq!(site.may(&visitor).await, OUT, "the old id opens nothing");
    let user = site.auth.user_by_email(EMAIL).await.unwrap().unwrap();
    let (document, former) = (site.document(&signed_in), site.document(&visitor));
    assert_eq!(document["userId"], user.id.as_str(), "{document}");
    assert_eq!((&document["cart"], &former), (&Value::from("pear"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_new_passwords_and_disabling_end_sessions() {
    let Some(site) = Site::open().await else { return };
    let [first, second] =
        [site.log_in("", PASSWORD).await.unwrap(), site.log_in("", PASSWORD).await.unwrap()];
    assert_eq!(site.send("POST", "/logout", &first, "").await.status, StatusCode::OK);
    assert_eq!((site.may(&first).await, site.document(&first)), (OUT, Value::Null));
    let third = site.log_in("", PASSWORD).await.unwrap();
    let changed = site.send("POST", "/password", &second, "").await;
    assert_eq!(changed.status, StatusCode::OK);
    let second = changed.cookie.expect("a new id");
    assert_eq!((site.may(&second).await, site.may(&third).await), (IN, OUT));
    let user = site.auth.user_by_email(EMAIL).await.unwrap().unwrap();
    site.auth.set_disabled(&user, true, &*site.store, SystemClock.now()).await.unwrap();
    assert_eq!(site.may(&second).await, OUT);
}

/// A session that Express opened names its user and nothing else of ours; when its user proved who they are, nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn whom_express_signed_in_is_known_but_not_fresh() {
    let Some(site) = Site::open().await else { return };
    let visitor = site.send("POST", "/cart", "", "").await.cookie.unwrap();
    let mut document = site.document(&visitor);
    document["userId"] = site.auth.user_by_email(EMAIL).await.unwrap().unwrap().id.as_str().into();
    site.redis(&["set", &format!("sess:{}", id_of(&visitor)), &document.to_string(), "keepttl"]);
    assert_eq!(site.may(&visitor).await, [200, 200, 403]);
}

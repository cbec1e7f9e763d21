//! Tokens against cross-site request forgery: bound to a browser without a session, then to its session; nothing is stored.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hallpass_auth::{CSRF_HEADER, Csrf, CsrfOptions};
use hallpass_session::{Keys, MemoryStore, Session, SessionLayer, SessionOptions, SessionStore, Timestamp};
use http::{
    HeaderMap, StatusCode,
    header::{COOKIE, SET_COOKIE},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

const SECRET: &str = "a secret of the tests that is long enough";

async fn token(State(csrf): State<Csrf>, session: Session, headers: HeaderMap) -> Response {
    let mut visitor = csrf.visitor(&headers);
    let token = csrf.token(&session, &mut visitor);
    let cookie = csrf.set_cookie(&visitor).map(|cookie| [(SET_COOKIE, cookie)]);
    (cookie, token).into_response()
}

async fn change(State(csrf): State<Csrf>, session: Session, headers: HeaderMap) -> StatusCode {
    let given = headers.get(CSRF_HEADER).unwrap().to_str().unwrap();
    if csrf.verify(&session, &csrf.visitor(&headers), given) { StatusCode::OK } else { StatusCode::FORBIDDEN }
}

struct App {
    router: Router,
    store: Arc<MemoryStore>,
}

fn app(options: CsrfOptions) -> App {
    let (store, keys) = (Arc::new(MemoryStore::default()), Keys::from_secret(SECRET).unwrap());
    let sessions = SessionLayer::new(store.clone(), keys, SessionOptions::default()).unwrap();
    let sign_in = async |session: Session| session.establish("ann");
    let router = Router::new().route("/token", get(token)).route("/change", post(change));
    let router = router.route("/in", post(sign_in)).layer(sessions).with_state(Csrf::new([SECRET], options));
    App { router, store }
}

#[derive(Clone, Default)]
struct Browser(Vec<String>);

impl App {
    async fn ask(
        &self,
        browser: &mut Browser,
        method: &str,
        path: &str,
        token: &str,
    ) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).header(CSRF_HEADER, token);
        let request = request.header(COOKIE, browser.0.join("; ")).body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let name = pair.split('=').next().unwrap();
            browser.0.retain(|other| !other.starts_with(&format!("{name}=")));
            browser.0.push(pair.to_owned());
        }
        let (status, body) = (answer.status(), answer.into_body().collect().await.unwrap().to_bytes());
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn token(&self, browser: &mut Browser) -> String {
        self.ask(browser, "GET", "/token", "").await.1
    }

    async fn may(&self, browser: &Browser, token: &str) -> bool {
        self.ask(&mut browser.clone(), "POST", "/change", token).await.0 == StatusCode::OK
    }

    async fn stored(&self) -> usize {
        self.store.list(None, 10, Timestamp::from_millis(0)).await.unwrap().len()
    }
}

#[tokio::test]
async fn visitors_have_tokens_and_nothing_is_stored_for_them() {
    let app = app(CsrfOptions::default());
    let (mut ann, mut eve) = (Browser::default(), Browser::default());
    let (first_tab, second_tab) = (app.token(&mut ann).await, app.token(&mut ann).await);
    assert!(app.may(&ann, &first_tab).await && app.may(&ann, &second_tab).await, "two tabs");
    assert_ne!(first_tab, second_tab, "each looks different");
    assert_eq!(ann.0.len(), 1);
    let of_eve = app.token(&mut eve).await;
    assert!(!app.may(&ann, &of_eve).await && !app.may(&eve, &first_tab).await, "of its own browser only");
    assert!(!app.may(&Browser::default(), &first_tab).await, "not without the cookie");
    for forged in ["", "x", &first_tab[1..], &first_tab.replace(&first_tab[60..], "AAAA")] {
        assert!(!app.may(&ann, forged).await, "{forged:?}");
    }
    assert_eq!(app.stored().await, 0);
}

#[tokio::test]
async fn pages_that_are_first_loaded_at_the_same_time_all_work() {
    let app = app(CsrfOptions::default());
    let (mut one, mut two) = (Browser::default(), Browser::default());
    let (first, second) = (app.token(&mut one).await, app.token(&mut two).await);
    let both = Browser([one.0, two.0].concat());
    assert!(app.may(&both, &first).await && app.may(&both, &second).await);
}

#[tokio::test]
async fn a_sign_in_voids_what_was_known_before() {
    let app = app(CsrfOptions::default());
    let mut ann = Browser::default();
    let before = app.token(&mut ann).await;
    app.ask(&mut ann, "POST", "/in", "").await;
    assert!(!app.may(&ann, &before).await, "a form from before the sign-in");
    let (first, second) = (app.token(&mut ann).await, app.token(&mut ann).await);
    assert!(app.may(&ann, &first).await && app.may(&ann, &second).await, "two tabs");
    let mut other = Browser::default();
    app.ask(&mut other, "POST", "/in", "").await;
    assert!(!app.may(&other, &first).await, "another session of the same user");
    app.ask(&mut ann, "POST", "/in", "").await;
    assert!(!app.may(&ann, &first).await, "after signing in again");
    assert_eq!(app.stored().await, 2, "the sessions of those who are signed in");
}

#[tokio::test]
async fn the_second_of_two_sign_in_forms_counts_and_nothing_else_of_before() {
    let app = app(CsrfOptions::default());
    let (mut ann, mut eve) = (Browser::default(), Browser::default());
    let (second_tab, of_eve) = (app.token(&mut ann).await, app.token(&mut eve).await);
    app.ask(&mut ann, "POST", "/in", "").await;
    assert!(!app.may(&ann, &second_tab).await);
    let csrf = Csrf::new([SECRET], CsrfOptions::default());
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, ann.0.join("; ").parse().unwrap());
    let visitor = csrf.visitor(&headers);
    assert!(csrf.verify_visitor(&visitor, &second_tab));
    let of_session = app.token(&mut ann).await;
    for wrong in [of_eve.as_str(), of_session.as_str(), "", "x"] {
        assert!(!csrf.verify_visitor(&visitor, wrong), "{wrong}");
    }
}

#[tokio::test]
async fn the_cookie_belongs_to_the_host_and_has_no_end() {
    let csrf = |options| Csrf::new([SECRET], options);
    let cookie = |options| {
        let (csrf, app) = (csrf(options), app(options));
        async move {
            let request = Request::builder().uri("/token").body(Body::empty()).unwrap();
            let answer = app.router.oneshot(request).await.unwrap();
            drop(csrf);
            answer.headers()[SET_COOKIE].to_str().unwrap().to_owned()
        }
    };
    let plain = cookie(CsrfOptions::default()).await;
    assert!(
        plain.starts_with("hallpass-csrf-") && plain.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{plain}"
    );
    let secure = cookie(CsrfOptions { secure: true, ..CsrfOptions::default() }).await;
    assert!(
        secure.starts_with("__Host-hallpass-csrf-") && secure.ends_with("; Secure; SameSite=Lax"),
        "{secure}"
    );
    let cross = CsrfOptions { secure: true, cross_site: true, partitioned: true };
    assert!(cookie(cross).await.ends_with("; Secure; Partitioned; SameSite=None"));
    assert!(cookie(CsrfOptions { cross_site: true, ..CsrfOptions::default() }).await.ends_with("Lax"));
}

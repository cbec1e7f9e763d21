//! One operation of a store fails, each in its turn: the answer says what has happened, and a repeated request leads there.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../../auth/tests/faults/mod.rs"]
mod faults;

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Body};
use faults::{Faulty, When};
use hallpass_auth::Argon2Params;
use hallpass_server::{App, Config, Flags, router};
use hallpass_session::{Keys, PeerAddr, Secret, StoreClock};
use hallpass_stores::{Stores, Upkeep};
use http::{Request, header};
use serde_json::{Value, json};
use tower::ServiceExt;

const SECRET: &str = "a secret of at least thirty-two bytes";
const PASSWORD: &str = "correct horse battery staple";
const NEW: &str = "another fine horse of ours";

struct Site {
    stores: Faulty,
    router: Router,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
    cookie: Option<String>,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Site {
    fn new() -> Self {
        let flags = Flags { database: Some("sqlite:none.db".to_owned()), ..Flags::default() };
        let mut config =
            Config::load(&flags, [("HALLPASS__SESSION__SECRETS".to_owned(), SECRET.to_owned())]).unwrap();
        config.auth.argon2 = Argon2Params::insecure_for_tests();
        let faulty = Faulty::default();
        let all = Arc::new(faulty.clone());
        let (clock, upkeep) = (StoreClock::of_machine(), Upkeep::default());
        let stores = Stores { sessions: all.clone(), users: all.clone(), records: all, clock, upkeep };
        let secret = Secret::new(SECRET.to_owned());
        let app = App::new(config, stores, &[secret], "http://localhost:8080").unwrap();
        Self { stores: faulty, router: router(app, Keys::from_secret(SECRET).unwrap()).unwrap() }
    }

    async fn send(&self, method: &str, path: &str, cookie: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::HOST, "localhost:8080").header(header::COOKIE, cookie);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let mut request = request.body(Body::from(body.to_string())).unwrap();
        request.extensions_mut().insert(PeerAddr(SocketAddr::from(([127, 0, 0, 1], 5000))));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let cookies: Vec<_> = response.headers().get_all(header::SET_COOKIE).iter().collect();
        assert!(status != 503 || cookies.is_empty(), "a 503 with a cookie: {cookies:?}");
        let cookie = cookies.iter().map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap());
        // A cleared cookie is none.
        let cookie = cookie.filter(|cookie| !cookie.ends_with('=')).map(str::to_owned).next();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, body: serde_json::from_slice(&body).unwrap_or_default(), cookie }
    }

    async fn post(&self, path: &str, cookie: &str, body: Value) -> Answer {
        self.send("POST", path, cookie, &body).await
    }

    async fn register(&self) -> Answer {
        self.post("/auth/register", "", json!({ "email": "ann@example.com", "password": PASSWORD })).await
    }

    async fn log_in(&self, password: &str, cookie: &str) -> Answer {
        self.post("/auth/login", cookie, json!({ "email": "ann@example.com", "password": password })).await
    }

    async fn is_signed_in(&self, cookie: &str) -> bool {
        self.send("GET", "/auth/me", cookie, &Value::Null).await.status == 200
    }

    /// A site on which ann has registered; her cookie.
    async fn with_ann() -> (Self, String) {
        let site = Self::new();
        let cookie = site.register().await.cookie.unwrap();
        site.stores.heal();
        (site, cookie)
    }
}

/// Makes each operation of `flow` fail in its turn, before and after it is done.
async fn each<Fut: Future<Output = usize>>(flow: impl Fn(Option<(usize, When)>) -> Fut) {
    let operations = flow(None).await;
    assert!(operations > 0, "the flow asks no store");
    for number in 1..=operations {
        for when in [When::Before, When::After] {
            flow(Some((number, when))).await;
        }
    }
}

fn fail(site: &Site, fault: Option<(usize, When)>) {
    site.stores.heal();
    if let Some((number, when)) = fault {
        site.stores.fail(number, when);
    }
}

#[tokio::test]
async fn registering() {
    each(async |fault| {
        let site = Site::new();
        fail(&site, fault);
        let first = site.register().await;
        let asked = site.stores.heal();
        match (first.status, first.code()) {
            (201, "") => assert!(site.is_signed_in(&first.cookie.unwrap()).await, "{fault:?}"),
            (201, "sign_in_again") => {
                assert_eq!(first.cookie, None, "{fault:?}");
                let login = site.log_in(PASSWORD, "").await;
                assert!(site.is_signed_in(&login.cookie.unwrap()).await, "{fault:?}");
            }
            (503, _) => {
                let again = site.register().await;
                assert_eq!((again.status, again.code()), (201, ""), "{fault:?}: nothing had happened");
                assert!(site.is_signed_in(&again.cookie.unwrap()).await);
            }
            _ => panic!("{fault:?}: {first:?}"),
        }
        asked
    })
    .await;
}

#[tokio::test]
async fn signing_in() {
    each(async |fault| {
        let (site, former) = Site::with_ann().await;
        fail(&site, fault);
        let first = site.log_in(PASSWORD, &former).await;
        let asked = site.stores.heal();
        match first.status {
            200 => assert!(site.is_signed_in(&first.cookie.unwrap()).await, "{fault:?}"),
            503 => {
                let again = site.log_in(PASSWORD, &former).await;
                assert!(site.is_signed_in(&again.cookie.unwrap()).await, "{fault:?}");
            }
            _ => panic!("{fault:?}: {first:?}"),
        }
        asked
    })
    .await;
}

#[tokio::test]
async fn changing_the_password() {
    let change = |site: &Site, cookie: &str| {
        let (router, stores, cookie) = (site.router.clone(), site.stores.clone(), cookie.to_owned());
        let body = json!({ "current_password": PASSWORD, "new_password": NEW });
        async move { Site { stores, router }.post("/auth/password", &cookie, body).await }
    };
    each(async |fault| {
        let (site, cookie) = Site::with_ann().await;
        let elsewhere = site.log_in(PASSWORD, "").await.cookie.unwrap();
        fail(&site, fault);
        let mut first = change(&site, &cookie).await;
        let asked = site.stores.heal();
        if first.status == 503 {
            assert!(site.is_signed_in(&cookie).await, "{fault:?}: nothing has happened");
            assert!(site.is_signed_in(&elsewhere).await);
            first = change(&site, &cookie).await;
            assert_eq!((first.status, first.code()), (200, ""), "{fault:?}");
        }
        assert_eq!(first.status, 200, "{fault:?}: {first:?}");
        assert_eq!(site.log_in(PASSWORD, "").await.status, 400, "{fault:?}: the old password is dead");
        match first.code() {
            "" | "sessions_remain" => assert!(site.is_signed_in(&first.cookie.unwrap()).await, "{fault:?}"),
            "sign_in_again" => assert_eq!(first.cookie, None, "{fault:?}"),
            code => panic!("{code}"),
        }
        assert!(!site.is_signed_in(&elsewhere).await, "{fault:?}");
        assert!(site.is_signed_in(&site.log_in(NEW, "").await.cookie.unwrap()).await);
        asked
    })
    .await;
}

#[tokio::test]
async fn signing_out_and_ending_sessions() {
    for path in ["/auth/logout", "this", "others"] {
        each(async |fault| {
            let (site, cookie) = Site::with_ann().await;
            let elsewhere = site.log_in(PASSWORD, "").await.cookie.unwrap();
            let list = site.send("GET", "/auth/sessions", &cookie, &Value::Null).await.body;
            let list = list["sessions"].as_array().unwrap().clone();
            let this = list.iter().find(|own| own["current"] == true).unwrap()["handle"].as_str().unwrap();
            let (method, path, ends) = match path {
                "this" => ("DELETE", format!("/auth/sessions/{this}"), &cookie),
                "others" => ("DELETE", "/auth/sessions".to_owned(), &elsewhere),
                path => ("POST", path.to_owned(), &cookie),
            };
            fail(&site, fault);
            let first = site.send(method, &path, &cookie, &Value::Null).await;
            let asked = site.stores.heal();
            match first.status {
                200 => {}
                503 => {
                    // To end what has ended is done, or nobody is signed in any more.
                    let again = site.send(method, &path, &cookie, &Value::Null).await;
                    assert!(matches!(again.status, 200 | 401), "{fault:?}: {again:?}");
                }
                _ => panic!("{fault:?}: {first:?}"),
            }
            assert!(!site.is_signed_in(ends).await, "{path} {fault:?}");
            asked
        })
        .await;
    }
}

#[tokio::test]
async fn changing_the_name_and_looking() {
    let name = json!({ "name": "Ann" });
    for (method, path, body) in [
        ("PATCH", "/auth/me", &name),
        ("GET", "/account", &Value::Null),
        ("GET", "/auth/sessions", &Value::Null),
    ] {
        each(async |fault| {
            let (site, cookie) = Site::with_ann().await;
            fail(&site, fault);
            let first = site.send(method, path, &cookie, body).await;
            let asked = site.stores.heal();
            assert!(matches!(first.status, 200 | 503), "{fault:?}: {first:?}");
            assert_eq!(site.send(method, path, &cookie, body).await.status, 200, "{fault:?}");
            asked
        })
        .await;
    }
}

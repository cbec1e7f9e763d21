//! The tutorial's app over HTTP: what it promises, and what the original gets wrong.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use hallpass_auth::{Auth, AuthOptions, RegisterOutcome, Registration};
use hallpass_session::{Clock, Secret, SystemClock};
use hallpass_stores::Stores;
use serde_json::{Value, json};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery staple";
const FRONT_END: &str = "http://localhost:5173";

/// The running example, with the account ann@example.com.
struct App {
    child: Child,
    url: String,
    database: PathBuf,
    _folder: TempDir,
}

impl Drop for App {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start(environment: &str) -> App {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("tutorial.db");
    let url = format!("sqlite:{}", database.display());
    make_user(&url);
    let mut child = Command::new(env!("CARGO_BIN_EXE_tutorial"))
        .env_clear()
        .envs([("DATABASE", url.as_str()), ("LISTEN", "127.0.0.1:0"), ("APP_ENV", environment)])
        .env("SESSION_SECRET", "a secret of at least thirty-two bytes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("open ").unwrap().to_owned();
    App { child, url, database, _folder: folder }
}

#[tokio::main]
async fn make_user(url: &str) {
    let stores = Stores::open(url).await.unwrap();
    let auth = Auth::new(stores.users, stores.records, AuthOptions::default()).unwrap();
    let ann =
        Registration { email: "ann@example.com".into(), password: Secret::new(PASSWORD.into()), name: None };
    let outcome = auth.create_user(ann, Vec::new(), SystemClock.now()).await.unwrap();
    assert!(matches!(outcome, RegisterOutcome::Registered(_)));
}

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The cookie that was set, to be sent back.
    fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap().to_owned()
    }
}

impl App {
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)));
        let agent = ureq::Agent::new_with_config(config.build());
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("content-type", "application/json");
        let mut response = agent.run(request.body(body.to_string()).unwrap()).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
    }

    fn post(&self, path: &str, cookie: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("cookie", cookie)], body)
    }

    fn log_in(&self, cookie: &str) -> Answer {
        self.post("/auth/login", cookie, &json!({ "email": "ann@example.com", "password": PASSWORD }))
    }

    fn create_status(&self, cookie: &str) -> u16 {
        self.post("/create", cookie, &json!({})).status
    }
}

#[test]
fn it_does_what_the_tutorial_says() {
    let app = start("development");
    let anonymous = app.post("/create", "", &json!({}));
    assert_eq!((anonymous.status, anonymous.body), (401, json!({ "message": "Unauthorized" })));
    let login = app.log_in("");
    assert_eq!((login.status, &login.body), (200, &json!({ "message": "Logged in successfully" })));
    assert_eq!(app.create_status(&login.cookie()), 201);
    let logout = app.post("/logout", &login.cookie(), &json!({}));
    assert_eq!((logout.status, &logout.body), (200, &json!({ "message": "Logged out successfully" })));
    assert!(logout.header("set-cookie").starts_with("session=; Path=/; Max-Age=0;"), "cleared");
    assert_eq!(app.create_status(&login.cookie()), 401, "and ended in the store");
}

#[test]
fn the_cookie_lasts_seven_days_and_rolls() {
    let app = start("development");
    let login = app.log_in("");
    let first = login.header("set-cookie");
    assert!(first.contains("; Max-Age=604800;") && first.ends_with("; HttpOnly; SameSite=Lax"), "{first}");
    let used = app.post("/create", &login.cookie(), &json!({}));
    assert!(used.header("set-cookie").contains("; Max-Age=604800;"), "every use begins the seven days anew");
}

#[test]
fn in_production_the_cookie_is_secure() {
    let app = start("production");
    assert!(app.log_in("").header("set-cookie").ends_with("; HttpOnly; Secure; SameSite=Lax"));
}

#[test]
fn one_front_end_may_call_it_with_credentials() {
    let app = start("development");
    let preflight = |origin| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        app.send("OPTIONS", "/create", &headers, &json!({}))
    };
    let ours = preflight(FRONT_END);
    assert_eq!(ours.header("access-control-allow-origin"), FRONT_END);
    assert_eq!(ours.header("access-control-allow-credentials"), "true");
    let call = |origin| {
        let body = json!({ "email": "ann@example.com", "password": PASSWORD });
        app.send("POST", "/auth/login", &[("origin", origin), ("sec-fetch-site", "cross-site")], &body).status
    };
    assert_eq!(call(FRONT_END), 200);
    assert_eq!(call("https://evil.test"), 403);
}

#[test]
fn the_password_is_checked() {
    let app = start("development");
    for (email, password) in
        [("ann@example.com", "wrong"), ("ann@example.com", ""), ("nobody@example.com", PASSWORD)]
    {
        let answer = app.post("/auth/login", "", &json!({ "email": email, "password": password }));
        assert_eq!((answer.status, &answer.body), (400, &json!({ "message": "Invalid credentials" })));
        assert_eq!(answer.header("set-cookie"), "");
    }
}

#[test]
fn the_id_is_renewed_at_login() {
    let app = start("development");
    let first = app.log_in("").cookie();
    let second = app.log_in(&first).cookie();
    assert_ne!(first, second);
    assert_eq!(
        (app.create_status(&first), app.create_status(&second)),
        (401, 201),
        "a fixed id is worth nothing"
    );
}

#[test]
fn a_second_or_anonymous_logout_is_harmless() {
    let app = start("development");
    let cookie = app.log_in("").cookie();
    for cookie in [cookie.as_str(), cookie.as_str(), "", "session=nonsense"] {
        let answer = app.post("/logout", cookie, &json!({}));
        assert_eq!((answer.status, &answer.body), (200, &json!({ "message": "Logged out successfully" })));
    }
}

#[test]
fn a_failed_save_never_leaves_a_logged_in_cookie() {
    let app = start("development");
    let database = rusqlite::Connection::open(&app.database).unwrap();
    database.execute_batch("begin exclusive").unwrap();
    let answer = app.log_in("");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("set-cookie"), "");
    database.execute_batch("commit").unwrap();
    assert_eq!(app.log_in("").status, 200);
}

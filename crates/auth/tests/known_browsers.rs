//! Guesses from elsewhere and the owner's own browser.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::time::Duration;

use common::{Answer, App, PASSWORD, app, app_with, credentials};
use hallpass_auth::{
    Argon2Params, AuthOptions, Change, DeviceCookies, HashPoolOptions, Limit, ThrottleOptions, UserStore,
};
use http::StatusCode;

const SECRET: &str = "a secret of at least thirty-two bytes";
const HOUR: Duration = Duration::from_secs(3600);

fn options(max_failures: u32) -> AuthOptions {
    let defaults = ThrottleOptions::default();
    AuthOptions {
        device_cookies: Some(DeviceCookies::new([SECRET]).unwrap()),
        throttle: ThrottleOptions {
            max_failures,
            account: Limit { free: 3, ..defaults.account },
            ..defaults
        },
        ..common::options()
    }
}

async fn known_app() -> App {
    app_with(options(100)).await
}

/// Signs in as somebody with a password, from an address, with these cookies.
async fn attempt(app: &App, who: &str, password: &str, addr: &str, cookie: &str) -> Answer {
    let headers = [("cookie", cookie), ("x-addr", addr)];
    app.send("POST", "/login", &headers, &credentials(who, password)).await
}

async fn guess(app: &App, who: &str, addr: &str, cookie: &str) -> StatusCode {
    attempt(app, who, "a wrong guess", addr, cookie).await.status
}

async fn sign_in(app: &App, who: &str, addr: &str, cookie: &str) -> StatusCode {
    attempt(app, who, PASSWORD, addr, cookie).await.status
}

/// The device cookies of a response, as a browser sends them.
fn devices(answer: &Answer) -> String {
    let set = answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap());
    let pairs = set.filter(|cookie| cookie.contains("hallpass-device-") && !cookie.contains("Max-Age=0"));
    pairs.map(|cookie| cookie.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

/// A browser in which somebody has signed in.
async fn browser(app: &App, who: &str) -> String {
    let answer = attempt(app, who, PASSWORD, "192.0.2.1", "").await;
    let cookies = devices(&answer);
    assert!(cookies.starts_with("__Host-hallpass-device-"), "{cookies}");
    cookies
}

/// Strangers guess from many networks until the account makes them wait.
async fn guess_until_throttled(app: &App, who: &str) {
    for number in 0..20 {
        guess(app, who, &format!("198.51.{number}.1"), "").await;
    }
    assert_eq!(sign_in(app, who, "203.0.113.9", "").await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn guesses_from_anywhere_keep_no_known_browser_out() {
    let app = known_app().await;
    let ann = browser(&app, "ann").await;
    guess_until_throttled(&app, "ann").await;
    for number in 0..20 {
        assert_eq!(sign_in(&app, "ann", &format!("203.0.113.{number}"), &ann).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_device_cookie_signs_nobody_in_and_is_of_no_use_for_another_account() {
    let app = known_app().await;
    let (ann, bob) = (browser(&app, "ann").await, browser(&app, "bob").await);
    assert_eq!(app.get("/who", &ann).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(guess(&app, "ann", "203.0.113.1", &ann).await, StatusCode::BAD_REQUEST);
    guess_until_throttled(&app, "ann").await;
    assert_eq!(sign_in(&app, "ann", "203.0.113.1", &bob).await, StatusCode::TOO_MANY_REQUESTS);
    let (name, _) = ann.split_once('=').unwrap();
    let (_, value) = bob.split_once('=').unwrap();
    let swapped = format!("{name}={value}");
    assert_eq!(sign_in(&app, "ann", "203.0.113.1", &swapped).await, StatusCode::TOO_MANY_REQUESTS);
    let both = format!("{bob}; {ann}");
    assert_eq!(
        sign_in(&app, "ann", "203.0.113.1", &both).await,
        StatusCode::OK,
        "two accounts in one browser"
    );
    assert_eq!(sign_in(&app, "bob", "203.0.113.1", &both).await, StatusCode::OK);
}

#[tokio::test]
async fn a_stolen_device_cookie_gives_few_guesses_and_locks_nobody_out() {
    let app = known_app().await;
    let stolen = browser(&app, "ann").await;
    let owner = browser(&app, "ann").await;
    for _ in 0..3 {
        assert_eq!(guess(&app, "ann", "198.51.100.1", &stolen).await, StatusCode::BAD_REQUEST);
    }
    assert_eq!(guess(&app, "ann", "198.51.100.2", &stolen).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(sign_in(&app, "ann", "203.0.113.1", &owner).await, StatusCode::OK);
    assert_eq!(sign_in(&app, "ann", "203.0.113.2", "").await, StatusCode::OK);
}

#[tokio::test]
async fn a_change_of_password_voids_device_cookies() {
    let app = known_app().await;
    let stolen = browser(&app, "ann").await;
    let user = app.user("ann").await;
    let change = Change::Password { from: user.password.clone(), to: user.password.clone() };
    app.users.change(&user.id, &change).await.unwrap();
    guess_until_throttled(&app, "ann").await;
    assert_eq!(sign_in(&app, "ann", "203.0.113.1", &stolen).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn signing_out_keeps_a_browser_known_and_signing_out_everywhere_only_this_one() {
    let app = known_app().await;
    let stolen = browser(&app, "ann").await;
    app.clock.advance(Duration::from_secs(1));
    let signed_in = attempt(&app, "ann", PASSWORD, "192.0.2.1", "").await;
    app.clock.advance(Duration::from_secs(1));
    let answer = app.post("/logout-everywhere", &signed_in.cookie(), "").await;
    assert!(answer.set_cookie.as_deref().unwrap().contains("Max-Age=0"), "the session ends");
    let own = devices(&answer);
    guess_until_throttled(&app, "ann").await;
    assert_eq!(sign_in(&app, "ann", "203.0.113.1", &stolen).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        sign_in(&app, "ann", "203.0.113.1", &devices(&signed_in)).await,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(sign_in(&app, "ann", "203.0.113.1", &own).await, StatusCode::OK);
}

/// Guesses once an hour, so that no wait slows them down; the answers.
async fn guess_slowly(app: &App, who: &str, times: usize) -> Vec<(StatusCode, String)> {
    let mut answers = Vec::new();
    for _ in 0..times {
        app.clock.advance(HOUR);
        let answer = attempt(app, who, "a wrong guess", "198.51.100.1", "").await;
        answers.push((answer.status, answer.body));
    }
    answers
}

#[tokio::test]
async fn failures_in_a_row_ask_for_more_than_a_password_whether_there_is_an_account_or_not() {
    let app = app_with(options(100)).await;
    let ann = browser(&app, "ann").await;
    let existing = guess_slowly(&app, "ann", 130).await;
    let decided = existing.iter().filter(|(status, _)| *status == StatusCode::BAD_REQUEST).count();
    assert_eq!(decided, 100);
    assert_eq!(existing[100].0, StatusCode::FORBIDDEN);
    assert_eq!(existing, guess_slowly(&app, "nobody", 130).await, "no oracle");
    assert_eq!(
        sign_in(&app, "ann", "203.0.113.9", "").await,
        StatusCode::FORBIDDEN,
        "the right password too"
    );
    assert_eq!(
        sign_in(&app, "ann", "192.0.2.1", "").await,
        StatusCode::FORBIDDEN,
        "at the owner's address too"
    );
    app.clock.advance(24 * HOUR);
    assert_eq!(sign_in(&app, "ann", "203.0.113.9", "").await, StatusCode::FORBIDDEN, "a day later too");
    assert_eq!(sign_in(&app, "ann", "203.0.113.9", &ann).await, StatusCode::OK, "a known browser always");
    assert_eq!(sign_in(&app, "ann", "203.0.113.9", "").await, StatusCode::OK, "a success ends the row");
}

#[tokio::test]
async fn an_operator_unlocks_an_account() {
    let app = app_with(options(5)).await;
    guess_slowly(&app, "ann", 6).await;
    assert_eq!(sign_in(&app, "ann", "203.0.113.9", "").await, StatusCode::FORBIDDEN);
    let user = app.user("ann").await;
    assert_eq!(app.auth.unlock(&user, app.now()).await.unwrap(), 5);
    assert_eq!(sign_in(&app, "ann", "203.0.113.9", "").await, StatusCode::OK);
}

#[tokio::test]
async fn without_device_cookies_nothing_is_set() {
    let app = app().await;
    let answer = app.log_in("ann", "").await;
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 1);
}

/// A flood of sign-ins answers 503 to many; that must not use up the attempts of whoever tried.
#[tokio::test]
async fn attempts_that_were_too_many_at_once_do_not_count_as_failures() {
    let hashing = HashPoolOptions {
        threads: 1.try_into().unwrap(),
        max_waiting: 1,
        queue_deadline: Duration::from_secs(20),
    };
    let mut options = AuthOptions { hashing, ..options(100) };
    options.argon2 = Argon2Params { memory_kib: 19_456, iterations: 20, parallelism: 1 };
    options.throttle.account.free = 30;
    let app = app_with(options).await;
    let mut busy = 0;
    // More than the free attempts, although few passwords are compared.
    while busy < 40 {
        let attempts = (0..24).map(|_| {
            let app = app.clone();
            tokio::spawn(async move { guess(&app, "ann", "198.51.100.1", "").await })
        });
        for attempt in attempts.collect::<Vec<_>>() {
            let status = attempt.await.unwrap();
            assert!([StatusCode::BAD_REQUEST, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{status}");
            busy += u32::from(status == StatusCode::SERVICE_UNAVAILABLE);
        }
    }
    assert_eq!(sign_in(&app, "ann", "198.51.100.1", "").await, StatusCode::OK);
}

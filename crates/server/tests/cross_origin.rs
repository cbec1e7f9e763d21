//! Other sites, other origins, proxies: CORS, CSRF and trusted proxies on the real server.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::{Client, credentials, server, server_with};
use serde_json::json;

const APP: &str = "https://app.example.com";

fn preflight(client: &Client, origin: &str) -> common::Answer {
    client
        .clone()
        .with("origin", origin)
        .with("access-control-request-method", "DELETE")
        .with("access-control-request-headers", "x-anything")
        .send("OPTIONS", "/auth/sessions", "", "")
}

#[test]
fn cors_allows_exact_origins_and_patterns_with_credentials() {
    let server = server_with(
        r#"
        [cors]
        origins = ["https://app.example.com", '/https:\/\/[a-z]+\.preview\.test/']
        exposed_headers = ["x-request-id"]
        max_age = "10m"
        "#,
    );
    for origin in [APP, "https://branch.preview.test"] {
        let answer = preflight(&server.client(), origin);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert_eq!(answer.header("access-control-allow-headers"), "x-anything");
        assert_eq!(answer.header("access-control-max-age"), "600");
        assert!(answer.header("access-control-allow-methods").contains("DELETE"));
        let mut script = server.client().with("origin", origin).with("sec-fetch-site", "cross-site");
        let answer = script.post("/auth/login", &credentials("nobody"));
        assert_eq!(answer.status, 400, "it gets as far as the password");
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert_eq!(answer.header("access-control-expose-headers"), "x-request-id");
        let vary: Vec<_> = answer
            .headers
            .get_all("vary")
            .iter()
            .map(|value| value.to_str().unwrap().to_lowercase())
            .collect();
        assert!(vary.join(",").contains("origin"), "{vary:?}");
    }
    for origin in ["https://evil.test", "https://app.example.com.evil.test", "http://app.example.com", "null"]
    {
        let answer = preflight(&server.client(), origin);
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        let mut script = server.client().with("origin", origin).with("sec-fetch-site", "cross-site");
        let refused = script.post("/auth/login", &credentials("nobody"));
        assert_eq!((refused.status, refused.code().as_str()), (403, "csrf"), "{origin}");
    }
}

#[test]
fn a_star_lets_everybody_read_but_nobody_act() {
    let server = server_with("[cors]\norigins = [\"*\"]\ncredentials = false");
    let answer = server.client().with("origin", "https://any.test").get("/healthz");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    let mut script = server.client().with("origin", "https://any.test").with("sec-fetch-site", "cross-site");
    assert_eq!(script.post("/auth/login", &credentials("ann")).status, 403);
}

#[test]
fn changes_from_other_sites_are_refused_login_included() {
    let server = server_with("[csrf]\ntrusted_origins = [\"https://friend.test\"]");
    let mut ann = server.registered("ann");
    for (headers, status) in [
        (vec![("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")], 403),
        (vec![("sec-fetch-site", "same-site"), ("origin", "https://sister.test")], 403),
        (vec![("origin", "https://evil.test")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site"), ("origin", "https://friend.test")], 200),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![("sec-fetch-site", "none")], 200),
        (vec![], 200),
    ] {
        let mut browser = server.client();
        browser
            .headers
            .clone_from(&headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect());
        assert_eq!(browser.post("/auth/login", &credentials("ann")).status, status, "{headers:?}");
    }
    let mut forged = ann.clone().with("sec-fetch-site", "cross-site").with("origin", "https://evil.test");
    for path in ["/auth/logout", "/auth/sessions/end", "/auth/password", "/auth/me"] {
        assert_eq!(forged.form(path, &[("name", "x")]).status, 403, "{path}");
    }
    assert!(ann.is_signed_in());
    let page = forged.in_browser().form("/auth/logout", &[]);
    assert!(page.status == 403 && page.body.contains("another site"), "in words a person understands");
}

/// Sends the headers with a change, and returns the status.
fn change(server: &common::Server, host: &str, headers: &[(&'static str, &str)]) -> u16 {
    let mut browser = server.client().with("host", host);
    for (name, value) in headers {
        browser = browser.with(name, value);
    }
    browser.post("/auth/logout", &json!({})).status
}

#[test]
fn odd_and_doubled_origins_prove_nothing() {
    let server = server_with("public_url = \"https://auth.example.com\"");
    let origin = |value| vec![("origin", value)];
    for (headers, status) in [
        (origin("https://auth.example.com"), 200),
        (origin("http://auth.example.com"), 403),
        (origin("https://auth.example.com:8443"), 403),
        (origin("https://auth.example.com."), 403),
        (origin("https://auth.example.com, https://evil.test"), 403),
        (origin("https://auth.example.com@evil.test"), 403),
        (origin("https://auth.example.com/"), 403),
        (origin(""), 403),
        (origin("null"), 403),
        (vec![("origin", "https://auth.example.com"), ("origin", "https://evil.test")], 403),
        (vec![("origin", "https://evil.test"), ("origin", "https://auth.example.com")], 403),
        (vec![("origin", "https://auth.example.com"), ("origin", "https://auth.example.com")], 403),
        (vec![("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-origin"), ("origin", "null")], 200),
        (vec![("sec-fetch-site", "")], 403),
        (vec![("referer", "https://auth.example.com/login?next=%2F")], 200),
        (vec![("referer", "http://auth.example.com/login")], 403),
        (vec![("referer", "https://evil.test/https://auth.example.com/")], 403),
        (vec![("referer", "https://auth.example.com@evil.test/")], 403),
        (vec![("referer", "")], 403),
        (vec![("referer", "about:blank")], 403),
        (vec![("sec-fetch-site", "same-origin"), ("referer", "https://evil.test/")], 200),
    ] {
        assert_eq!(change(&server, "auth.example.com", &headers), status, "{headers:?}");
    }
    let evil = origin("https://evil.test");
    assert_eq!(change(&server, "evil.test", &evil), 403, "that the host is the origin's own helps nobody");
    assert_eq!(change(&server, "evil.test", &[("sec-fetch-site", "same-origin")]), 421);
    let plain = common::server();
    let own = plain.url.trim_start_matches("http://");
    assert_eq!(change(&plain, own, &origin(&plain.url)), 200, "without public_url, the host counts");
    assert_eq!(change(&plain, "evil.test", &origin("http://evil.test")), 403);
}

#[test]
fn behind_a_proxy_that_changes_the_host_our_own_origin_still_counts() {
    let server = server_with("public_url = \"https://auth.example.com\"");
    let mut old_browser = server.client().with("origin", "https://auth.example.com");
    assert_eq!(old_browser.post("/auth/register", &credentials("ann")).status, 201);
}

#[test]
fn in_token_mode_every_change_carries_the_token_of_its_session() {
    let server = server_with("[csrf]\nmode = \"token\"");
    let mut ann = server.client();
    let refused = ann.post("/auth/register", &credentials("ann"));
    assert_eq!((refused.status, refused.code().as_str()), (403, "csrf"));
    let given = ann.get("/auth/csrf").json();
    let token = |given: &serde_json::Value| given["token"].as_str().unwrap().to_owned();
    assert_eq!(given["header"], "x-csrf-token");
    let mut with = ann.clone().with("x-csrf-token", &token(&given));
    assert_eq!(with.post("/auth/register", &credentials("ann")).status, 201);
    assert_eq!(
        with.post("/auth/logout", &json!({})).status,
        403,
        "what was known before signing in counts no longer"
    );
    ann.cookie = with.cookie.clone();
    let fresh = token(&ann.get("/auth/csrf").json());
    let mut eve = server.client();
    let given = token(&eve.get("/auth/csrf").json());
    let mut with = eve.clone().with("x-csrf-token", &given);
    assert_eq!(with.post("/auth/register", &credentials("eve")).status, 201);
    eve.cookie = with.cookie.clone();
    assert_eq!(
        eve.with("x-csrf-token", &fresh).post("/auth/logout", &json!({})).status,
        403,
        "of its session"
    );
    assert_eq!(
        ann.clone()
            .with("x-csrf-token", &fresh)
            .send("PATCH", "/auth/me", "application/json", r#"{"name":"A"}"#)
            .status,
        200
    );
    assert_eq!(
        ann.clone().form("/auth/me", &[("name", "B"), ("_csrf", &fresh)]).status,
        200,
        "forms carry it in a field"
    );
    assert_eq!(ann.clone().form("/auth/me", &[("name", "C"), ("_csrf", "wrong")]).status, 403);
    assert_eq!(ann.get("/auth/me").json()["user"]["name"], "B");
    assert_eq!(ann.with("x-csrf-token", &fresh).post("/auth/logout", &json!({})).status, 200);
}

/// A scanner that opens the sign-in page a thousand times fills no store.
#[test]
fn visitors_get_tokens_and_nothing_is_stored_for_them() {
    let server = server_with("[csrf]\nmode = \"token\"");
    let given =
        |client: &mut common::Client| client.get("/auth/csrf").json()["token"].as_str().unwrap().to_owned();
    let (mut ann, mut eve) = (server.client(), server.client());
    let (first, second, of_eve) = (given(&mut ann), given(&mut ann), given(&mut eve));
    for _ in 0..5 {
        assert_eq!(server.client().in_browser().get("/login").status, 200);
        assert_eq!(server.client().in_browser().get("/register").status, 200);
    }
    let register = |client: &common::Client, token: &str| {
        client.clone().with("x-csrf-token", token).post("/auth/register", &json!({})).status
    };
    assert_eq!((register(&ann, &first), register(&ann, &second)), (400, 400), "two tabs: past the token");
    assert_eq!((register(&ann, &of_eve), register(&eve, &first)), (403, 403), "of another browser");
    let listed = common::run(server.folder.path(), &["session", "list", "--json"], "");
    assert_eq!(common::text(&listed.stdout).trim(), "[]");
}

#[test]
fn a_form_from_before_the_sign_in_gets_a_clear_answer() {
    let server = server_with("[csrf]\nmode = \"token\"");
    let mut ann = server.client().in_browser();
    let token = |page: &str| {
        page.split("name=\"_csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let (one, two) = (token(&ann.get("/register").body), token(&ann.get("/login").body));
    let fields = [("email", "ann@example.com"), ("password", common::PASSWORD)];
    assert_eq!(ann.form("/auth/register", &[&fields[..], &[("_csrf", &one)]].concat()).status, 303);
    let second_tab = ann.form("/auth/login", &[&fields[..], &[("_csrf", &two)]].concat());
    assert_eq!(second_tab.status, 303, "{}", second_tab.body);
    let late = ann.form("/auth/me", &[("name", "Ann"), ("_csrf", &two)]);
    assert_eq!(late.status, 403);
    assert!(late.body.contains("its form is too old. Open the page again"), "{}", late.body);
}

#[test]
fn in_origin_mode_there_are_no_tokens() {
    assert_eq!(server().client().get("/auth/csrf").status, 404);
}

#[test]
fn pages_work_in_token_mode() {
    let server = server_with("[csrf]\nmode = \"token\"");
    let mut ann = server.client().in_browser();
    let token = |page: &str| {
        page.split("name=\"_csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let page = ann.get("/register").body;
    let answer = ann.form(
        "/auth/register",
        &[("email", "ann@example.com"), ("password", common::PASSWORD), ("_csrf", &token(&page))],
    );
    assert_eq!(answer.status, 303, "{}", answer.body);
    let account = ann.get("/account").body;
    assert_eq!(
        account.matches("name=\"_csrf\"").count(),
        account.matches("<form").count(),
        "every form carries it"
    );
    assert_eq!(ann.form("/auth/logout", &[("_csrf", &token(&account))]).status, 303);
}

#[test]
fn only_trusted_proxies_say_who_the_client_is() {
    let seen = |config: &str, forwarded: &str| {
        let server = server_with(config);
        let mut ann = server.client().with("x-forwarded-for", forwarded);
        ann.post("/auth/register", &credentials("ann"));
        ann.get("/auth/sessions").json()["sessions"][0]["address"].as_str().unwrap().to_owned()
    };
    assert_eq!(seen("", "198.51.100.7"), "127.0.0.1", "nobody is trusted by default");
    assert_eq!(seen("trust_proxy = \"loopback\"", "198.51.100.7"), "198.51.100.7");
    assert_eq!(
        seen("trust_proxy = 1", "203.0.113.9, 198.51.100.7"),
        "198.51.100.7",
        "what the client wrote itself"
    );
    assert_eq!(
        seen("trust_proxy = [\"127.0.0.1\", \"198.51.100.0/24\"]", "203.0.113.9, 198.51.100.7"),
        "203.0.113.9"
    );
    assert_eq!(seen("trust_proxy = false", "198.51.100.7"), "127.0.0.1");
}

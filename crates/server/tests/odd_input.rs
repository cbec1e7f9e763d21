//! Requests that are written otherwise than we would write them, and a server below a path.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::{Client, PASSWORD, credentials, server, server_with};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn a_slash_at_the_end_and_capitals_lead_to_the_same_route() {
    let server = server();
    server.registered("ann");
    let body = credentials("ann");
    for path in
        ["/auth/login", "/auth/login/", "/Auth/Login", "/AUTH/LOGIN/", "/auth/%6Cogin", "/%61uth/login/"]
    {
        let mut ann = server.client();
        assert_eq!(ann.post(path, &body).status, 200, "{path}");
        assert_eq!(ann.get("/Auth/Me/").status, 200);
        assert_eq!(ann.send("HEAD", "/auth/ME", "", "").status, 200);
        let handle = ann.get("/auth/sessions/").json()["sessions"][0]["handle"].as_str().unwrap().to_owned();
        assert_eq!(
            ann.delete(&format!("/Auth/Sessions/{handle}/")).status,
            200,
            "a handle keeps its letters"
        );
    }
    for (path, canonical) in [
        ("/login/", "/login"),
        ("/Login?next=/a", "/login?next=/a"),
        ("/LOGIN/?next=%2Fa", "/login?next=%2Fa"),
        ("/%6Cogin", "/login"),
        ("/account/", "/account"),
        ("/Register", "/register"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = server.client().in_browser().send(method, path, "", "");
            assert_eq!((answer.status, answer.header("location")), (308, canonical), "{method} {path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "like every answer");
        }
    }
    for path in ["/login//", "//login", "//evil.test/login/", "/nothing/", "/Nothing", "/auth/login/x"] {
        assert_eq!(server.client().get(path).status, 404, "{path}");
    }
    for path in ["/healthz/", "/Readyz", "/auth/providers/"] {
        assert_eq!(server.client().get(path).status, 200, "{path}");
    }
    // The same body is refused as too long on each spelling that takes no password, and taken where one may be.
    let long = format!("{{\"email\":\"a@example.com\",\"password\":\"{}\"}}", "x".repeat(20_000));
    assert_ne!(server.client().send("POST", "/Auth/Login/", JSON, &long).status, 413);
}

/// A server below `/app`, as a proxy that removes nothing reaches it.
fn below_app() -> common::Alone {
    server_with("public_url = \"http://127.0.0.1:9/app/\"")
}

#[test]
fn below_a_path_everything_stays_below_it() {
    let server = below_app();
    let mut ann = server.client();
    let answer = ann.post("/app/auth/register", &credentials("ann"));
    assert_eq!(answer.status, 201);
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("hallpass=") && cookie.contains("; Path=/app;"), "{cookie}");
    assert_eq!(ann.get("/app/auth/me").status, 200);
    let mut browser = server.client().in_browser();
    for (method, path, to) in [
        ("GET", "/app", "/app/login"),
        ("GET", "/app/", "/app/login"),
        ("GET", "/app/account", "/app/login?next=/app/account"),
        ("GET", "/app/Login/?next=/shop", "/app/login?next=/shop"),
        ("HEAD", "/App/login", "/app/login"),
        ("POST", "/app/logout", "/app/login?done=logout"),
    ] {
        assert_eq!(browser.send(method, path, "", "").header("location"), to, "{method} {path}");
    }
    let page = browser.get("/app/login?next=/shop");
    assert_eq!(page.status, 200);
    for part in ["href=\"/app/assets/style-", "action=\"/app/auth/login\"", "href=\"/app/register?next="] {
        assert!(page.body.contains(part), "{part} in {}", page.body);
    }
    let links =
        page.body.split(['"', '\'']).filter(|text| text.starts_with('/') && !text.starts_with("/%3E"));
    let outside: Vec<&str> = links.filter(|link| !link.starts_with("/app/") && *link != "/shop").collect();
    assert!(outside.is_empty(), "{outside:?}");
    let style = page.body.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(browser.get(style).header("content-type"), "text/css; charset=utf-8");
    let fields = [("email", "ann@example.com"), ("password", PASSWORD)];
    assert_eq!(browser.form("/app/auth/login", &fields).header("location"), "/app/account");
    let account = browser.get("/app/account").body;
    assert!(account.contains("action=\"/app/auth/logout\"") && !account.contains("action=\"/auth/"));
    let out = [("email", "ann@example.com"), ("password", PASSWORD), ("next", "/shop")];
    assert_eq!(browser.form("/app/auth/login", &out).header("location"), "/shop", "the application beside");
    let missing = browser.get("/app/nothing").body;
    assert!(missing.contains("href=\"/app/\""), "{missing}");
    assert_eq!(server.client().get("/application/login").status, 404);
    assert_eq!(server.client().get("/healthz").status, 200, "supervisors know no path");
    assert_eq!(server.log_line("listening").unwrap()["public_url"], "http://127.0.0.1:9/app");
}

#[test]
fn a_proxy_may_remove_the_path() {
    let server = below_app();
    let mut browser = server.client().in_browser();
    assert_eq!(browser.get("/account").header("location"), "/app/login?next=/app/account");
    assert!(browser.get("/login").body.contains("action=\"/app/auth/login\""));
    assert_eq!(browser.get("/Login").header("location"), "/app/login");
}

#[test]
fn on_https_a_cookie_below_a_path_has_no_host_prefix() {
    for (more, name, path) in [
        ("", "__Secure-hallpass=", "; Path=/app;"),
        ("[session]\ncookie_path = \"/\"", "__Host-hallpass=", "; Path=/;"),
    ] {
        let server = server_with(&format!(
            "public_url = \"https://example.com/app\"\nallowed_hosts = [\"*\"]\n{more}"
        ));
        let answer = server.client().post("/app/auth/register", &credentials("ann"));
        let cookie = answer.header("set-cookie");
        assert!(cookie.starts_with(name) && cookie.contains(path), "{cookie}");
    }
}

/// The status and code of a sign-in with this body.
fn sign_in(client: &mut Client, kind: &str, body: &[u8]) -> (u16, String) {
    let answer = client.send_bytes("/auth/login", kind, body);
    (answer.status, answer.code())
}

#[test]
fn bodies_are_utf8_without_fields_that_are_there_twice() {
    let server = server();
    server.registered("ann");
    let json = format!(r#"{{"email":"ann@example.com","password":"{PASSWORD}"}}"#);
    let form = format!("email=ann%40example.com&password={}", PASSWORD.replace(' ', "+"));
    let marked = |text: &str| format!("\u{feff}{text}").into_bytes();
    for (kind, body) in [
        (JSON, marked(&json)),
        (FORM, marked(&form)),
        ("Application/JSON; Charset=UTF-8", json.clone().into_bytes()),
        ("application/json;charset=\"Utf-8\"", json.clone().into_bytes()),
        ("application/x-www-form-urlencoded; charset=utf8", form.clone().into_bytes()),
    ] {
        assert_eq!(sign_in(&mut server.client(), kind, &body), (200, String::new()), "{kind}");
    }
    let wide =
        |order: fn(u16) -> [u8; 2], text: &str| -> Vec<u8> { text.encode_utf16().flat_map(order).collect() };
    let refused = (415, "unsupported_charset".to_owned());
    for (kind, body) in [
        (JSON, wide(u16::to_le_bytes, &json)),
        (JSON, wide(u16::to_be_bytes, &json)),
        (JSON, wide(u16::to_le_bytes, &format!("\u{feff}{json}"))),
        (JSON, wide(u16::to_be_bytes, &format!("\u{feff}{json}"))),
        (FORM, wide(u16::to_le_bytes, &form)),
        ("application/json; charset=UTF-16", json.clone().into_bytes()),
        ("application/x-www-form-urlencoded; charset=ISO-8859-1", form.clone().into_bytes()),
    ] {
        assert_eq!(sign_in(&mut server.client(), kind, &body), refused, "{kind}");
    }
    let bad = (400, "invalid_request".to_owned());
    for (kind, body) in [
        (JSON, json.replace(r#""password""#, r#""email":"bob@example.com","password""#).into_bytes()),
        (JSON, json.replace(r#""password""#, r#""em\u0061il":"ann@example.com","password""#).into_bytes()),
        (FORM, format!("{form}&email=bob%40example.com").into_bytes()),
        (FORM, format!("{form}&p%61ssword=x").into_bytes()),
        (FORM, b"email=ann%40example.com&password=caf%E9".to_vec()),
        (FORM, b"email=ann%40example.com&password=caf\xe9".to_vec()),
    ] {
        assert_eq!(sign_in(&mut server.client(), kind, &body), bad, "{}", String::from_utf8_lossy(&body));
    }
    let mut packed = server.client().with("content-encoding", "gzip");
    assert_eq!(sign_in(&mut packed, JSON, json.as_bytes()), (415, "unsupported_media_type".to_owned()));
}

#[test]
fn a_form_with_a_byte_order_mark_carries_its_token() {
    let server = server_with("[csrf]\nmode = \"token\"");
    let mut ann = server.client();
    let token = ann.get("/auth/csrf").json()["token"].as_str().unwrap().to_owned();
    let form =
        format!("\u{feff}_csrf={token}&email=ann%40example.com&password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(ann.send("POST", "/auth/register", FORM, &form).status, 201);
}

#[test]
fn in_token_mode_the_second_of_two_tabs_works() {
    let server = server_with("[csrf]\nmode = \"token\"");
    let mut ann = server.client();
    let token = |ann: &mut Client| ann.get("/auth/csrf").json()["token"].as_str().unwrap().to_owned();
    let (first, second, third) = (token(&mut ann), token(&mut ann), token(&mut ann));
    let fields = [("email", "ann@example.com"), ("password", PASSWORD)];
    let send = |ann: &mut Client, path: &str, token: &str| {
        let all: Vec<_> = fields.iter().copied().chain([("_csrf", token)]).collect();
        ann.form(path, &all).status
    };
    assert_eq!(send(&mut ann, "/auth/register", &first), 201);
    assert_eq!(send(&mut ann, "/auth/login", &second), 200, "a form from before the first tab signed in");
    assert_eq!(send(&mut ann, "/auth/login/", &third), 200, "whatever the path looks like");
    assert_eq!(send(&mut ann, "/auth/sessions/end", &second), 403, "it signs in, and nothing else");
    let mut eve = server.client();
    let foreign = token(&mut eve);
    assert_eq!(send(&mut ann, "/auth/login", &foreign), 403, "another browser's");
    let account = token(&mut ann);
    assert_eq!(send(&mut ann, "/auth/logout", &account), 200);
    assert_eq!(send(&mut ann, "/auth/logout", &account), 200, "from the second tab, where nobody is left");
    let mut bob = server.client();
    assert_eq!(bob.post("/auth/logout", &serde_json::json!({})).status, 200, "nobody's");
}

#[test]
fn the_usual_port_may_stand_in_the_host() {
    let server = server();
    server.registered("ann");
    for (host, origin, status) in [
        ("127.0.0.1:80", "http://127.0.0.1", 200),
        ("LOCALHOST:80", "http://localhost", 200),
        ("localhost", "http://localhost:80", 200),
        ("[::1]:80", "http://[::1]", 200),
        ("localhost:8080", "http://localhost", 403),
        ("localhost", "http://localhost:8080", 403),
        ("localhost:443", "http://localhost", 403),
        ("localhost:80", "http://localhost.evil.test", 403),
    ] {
        let mut client = server.client().with("host", host).with("origin", origin);
        assert_eq!(client.post("/auth/login", &credentials("ann")).status, status, "{host} {origin}");
    }
}

//! The JSON API as programs see it.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::{PASSWORD, credentials, server, server_with};
use serde_json::json;

#[test]
fn register_answers_as_documented_and_signs_in() {
    let server = server();
    let mut ann = server.client();
    let body = json!({ "email": " Ann@Example.COM", "password": PASSWORD, "name": "Ann" });
    let answer = ann.post("/auth/register", &body);
    assert_eq!(answer.status, 201);
    let id = answer.json()["user"]["id"].clone();
    assert_eq!(
        answer.json(),
        json!({ "message": "Registered", "user": { "id": id, "email": "ann@example.com", "name": "Ann", "roles": [] } })
    );
    assert_eq!(
        ann.get("/auth/me").json(),
        json!({ "user": { "id": id, "email": "ann@example.com", "name": "Ann", "roles": [] } })
    );
    let again = server.client().post("/auth/register", &body);
    assert_eq!((again.status, again.code().as_str()), (409, "email_taken"));
    for (field, value, code) in [
        ("email", "no-at-sign", "invalid_email"),
        ("password", "x7!kq", "invalid_password"),
        ("password", "password123456789", "invalid_password"),
        ("name", "two\nlines", "invalid_name"),
    ] {
        let mut body = json!({ "email": "bob@example.com", "password": PASSWORD });
        body[field] = value.into();
        let answer = server.client().post("/auth/register", &body);
        assert_eq!((answer.status, answer.code().as_str()), (422, code));
        assert!(answer.json()["message"].as_str().unwrap().ends_with('.'), "a sentence: {}", answer.body);
        assert!(!answer.body.contains(value), "what was typed is not repeated");
    }
}

#[test]
fn login_answers_as_documented_with_a_new_id() {
    let server = server();
    let mut ann = server.registered("ann");
    let before = ann.cookie.clone();
    let answer = ann.post("/auth/login", &credentials("ann"));
    let body = answer.json();
    assert_eq!((answer.status, &body["message"]), (200, &json!("Logged in successfully")));
    assert_eq!(body["user"]["email"], "ann@example.com");
    assert_ne!(ann.cookie, before, "a new session id");
    let mut old = server.client();
    old.cookie = before;
    assert!(!old.is_signed_in(), "the old id is dead");
    assert!(ann.is_signed_in());
    let expected = json!({ "message": "Invalid credentials", "code": "invalid_credentials" });
    for (email, password) in
        [("ann@example.com", "wrong"), ("nobody@example.com", PASSWORD), ("no address", PASSWORD)]
    {
        let answer = server.client().post("/auth/login", &json!({ "email": email, "password": password }));
        assert_eq!((answer.status, answer.json()), (400, expected.clone()), "the same answer for all");
        assert_eq!(answer.header("set-cookie"), "");
    }
}

#[test]
fn a_cookie_lasts_as_long_as_the_person_said() {
    let server = server();
    server.registered("ann");
    let plain = server.client().post("/auth/login", &credentials("ann"));
    let cookie = plain.header("set-cookie");
    assert!(
        cookie.starts_with("hallpass=s%3A") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    let mut body = credentials("ann");
    body["remember"] = true.into();
    let remembered = server.client().post("/auth/login", &body);
    let cookie = remembered.header("set-cookie");
    let max_age: u32 = cookie.split("; Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!((2_591_940..=2_592_000).contains(&max_age), "30 days: {cookie}");
}

#[test]
fn on_https_the_cookie_is_host_bound_and_secure() {
    let server = server_with("public_url = \"https://auth.example.com\"\ntrust_proxy = \"loopback\"");
    let answer = server.client().post("/auth/register", &credentials("ann"));
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-hallpass=s%3A"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; Secure; SameSite=Lax"), "{cookie}");
    assert!(answer.header("strict-transport-security").starts_with("max-age="));
}

#[test]
fn logout_ends_the_session_clears_the_cookie_and_is_harmless_again() {
    for path in ["/auth/logout", "/logout"] {
        let server = server();
        let mut ann = server.registered("ann");
        let mut stolen = ann.clone();
        let answer = ann.post(path, &json!({}));
        assert_eq!((answer.status, answer.json()), (200, json!({ "message": "Logged out successfully" })));
        assert!(answer.header("set-cookie").starts_with("hallpass=; Path=/; Max-Age=0;"));
        assert_eq!(answer.header("clear-site-data"), "\"cache\", \"storage\"");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!stolen.is_signed_in(), "ended in the store, not only in the browser");
        assert_eq!(stolen.post(path, &json!({})).status, 200, "a second logout");
        assert_eq!(server.client().send("POST", path, "", "").status, 200, "an anonymous one without a body");
    }
}

#[test]
fn me_without_a_session_is_401() {
    let server = server();
    let answer = server.client().get("/auth/me");
    assert_eq!(
        (answer.status, answer.json()),
        (401, json!({ "message": "Unauthorized", "code": "unauthorized" }))
    );
    let mut forged = server.client();
    forged.cookie = Some("hallpass=s%3Aabc.def".to_owned());
    assert!(!forged.is_signed_in());
}

#[test]
fn people_see_and_end_their_own_sessions_only() {
    let server = server();
    let mut phone = server.client().with("user-agent", "Phone/1");
    let mut body = credentials("ann");
    assert_eq!(phone.post("/auth/register", &body).status, 201);
    body["name"] = "x".into();
    let mut laptop = server.client().with("user-agent", "Laptop/1");
    assert_eq!(laptop.post("/auth/login", &body).status, 200);
    let mut bob = server.registered("bob");

    let list = laptop.get("/auth/sessions").json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let mine = sessions.iter().find(|session| session["current"] == true).unwrap();
    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    assert_eq!((&mine["user_agent"], &other["user_agent"]), (&json!("Laptop/1"), &json!("Phone/1")));
    assert_eq!(other["address"], "127.0.0.1");
    for client in [&phone, &laptop] {
        let id = client.cookie.as_ref().unwrap().split("%3A").nth(1).unwrap().split('.').next().unwrap();
        assert!(!list.to_string().contains(id), "a listing never shows the token");
    }

    let path = format!("/auth/sessions/{}", other["handle"].as_str().unwrap());
    assert_eq!(bob.delete(&path).status, 404, "not bob's");
    assert!(phone.is_signed_in());
    let ended = laptop.delete(&path);
    assert_eq!((ended.status, ended.json()), (200, json!({ "message": "Session ended" })));
    assert!(!phone.is_signed_in());
    assert_eq!(laptop.delete(&path).status, 404, "it has ended already");
    assert_eq!(laptop.delete("/auth/sessions/nonsense").status, 404);
    assert_eq!(server.client().delete(&path).status, 401);
    assert!(laptop.is_signed_in() && bob.is_signed_in());
}

#[test]
fn all_other_sessions_end_at_once_and_the_own_one_like_a_logout() {
    let server = server();
    let mut ann = server.registered("ann");
    let mut others = [server.signed_in("ann"), server.signed_in("ann")];
    let answer = ann.delete("/auth/sessions");
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "message": "Other sessions ended", "ended": 2 }))
    );
    assert!(others.iter_mut().all(|other| !other.is_signed_in()) && ann.is_signed_in());
    let own = ann.get("/auth/sessions").json()["sessions"][0]["handle"].as_str().unwrap().to_owned();
    let answer = ann.delete(&format!("/auth/sessions/{own}"));
    assert!(answer.status == 200 && answer.header("set-cookie").contains("Max-Age=0"));
    assert!(!ann.is_signed_in());
}

#[test]
fn a_new_password_ends_all_other_sessions_and_the_old_password() {
    let server = server();
    let mut ann = server.registered("ann");
    let mut other = server.signed_in("ann");
    let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
    let wrong = ann.post("/auth/password", &change("wrong", "another horse battery"));
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "invalid_credentials"));
    let weak = ann.post("/auth/password", &change(PASSWORD, "short"));
    assert_eq!((weak.status, weak.code().as_str()), (422, "invalid_password"));
    assert!(other.is_signed_in(), "nothing has happened yet");
    let before = ann.cookie.clone();
    assert_eq!(ann.post("/auth/password", &change(PASSWORD, "another horse battery")).status, 200);
    assert!(ann.cookie != before && ann.is_signed_in() && !other.is_signed_in());
    assert_eq!(server.client().post("/auth/login", &credentials("ann")).status, 400);
    let new = json!({ "email": "ann@example.com", "password": "another horse battery" });
    assert_eq!(server.client().post("/auth/login", &new).status, 200);
    assert_eq!(server.client().post("/auth/password", &change("a", "b")).status, 401);
}

#[test]
fn the_name_can_be_changed_and_removed() {
    let server = server();
    let mut ann = server.registered("ann");
    let patch = |client: &mut common::Client, body: serde_json::Value| {
        client.send("PATCH", "/auth/me", "application/json", &body.to_string())
    };
    assert_eq!(patch(&mut ann, json!({ "name": "Ann Ώ" })).json()["user"]["name"], "Ann Ώ");
    assert_eq!(patch(&mut ann, json!({ "name": "a\u{7}b" })).code(), "invalid_name");
    assert_eq!(patch(&mut ann, json!({ "name": 5 })).code(), "invalid_request");
    assert_eq!(patch(&mut ann, json!({})).code(), "invalid_request", "nothing is lost by saying nothing");
    assert_eq!(ann.get("/auth/me").json()["user"]["name"], "Ann Ώ");
    assert_eq!(patch(&mut ann, json!({ "name": null })).json()["user"]["name"], json!(null));
    assert_eq!(ann.get("/auth/me").json()["user"]["name"], json!(null));
}

#[test]
fn bad_requests_get_json_errors_that_say_what_to_do() {
    let server = server();
    let mut client = server.client();
    let json = "application/json";
    let large = format!("{{\"email\":\"{}\"}}", "x".repeat(70_000));
    for (method, path, kind, body, status, code) in [
        ("POST", "/auth/login", json, "{", 400, "invalid_request"),
        ("POST", "/auth/login", json, "[]", 400, "invalid_request"),
        ("POST", "/auth/login", json, "{}", 400, "invalid_request"),
        ("POST", "/auth/login", json, r#"{"email":"a@b.c"}"#, 400, "invalid_request"),
        ("POST", "/auth/login", json, r#"{"email":7,"password":"x"}"#, 400, "invalid_request"),
        ("POST", "/auth/login", "text/plain", "x", 415, "unsupported_media_type"),
        ("POST", "/auth/login", "", "x", 415, "unsupported_media_type"),
        ("POST", "/auth/login", json, large.as_str(), 413, "too_large"),
        ("POST", "/auth/login", "application/x-www-form-urlencoded", large.as_str(), 413, "too_large"),
        ("PUT", "/auth/login", json, "{}", 405, "method_not_allowed"),
        ("GET", "/no/such/place", "", "", 404, "not_found"),
        ("GET", "/assets/../Cargo.toml", "", "", 404, "not_found"),
        ("GET", "/assets/style.css", "", "", 404, "not_found"),
    ] {
        let answer = client.send(method, path, kind, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path} {kind}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    assert_eq!(client.send("PUT", "/auth/login", json, "{}").header("allow"), "POST");
    let secret = client.send("POST", "/auth/login", json, r#"{"password":"hunter2hunter2" oops"#);
    assert!(!secret.body.contains("hunter2"), "an error never repeats what was typed");
}

#[test]
fn guessing_is_slowed_down_for_the_account_only() {
    let server = server_with("[throttle.account]\nfree = 3\nfirst_wait = \"30s\"");
    server.registered("ann");
    server.registered("bob");
    let guess = json!({ "email": "ann@example.com", "password": "a wrong guess" });
    for _ in 0..3 {
        assert_eq!(server.client().post("/auth/login", &guess).status, 400);
    }
    let answer = server.client().post("/auth/login", &guess);
    assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_attempts"));
    let wait: u32 = answer.header("retry-after").parse().unwrap();
    assert!((25..=30).contains(&wait), "{wait}");
    assert_eq!(
        server.client().post("/auth/login", &credentials("ann")).status,
        429,
        "also the right password waits"
    );
    assert_eq!(server.client().post("/auth/login", &credentials("bob")).status, 200);
}

#[test]
fn every_answer_carries_the_security_headers() {
    let server = server();
    for path in ["/login", "/auth/me", "/nothing", "/healthz"] {
        let answer = server.client().get(path);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'; style-src 'self'"));
        assert_eq!(answer.header("strict-transport-security"), "", "not without https");
    }
}

#[test]
fn the_log_has_one_line_a_response_and_never_a_secret() {
    let server = server();
    let mut ann = server.registered("ann").with("x-request-id", "from-the-proxy-1");
    let answer = ann.get("/auth/me?token=very-secret-query");
    assert_eq!(answer.header("x-request-id"), "from-the-proxy-1");
    ann.post(
        "/auth/password",
        &json!({ "current_password": PASSWORD, "new_password": "another horse battery" }),
    );
    server
        .client()
        .post("/auth/login", &json!({ "email": "ann@example.com", "password": "secret guess 12345" }));
    let token = ann.cookie.clone().unwrap().split("%3A").nth(1).unwrap().to_owned();
    server.signal("TERM");
    let (_, log) = server.server.wait();
    let line = log.lines().find(|line| line.contains("from-the-proxy-1")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&line["event"], &line["method"], &line["path"], &line["status"]),
        (&json!("response"), &json!("GET"), &json!("/auth/me"), &json!(200))
    );
    assert_eq!(line["client"], "127.0.0.1");
    assert!(line["ms"].is_u64());
    for secret in [
        "very-secret-query",
        PASSWORD,
        "another horse",
        "secret guess",
        &token,
        token.split('.').next().unwrap(),
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert!(!log.contains("ann@example.com"), "nor an address");
    for event in ["registered", "password_changed", "login_refused"] {
        assert!(log.contains(event), "{event} is logged");
    }
}

/// People type passwords where the address belongs: a refused login is never in the log, but two of one account can be told to be.
#[test]
fn a_refused_sign_in_names_its_account_by_a_keyed_hash_and_its_id() {
    let server = server();
    let mut ann = server.registered("ann");
    let id = ann.get("/auth/me").json()["user"]["id"].clone();
    for login in ["ann@example.com", "ANN@example.com", "nobody@example.com", "My Passw0rd!"] {
        let wrong = json!({ "email": login, "password": "not this one, surely" });
        assert_eq!(server.client().post("/auth/login", &wrong).status, 400);
    }
    server.signal("TERM");
    let (_, log) = server.server.wait();
    let lines = log.lines().filter(|line| line.contains("login_refused"));
    let lines: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{log}");
    assert_eq!((&lines[0]["user"], &lines[1]["user"]), (&id, &id));
    assert_eq!(lines[0]["login"], lines[1]["login"], "one account");
    assert!(lines[2]["user"].is_null() && lines[3]["user"].is_null());
    assert!(lines[2]["login"] != lines[0]["login"] && lines[3]["login"] != lines[2]["login"]);
    assert!(lines.iter().all(|line| line["login"].as_str().is_some_and(|login| login.len() >= 16)));
    for typed in ["example.com", "assw0rd", "surely"] {
        assert!(!log.contains(typed), "{typed} is in the log");
    }
}

#[test]
fn registration_can_be_closed() {
    let server = server_with("[registration]\nopen = false");
    let answer = server.client().post("/auth/register", &credentials("ann"));
    assert_eq!((answer.status, answer.code().as_str()), (403, "registration_closed"));
    assert!(!server.client().in_browser().get("/login").body.contains("/register"));
}

#[test]
fn passport_finds_its_user_where_it_looks() {
    let server = server_with("[session]\nlogin_key = \"passport\"");
    let mut ann = server.registered("ann");
    assert!(ann.is_signed_in());
}

//! Guesses at accounts, from outside: known browsers, failures in a row, sprays, floods.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::{Alone, Client, PASSWORD, credentials, run, server_with, text};
use serde_json::{Value, json};

const PROXY: &str = "trust_proxy = \"loopback\"\n";

fn guess_at(name: &str) -> Value {
    json!({ "email": format!("{name}@example.com"), "password": "a wrong guess of somebody" })
}

/// A client that comes from this address.
fn from(server: &Alone, addr: &str) -> Client {
    server.client().with("x-forwarded-for", addr)
}

/// The same browser, signed out, at another address.
fn at(browser: &Client, addr: &str) -> Client {
    let mut client = browser.clone();
    client.cookie = None;
    client.headers = vec![("x-forwarded-for", addr.to_owned())];
    client
}

fn sign_in(client: &mut Client, name: &str) -> u16 {
    client.post("/auth/login", &credentials(name)).status
}

#[test]
fn ten_guesses_from_anywhere_keep_no_known_browser_out() {
    let server = server_with(PROXY);
    let mut owner = server.registered("ann");
    assert_eq!(owner.devices.len(), 1, "set at registration");
    assert_eq!(owner.post("/auth/logout", &json!({})).status, 200);
    assert_eq!(owner.devices.len(), 1, "signing out keeps it");
    for number in 0..12 {
        from(&server, &format!("198.51.{number}.1")).post("/auth/login", &guess_at("ann"));
    }
    assert_eq!(sign_in(&mut from(&server, "203.0.113.1"), "ann"), 429, "a browser never used before waits");
    let mut owner = at(&owner, "203.0.113.2");
    let before = owner.devices.clone();
    for _ in 0..12 {
        assert_eq!(sign_in(&mut owner, "ann"), 200);
    }
    assert_ne!(owner.devices, before, "each sign-in replaces it");
}

#[test]
fn the_device_cookie_is_http_only_lax_and_as_secure_as_the_session() {
    for (config, start, end) in [
        ("", "hallpass-device-", "; Path=/; Max-Age=34560000; HttpOnly; SameSite=Lax"),
        (
            "public_url = \"https://app.example.com\"\n",
            "__Host-hallpass-device-",
            "; Path=/; Max-Age=34560000; HttpOnly; SameSite=Lax; Secure",
        ),
    ] {
        let server = server_with(config);
        let body = json!({ "email": "ann@example.com", "password": PASSWORD });
        let answer = server.client().post("/auth/register", &body);
        let set: Vec<&str> =
            answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
        assert_eq!(set.len(), 2, "{set:?}");
        assert!(set[1].starts_with(start) && set[1].ends_with(end), "{set:?}");
    }
}

#[test]
fn too_many_failures_in_a_row_ask_for_more_than_a_password() {
    let config = format!("{PROXY}[throttle.account]\nfree = 1000\nmax_failures = 20\n");
    let server = server_with(&config);
    let mut owner = server.registered("ann");
    let mut answers = Vec::new();
    for name in ["ann", "nobody"] {
        let of =
            |number: u8| from(&server, &format!("198.51.100.{number}")).post("/auth/login", &guess_at(name));
        answers.push((0..25).map(of).map(|answer| (answer.status, answer.body)).collect::<Vec<_>>());
    }
    assert_eq!(answers[0], answers[1], "whether there is an account or not");
    assert_eq!(answers[0].iter().filter(|(status, _)| *status == 400).count(), 20);
    let answer = from(&server, "203.0.113.1").post("/auth/login", &credentials("ann"));
    assert_eq!((answer.status, answer.code().as_str()), (403, "account_locked"), "the right password too");
    assert_eq!(sign_in(&mut owner, "ann"), 200, "a known browser is never locked");

    let locked = server.log_line("account_locked").unwrap();
    assert_eq!(locked["failures"], 20);
    assert!(
        locked["user"].is_string() && locked["login"].as_str().is_some_and(|hash| hash.len() == 16),
        "{locked}"
    );
    let missing = server.log();
    let missing = missing.lines().filter(|line| line.contains("account_locked")).nth(1).unwrap().to_owned();
    let missing: Value = serde_json::from_str(&missing).unwrap();
    assert!(missing["user"].is_null() && missing["login"] != locked["login"], "{missing}");
    assert!(!server.log().contains("ann@example.com") && !server.log().contains("nobody@example.com"));
}

#[test]
fn an_operator_unlocks_an_account() {
    let server = server_with(&format!("{PROXY}[throttle.account]\nmax_failures = 3\n"));
    server.registered("ann");
    for _ in 0..4 {
        from(&server, "198.51.100.1").post("/auth/login", &guess_at("ann"));
    }
    assert_eq!(sign_in(&mut from(&server, "203.0.113.1"), "ann"), 403);
    let config = server.folder.path().join("hallpass.toml");
    let arguments = ["user", "unlock", "ann@example.com", "--json", "--config", config.to_str().unwrap()];
    let output = run(server.folder.path(), &arguments, "");
    let answer: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(answer, json!({ "email": "ann@example.com", "failures": 3 }));
    assert_eq!(sign_in(&mut from(&server, "203.0.113.1"), "ann"), 200);
}

#[test]
fn fresh_ipv6_networks_do_not_get_round_the_counts() {
    let limits = "[throttle.address]\nfree = 5\n[throttle.register]\nfree = 3\n";
    let server = server_with(&format!("{PROXY}{limits}"));
    let count = |addr: &dyn Fn(u32) -> String| {
        let guess = |number| {
            from(&server, &addr(number)).post("/auth/login", &guess_at(&format!("u{number}"))).status
        };
        (0..24).map(guess).filter(|status| *status == 400).count()
    };
    assert_eq!(count(&|number| format!("2001:db8:1:1::{number:x}")), 5, "one /64");
    assert_eq!(count(&|number| format!("2001:db8:2:{number:x}::1")), 10, "one /56");
    assert_eq!(count(&|number| format!("2001:db8:3:{number:x}00::1")), 15, "one /48");
    let register = |number: u32| {
        let body = json!({ "email": format!("new{number}@example.com"), "password": PASSWORD });
        from(&server, &format!("2001:db8:4:{number:x}00::1")).post("/auth/register", &body).status
    };
    assert_eq!((0..12).map(register).filter(|status| *status == 201).count(), 9);
}

#[test]
fn a_change_of_password_renews_this_browser_and_voids_others() {
    let server = server_with(&format!("{PROXY}[throttle.account]\nfree = 3\n"));
    let mut owner = server.registered("ann");
    let stolen = owner.clone();
    let new = "another horse battery staple";
    let change = json!({ "current_password": PASSWORD, "new_password": new });
    assert_eq!(owner.post("/auth/password", &change).status, 200);
    for number in 0..4 {
        from(&server, &format!("198.51.{number}.1")).post("/auth/login", &guess_at("ann"));
    }
    let right = json!({ "email": "ann@example.com", "password": new });
    assert_eq!(at(&stolen, "203.0.113.1").post("/auth/login", &right).status, 429);
    assert_eq!(at(&owner, "203.0.113.1").post("/auth/login", &right).status, 200);
}

#[test]
fn ending_other_sessions_ends_what_other_browsers_are_known_by() {
    let server = server_with(&format!("{PROXY}[throttle.account]\nfree = 3\n"));
    let mut owner = server.registered("ann");
    let stolen = owner.clone();
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(owner.delete("/auth/sessions").status, 200);
    for number in 0..4 {
        from(&server, &format!("198.51.{number}.1")).post("/auth/login", &guess_at("ann"));
    }
    assert_eq!(sign_in(&mut at(&stolen, "203.0.113.1"), "ann"), 429);
    assert_eq!(sign_in(&mut at(&owner, "203.0.113.1"), "ann"), 200);
}

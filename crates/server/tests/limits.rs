//! How many sessions an account has, how many are shown, and how large a response head gets.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;
#[path = "../../stores/tests/engines/mod.rs"]
mod engines;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::{Client, Server, run, server_with, text};
use serde_json::Value;
use tempfile::TempDir;

const SECRET: &str = "a-secret-of-several-servers-that-is-long";

fn sessions_of(client: &mut Client) -> usize {
    client.get("/auth/sessions").json()["sessions"].as_array().unwrap().len()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Five sign-ins where three sessions are allowed: the oldest two end, soon after the answer.
fn the_oldest_end(arguments: &[&str], more: &[(&str, &str)]) {
    let folder = TempDir::new().unwrap();
    let own = [("HALLPASS__SESSION__SECRETS", SECRET), ("HALLPASS__SESSION__MAX_PER_USER", "3")];
    let server = Server::start_with(folder.path(), arguments, &[&own[..], more].concat());
    let bob = server.registered("bob");
    let mut all = vec![server.registered("ann")];
    for _ in 1..5 {
        // Sessions of one millisecond have no order.
        thread::sleep(Duration::from_millis(5));
        all.push(server.signed_in("ann"));
    }
    until("the oldest have ended", || !all[0].is_signed_in() && !all[1].is_signed_in());
    assert!(all[2..].iter_mut().all(Client::is_signed_in), "{}", server.log());
    assert_eq!(sessions_of(&mut all[4]), 3);
    assert!(bob.clone().is_signed_in(), "nobody else's");
    assert!(server.log_line("oldest_sessions_ended").is_some());
}

#[test]
fn the_oldest_sessions_end_in_sqlite() {
    the_oldest_end(&[], &[]);
}

#[test]
fn the_oldest_sessions_end_in_postgresql_and_in_expresss_table() {
    let Some(engine) = engines::postgres::start() else { return };
    let url = engines::postgres::url(&engine);
    the_oldest_end(&["--sessions", &url], &[]);
    let create = [("HALLPASS__CONNECT__PG__CREATE_TABLE_IF_MISSING", "true")];
    the_oldest_end(&["--sessions", &url, "--layout", "connect"], &create);
}

#[test]
fn the_oldest_sessions_end_in_redis_and_in_expresss_keys() {
    let Some(engine) = engines::redis::start() else { return };
    let url = engines::redis::url(&engine);
    the_oldest_end(&["--sessions", &url], &[]);
    the_oldest_end(&["--sessions", &url, "--layout", "connect"], &[]);
}

#[test]
fn the_oldest_sessions_end_in_mongodb_and_in_expresss_collection() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(engine) = runtime.block_on(engines::mongodb::start()) else { return };
    let url = engines::mongodb::url(&engine);
    the_oldest_end(&["--sessions", &url], &[]);
    the_oldest_end(&["--sessions", &url, "--layout", "connect"], &[]);
}

#[test]
fn an_account_may_have_any_number_of_sessions_if_so_configured_and_lists_are_cut() {
    let limits =
        "[session]\nmax_per_user = 0\n[throttle.address]\nfree = 10000\n[throttle.account]\nfree = 10000\n";
    let server = server_with(limits);
    let mut ann = server.registered("ann");
    for _ in 0..104 {
        server.signed_in("ann");
    }
    let listed = ann.get("/auth/sessions").json();
    assert_eq!((listed["sessions"].as_array().unwrap().len(), &listed["more"]), (100, &5.into()));
    let listed = ann.get("/auth/sessions?limit=500").json();
    assert_eq!((listed["sessions"].as_array().unwrap().len(), &listed["more"]), (105, &0.into()));
    for wrong in ["0", "501", "-1", "x"] {
        let refused = ann.get(&format!("/auth/sessions?limit={wrong}"));
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"), "{wrong}");
    }
    let page = ann.clone().in_browser().get("/account").body;
    assert!(page.contains("And 5 more"), "{page}");
    assert_eq!(page.matches("class=\"device\"").count(), 100);

    let list = |more: &[&str]| {
        let output = run(server.folder.path(), &[&["session", "list", "--json"], more].concat(), "");
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        (rows.as_array().unwrap().len(), text(&output.stderr))
    };
    assert_eq!(list(&[]), (105, String::new()));
    let (rows, said) = list(&["--limit", "10"]);
    assert!(rows == 10 && said.contains("more sessions: --limit 0"), "{said}");
    let (rows, said) = list(&["--limit", "10", "--user", "ann@example.com"]);
    assert!(rows == 10 && said.contains("and 95 more sessions"), "{said}");
    assert_eq!(list(&["--limit", "0"]).0, 105);
}

/// Whatever arrives, an answer sets few cookies.
#[test]
fn hundreds_of_kilobytes_of_cookies_are_answered_with_few() {
    let server = server_with(
        "[csrf]\nmode = \"token\"\n[providers.github]\nclient_id = \"x\"\nclient_secret = \"a secret of the client\"\n",
    );
    let names = [
        |at: usize| format!("hallpass-oauth-{at:08x}=1.x"),
        |at: usize| format!("hallpass-csrf-{at:06}=AAAAAAAAAAAAAAAAAAAAAA"),
        |_: usize| "hallpass=s%3Ax.y".to_owned(),
    ];
    for name in names {
        // Less than a request head may have.
        let cookies = (0..600).map(name).collect::<Vec<_>>().join("; ");
        for path in ["/login", "/auth/oauth/github", "/auth/csrf", "/auth/me"] {
            let mut client = server.client();
            client.cookie = Some(cookies.clone());
            let answer = client.get(path);
            let set = answer.headers.get_all("set-cookie").iter().count();
            assert!(answer.status < 500 && set <= 10, "{path}: {} with {set} cookies", answer.status);
        }
    }
}

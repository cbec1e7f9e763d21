//! What the log says while something fails again and again.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use common::{Server, credentials, server};
use serde_json::{Value, json};

/// Lines of the log, and events that were left out, for each kind.
fn counted(log: &str) -> BTreeMap<String, (usize, usize)> {
    let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let left_out = usize::try_from(line["left_out"].as_u64().unwrap_or(0)).unwrap();
        let (name, lines) = match line["event"].as_str().unwrap() {
            "events_left_out" => (&line["kind"], 0),
            _ => (&line["event"], 1),
        };
        let status = line["status"].as_u64().map_or(String::new(), |status| format!(" {status}"));
        let counts = kinds.entry(format!("{}{status}", name.as_str().unwrap())).or_default();
        *counts = (counts.0 + lines, counts.1 + left_out);
    }
    kinds
}

/// The counts of a kind, once `all` events are written or counted.
fn of_all(server: &Server, kind: &str, all: usize) -> (usize, usize) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let counts = counted(&server.log()).get(kind).copied().unwrap_or_default();
        if counts.0 + counts.1 >= all || Instant::now() > end {
            return counts;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_outage_writes_one_line_a_second_and_kind_and_counts_the_others() {
    let server = server();
    let mut ann = server.registered("ann");
    let database = rusqlite::Connection::open(server.folder.path().join("hallpass.db")).unwrap();
    database.execute_batch("alter table sessions rename to lost").unwrap();
    let started = Instant::now();
    let requests = 200;
    for _ in 0..requests {
        assert_eq!(ann.get("/auth/me").status, 503);
    }
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    for kind in ["session_store_unavailable", "response 503"] {
        let (lines, left_out) = of_all(&server, kind, requests);
        assert_eq!(lines + left_out, requests, "{kind}: nothing is lost without a count");
        assert!(lines <= seconds + 2, "{kind}: {lines} lines in {seconds} seconds");
    }
}

#[test]
fn what_somebody_did_to_an_account_has_its_line_each_time() {
    let server = server();
    server.registered("ann");
    for _ in 0..5 {
        let body = json!({ "email": "ann@example.com", "password": "not the password at all" });
        assert_eq!(server.client().post("/auth/login", &body).status, 400);
    }
    assert_eq!(server.client().post("/auth/login", &credentials("ann")).status, 200);
    assert_eq!(of_all(&server, "login_refused", 5), (5, 0));
    assert_eq!(of_all(&server, "response 400", 5), (5, 0), "every response but 503 has its line");
}

/// Failures of a store, a provider or a background task, which repeat while they last, and states that are said once.
const REPEAT: &[&str] = &[
    "attempt_stays_counted",
    "auth_unavailable",
    "no_hash_thread",
    "provider_stale",
    "register_closed",
    "session_user_unreadable",
    "session_without_sign_in",
    "sign_in_not_noted",
    "sign_in_not_repeatable",
    "users_not_cached",
];

#[test]
fn every_warning_about_accounts_is_known_to_be_evidence_or_repetition() {
    let limit = include_str!("../src/log_limit.rs");
    let limit = limit.split("EACH_MATTERS: &[&str] = &[").nth(1).unwrap().split(']').next().unwrap();
    let each: BTreeSet<&str> = limit.split('"').skip(1).step_by(2).collect();
    for file in common::sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../auth/src")) {
        let code = fs::read_to_string(&file).unwrap();
        for call in code.split("tracing::").skip(1) {
            if !call.starts_with("warn!") && !call.starts_with("error!") {
                continue;
            }
            let event = call.split("event = \"").nth(1).unwrap().split('"').next().unwrap();
            assert!(
                each.contains(event) || REPEAT.contains(&event),
                "{}: decide whether each {event} must be in the log: EACH_MATTERS in log_limit.rs",
                file.display()
            );
        }
    }
}

//! The command line: what it prints, for people and for programs, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::path::Path;

use common::{PASSWORD, Server, run, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A command's exit code and its answer in JSON.
fn asked(folder: &Path, arguments: &[&str], input: &str) -> (i32, Value) {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let output = run(folder, &arguments, input);
    let printed = if output.status.success() { &output.stdout } else { &output.stderr };
    let value = serde_json::from_slice(printed).unwrap_or_else(|_| panic!("no JSON: {}", text(printed)));
    (output.status.code().unwrap(), value)
}

fn created(folder: &Path, email: &str) {
    let (code, answer) = asked(folder, &["user", "create", email], PASSWORD);
    assert_eq!((code, &answer["email"]), (0, &json!(email)));
}

/// The log's lines about acts on the command line.
fn acts(folder: &Path, arguments: &[&str], input: &str) -> Vec<Value> {
    let output = run(folder, arguments, input);
    let lines = text(&output.stderr);
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"] == "admin_act").collect()
}

#[test]
fn what_operators_do_is_logged_with_who_and_where_and_to_whom() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let act = |arguments: &[&str]| {
        let lines = acts(folder, arguments, PASSWORD);
        assert_eq!(lines.len(), 1, "{arguments:?}: {lines:?}");
        lines.into_iter().next().unwrap()
    };
    let made = act(&["user", "create", "ann@example.com"]);
    assert_eq!((&made["act"], &made["outcome"]), (&json!("user_created"), &json!("done")));
    assert!(made["uid"].is_u64() && made["host"].is_string() && made["timestamp"].is_string(), "{made}");
    assert!(made["by"].is_string() || text(&std::fs::read("/etc/passwd").unwrap()).is_empty(), "{made}");
    let id = asked(folder, &["user", "list"], "").1[0]["id"].clone();
    let server = Server::start(folder, &[]);
    server.signed_in("ann");
    let handle = asked(folder, &["session", "list"], "").1[0]["handle"].clone();
    let ended = act(&["session", "revoke", handle.as_str().unwrap()]);
    assert_eq!((&ended["act"], &ended["session"]), (&json!("session_ended"), &handle));
    for (arguments, name) in [
        (&["session", "revoke", "--user", "ann@example.com"][..], "sessions_ended"),
        (&["user", "verify", "ann@example.com"], "user_verified"),
        (&["user", "disable", "ann@example.com"], "user_disabled"),
        (&["user", "enable", "ann@example.com"], "user_enabled"),
        (&["user", "unlock", "ann@example.com"], "user_unlocked"),
        (&["user", "delete", "ann@example.com", "--yes"], "user_deleted"),
    ] {
        let line = act(arguments);
        assert_eq!((&line["act"], &line["user"]), (&json!(name), &id), "{line}");
        assert!(!line.to_string().contains("ann@example.com"), "{line}");
    }
    assert_eq!(act(&["session", "revoke", "--all", "--yes"])["user"], "all");
    assert!(acts(folder, &["user", "disable", "nobody@example.com"], "").is_empty(), "nothing was done");
    assert!(acts(folder, &["user", "list"], "").is_empty(), "looking is no act");
}

#[test]
fn accounts_are_made_listed_disabled_enabled_and_deleted() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let (code, answer) = asked(
        folder,
        &["user", "create", "ann@example.com", "--name", "Ann", "--role", "admin", "--role", "editor"],
        &format!("{PASSWORD}\n"),
    );
    assert_eq!(code, 0, "{answer}");
    created(folder, "bob@example.com");
    let (_, users) = asked(folder, &["user", "list"], "");
    assert_eq!(users.as_array().unwrap().len(), 2);
    assert_eq!(
        (&users[0]["email"], &users[0]["roles"], &users[0]["disabled"]),
        (&json!("ann@example.com"), &json!(["admin", "editor"]), &json!(false))
    );
    let table = text(&run(folder, &["user", "list"], "").stdout);
    assert!(
        table.starts_with("EMAIL") && table.contains("ann@example.com  Ann   admin,editor  no"),
        "{table}"
    );

    let server = Server::start(folder, &[]);
    let mut ann = server.signed_in("ann");
    assert_eq!(asked(folder, &["user", "disable", "ANN@example.com"], "").0, 0);
    assert!(!ann.is_signed_in(), "out at once, while the server runs");
    assert_eq!(server.client().post("/auth/login", &common::credentials("ann")).status, 400);
    assert_eq!(asked(folder, &["user", "enable", "ann@example.com"], "").0, 0);
    assert!(!ann.is_signed_in(), "the session has ended for good");
    let mut ann = server.signed_in("ann");
    assert_eq!(asked(folder, &["user", "delete", "ann@example.com", "--yes"], "").0, 0);
    assert!(!ann.is_signed_in());
    assert_eq!(asked(folder, &["user", "delete", "ann@example.com"], "").0, 3, "no such user");
    assert_eq!(asked(folder, &["user", "list"], "").1.as_array().unwrap().len(), 1);
}

/// As they were made before letters and punycode were one: each goes on working, and no third one is made.
#[test]
fn accounts_of_one_address_are_reported_and_go_on_working() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    created(folder, "ann@b\u{fc}cher.example");
    created(folder, "bob@example.com");
    assert_eq!(asked(folder, &["user", "duplicates"], "").1, json!([]));
    let rows = rusqlite::Connection::open(folder.join("hallpass.db")).unwrap();
    let rename = |from: &str, to: &str| {
        assert_eq!(rows.execute("update users set email = ?2 where email = ?1", [from, to]).unwrap(), 1);
    };
    rename("bob@example.com", "ann@xn--bcher-kva.example");
    created(folder, "eve@example.com");
    rename("eve@example.com", "eve@exam\u{ad}ple.com");
    drop(rows);
    let (code, found) = asked(folder, &["user", "duplicates"], "");
    let found: Vec<(&str, &str)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["address"].as_str().unwrap(), row["email"].as_str().unwrap()))
        .collect();
    let address = "ann@b\u{fc}cher.example";
    assert_eq!((code, found), (0, vec![(address, address), (address, "ann@xn--bcher-kva.example")]));
    let server = Server::start(folder, &[]);
    let sign_in = |email: &str| {
        server.client().post("/auth/login", &json!({ "email": email, "password": PASSWORD })).status
    };
    for email in [address, "ann@xn--bcher-kva.example", "eve@exam\u{ad}ple.com"] {
        assert_eq!(sign_in(email), 200, "{email:?}");
    }
    assert_eq!(sign_in("eve@example.com"), 400);
}

#[test]
fn refusals_say_why_and_have_their_exit_codes() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    created(folder, "ann@example.com");
    for (arguments, input, code, name) in [
        (&["user", "create", "ann@example.com"][..], PASSWORD, 4, "email_taken"),
        (&["user", "create", "nonsense"], PASSWORD, 4, "invalid_email"),
        (&["user", "create", "ann\u{200b}@example.com"], PASSWORD, 4, "invalid_email"),
        (&["user", "create", "quac\u{212a}@example.com"], PASSWORD, 4, "invalid_email"),
        (&["user", "create", "ann@example.com?x"], PASSWORD, 4, "invalid_email"),
        (&["user", "create", "bob@example.com"], "short", 4, "invalid_password"),
        (&["user", "disable", "nobody@example.com"], "", 3, "not_found"),
        (&["session", "revoke", "00000000000000000000000000000000"], "", 3, "not_found"),
        (&["session", "revoke", "nonsense"], "", 2, "usage"),
        (&["session", "revoke"], "", 2, "usage"),
        (&["session", "list", "--user", "nobody@example.com"], "", 3, "not_found"),
        (&["user", "list", "--database", "mysql://x"], "", 2, "configuration"),
        (&["user", "list", "--database", "sqlite:typo.db"], "", 1, "failed"),
        (&["session", "revoke", "--all", "--yes", "--database", "sqlite:typo.db"], "", 1, "failed"),
        (&["user", "list", "--database", "sqlite:/does/not/exist/x.db"], "", 1, "failed"),
        (&["user", "list", "--config", "missing.toml"], "", 2, "configuration"),
        (&["user", "explode"], "", 2, "usage"),
    ] {
        let (exit, answer) = asked(folder, arguments, input);
        assert_eq!((exit, &answer["code"]), (code, &json!(name)), "{arguments:?}: {answer}");
        assert!(answer["message"].as_str().unwrap().len() > 10, "{answer}");
    }
    let output = run(folder, &["user", "list", "--database", "mysql://u:hunter2@host/db"], "");
    let said = text(&output.stderr);
    assert!(!folder.join("typo.db").exists(), "looking makes no database");
    assert!(said.contains("write sqlite:PATH") && !said.contains("hunter2"), "{said}");
}

#[test]
fn sessions_are_listed_and_revoked() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    let (mut ann, mut bob) = (server.registered("ann"), server.registered("bob"));
    let mut ann2 = server.signed_in("ann").with("user-agent", "x");
    let (_, all) = asked(folder, &["session", "list"], "");
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert!(all.as_array().unwrap().iter().all(|one| one["address"] == "127.0.0.1"));
    let (_, bobs) = asked(folder, &["session", "list", "--user", "bob@example.com"], "");
    assert_eq!((bobs.as_array().unwrap().len(), &bobs[0]["user"]), (1, &json!("bob@example.com")));
    let (code, answer) = asked(folder, &["session", "revoke", bobs[0]["handle"].as_str().unwrap()], "");
    assert_eq!((code, answer), (0, json!({ "ended": 1 })));
    // Another program's change is heard within some milliseconds.
    bob.wait_until_out();
    assert!(!bob.is_signed_in() && ann.is_signed_in());
    assert_eq!(
        asked(folder, &["session", "revoke", "--user", "ann@example.com"], "").1,
        json!({ "ended": 2 })
    );
    ann.wait_until_out();
    assert!(!ann.is_signed_in() && !ann2.is_signed_in());
    let mut again = server.signed_in("bob");
    assert_eq!(asked(folder, &["session", "revoke", "--all", "--yes"], "").1, json!({ "ended": 1 }));
    assert!(!again.is_signed_in());
    let ended = run(folder, &["session", "revoke", "--all", "--yes"], "");
    assert_eq!(text(&ended.stdout), "Ended 0 sessions\n");
}

#[test]
fn keys_are_long_random_and_good_for_the_server() {
    let folder = TempDir::new().unwrap();
    let one = text(&run(folder.path(), &["key", "generate"], "").stdout);
    let (_, two) = asked(folder.path(), &["key", "generate"], "");
    assert!(one.trim().len() >= 43 && one.trim() != two["secret"]);
    let mut server = Server::start_with(folder.path(), &[], &[("HALLPASS__SESSION__SECRETS", one.trim())]);
    let mut ann = server.registered("ann");
    let both = format!("{}\n{}\n", two["secret"].as_str().unwrap(), one.trim());
    let file = common::write(&folder, "secrets", &both);
    let file = [("HALLPASS__SESSION__SECRETS_FILE", file.to_str().unwrap())];
    let old = std::mem::replace(&mut server, Server::start_with(folder.path(), &[], &file));
    drop(old);
    let mut rotated = server.client();
    rotated.cookie = ann.cookie.take();
    assert!(rotated.is_signed_in(), "rotating the secret logs nobody out");
    assert!(!folder.path().join("hallpass.key").exists(), "no key file when secrets are configured");
}

#[test]
fn calibration_finds_parameters_that_the_configuration_takes() {
    let folder = TempDir::new().unwrap();
    let (code, answer) =
        asked(folder.path(), &["hash", "calibrate", "--target", "30s", "--max-memory", "38"], "");
    assert_eq!(code, 0, "{answer}");
    assert_eq!(answer["argon2_memory_kib"], 38_912);
    let memory = answer["argon2_memory_kib"].to_string();
    let server =
        Server::start_with(folder.path(), &[], &[("HALLPASS__PASSWORD__ARGON2_MEMORY_KIB", &memory)]);
    assert!(server.registered("ann").is_signed_in());
    let (code, answer) = asked(folder.path(), &["hash", "calibrate", "--target", "1ns"], "");
    assert_eq!((code, &answer["code"]), (1, &json!("too_slow")));
}

#[test]
fn help_and_completions_go_to_standard_output() {
    let folder = TempDir::new().unwrap();
    let help = run(folder.path(), &["--help"], "");
    assert!(help.status.success() && text(&help.stdout).contains("check-config"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(folder.path(), &["completions", shell], "");
        assert!(script.status.success() && text(&script.stdout).contains("check-config"), "{shell}");
    }
    let wrong = run(folder.path(), &["serv"], "");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("serve"), "it suggests");
}

#[test]
fn the_guide_lists_every_command_and_exit_code() {
    let guide = include_str!("../../../docs/cli.md");
    let folder = TempDir::new().unwrap();
    for command in [&["user"][..], &["session"], &["key"], &["hash"], &[]] {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let help = text(&run(folder.path(), &arguments, "").stdout);
        let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        // What is further in goes on with a description.
        for line in commands.lines().filter(|line| !line.starts_with("   ")) {
            let name = line.split_whitespace().next().unwrap();
            let full = [command, &[name]].concat().join(" ");
            assert!(
                name == "help" || guide.contains(&format!("hallpass {full}")),
                "docs/cli.md lacks hallpass {full}"
            );
        }
    }
}

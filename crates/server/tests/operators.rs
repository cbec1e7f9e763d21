//! What operators do with accounts on the command line, while a server runs on the same stores.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::path::Path;

use common::{PASSWORD, Server, run, text};
use serde_json::{Value, json};
use tempfile::TempDir;

const NEW: &str = "a quite different sentence of words";

/// A command's exit code, and its answer in JSON.
fn asked(folder: &Path, arguments: &[&str], input: &str) -> (i32, Value) {
    let output = run(folder, &[arguments, &["--json"]].concat(), input);
    let printed = if output.status.success() { text(&output.stdout) } else { text(&output.stderr) };
    let last = printed.lines().last().unwrap_or_default();
    let value = serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON: {printed}"));
    (output.status.code().unwrap(), value)
}

fn done(folder: &Path, arguments: &[&str], input: &str) -> Value {
    let (code, answer) = asked(folder, arguments, input);
    assert_eq!(code, 0, "{arguments:?}: {answer}");
    answer
}

/// The acts that a command logged.
fn acts(folder: &Path, arguments: &[&str], input: &str) -> Vec<String> {
    let output = run(folder, arguments, input);
    let lines = text(&output.stderr);
    assert!(!lines.contains(NEW), "{lines}");
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["event"] == "admin_act")
        .map(|line| line["act"].as_str().unwrap().to_owned())
        .collect()
}

fn status(server: &Server, email: &str, password: &str) -> u16 {
    server.client().post("/auth/login", &json!({ "email": email, "password": password })).status
}

#[test]
fn a_password_that_is_set_opens_the_account_and_ends_its_sessions() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    let (mut ann, mut bob) = (server.registered("ann"), server.registered("bob"));
    let set = ["user", "password", "ann@example.com"];
    for (input, code) in
        [("short\n", "invalid_password"), ("", "invalid_password"), ("ann@example.com\n", "invalid_password")]
    {
        let (exit, answer) = asked(folder, &set, input);
        assert_eq!((exit, answer["code"].as_str().unwrap()), (4, code), "{input:?}");
    }
    assert!(ann.is_signed_in(), "a refused password changes nothing");
    assert_eq!(status(&server, "ann@example.com", PASSWORD), 200);
    let stdin = [&set[..], &["--stdin"]].concat();
    assert_eq!(done(folder, &stdin, &format!("{NEW}\n")), json!({ "email": "ann@example.com", "ended": 2 }));
    ann.wait_until_out();
    assert!(bob.is_signed_in(), "another account's session goes on");
    assert_eq!(status(&server, "ann@example.com", PASSWORD), 400);
    assert_eq!(status(&server, "ann@example.com", NEW), 200);
    assert_eq!(acts(folder, &set, NEW), ["password_set"]);

    let generate = [&set[..], &["--generate"]].concat();
    let made = run(folder, &generate, "");
    let (password, said) = (text(&made.stdout), text(&made.stderr));
    assert!(said.contains("0 sessions have ended") || said.contains("1 session"), "{said}");
    assert!(password.trim().len() >= 20 && !said.contains(password.trim()), "{password}");
    assert_eq!(status(&server, "ann@example.com", password.trim()), 200);
    let made = done(folder, &["user", "create", "carl@example.com", "--generate"], "");
    assert_eq!(status(&server, "carl@example.com", made["password"].as_str().unwrap()), 200);
    assert_eq!(asked(folder, &["user", "password", "nobody@example.com"], NEW).0, 3);
    assert_eq!(asked(folder, &["user", "password", "a@b.c", "--stdin", "--generate"], "").0, 2);
}

#[test]
fn a_new_password_opens_an_account_that_guesses_had_locked() {
    let folder = TempDir::new().unwrap();
    let server =
        Server::start_with(folder.path(), &[], &[("HALLPASS__THROTTLE__ACCOUNT__MAX_FAILURES", "2")]);
    server.registered("ann");
    for _ in 0..2 {
        assert_eq!(status(&server, "ann@example.com", "wrong words that nobody has"), 400);
    }
    assert_eq!(status(&server, "ann@example.com", PASSWORD), 403);
    done(folder.path(), &["user", "password", "ann@example.com"], NEW);
    assert_eq!(status(&server, "ann@example.com", NEW), 200);
}

#[test]
fn accounts_are_shown_found_and_changed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    let mut ann = server.registered("ann");
    done(
        folder,
        &["user", "create", "bob@example.com", "--name", "Robert \u{c4}nder", "--role", "editor"],
        PASSWORD,
    );
    let shown = done(folder, &["user", "show", "ANN@example.com"], "");
    assert_eq!(
        (
            &shown["sessions"],
            &shown["roles"],
            &shown["verified"],
            &shown["made_by_operator"],
            &shown["providers"]
        ),
        (&json!(1), &json!([]), &json!(false), &json!(false), &json!([]))
    );
    assert!(
        text(&run(folder, &["user", "show", "ann@example.com"], "").stdout).contains("sessions"),
        "a table"
    );
    let id = shown["id"].as_str().unwrap().to_owned();
    let by_id = format!("id:{id}");
    assert_eq!(done(folder, &["user", "show", &by_id], "")["email"], "ann@example.com");
    assert_eq!(asked(folder, &["user", "show", "id:nobody"], "").0, 3);
    for (what, found) in
        [("\u{e4}NDER", "bob@example.com"), ("ANN@", "ann@example.com"), (&id[4..20], "ann@example.com")]
    {
        let rows = done(folder, &["user", "search", what], "");
        assert_eq!((rows.as_array().unwrap().len(), &rows[0]["email"]), (1, &json!(found)), "{what}");
    }
    assert_eq!(done(folder, &["user", "search", "nothing like it"], ""), json!([]));

    let set = |more: &[&str]| done(folder, &[&["user", "set", &by_id], more].concat(), "");
    let roles = set(&["--role", "+admin", "+editor", "-nothing", "--name", "Ann B."]);
    assert_eq!((&roles["roles"], &roles["name"]), (&json!(["admin", "editor"]), &json!("Ann B.")));
    assert_eq!(set(&["--role", "-admin", "--role", "+writer"])["roles"], json!(["editor", "writer"]));
    let me = ann.get("/auth/me").json();
    assert_eq!(me["user"]["roles"], json!(["editor", "writer"]), "the session goes on with the new roles");
    assert_eq!(set(&["--verified"])["verified"], true);
    assert_eq!(set(&["--unverified"])["verified"], false);
    set(&["--verified"]);
    let moved = set(&["--email", "Ann@New.example.com"]);
    assert_eq!((&moved["email"], &moved["verified"]), (&json!("ann@new.example.com"), &json!(false)));
    assert!(ann.is_signed_in());
    assert_eq!(ann.get("/auth/me").json()["user"]["email"], "ann@new.example.com");
    assert_eq!(status(&server, "ann@new.example.com", PASSWORD), 200);
    assert_eq!(status(&server, "ann@example.com", PASSWORD), 400);
    assert_eq!(set(&["--name", ""])["name"], Value::Null);
    let logged =
        ["user", "set", &by_id, "--role", "+x", "--name", "N", "--verified", "--email", "a@new.example.com"];
    assert_eq!(
        acts(folder, &logged, ""),
        ["email_changed", "roles_changed", "name_changed", "user_verified"]
    );

    for (more, exit, code) in [
        (&["--email", "bob@example.com"][..], 4, "email_taken"),
        (&["--email", "nonsense"], 4, "invalid_email"),
        (&["--role", "+"], 2, "usage"),
        (&["--role", "admin"], 2, "usage"),
        (&["--role", "+a,b"], 4, "invalid_role"),
        (&["--name", "a\tb"], 4, "invalid_name"),
        (&["--verified", "--unverified"], 2, "usage"),
        (&[], 2, "usage"),
    ] {
        let (code_of, answer) = asked(folder, &[&["user", "set", &by_id], more].concat(), "");
        assert_eq!((code_of, answer["code"].as_str().unwrap()), (exit, code), "{more:?}: {answer}");
    }
    for role in ["", " ", " admin", "+x", "a,b", "a\nb"] {
        let (code, answer) = asked(folder, &["user", "create", "d@example.com", "--role", role], PASSWORD);
        assert_eq!((code, &answer["code"]), (4, &json!("invalid_role")), "{role:?}");
    }
    // What was done before a refusal is said.
    let (_, answer) = asked(folder, &["user", "set", &by_id, "--role", "+y", "--name", "a\tb"], "");
    assert!(answer["message"].as_str().unwrap().contains("done before: roles"), "{answer}");
}

#[test]
fn what_cannot_be_taken_back_asks_and_does_nothing_where_nobody_can_answer() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    let (mut ann, _bob) = (server.registered("ann"), server.registered("bob"));
    for arguments in [
        &["user", "delete", "ann@example.com"][..],
        &["user", "merge", "ann@example.com", "bob@example.com"],
        &["session", "revoke", "--all"],
    ] {
        // Standard input that says yes is no terminal either.
        let (code, answer) = asked(folder, arguments, "y\n");
        assert_eq!((code, &answer["code"]), (4, &json!("not_confirmed")), "{arguments:?}");
        assert!(answer["message"].as_str().unwrap().contains("--yes"), "{answer}");
        assert!(acts(folder, arguments, "y\n").is_empty());
        assert!(ann.is_signed_in(), "{arguments:?}");
    }
    assert_eq!(done(folder, &["session", "revoke", "--all", "--yes"], ""), json!({ "ended": 2 }));
    ann.wait_until_out();
}

#[test]
fn of_two_merged_accounts_one_is_left_with_the_roles_of_both() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let server = Server::start(folder, &[]);
    let (mut old, mut ann) = (server.registered("old"), server.registered("ann"));
    done(folder, &["user", "set", "old@example.com", "--role", "+editor"], "");
    done(folder, &["user", "set", "ann@example.com", "--role", "+admin", "--name", ""], "");
    let merge = ["user", "merge", "old@example.com", "ann@example.com", "--yes"];
    let merged = done(folder, &merge, "");
    assert_eq!((&merged["roles"], &merged["links"]), (&json!(["admin", "editor"]), &json!(0)));
    old.wait_until_out();
    assert!(ann.is_signed_in(), "the account that stays keeps its sessions");
    let me = ann.get("/auth/me").json();
    assert_eq!((&me["user"]["name"], &me["user"]["email"]), (&json!("old"), &json!("ann@example.com")));
    assert_eq!(status(&server, "old@example.com", PASSWORD), 400);
    assert_eq!(asked(folder, &merge, "").0, 3, "the other account is gone");
    let same = ["user", "merge", "ann@example.com", "ANN@example.com", "--yes"];
    assert_eq!(asked(folder, &same, "").0, 2);
}

#[test]
fn of_another_applications_accounts_is_said_what_cannot_be_changed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("app.db");
    let rows = rusqlite::Connection::open(&path).unwrap();
    rows.execute_batch(
        "create table people (id integer primary key, email text not null unique, password text not null, ok int);
         insert into people (email, password, ok) values ('ann@example.com', 'x', 1), ('bob@example.com', 'x', 1)",
    )
    .unwrap();
    let users = format!(
        "[users]\ntable = \"people\"\nurl = \"sqlite:{}\"\nverified = \"ok\"\nname = \"\"\n",
        path.display()
    );
    let config = common::write(&folder, "hallpass.toml", &users);
    let config = ["--config", config.to_str().unwrap()];
    // It makes our own database.
    let server = Server::start(folder.path(), &config);
    for (arguments, said) in [
        (
            &["user", "set", "ann@example.com", "--email", "a@example.com"][..],
            "another login; change the login in that",
        ),
        (
            &["user", "set", "ann@example.com", "--role", "+admin"],
            "name a field in users.roles or users.role",
        ),
        (&["user", "set", "ann@example.com", "--unverified"], "table says that this address is verified"),
        (&["user", "set", "ann@example.com", "--name", "Ann"], "Names are not kept here"),
        (&["user", "merge", "ann@example.com", "bob@example.com", "--yes"], "merge them in that application"),
    ] {
        let (code, answer) = asked(folder.path(), &[arguments, &config].concat(), "");
        assert_eq!(code, 4, "{arguments:?}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(said), "{arguments:?}: {answer}");
    }
    let before: String =
        rows.query_row("select group_concat(email || ok) from people", [], |row| row.get(0)).unwrap();
    assert_eq!(before, "ann@example.com1,bob@example.com1");
    let set = [&["user", "password", "ann@example.com"][..], &config].concat();
    done(folder.path(), &set, NEW);
    assert_eq!(status(&server, "ann@example.com", NEW), 200);
}

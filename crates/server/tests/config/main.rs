//! The configuration as operators meet it: where values come from, and what they are told about mistakes.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod combinations;
#[path = "../common/mod.rs"]
mod common;
mod odd;
mod providers;

use std::path::Path;

use common::{hallpass, text, write};
use tempfile::TempDir;

/// `check-config` with this file and environment: exit code and everything it printed.
fn check(folder: &Path, file: Option<&str>, environment: &[(&str, &str)], flags: &[&str]) -> (i32, String) {
    let mut command = hallpass(folder);
    command.arg("check-config").envs(environment.iter().copied()).args(flags);
    if let Some(file) = file {
        command.args(["--config", file]);
    }
    let output = command.output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

/// What a configuration file is told.
fn told(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "hallpass.toml", config);
    let (code, printed) = check(folder.path(), path.to_str(), &[], &[]);
    assert!(code == 0 || code == 2, "{code}: {printed}");
    assert_eq!(code == 2, printed.contains("cannot be used"), "{printed}");
    printed
}

fn row<'a>(printed: &'a str, setting: &str) -> Vec<&'a str> {
    let line = printed.lines().find(|line| line.split_whitespace().next() == Some(setting)).unwrap();
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).skip(1).collect()
}

#[test]
fn later_sources_win_and_check_config_names_them() {
    let folder = TempDir::new().unwrap();
    let path = write(
        &folder,
        "c.toml",
        "listen = \"127.0.0.1:1\"\ndatabase = \"sqlite:file.db\"\n[session]\nidle_timeout = \"2h\"\ntouch_after = \"5m\"",
    );
    let environment =
        [("HALLPASS__SESSION__IDLE_TIMEOUT", "3h"), ("HALLPASS__LISTEN", "127.0.0.1:2"), ("OTHER__X", "y")];
    let (code, printed) = check(folder.path(), path.to_str(), &environment, &["--listen", "127.0.0.1:3"]);
    assert_eq!(code, 0, "{printed}");
    let file = path.to_str().unwrap();
    assert_eq!(row(&printed, "listen"), ["127.0.0.1:3", "--listen"]);
    assert_eq!(row(&printed, "session.idle_timeout"), ["3h", "HALLPASS__SESSION__IDLE_TIMEOUT"]);
    assert_eq!(row(&printed, "session.touch_after"), ["5m", file]);
    assert_eq!(row(&printed, "database"), ["sqlite:file.db", file]);
    assert_eq!(row(&printed, "session.remember_for"), ["30days", "default"]);
    let (code, printed) = check(folder.path(), None, &[("HALLPASS_CONFIG", file)], &["--json"]);
    assert_eq!(code, 0);
    // Warnings follow.
    let rows: serde_json::Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    assert!(
        rows.as_array()
            .unwrap()
            .contains(&serde_json::json!({ "setting": "session.touch_after", "value": "5m", "from": file }))
    );
}

#[test]
fn every_problem_is_told_at_once_with_its_place_and_what_to_write() {
    let printed = told(
        r#"
        listen = "nowhere"
        public_url = "auth.example.com"
        trust_proxy = "my proxy"
        colour = "red"
        [session]
        idle_timeot = "1h"
        same_site = "None"
        secrets = ["short"]
        touch_after = 60
        [password]
        min_length = 4
        argon2_memory_kib = 8
        [cors]
        origins = ["*", "example.com"]
        [log]
        level = "x=y=z"
        [throttle.account]
        free = 0
        [csrf]
        trusted_origins = ["https://example.com/"]
        "#,
    );
    for expected in [
        "listen: \"nowhere\" is no address with a port; write 127.0.0.1:8080",
        "public_url: \"auth.example.com\" is no web address; write https://auth.example.com",
        "write off, true, a number of hops",
        "colour: is no setting",
        "session.idle_timeot: is no setting; did you mean session.idle_timeout?",
        "session.same_site: write one of lax, strict, none",
        "at least 32 are needed",
        "hallpass key generate",
        "session.touch_after: write a duration in quotes",
        "password.min_length: must be at least 8",
        "password.argon2_memory_kib: ",
        "cors.credentials: with * every site could act",
        "\"example.com\" is no origin; write https://app.example.com",
        "log.level: ",
        "throttle.account: free must be at least 1",
        "csrf.trusted_origins: \"https://example.com/\" is no origin",
    ] {
        assert!(printed.contains(expected), "expected {expected:?} in:\n{printed}");
    }
    assert!(!printed.contains("short\""), "a secret is never repeated");
}

#[test]
fn environment_variables_are_checked_like_the_file() {
    let folder = TempDir::new().unwrap();
    let environment = [
        ("HALLPASS__SESION__IDLE_TIMEOUT", "1h"),
        ("HALLPASS__SERVER__MAX_CONNECTIONS", "many"),
        ("HALLPASS__REGISTRATION__OPEN", "maybe"),
    ];
    let (code, printed) = check(folder.path(), None, &environment, &[]);
    assert_eq!(code, 2);
    for expected in [
        "HALLPASS__SESION__IDLE_TIMEOUT: is no setting; did you mean HALLPASS__SESSION__IDLE_TIMEOUT?",
        "HALLPASS__SERVER__MAX_CONNECTIONS: write a whole number",
        "HALLPASS__REGISTRATION__OPEN: write true or false",
    ] {
        assert!(printed.contains(expected), "expected {expected:?} in:\n{printed}");
    }
}

#[test]
fn secrets_may_stand_in_files_of_their_own_and_are_never_shown() {
    let folder = TempDir::new().unwrap();
    let secret = "a-secret-of-more-than-thirty-two-bytes";
    let file = write(
        &folder,
        "secrets",
        &format!("# rotated in May\n{secret}\nanother-secret-of-thirty-two-bytes-or-more\n"),
    );
    let file = file.to_str().unwrap();
    let (code, printed) = check(folder.path(), None, &[("HALLPASS__SESSION__SECRETS_FILE", file)], &[]);
    assert_eq!(code, 0, "{printed}");
    assert_eq!(row(&printed, "session.secrets"), ["(hidden)", "HALLPASS__SESSION__SECRETS_FILE"]);
    assert!(!printed.contains(secret));
    let config = write(&folder, "c.toml", &format!("[session]\nsecrets_file = \"{file}\""));
    let (code, _) = check(folder.path(), config.to_str(), &[], &[]);
    assert_eq!(code, 0);
    let both = [("HALLPASS__SESSION__SECRETS_FILE", file), ("HALLPASS__SESSION__SECRETS", secret)];
    let (code, printed) = check(folder.path(), None, &both, &[]);
    assert!(code == 2 && printed.contains("is given twice") && !printed.contains(secret), "{printed}");
    let (code, printed) =
        check(folder.path(), None, &[("HALLPASS__SESSION__SECRETS_FILE", "/does/not/exist")], &[]);
    assert!(code == 2 && printed.contains("cannot be read"), "{printed}");
    let empty = write(&folder, "empty", "# to come\n\n");
    let variable = [("HALLPASS__SESSION__SECRETS_FILE", empty.to_str().unwrap())];
    let (code, printed) = check(folder.path(), None, &variable, &[]);
    assert!(code == 2 && printed.contains("holds nothing but empty lines"), "{printed}");
    let broken = write(&folder, "d.toml", &format!("[session]\nsecrets = [\"{secret}\"\n"));
    let (code, printed) = check(folder.path(), broken.to_str(), &[], &[]);
    assert!(code == 2 && printed.contains("line ") && !printed.contains(secret), "{printed}");
}

#[test]
fn every_setting_can_be_written_as_its_default() {
    let folder = TempDir::new().unwrap();
    let (_, printed) = check(folder.path(), None, &[], &["--json"]);
    // Warnings follow.
    let rows: serde_json::Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    assert!(rows.len() > 40);
    for row in rows.iter().filter(|row| row["from"] == "default") {
        let name =
            format!("HALLPASS__{}", row["setting"].as_str().unwrap().replace('.', "__").to_uppercase());
        let value = row["value"].as_str().unwrap().to_owned();
        if value.is_empty() {
            continue;
        }
        let (code, printed) = check(folder.path(), None, &[(name.as_str(), value.as_str())], &[]);
        assert_eq!(code, 0, "{name}={value}: {printed}");
    }
}

#[test]
fn a_variable_that_is_no_text_and_a_broken_template_are_found_before_the_start() {
    use std::os::unix::ffi::OsStrExt;
    let folder = TempDir::new().unwrap();
    let bytes = std::ffi::OsStr::from_bytes(b"\xff");
    let output = hallpass(folder.path()).arg("check-config").env("HALLPASS__LISTEN", bytes).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("HALLPASS__LISTEN: is no UTF-8 text"), "{}", text(&output.stderr));
    write(&folder, "login.html", "{% if %}");
    let templates = [("HALLPASS__PAGES__TEMPLATES", folder.path().to_str().unwrap())];
    let (code, printed) = check(folder.path(), None, &templates, &[]);
    assert!(code == 2 && printed.contains("a template cannot be used"), "{printed}");
}

#[test]
fn a_secret_shared_with_express_may_stand_in_a_file_and_is_taken_as_it_stands() {
    let folder = TempDir::new().unwrap();
    let secret = write(&folder, "crypto", " # hunter2 \n");
    let environment = [
        ("HALLPASS__SESSIONS", "mongodb://x"),
        ("HALLPASS__SESSION__LAYOUT", "connect"),
        ("HALLPASS__CONNECT__MONGO__CRYPTO", "webcrypto"),
        ("HALLPASS__CONNECT__MONGO__CRYPTO_SECRET_FILE", secret.to_str().unwrap()),
    ];
    let (code, printed) = check(folder.path(), None, &environment, &[]);
    assert!(code == 0 && !printed.contains("hunter2"), "{printed}");
    let from = "HALLPASS__CONNECT__MONGO__CRYPTO_SECRET_FILE";
    assert_eq!(row(&printed, "connect.mongo.crypto_secret"), ["(hidden)", from]);
}

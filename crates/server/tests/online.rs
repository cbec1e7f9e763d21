//! `hallpass check-config --online`: what an operator is told about providers, by a certified one.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;
mod oauth_support;

use common::{run, text, write};
use oauth_support::{Idp, accounts, client, section};
use serde_json::{Value, json};
use tempfile::TempDir;

const BASE: &str = "http://127.0.0.1:8080";

/// Exit code, and each finding as `check result` with its detail.
fn ask(folder: &TempDir, config: &str) -> (i32, Vec<(String, String)>) {
    let path = write(folder, "hallpass.toml", &format!("public_url = \"{BASE}\"\n{config}"));
    let output =
        run(folder.path(), &["check-config", "--online", "--json", "--config", path.to_str().unwrap()], "");
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(!all.contains("a secret of the client") && !all.contains("a wrong one"), "{all}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{all}"));
    let cell = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let row = |row: &Value| (format!("{} {}", cell(row, "check"), cell(row, "result")), cell(row, "detail"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no database and no key is made");
    (output.status.code().unwrap(), rows.iter().map(row).collect())
}

fn found(rows: &[(String, String)]) -> Vec<&str> {
    rows.iter().map(|(what, _)| what.as_str()).collect()
}

#[test]
fn a_provider_that_is_right_passes_and_each_mistake_has_its_sentence() {
    let Some(mut idp) = Idp::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    idp.control(&json!({ "clients": [client(BASE, "idp")], "accounts": accounts() }));
    let (code, rows) = ask(&folder, &section("idp", &idp.issuer, "end_session = true"));
    assert_eq!(
        found(&rows),
        ["reachable good", "metadata good", "keys good", "client good", "clock good"],
        "{rows:?}"
    );
    assert_eq!(code, 0);
    assert_eq!(idp.control(&json!({}))["seen"]["token"], 1);

    let wrong = section("idp", &idp.issuer, "").replace("a secret of the client", "a wrong one");
    let (code, rows) = ask(&folder, &wrong);
    assert_eq!(
        found(&rows),
        ["reachable good", "metadata good", "keys good", "client wrong", "clock good"],
        "{rows:?}"
    );
    assert!(
        rows[3].1.contains("invalid_client") && rows[3].1.contains("check client_id, client_secret"),
        "{rows:?}"
    );
    assert_eq!(code, 1);

    // The issuer is nearly right.
    for (issuer, how) in [
        (idp.issuer.replace("127.0.0.1", "localhost"), "(the host differs)"),
        (format!("{}/", idp.issuer), "(only the slash at the end differs)"),
    ] {
        let (code, rows) = ask(&folder, &section("idp", &issuer, ""));
        assert_eq!((code, rows[1].0.as_str()), (1, "metadata wrong"));
        assert!(rows[1].1.contains(how) && rows[1].1.contains(&format!("{:?}", idp.issuer)), "{rows:?}");
    }
    let (code, rows) = ask(&folder, &section("idp", &format!("{}/realms/x", idp.issuer), ""));
    assert_eq!((code, rows[1].0.as_str()), (1, "metadata wrong"));
    assert!(
        rows[1].1.contains("answered 404") && rows[1].1.contains("is that the issuer's address?"),
        "{rows:?}"
    );

    let (_, rows) = ask(&folder, &section("idp", &idp.issuer, "scopes = [\"openid\", \"emial\"]"));
    let doubt = rows.iter().find(|(what, _)| what == "settings doubtful").unwrap();
    assert!(doubt.1.contains("the scope emial"), "{rows:?}");

    idp.stop();
    let (code, rows) = ask(&folder, &section("idp", &idp.issuer, ""));
    assert_eq!((code, found(&rows)), (1, vec!["reachable good", "metadata wrong"]));
    assert!(rows[1].1.contains("cannot be reached") && rows[1].1.contains("refused"), "{rows:?}");
    assert_eq!(ask(&folder, "").0, 0, "no provider is no mistake");
}

#[test]
fn plain_oauth_is_asked_for_what_it_has() {
    let idp = Idp::github();
    let folder = tempfile::tempdir().unwrap();
    let section = |user: &str| {
        let at = |path: &str| format!("{}{path}", idp.issuer);
        format!(
            "[providers.hub]\npreset = \"oauth2\"\nclient_id = \"hallpass\"\nclient_secret = \"secret\"\n\
             authorize_url = \"{}\"\ntoken_url = \"{}\"\nuserinfo_url = \"{}\"\nsubject_field = \"id\"\n",
            at("/login/oauth/authorize"),
            at("/login/oauth/access_token"),
            at(user)
        )
    };
    let (code, rows) = ask(&folder, &section("/api/v3/user"));
    assert_eq!(found(&rows), ["reachable good", "client good", "profile good", "clock good"], "{rows:?}");
    assert_eq!(code, 0);
    let wrong = section("/api/v3/user").replace("\"secret\"", "\"a wrong one\"");
    let (code, rows) = ask(&folder, &wrong);
    assert_eq!((code, rows[1].0.as_str()), (1, "client wrong"), "{rows:?}");
    let (code, rows) = ask(&folder, &section("/api/v3/nobody"));
    assert_eq!((code, rows[2].0.as_str()), (1, "profile wrong"), "{rows:?}");
}

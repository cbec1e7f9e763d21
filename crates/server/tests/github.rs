//! Signing in with a provider of GitHub's shape: plain OAuth 2.0, against a stand-in in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;
mod oauth_support;

use oauth_support::{Browser, Idp, Page, free_port, server_at};
use serde_json::{Value, json};
use tempfile::TempDir;

struct World {
    github: Idp,
    base: String,
    server: common::Server,
    folder: TempDir,
}

fn world(more: &str) -> World {
    let github = Idp::github();
    let port = free_port();
    let config = format!(
        "[providers.github]\nissuer = \"{}\"\nclient_id = \"Iv1.8a61f9b3a7aba766\"\nclient_secret = \"secret\"\n{more}",
        github.issuer
    );
    let (server, folder) = server_at(port, &config);
    World { github, base: format!("http://127.0.0.1:{port}"), server, folder }
}

fn user(world: &World, id: u64, emails: &Value) {
    world.github.control(&json!({ "user": { "id": id, "login": "ann", "name": "Ann" }, "emails": emails }));
}

fn sign_in(world: &World) -> (Browser, Page) {
    let mut browser = Browser::new(&world.base);
    let authorize = browser.get("/auth/oauth/github").location().to_owned();
    assert!(authorize.contains("scope=read%3Auser+user%3Aemail"), "{authorize}");
    let callback = browser.get(&authorize).location().to_owned();
    let page = browser.get(&callback);
    (browser, page)
}

#[test]
fn the_number_is_the_person_and_the_verified_primary_address_counts() {
    let world = world("");
    let emails = json!([
        { "email": "old@example.com", "primary": false, "verified": true },
        { "email": "ann@example.com", "primary": true, "verified": true },
        { "email": "evil@example.com", "primary": false, "verified": false },
    ]);
    user(&world, 583_231, &emails);
    let (mut ann, page) = sign_in(&world);
    assert_eq!(page.location(), "/account");
    assert_eq!(ann.who().as_deref(), Some("ann@example.com"), "not the one of the public profile");
    // The login was renamed and somebody else has it now: another number is another person.
    user(&world, 7, &json!([{ "email": "new@example.com", "primary": true, "verified": true }]));
    assert_eq!(sign_in(&world).0.who().as_deref(), Some("new@example.com"));
    user(&world, 583_231, &json!([{ "email": "moved@example.com", "primary": true, "verified": true }]));
    assert_eq!(sign_in(&world).0.who().as_deref(), Some("ann@example.com"));
    // Both sides have verified the address: one account, two ways in.
    user(&world, 8, &json!([{ "email": "ann@example.com", "primary": true, "verified": true }]));
    let (mut linked, _) = sign_in(&world);
    assert_eq!(linked.who().as_deref(), Some("ann@example.com"));
    assert_eq!(linked.get("/auth/links").json()["links"].as_array().unwrap().len(), 2);
}

#[test]
fn errors_with_status_200_are_errors() {
    let world = world("");
    let verified = json!([{ "email": "ann@example.com", "primary": true, "verified": true }]);
    user(&world, 1, &verified);
    for (error, failure) in [
        ("redirect_uri_mismatch", "misconfigured"),
        ("incorrect_client_credentials", "misconfigured"),
        ("bad_verification_code", "unexpected"),
        ("something_new", "provider"),
    ] {
        world.github.control(&json!({ "token_error": error }));
        assert_eq!(sign_in(&world).1.failed(), failure, "{error}");
    }
    world.github.control(&json!({ "token_error": null, "deny": true }));
    assert_eq!(sign_in(&world).1.failed(), "denied");
    world.github.control(&json!({ "deny": false, "emails": [] }));
    assert_eq!(sign_in(&world).1.failed(), "no_email");
    let unverified = json!([{ "email": "ann@example.com", "primary": true, "verified": false }]);
    user(&world, 1, &unverified);
    let (mut unverified, _) = sign_in(&world);
    assert_eq!(
        unverified.who().as_deref(),
        Some("ann@example.com"),
        "nobody has the address: an account, unverified"
    );
    user(&world, 2, &verified);
    let (mut owner, page) = sign_in(&world);
    assert_eq!(page.location(), "/account?done=claimed", "its owner comes");
    assert_eq!((owner.who().as_deref(), unverified.who()), (Some("ann@example.com"), None));
}

#[test]
fn an_answer_of_another_issuer_is_refused() {
    let world = world("");
    user(&world, 1, &json!([{ "email": "ann@example.com", "primary": true, "verified": true }]));
    let mut browser = Browser::new(&world.base);
    let authorize = browser.get("/auth/oauth/github").location().to_owned();
    let callback = browser.get(&authorize).location().to_owned();
    assert_eq!(browser.get(&callback.replace("login%2Foauth", "login%2Fother")).failed(), "untrusted");
}

#[test]
fn tokens_are_kept_only_when_asked_for_sealed_and_given_to_operators() {
    for keep in [false, true] {
        let world = world(&format!("keep_tokens = {keep}\n"));
        user(&world, 1, &json!([{ "email": "ann@example.com", "primary": true, "verified": true }]));
        sign_in(&world);
        let config = world.folder.path().join("hallpass.toml");
        let arguments = ["user", "token", "ann@example.com", "github", "--config", config.to_str().unwrap()];
        let output = common::run(world.folder.path(), &arguments, "");
        let token = common::text(&output.stdout);
        assert_eq!(output.status.code(), Some(if keep { 0 } else { 3 }), "{}", common::text(&output.stderr));
        assert_eq!(token.starts_with("gho_"), keep, "{token}");
        let (file, log) =
            (std::fs::read(world.folder.path().join("hallpass.db")).unwrap(), world.server.log());
        let wal = std::fs::read(world.folder.path().join("hallpass.db-wal")).unwrap_or_default();
        for bytes in [file.as_slice(), wal.as_slice(), log.as_bytes()] {
            assert!(!bytes.windows(4).any(|window| window == b"gho_"), "a token in clear");
        }
    }
}

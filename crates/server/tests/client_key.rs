//! A server that proves itself to its provider with a key instead of a secret (`private_key_jwt`), against a certified implementation.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;
mod oauth_support;

use common::{hallpass, run, text, write};
use oauth_support::{Browser, Idp, accounts, client, free_port, server_at};
use serde_json::json;

const P256: &str = include_str!("../../auth/tests/keys/p256.pem");
const RSA: &str = include_str!("../../auth/tests/keys/rsa.pem");

fn section(issuer: &str, pem: &str, more: &str) -> String {
    format!(
        "[providers.idp]\npreset = \"openid\"\nissuer = \"{issuer}\"\nclient_id = \"hallpass\"\n\
         private_key = '''\n{pem}'''\n{more}\n"
    )
}

#[test]
fn a_key_stands_in_for_the_secret() {
    for (pem, algorithm) in [(P256, "ES256"), (RSA, "RS256")] {
        let Some(idp) = Idp::start() else { return };
        let port = free_port();
        let base = format!("http://127.0.0.1:{port}");
        // The provider fetches the public half from the server, and knows no secret.
        let mut known = client(&base, "idp");
        known.as_object_mut().unwrap().remove("client_secret");
        known["token_endpoint_auth_method"] = "private_key_jwt".into();
        known["token_endpoint_auth_signing_alg"] = algorithm.into();
        known["jwks_uri"] = format!("{base}/auth/oauth/idp/jwks").into();
        idp.control(&json!({ "clients": [known], "accounts": accounts() }));
        let config = section(&idp.issuer, pem, "");
        let (server, folder) = server_at(port, &config);
        let mut browser = Browser::new(&base);
        assert_eq!(browser.sign_in("idp", "ann").location(), "/account", "{}", server.log());
        assert_eq!(browser.who().as_deref(), Some("ann@example.com"));
        let keys = browser.get("/auth/oauth/idp/jwks").json();
        assert_eq!(keys["keys"][0]["alg"], algorithm);
        assert!(keys["keys"][0].get("d").is_none(), "the public half alone");
        assert_eq!(browser.get("/auth/oauth/nobody/jwks").status, 404);
        let config = folder.path().join("hallpass.toml");
        let arguments = ["--config", config.to_str().unwrap(), "--public-url", &base];
        let online = run(folder.path(), &[&["check-config", "--online"][..], &arguments[..]].concat(), "");
        assert!(online.status.success(), "{}{}", text(&online.stdout), text(&online.stderr));

        // Another key is nobody's.
        let other = if pem == P256 { RSA } else { P256 };
        let wrong = write(&folder, "wrong.toml", &section(&idp.issuer, other, ""));
        let arguments =
            ["check-config", "--online", "--public-url", &base, "--config", wrong.to_str().unwrap()];
        let online = run(folder.path(), &arguments, "");
        assert!(!online.status.success());
        assert!(text(&online.stdout).contains("invalid_client"), "{}", text(&online.stdout));
        assert!(text(&online.stdout).contains("jwks_uri"), "{}", text(&online.stdout));
    }
}

#[test]
fn a_key_that_cannot_be_used_or_is_one_too_many_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |section: &str| {
        let config = write(&folder, "hallpass.toml", section);
        let output = hallpass(folder.path()).args(["check-config", "--config"]).arg(config).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(!text(&output.stderr).contains("BEGIN"), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let issuer = "https://login.example.com";
    let both = refused(&section(issuer, P256, "client_secret = \"s\""));
    assert!(both.contains("providers.idp.private_key: stands instead of client_secret"), "{both}");
    let no_key = refused(&section(issuer, "hello", ""));
    assert!(no_key.contains("openssl genpkey"), "{no_key}");
    let google = section(issuer, P256, "client_secret = \"s\"").replace("\"openid\"", "\"google\"");
    assert!(refused(&google).contains("is for apple and openid only"));
}

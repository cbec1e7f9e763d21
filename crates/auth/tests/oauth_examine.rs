//! What an operator is told about a provider before anybody signs in; against a certified one in crates/server/tests/online.rs.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod provider;

use hallpass_auth::oauth::{Reauth, Verdict};
use provider::{
    ISSUER, State,
    app::{App, app, app_with},
};
use serde_json::json;

/// What is not good, as `what: detail`.
async fn faults(app: &App, change: impl FnOnce(&mut State)) -> Vec<String> {
    app.provider.change(change);
    let findings = app.providers.examine("login", &app.clock).await;
    assert!(!findings.is_empty());
    let bad = findings.iter().filter(|finding| finding.verdict != Verdict::Good);
    bad.map(|finding| format!("{}: {}", finding.what, finding.detail)).collect()
}

#[tokio::test]
async fn what_would_stop_people_is_said_beforehand() {
    assert_eq!(faults(&app(), |_| {}).await, Vec::<String>::new());
    let app = app();
    let said = faults(&app, |provider| {
        let metadata = provider.metadata.as_object_mut().unwrap();
        metadata.remove("token_endpoint");
        metadata.remove("jwks_uri");
    });
    let said = said.await;
    assert!(
        said.len() == 1 && said[0].ends_with("is no OpenID metadata: token_endpoint, jwks_uri missing"),
        "{said:?}"
    );

    for (theirs, how) in [
        (ISSUER.replace("https", "http"), "http or https differs"),
        (ISSUER.replace("login", "Login"), "capital letters differ"),
        (format!("{ISSUER}:8443"), "the port differs"),
        (format!("{ISSUER}/realms/staff"), "the path differs"),
    ] {
        let said =
            faults(&provider::app::app(), |provider| provider.metadata["issuer"] = theirs.into()).await;
        assert!(said.len() == 1 && said[0].contains(how), "{how}: {said:?}");
    }

    let app = provider::app::app();
    let said = faults(&app, |provider| provider.has_keys = false).await;
    assert!(said[0].starts_with("keys: https://login.example.com/jwks answered 404"), "{said:?}");
    let hmac = |provider: &mut State| {
        provider.has_keys = true;
        provider.metadata["id_token_signing_alg_values_supported"] = json!(["HS256", "none"]);
    };
    let said = faults(&app, hmac).await;
    assert!(said[0].starts_with("keys: ID tokens are signed with HS256, none only"), "{said:?}");
}

#[tokio::test]
async fn clocks_that_differ_are_noticed() {
    // The tests' clock stands at 2026-11-23 09:01:13.
    for (date, expected) in [
        ("Mon, 23 Nov 2026 09:01:00 GMT", None),
        ("Mon, 23 Nov 2026 08:51:13 GMT", Some("600 seconds ahead of")),
        ("Mon, 23 Nov 2026 09:03:13 GMT", Some("120 seconds behind")),
        ("yesterday", None),
    ] {
        let said = faults(&app(), |provider| provider.date = Some(date.to_owned())).await;
        assert_eq!(said.len(), usize::from(expected.is_some()), "{date}: {said:?}");
        assert!(said.iter().all(|said| said.contains(expected.unwrap())), "{said:?}");
    }
}

#[tokio::test]
async fn what_the_settings_want_must_be_there() {
    let app = app_with(|provider| {
        provider.end_session = true;
        provider.reauth = Reauth::Prove;
    });
    let claims = |provider: &mut State| provider.metadata["claims_supported"] = json!(["sub", "email"]);
    let said = faults(&app, claims).await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("no end_session_endpoint") && said[1].contains("auth_time"), "{said:?}");
}

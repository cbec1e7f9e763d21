//! Sections of sign-in providers.

use tempfile::TempDir;

use super::{check, common::write, row, told};

#[test]
fn providers_are_sections_of_their_own_and_told_what_is_missing() {
    for (config, advice) in [
        ("[providers.google]\nclient_id = \"x\"", "providers.google: client_secret is missing"),
        ("[providers.google]\nclient_secret = \"x\"", "client_id is missing"),
        ("[providers.google]\nclientid = \"x\"", "did you mean providers.NAME.client_id?"),
        ("[providers.work]\nclient_id = \"x\"", "providers.work.preset: say what it is"),
        (
            "[providers.work]\npreset = \"openid\"\nclient_id = \"x\"\nclient_secret = \"y\"",
            "issuer \"\" is no web address",
        ),
        (
            "[providers.work]\npreset = \"openid\"\nissuer = \"http://a.example\"\nclient_id = \"x\"\nclient_secret = \"y\"",
            "issuer must be an https address",
        ),
        (
            "[providers.work]\npreset = \"oauth2\"\nclient_id = \"x\"\nclient_secret = \"y\"",
            "providers.work.token_url: is no web address",
        ),
        ("[providers.apple]\nclient_id = \"x\"", "providers.apple.team_id: is missing"),
        (
            "[providers.apple]\nclient_id = \"x\"\nteam_id = \"t\"\nkey_id = \"k\"\nprivate_key = \"no key\"",
            "AuthKey_",
        ),
        (
            "[providers.github]\nclient_id = \"x\"\nclient_secret = \"y\"\ntrust_email = true",
            "trust_email would let everybody",
        ),
        (
            "[providers.github]\nclient_id = \"x\"\nclient_secret = \"y\"\nparameters = [\"state=1\"]",
            "set by the flow itself",
        ),
        (
            "[providers.github]\nclient_id = \"x\"\nclient_secret = \"y\"\nparameters = [\"prompt\"]",
            "every item reads name=value",
        ),
        (
            "[providers.GitHub]\npreset = \"github\"\nclient_id = \"x\"\nclient_secret = \"y\"",
            "lower-case letters",
        ),
        ("[providers]\ngithub = \"x\"", "write [providers.github] on a line of its own"),
    ] {
        let printed = told(config);
        assert!(printed.contains(advice), "{config}\n{printed}");
    }
}

#[test]
fn a_provider_may_be_configured_by_the_environment_and_its_secrets_are_never_shown() {
    let folder = TempDir::new().unwrap();
    let file = write(&folder, "secret", "hunter2hunter2\n");
    let environment = [
        ("HALLPASS__PROVIDERS__GITHUB__CLIENT_ID", "Iv1.8a61f9b3a7aba766"),
        ("HALLPASS__PROVIDERS__GITHUB__CLIENT_SECRET_FILE", file.to_str().unwrap()),
        ("HALLPASS__PROVIDERS__GOOGLE__CLIENT_ID", "abc"),
        ("HALLPASS__PROVIDERS__GOOGLE__CLIENT_SECRET", "hunter2hunter2"),
    ];
    let (code, printed) = check(folder.path(), None, &environment, &[]);
    assert_eq!(code, 0, "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    let origin = "HALLPASS__PROVIDERS__GITHUB__CLIENT_SECRET_FILE";
    assert_eq!(row(&printed, "providers.github.client_secret"), ["(hidden)", origin]);
    assert_eq!(
        row(&printed, "providers.google.client_id"),
        ["abc", "HALLPASS__PROVIDERS__GOOGLE__CLIENT_ID"]
    );
    let twice = [environment.as_slice(), &[("HALLPASS__PROVIDERS__GITHUB__CLIENT_SECRET", "x")]].concat();
    assert!(check(folder.path(), None, &twice, &[]).1.contains("is given twice"));
}

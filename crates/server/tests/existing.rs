//! Signing in with a provider where the accounts are another application's.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use common::{run, text, write};

#[test]
fn what_is_said_of_addresses_cannot_contradict_itself() {
    for (settings, expected) in [
        (
            "verified = \"v\"\ntrust_email = true",
            "users.trust_email: says that every address is verified, and users.verified which",
        ),
        (
            "trust_email = true",
            "users.trust_email: would let whoever registers here with somebody else's address wait",
        ),
        (
            "verified = \"v\"\nlogin_kind = \"username\"",
            "users.verified: and users.trust_email do nothing where people sign in with user names",
        ),
        ("verified = \"email\"", "\"email\" cannot be the login and the mark of verified addresses at once"),
        ("trust_email = true\n[registration]\nopen = false", "users.trust_email"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = format!("[users]\ntable = \"people\"\nurl = \"sqlite:app.db\"\n{settings}\n");
        let path = write(&folder, "hallpass.toml", &config);
        let checked = run(folder.path(), &["check-config", "--config", path.to_str().unwrap()], "");
        let told = text(&checked.stdout) + &text(&checked.stderr);
        assert!(told.contains(expected), "expected {expected:?} in:\n{told}");
        assert_eq!(checked.status.success(), settings.contains("open = false"), "{told}");
    }
}

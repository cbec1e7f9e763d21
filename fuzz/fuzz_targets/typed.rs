//! What people and scripts type: handles, addresses, return paths, password hashes.

#![no_main]

use hallpass_auth::{Argon2Params, Email, Hasher, PasswordHash, RedirectPath};
use hallpass_session::SessionHandle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(handle) = text.parse::<SessionHandle>() {
        assert_eq!(handle.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(email) = Email::parse(text) {
        assert_eq!(Email::parse(email.as_str()).as_ref(), Ok(&email), "normalising twice changes nothing");
    }
    if let Some(path) = RedirectPath::parse(text) {
        let base = url::Url::parse("https://here.example/login").unwrap();
        assert_eq!(base.join(path.as_str()).unwrap().origin(), base.origin());
    }
    // A hash from somebody else's table must not take us down; expensive ones are not tried here.
    if !text.contains("$argon2") && !text.starts_with("$2") {
        Hasher::new(Argon2Params::insecure_for_tests()).verify("password", &PasswordHash::new(text));
    }
});

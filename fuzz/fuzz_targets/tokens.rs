//! What providers and strangers send: ID tokens, key sets, answers through the browser.

#![no_main]

use hallpass_auth::oauth::{Callback, Expected, KeySet};
use hallpass_session::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(callback) = Callback::parse(text) {
        assert_eq!(Callback::parse(&callback.to_query()), Some(callback), "a query means the same once more");
    }
    let keys = serde_json::from_str(text).ok().and_then(|json| KeySet::parse(&json)).unwrap_or_default();
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let more = serde_json::from_str(rest).ok().and_then(|json| KeySet::parse(&json)).unwrap_or_default();
    let expected = Expected { issuer: "https://login.example.com", tenants: false, client_id: "app" };
    // Nobody here holds a private key: whatever comes is refused, and nothing panics.
    for keys in [keys, more] {
        assert!(keys.verify_id_token(first, expected, "nonce", Timestamp::from_millis(1_795_424_473_000)).is_err());
    }
});

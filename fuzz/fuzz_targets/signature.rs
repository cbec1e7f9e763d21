//! Cookie values: what verifies was signed by us, and signing again gives a value that verifies to the same id.

#![no_main]

use std::sync::LazyLock;

use hallpass_session::{Keys, SessionId};
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    Keys::new(["the first secret is thirty-two bytes long", "the second secret is as long as that"]).unwrap()
});

fuzz_target!(|text: &str| {
    if let Some(verified) = KEYS.verify(text) {
        let again = KEYS.verify(&KEYS.sign(&verified.id)).expect("what we sign verifies");
        assert_eq!(again.id, verified.id);
    }
    if let Some(id) = SessionId::new(text) {
        let value = KEYS.sign(&id);
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic() && !b";,\"\\ ".contains(&byte)), "{value}");
        let verified = KEYS.verify(&value).expect("what we sign verifies");
        assert!(verified.id == id && verified.current_key);
        let quoted = KEYS.verify(&format!("\"{value}\"")).expect("quotes are optional");
        assert_eq!(quoted.id, id);
    }
});

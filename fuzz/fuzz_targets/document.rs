//! Session documents: what is read is written back byte for byte where nobody touched it.

#![no_main]

use hallpass_session::Document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(document) = Document::from_json(text) else { return };
    let written = document.to_json();
    let again = Document::from_json(&written).expect("what we write can be read");
    assert_eq!(again, document);
    assert_eq!(again.to_json(), written);
    if let (Ok(before), Ok(after)) =
        (serde_json::from_str::<serde_json::Value>(text), serde_json::from_str::<serde_json::Value>(&written))
    {
        assert_eq!(before, after);
    }
});

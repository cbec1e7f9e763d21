//! Cookie headers: no panic, and every pair the `cookie` crate sees is seen too.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    let pairs: Vec<(&str, &str)> = hallpass_session::cookie_pairs(header.as_bytes()).collect();
    for (name, value) in &pairs {
        assert!(!name.contains([';', '=']) && !value.contains(';'), "{name:?}={value:?}");
    }
    // The oracle trims other blanks too, which no header can hold.
    if !header.bytes().all(|byte| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic()) {
        return;
    }
    for theirs in cookie::Cookie::split_parse(header).flatten() {
        let (name, value) = theirs.name_value_trimmed();
        let value_raw = theirs.value();
        let seen = pairs.iter().any(|(ours, text)| {
            *ours == name && (*text == value || *text == value_raw || text.trim_matches('"') == value)
        });
        assert!(seen, "{name:?}={value:?} is missing from {pairs:?}");
    }
});

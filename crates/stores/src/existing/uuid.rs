//! UUIDs (RFC 9562) as texts.

use hallpass_session::{hex, random};

/// The bytes of a UUID in its one spelling: lower case, with hyphens.
pub(super) fn parse(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.split('-').collect();
    let mut bytes = [0; 16];
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (number, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * number..2 * number + 2], 16).ok()?;
    }
    (show(bytes) == text).then_some(bytes)
}

pub(super) fn show(bytes: [u8; 16]) -> String {
    let digits = hex(&bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// A fresh one, version 4.
pub(super) fn fresh() -> [u8; 16] {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_spelling_is_one() {
        let text = "0192f0c1-2b3a-4c5d-8e9f-0a1b2c3d4e5f";
        assert_eq!(show(parse(text).unwrap()), text);
        assert_eq!(show(fresh()).len(), 36);
        assert!(parse(&show(fresh())).is_some());
        let upper = text.to_uppercase();
        for other in ["", "x", &text.replace('-', ""), upper.as_str(), &format!("{text}0"), "é-é"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}

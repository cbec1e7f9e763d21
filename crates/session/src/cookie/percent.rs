//! Percent-encoding as JavaScript's `encodeURIComponent` and `decodeURIComponent` have it.

use std::borrow::Cow;

use memchr::memchr;

/// Appends `text` to `out`, leaving only letters, digits and `-_.!~*'()` as they are.
pub(crate) fn encode(text: &str, out: &mut String) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// The decoded text, borrowed when nothing was encoded; `None` for broken escapes or what is not UTF-8 afterwards.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    let Some(first) = memchr(b'%', text.as_bytes()) else { return Some(Cow::Borrowed(text)) };
    let mut bytes = Vec::with_capacity(text.len());
    let (plain, mut rest) = text.as_bytes().split_at(first);
    bytes.extend_from_slice(plain);
    while let [b'%', high, low, after @ ..] = rest {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
        let (plain, next) = after.split_at(memchr(b'%', after).unwrap_or(after.len()));
        bytes.extend_from_slice(plain);
        rest = next;
    }
    if !rest.is_empty() {
        return None;
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

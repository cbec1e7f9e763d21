//! Session ids: what the cookie carries, and the [`SessionHandle`] that may be shown instead.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// The longest id accepted from a cookie or a generator, in bytes.
pub const MAX_ID_LENGTH: usize = 256;

/// The secret name of a session. Whoever holds it (signed) is logged in, so it has no `Display`
/// and its `Debug` shows only the [`SessionHandle`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Name);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    Whole(Arc<str>),
    Hash(IdHash),
}

impl SessionId {
    /// An id from 1 to [`MAX_ID_LENGTH`] bytes long; anything else is not an id.
    pub fn new(id: &str) -> Option<Self> {
        (1..=MAX_ID_LENGTH).contains(&id.len()).then(|| Self(Name::Whole(id.into())))
    }

    /// The ID under which [`SessionStore::check`](crate::SessionStore::check) writes. Every store knows it, so it is never live.
    pub fn probe() -> Self {
        Self(Name::Whole("hallpass-check".into()))
    }

    /// The id of which only the hash is known: what moves a session between stores that keep no more. It opens no session:
    /// its [`expose`](Self::expose) is empty, which is no id.
    pub fn from_hash(hash: IdHash) -> Self {
        Self(Name::Hash(hash))
    }

    /// Whether only the hash is known.
    pub fn is_hash(&self) -> bool {
        matches!(self.0, Name::Hash(_))
    }

    /// The id itself: for cookies and for stores whose format demands the raw id.
    pub fn expose(&self) -> &str {
        match &self.0 {
            Name::Whole(id) => id,
            Name::Hash(_) => "",
        }
    }

    /// SHA-256 of the id: what the native layout stores, so that a stolen database opens no session
    /// (ASVS 5.0 V7, NIST SP 800-63B-4 §5.1).
    pub fn hash(&self) -> IdHash {
        match &self.0 {
            Name::Whole(id) => IdHash(Sha256::digest(id.as_bytes()).into()),
            Name::Hash(hash) => *hash,
        }
    }

    /// The short name of this session for logs and listings.
    pub fn handle(&self) -> SessionHandle {
        self.hash().handle()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.handle())
    }
}

/// SHA-256 of a [`SessionId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdHash(pub [u8; 32]);

impl IdHash {
    /// The first half of the hash, as a [`SessionHandle`].
    pub fn handle(&self) -> SessionHandle {
        let mut half = [0; 16];
        half.copy_from_slice(&self.0[..16]);
        SessionHandle(half)
    }
}

/// Names a session without opening it: the first 128 bits of the id's SHA-256, printed as 32 hex digits.
/// Safe in logs, listings and URLs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionHandle(pub [u8; 16]);

impl fmt::Display for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session handle is 32 hexadecimal digits")]
pub struct InvalidHandle;

impl FromStr for SessionHandle {
    type Err = InvalidHandle;

    fn from_str(text: &str) -> Result<Self, InvalidHandle> {
        unhex(text).map(Self).ok_or(InvalidHandle)
    }
}

/// Makes the ids of new sessions. Implementations must be unguessable: at least 128 bits of a
/// cryptographic random source (ASVS 5.0 7.2.3).
pub trait IdGenerator: Send + Sync + 'static {
    /// A fresh id.
    fn generate(&self) -> SessionId;
}

/// The default generator: 256 random bits from the operating system as 43 characters of base64url.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl IdGenerator for RandomIds {
    fn generate(&self) -> SessionId {
        SessionId(Name::Whole(URL_SAFE_NO_PAD.encode(random::<32>()).into()))
    }
}

/// `N` bytes from the operating system's random source.
///
/// # Panics
/// When the operating system has no randomness to give: no secret can be made safely then.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks for randomness")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system's random source answers");
    bytes
}

/// `N` bytes from twice as many hex digits.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_long_distinct_and_cookie_safe() {
        let ids: HashSet<_> = (0..10_000).map(|_| RandomIds.generate()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids.iter().take(100) {
            assert_eq!(id.expose().len(), 43);
            assert!(id.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        }
    }

    #[test]
    fn debug_shows_the_handle_and_not_the_id() {
        let id = SessionId::new("top-secret-id").unwrap();
        let shown = format!("{id:?}");
        assert!(!shown.contains("top-secret"), "{shown}");
        assert!(shown.contains(&id.handle().to_string()));
    }

    #[test]
    fn handles_round_trip_and_refuse_other_text() {
        let handle = SessionId::new("x").unwrap().handle();
        assert_eq!(handle.to_string().parse(), Ok(handle));
        for bad in ["", "abc", "zz".repeat(16).as_str(), "é".repeat(16).as_str(), "+1".repeat(16).as_str()] {
            assert_eq!(bad.parse::<SessionHandle>(), Err(InvalidHandle));
        }
    }

    #[test]
    fn ids_outside_the_length_limits_are_no_ids() {
        assert!(SessionId::new("").is_none());
        assert!(SessionId::new(&"x".repeat(MAX_ID_LENGTH)).is_some());
        assert!(SessionId::new(&"x".repeat(MAX_ID_LENGTH + 1)).is_none());
    }
}

//! [`Keys`]: the secrets that sign session cookies.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{SessionId, cookie::percent};

/// The shortest secret accepted, in bytes: as long as the output of the hash (RFC 2104 §3).
pub const MIN_SECRET_LENGTH: usize = 32;

/// The length of HMAC-SHA256 in bytes.
const MAC_LENGTH: usize = 32;

/// The same in base64 without padding: a signature.
const SIGNATURE_LENGTH: usize = 43;

/// The secrets of the cookie signature: the first signs, all verify. To rotate, put the new one in front and remove the
/// old one when the sessions signed with it have ended; nobody is logged out.
///
/// The signature is express-session's: `s:<id>.<base64 of HMAC-SHA256(secret, id)>`.
#[derive(Clone)]
pub struct Keys {
    /// Keyed states, computed once: half the cost of a short HMAC is in the key.
    states: Box<[Hmac<Sha256>]>,
}

/// The secrets cannot be used. Says how to make one that can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// No secret was given.
    #[error("a session secret is needed; make one with `openssl rand -base64 32` or `hallpass key generate`")]
    Missing,
    /// A secret is too short to be safe.
    #[error(
        "session secret number {position} has {length} bytes, at least {MIN_SECRET_LENGTH} are needed; \
         make one with `openssl rand -base64 32` or `hallpass key generate`"
    )]
    Short {
        /// Which one, counted from 1.
        position: usize,
        /// Its length in bytes.
        length: usize,
    },
}

/// A cookie value whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The id that was signed.
    pub id: SessionId,
    /// It was signed with the first secret.
    pub current_key: bool,
}

impl Keys {
    /// Takes the secrets, the signing one first.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, KeysError> {
        let state = |(index, secret): (usize, S)| {
            let secret = secret.as_ref().as_bytes();
            if secret.len() < MIN_SECRET_LENGTH {
                return Err(KeysError::Short { position: index + 1, length: secret.len() });
            }
            Ok(keyed(secret))
        };
        let states: Box<[_]> = secrets.into_iter().enumerate().map(state).collect::<Result<_, _>>()?;
        if states.is_empty() { Err(KeysError::Missing) } else { Ok(Self { states }) }
    }

    /// A single secret.
    pub fn from_secret(secret: &str) -> Result<Self, KeysError> {
        Self::new([secret])
    }

    /// The secrets of an Express app, of any length. Short ones can be guessed from a cookie: give both apps a longer one in front, and
    /// remove them when all sessions have been signed anew.
    pub fn of_express<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, KeysError> {
        let states: Box<[_]> = secrets.into_iter().map(|secret| keyed(secret.as_ref().as_bytes())).collect();
        if states.is_empty() { Err(KeysError::Missing) } else { Ok(Self { states }) }
    }

    /// The cookie value for `id`, percent-encoded as JavaScript's `encodeURIComponent` does.
    pub fn sign(&self, id: &SessionId) -> String {
        let id = id.expose();
        let mut value = String::with_capacity(id.len() + SIGNATURE_LENGTH + 16);
        percent::encode("s:", &mut value);
        percent::encode(id, &mut value);
        value.push('.');
        percent::encode(&STANDARD_NO_PAD.encode(mac(&self.states[0], id)), &mut value);
        value
    }

    /// The id in a cookie value, if one of the secrets signed it. Percent-encoding and one pair of double quotes around
    /// the value are optional, as for express-session.
    pub fn verify(&self, value: &str) -> Option<Verified> {
        let value = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
        // A value that cannot be decoded is taken as it stands, as the parsers of Node do.
        let value = percent::decode(value).unwrap_or(Cow::Borrowed(value));
        let (id, given) = value.strip_prefix("s:")?.rsplit_once('.')?;
        let given = words(&decode(given)?);
        let matches = |state| bool::from(words(&mac(state, id)).ct_eq(&given));
        let position = self.states.iter().position(matches)?;
        Some(Verified { id: SessionId::new(id)?, current_key: position == 0 })
    }
}

/// Names a secret in lists and logs: 8 hexadecimal digits of an HMAC under it. It tells two secrets apart, and says no more of a
/// secret than 32 bits that its cookies say too.
pub fn fingerprint(secret: &str) -> String {
    crate::hex(&mac(&keyed(secret.as_bytes()), "hallpass fingerprint")[..4])
}

/// Whether a cookie's value has the form of a signed session, with any signature.
pub(crate) fn is_signed(value: &str) -> bool {
    let value = percent::decode(value).unwrap_or(Cow::Borrowed(value));
    let signed = value.strip_prefix("s:").and_then(|rest| rest.rsplit_once('.'));
    signed.is_some_and(|(id, signature)| !id.is_empty() && decode(signature).is_some())
}

/// Says that a cookie is signed with a secret that is not here, and how many there were. Whoever wants can send one, so it is said
/// once a minute.
pub(crate) fn unknown(value: &str) {
    static LIMIT: crate::LogLimit = crate::LogLimit::per_minute();
    if !is_signed(value) {
        return;
    }
    if let Some(left_out) = LIMIT.allows() {
        let count = left_out + 1;
        let advice = "session cookies are signed with a secret that this server does not have; after a change of secrets, or with several servers, compare `hallpass key status`";
        tracing::warn!(event = "signature_unknown", count, advice);
    }
}

/// HMAC takes keys of any length; the error is there for other algorithms.
fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).unwrap_or_else(|_| unreachable!("a key of any length will do"))
}

fn mac(state: &Hmac<Sha256>, id: &str) -> [u8; MAC_LENGTH] {
    let mut state = state.clone();
    state.update(id.as_bytes());
    state.finalize().into_bytes().into()
}

/// The one MAC that a signature is the text of; nothing else is read as one.
fn decode(signature: &str) -> Option<[u8; MAC_LENGTH]> {
    let mut mac = [0; MAC_LENGTH];
    let written = STANDARD_NO_PAD.decode_slice(signature, &mut mac);
    (written == Ok(MAC_LENGTH)).then_some(mac)
}

/// For comparing: four words take a fraction of what 32 bytes take, and no less constant a time.
fn words(mac: &[u8; MAC_LENGTH]) -> [u64; MAC_LENGTH / 8] {
    let (words, _) = mac.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_ne_bytes(words[at]))
}

/// Shows how many there are.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.states.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "an-old-secret-of-at-least-32-bytes";
    const NEW: &str = "a-new-secret-of-at-least-32-bytes!";

    fn id(text: &str) -> SessionId {
        SessionId::new(text).unwrap()
    }

    /// Made with Node 20: `'s:' + id + '.' + createHmac('sha256', OLD).update(id).digest('base64').replace(/=+$/, '')`
    #[test]
    fn signs_as_express_session_does() {
        let keys = Keys::from_secret(OLD).unwrap();
        for (text, cookie) in EXPRESS {
            assert_eq!(keys.sign(&id(text)), *cookie);
        }
    }

    const EXPRESS: &[(&str, &str)] = &[
        ("abc", "s%3Aabc.%2BDMSnMrHJBthRlJfCbzIQuk8xOSQWcm7Cu7mfvtvvO4"),
        ("Qm9vdHN0cmFwIQ_-~!*", "s%3AQm9vdHN0cmFwIQ_-~!*.RS5HLM3U%2FLCUJFfPOkKxEP3myUY%2FiBzghzAfnKtQZj8"),
        (
            "a b;e\u{301}-acute/+=\"1",
            "s%3Aa%20b%3Be%CC%81-acute%2F%2B%3D%221.O68gNYPIgLjH0JaUCwI6CEtnaghxw%2Blmm%2FhY%2BODPgYo",
        ),
        ("x.y.z", "s%3Ax.y.z.KjvKuWOsLTKOhuF4qhDDsvQaLOQxOh8vW8gAZjI4B3M"),
    ];

    #[test]
    fn missing_and_short_secrets_are_refused_with_advice() {
        let none: [&str; 0] = [];
        assert_eq!(Keys::new(none).unwrap_err(), KeysError::Missing);
        let error = Keys::new([OLD, "keyboard cat"]).unwrap_err();
        assert_eq!(error, KeysError::Short { position: 2, length: 12 });
        let sentence = error.to_string();
        assert!(sentence.contains("openssl rand -base64 32") && !sentence.contains("keyboard"), "{sentence}");
        assert!(!format!("{:?}", Keys::from_secret(OLD).unwrap()).contains(OLD));
    }

    #[test]
    fn every_accepted_spelling_of_one_value() {
        let keys = Keys::from_secret(OLD).unwrap();
        let encoded = keys.sign(&id("a/b+c"));
        let raw = percent::decode(&encoded).unwrap().into_owned();
        for spelling in [encoded.clone(), encoded.to_lowercase_escapes(), raw.clone(), format!("\"{raw}\"")] {
            assert_eq!(keys.verify(&spelling).unwrap().id, id("a/b+c"), "{spelling}");
        }
        for wrong in ["", "s:", "s:.", "a", &raw[2..], &format!("{raw}="), &format!("{raw}A"), "%", "s%3"] {
            assert_eq!(keys.verify(wrong), None, "{wrong}");
        }
    }

    trait LowercaseEscapes {
        fn to_lowercase_escapes(&self) -> String;
    }
    impl LowercaseEscapes for String {
        fn to_lowercase_escapes(&self) -> String {
            self.replace("%3A", "%3a").replace("%2F", "%2f").replace("%2B", "%2b")
        }
    }

    #[test]
    fn fingerprints_tell_secrets_apart_and_do_not_show_them() {
        assert_eq!(fingerprint(OLD), fingerprint(OLD));
        assert_ne!(fingerprint(OLD), fingerprint(NEW));
        assert_eq!(fingerprint(OLD).len(), 8);
    }

    #[test]
    fn only_what_has_the_form_of_a_signed_session_counts_as_signed_by_others() {
        let signed = Keys::from_secret(OLD).unwrap().sign(&id("abc"));
        assert!(is_signed(&signed));
        for other in ["", "abc", "s:abc", "s:abc.def", "s%3Aabc", &signed[..signed.len() - 1]] {
            assert!(!is_signed(other), "{other}");
        }
    }

    #[test]
    fn old_secrets_verify_and_say_so() {
        let old = Keys::from_secret(OLD).unwrap();
        let both = Keys::new([NEW, OLD]).unwrap();
        assert_eq!(both.verify(&old.sign(&id("x"))), Some(Verified { id: id("x"), current_key: false }));
        assert_eq!(both.verify(&both.sign(&id("x"))), Some(Verified { id: id("x"), current_key: true }));
        assert_eq!(old.verify(&both.sign(&id("x"))), None);
    }

    proptest! {
        #[test]
        fn any_id_round_trips(text in ".{1,60}") {
            let keys = Keys::from_secret(OLD).unwrap();
            prop_assert_eq!(keys.verify(&keys.sign(&id(&text))).unwrap().id, id(&text));
        }

        #[test]
        fn any_changed_byte_is_refused(at in 0_usize..86, bit in 0_u8..7) {
            let keys = Keys::from_secret(OLD).unwrap();
            let value = percent::decode(&keys.sign(&id("0123456789012345678901234567890123456789"))).unwrap().into_owned();
            let mut bytes = value.into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                // Quotes and escapes may be read another way, but never as a valid signature.
                prop_assert_eq!(keys.verify(&changed), None);
            }
        }
    }
}

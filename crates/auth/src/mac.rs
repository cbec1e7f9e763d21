//! [`MacKeys`]: keys of HMAC-SHA256 for one purpose, derived from the secrets that sign cookies.

use std::{fmt, sync::Arc};

use hallpass_session::random;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Keys for one purpose: the first signs, all verify. They are derived, so that what is signed for one purpose is never valid for
/// another. Rotate them with the secrets.
#[derive(Clone)]
pub struct MacKeys(Arc<[Hmac<Sha256>]>);

impl MacKeys {
    /// Keys of `purpose`, derived from `secrets`, the signing one first. Without any secret: keys that only this value has.
    pub fn derive<S: AsRef<[u8]>>(purpose: &str, secrets: impl IntoIterator<Item = S>) -> Self {
        let derived = |secret: S| {
            let mut state = keyed(secret.as_ref());
            state.update(purpose.as_bytes());
            keyed(&state.finalize().into_bytes())
        };
        let keys: Arc<[_]> = secrets.into_iter().map(derived).collect();
        if keys.is_empty() { Self::random() } else { Self(keys) }
    }

    /// A key that only this value has: what it signs is valid until the process ends.
    pub fn random() -> Self {
        Self([keyed(&random::<32>())].into())
    }

    /// The code of `parts`, which differs for other parts, also for those that read the same one after the other.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(&self.0[0], parts)
    }

    /// Whether one of the keys made this code of these parts. Takes the same time wherever they differ.
    pub fn verify(&self, parts: &[&[u8]], given: &[u8]) -> bool {
        self.0.iter().any(|key| mac(key, parts).ct_eq(given).into())
    }
}

/// HMAC takes keys of any length; the error is there for other algorithms.
fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).unwrap_or_else(|_| unreachable!("a key of any length will do"))
}

fn mac(key: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut state = key.clone();
    for part in parts {
        state.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        state.update(part);
    }
    state.finalize().into_bytes().into()
}

/// Shows how many there are.
impl fmt::Debug for MacKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKeys({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_parts_and_secrets_keep_apart_and_old_secrets_verify() {
        let (one, two) = (MacKeys::derive("one", ["a"]), MacKeys::derive("two", ["a"]));
        let code = one.sign(&[b"ab", b"c"]);
        assert!(one.verify(&[b"ab", b"c"], &code) && !two.verify(&[b"ab", b"c"], &code));
        assert!(!one.verify(&[b"a", b"bc"], &code) && !one.verify(&[b"abc"], &code));
        assert!(MacKeys::derive("one", ["new", "a"]).verify(&[b"ab", b"c"], &code));
        assert!(!MacKeys::derive("one", ["new"]).verify(&[b"ab", b"c"], &code));
        assert!(!MacKeys::derive("one", [""; 0]).verify(&[b"ab", b"c"], &code));
        assert!(!one.verify(&[b"ab", b"c"], &code[..31]));
    }
}

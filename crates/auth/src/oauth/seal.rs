//! [`SealKeys`]: what lies in a database and is nobody's business there: AES-256-GCM with keys that can be rotated.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_session::{Secret, random};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};

/// Says which purpose the keys are derived for.
const SALT: &[u8] = b"hallpass provider tokens v1";

const KEY_ID: usize = 4;
const NONCE: usize = 12;

/// The keys: the first seals, all open. To rotate, put the new secret in front and remove the old one later; what it sealed is as
/// good as forgotten then.
pub struct SealKeys(Vec<Key>);

struct Key {
    id: [u8; KEY_ID],
    key: LessSafeKey,
}

impl SealKeys {
    /// Keys derived from secrets by HKDF, so that they can be those that sign cookies; at least 32 bytes each. `None` without any.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Option<Self> {
        let keys: Vec<Key> =
            secrets.into_iter().map(|secret| Key::derive(secret.as_ref())).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Seals `text` so that it opens only under the same `name`: a row that is copied to another place is no use there.
    pub(super) fn seal(&self, name: &str, text: &Secret<String>) -> Option<String> {
        let key = self.0.first()?;
        let nonce = random::<NONCE>();
        let mut body = text.expose().as_bytes().to_vec();
        let sealed = Nonce::assume_unique_for_key(nonce);
        key.key.seal_in_place_append_tag(sealed, Aad::from(name.as_bytes()), &mut body).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&key.id[..], &nonce, &body].concat()))
    }

    /// What was sealed; `None` when it was not, or by a key that is gone.
    pub(super) fn open(&self, name: &str, sealed: &str) -> Option<Secret<String>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (id, rest) = bytes.split_at_checked(KEY_ID)?;
        let (nonce, body) = rest.split_at_checked(NONCE)?;
        let key = self.0.iter().find(|key| key.id == *id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let text = key.key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut body).ok()?;
        String::from_utf8(text.to_vec()).ok().map(Secret::new)
    }
}

impl Key {
    fn derive(secret: &str) -> Option<Self> {
        let derived = Salt::new(HKDF_SHA256, SALT).extract(secret.as_bytes());
        let key = derived.expand(&[b"key"], &AES_256_GCM).ok()?;
        let mut id = [0; 32];
        derived.expand(&[b"name"], HKDF_SHA256).ok()?.fill(&mut id).ok()?;
        let (id, _) = id.split_first_chunk()?;
        Some(Self { id: *id, key: LessSafeKey::new(UnboundKey::from(key)) })
    }
}

/// Shows how many there are.
impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKeys({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_every_key_under_the_same_name_only() {
        let text = Secret::new("ya29.token".to_owned());
        let old = SealKeys::new(["an old secret of at least 32 bytes..."]).unwrap();
        let both =
            SealKeys::new(["a new secret of at least 32 bytes...", "an old secret of at least 32 bytes..."])
                .unwrap();
        let sealed = old.seal("ann", &text).unwrap();
        assert!(!sealed.contains("ya29"));
        assert_ne!(old.seal("ann", &text).unwrap(), sealed, "never the same twice");
        assert_eq!(both.open("ann", &sealed).unwrap().expose(), text.expose());
        assert!(both.open("bob", &sealed).is_none());
        assert!(old.open("ann", &both.seal("ann", &text).unwrap()).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(old.open("ann", &String::from_utf8(changed).unwrap()).is_none(), "byte {at}");
        }
        assert!(SealKeys::new::<&str>([]).is_none());
    }
}

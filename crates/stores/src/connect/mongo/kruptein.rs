//! kruptein 3 as connect-mongo uses it: AES-256-GCM with a key derived from a salt, an HMAC besides, all in DER.
//!
//! kruptein derives a key for each text it writes or reads, for milliseconds. Here the keys of salts that were met are kept, and texts of one
//! program share a salt: a nonce of their own is what GCM needs, and a salt of its own for each program is what keeps tables of keys useless.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hallpass_session::{Secret, random};
use ring::{hmac, pbkdf2};

use super::crypto::{NOT_ENCRYPTED, TAMPERED, gcm_open, gcm_seal};
use crate::connect::rows::Unreadable;

const ITERATIONS: NonZeroU32 = NonZeroU32::new(15_000).expect("not zero");
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// How many keys are kept; with their salts, a quarter of a megabyte.
const MOST_KEYS: usize = 1024;

/// kruptein's salts are 128 bytes long. Whoever can write to the database must not fill our memory with longer ones.
const LONGEST_SALT: usize = 256;

/// How often a salt of ours is used: far less often than random nonces of 96 bits allow (NIST SP 800-38D §8.3).
const MOST_SEALS: u32 = 1 << 20;

type Key = Secret<[u8; 32]>;

/// A secret, and what has been derived from it.
pub(super) struct Kruptein {
    secret: Secret<String>,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    own: Option<Own>,
    met: HashMap<Box<[u8]>, Met>,
    uses: u64,
}

/// The salt that is written at the moment.
#[derive(Clone)]
struct Own {
    salt: Box<[u8; 128]>,
    key: Key,
    seals: u32,
}

struct Met {
    key: Key,
    last_use: u64,
}

impl Kruptein {
    pub(super) fn new(secret: Secret<String>) -> Self {
        Self { secret, keys: Mutex::default() }
    }

    pub(super) fn seal(&self, text: &str) -> String {
        let (salt, key) = self.own();
        let (nonce, aad): ([u8; 12], [u8; 64]) = (random(), random());
        // It encodes whatever it is given as JSON, a text too.
        let plain = serde_json::Value::from(text).to_string();
        let [sealed, tag] = gcm_seal(key.expose(), nonce, &aad, plain.as_bytes());
        let sealed = STANDARD.encode(sealed);
        let mac = STANDARD.encode(mac(&key, sealed.as_bytes()));
        let aad = STANDARD.encode(aad);
        let fields = [sealed.as_bytes(), mac.as_bytes(), &nonce, &*salt, &tag, aad.as_bytes()];
        let fields: Vec<u8> = fields.into_iter().flat_map(|field| tagged(OCTET_STRING, field)).collect();
        STANDARD.encode(tagged(SEQUENCE, &fields))
    }

    pub(super) fn open(&self, sealed: &str) -> Result<String, Unreadable> {
        let der = STANDARD.decode(sealed).map_err(|_| NOT_ENCRYPTED)?;
        let [sealed, given, nonce, salt, tag, aad] = fields(&der).ok_or(NOT_ENCRYPTED)?;
        let given = STANDARD.decode(given).map_err(|_| NOT_ENCRYPTED)?;
        let kept = self.keys().met(salt);
        let key = kept.unwrap_or_else(|| derive(&self.secret, salt));
        let mac_key = hmac::Key::new(hmac::HMAC_SHA512, key.expose());
        hmac::verify(&mac_key, sealed, &given).map_err(|_| TAMPERED)?;
        self.keys().keep(salt, &key);
        let mut bytes = STANDARD.decode(sealed).map_err(|_| NOT_ENCRYPTED)?;
        bytes.extend_from_slice(tag);
        let aad = STANDARD.decode(aad).map_err(|_| NOT_ENCRYPTED)?;
        let plain = gcm_open(key.expose(), nonce.try_into().map_err(|_| NOT_ENCRYPTED)?, &aad, &bytes)?;
        let plain = String::from_utf8(plain).map_err(|_| TAMPERED)?;
        // Older versions encoded once.
        Ok(serde_json::from_str::<String>(&plain).unwrap_or(plain))
    }

    /// A salt to write, and its key.
    fn own(&self) -> (Box<[u8; 128]>, Key) {
        if let Some(own) = self.keys().own.as_mut().filter(|own| own.seals < MOST_SEALS) {
            own.seals += 1;
            return (own.salt.clone(), own.key.clone());
        }
        let salt: Box<[u8; 128]> = Box::new(random());
        let key = derive(&self.secret, &*salt);
        let mut keys = self.keys();
        keys.keep(&*salt, &key);
        keys.own = Some(Own { salt: salt.clone(), key: key.clone(), seals: 1 });
        (salt, key)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn met(&mut self, salt: &[u8]) -> Option<Key> {
        self.uses += 1;
        let met = self.met.get_mut(salt)?;
        met.last_use = self.uses;
        Some(met.key.clone())
    }

    /// Keeps a key in the place of the one that was not used for the longest time.
    fn keep(&mut self, salt: &[u8], key: &Key) {
        if salt.len() > LONGEST_SALT || self.met.contains_key(salt) {
            return;
        }
        if self.met.len() >= MOST_KEYS {
            let oldest = self.met.iter().min_by_key(|(_, met)| met.last_use).map(|(salt, _)| salt.clone());
            oldest.map(|oldest| self.met.remove(&oldest));
        }
        self.met.insert(salt.into(), Met { key: key.clone(), last_use: self.uses });
    }
}

/// The parts of a text in kruptein's order.
fn fields(der: &[u8]) -> Option<[&[u8]; 6]> {
    let (mut rest, _) = untagged(SEQUENCE, der)?;
    let mut fields: [&[u8]; 6] = [&[]; 6];
    for field in &mut fields {
        (*field, rest) = untagged(OCTET_STRING, rest)?;
    }
    Some(fields)
}

fn derive(secret: &Secret<String>, salt: &[u8]) -> Key {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ITERATIONS, salt, secret.expose().as_bytes(), &mut key);
    Secret::new(key)
}

fn mac(key: &Key, text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key.expose()), text)
}

/// DER: tag, length, content.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut der = vec![tag];
    if content.len() >= 0x80 {
        der.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
    }
    der.extend_from_slice(significant);
    der.extend_from_slice(content);
    der
}

/// The content, and what follows it.
fn untagged(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}

/// What was read is the same when it is written and read again.
#[cfg(any(fuzzing, test))]
pub(super) fn reads_what_it_writes(der: &[u8]) {
    let Some(read) = fields(der) else { return };
    let written: Vec<u8> = read.iter().flat_map(|field| tagged(OCTET_STRING, field)).collect();
    assert_eq!(fields(&tagged(SEQUENCE, &written)), Some(read));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_up_to_a_bound_the_last_used_longest() {
        let (mut keys, key) = (Keys::default(), Secret::new([7; 32]));
        let salt = |n: usize| n.to_be_bytes();
        for n in 0..MOST_KEYS {
            keys.keep(&salt(n), &key);
        }
        assert!(keys.met(&salt(0)).is_some());
        keys.keep(&salt(MOST_KEYS), &key);
        keys.keep(&[0; LONGEST_SALT + 1], &key);
        assert_eq!(keys.met.len(), MOST_KEYS);
        assert!(keys.met(&salt(0)).is_some(), "used last");
        assert!(keys.met(&salt(MOST_KEYS)).is_some());
    }

    #[test]
    fn what_another_program_sealed_is_opened_and_only_then_is_its_key_kept() {
        let (one, other) = (Kruptein::new("s".to_owned().into()), Kruptein::new("s".to_owned().into()));
        let (first, second) = (one.seal("a"), one.seal("b"));
        assert_ne!(first, second);
        assert_eq!((other.open(&first).unwrap(), other.open(&second).unwrap()), ("a".into(), "b".into()));
        assert_eq!(other.keys().met.len(), 1, "one salt, one key");
        let stranger = Kruptein::new("t".to_owned().into());
        assert!(stranger.open(&first).is_err());
        assert!(stranger.keys().met.is_empty());
    }

    #[test]
    fn lengths_of_all_sizes_are_read_as_they_are_written() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let field = vec![7; length];
            assert_eq!(untagged(OCTET_STRING, &tagged(OCTET_STRING, &field)), Some((&field[..], &[][..])));
            let six: Vec<u8> = (0..6).flat_map(|_| tagged(OCTET_STRING, &field)).collect();
            reads_what_it_writes(&tagged(SEQUENCE, &six));
        }
    }

    #[test]
    fn a_salt_is_not_used_for_ever() {
        let kruptein = Kruptein::new("s".to_owned().into());
        let (first, _) = kruptein.own();
        assert_eq!(kruptein.own().0, first);
        kruptein.keys().own.as_mut().unwrap().seals = MOST_SEALS;
        assert_ne!(kruptein.own().0, first);
    }
}

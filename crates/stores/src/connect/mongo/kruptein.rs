//! kruptein 3 as connect-mongo uses it: AES-256-GCM with a key derived for each text, an HMAC besides, all in DER.

use std::num::NonZeroU32;

use base64::{Engine, engine::general_purpose::STANDARD};
use hallpass_session::{Secret, random};
use ring::{hmac, pbkdf2};

use super::crypto::{NOT_ENCRYPTED, TAMPERED, gcm_open, gcm_seal};
use crate::connect::rows::Unreadable;

const ITERATIONS: NonZeroU32 = NonZeroU32::new(15_000).expect("not zero");
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

pub(super) fn seal(secret: &Secret<String>, text: &str) -> String {
    let (nonce, salt, aad): ([u8; 12], [u8; 128], [u8; 64]) = (random(), random(), random());
    let key = derive(secret, &salt);
    // It encodes whatever it is given as JSON, a text too.
    let plain = serde_json::Value::from(text).to_string();
    let [sealed, tag] = gcm_seal(key.expose(), nonce, &aad, plain.as_bytes());
    let sealed = STANDARD.encode(sealed);
    let mac = STANDARD.encode(mac(&key, sealed.as_bytes()));
    let aad = STANDARD.encode(aad);
    let fields = [sealed.as_bytes(), mac.as_bytes(), &nonce, &salt, &tag, aad.as_bytes()];
    let fields: Vec<u8> = fields.into_iter().flat_map(|field| tagged(OCTET_STRING, field)).collect();
    STANDARD.encode(tagged(SEQUENCE, &fields))
}

pub(super) fn open(secret: &Secret<String>, sealed: &str) -> Result<String, Unreadable> {
    let der = STANDARD.decode(sealed).map_err(|_| NOT_ENCRYPTED)?;
    let (fields, _) = untagged(SEQUENCE, &der).ok_or(NOT_ENCRYPTED)?;
    let mut rest = fields;
    let mut next = || {
        let (field, after) = untagged(OCTET_STRING, rest)?;
        rest = after;
        Some(field)
    };
    let mut field = || next().ok_or(NOT_ENCRYPTED);
    let [sealed, given, nonce, salt, tag, aad] = [field()?, field()?, field()?, field()?, field()?, field()?];
    let key = derive(secret, salt);
    let given = STANDARD.decode(given).map_err(|_| NOT_ENCRYPTED)?;
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA512, key.expose()), sealed, &given).map_err(|_| TAMPERED)?;
    let mut bytes = STANDARD.decode(sealed).map_err(|_| NOT_ENCRYPTED)?;
    bytes.extend_from_slice(tag);
    let aad = STANDARD.decode(aad).map_err(|_| NOT_ENCRYPTED)?;
    let plain = gcm_open(key.expose(), nonce.try_into().map_err(|_| NOT_ENCRYPTED)?, &aad, &bytes)?;
    let plain = String::from_utf8(plain).map_err(|_| TAMPERED)?;
    // Older versions encoded once.
    Ok(serde_json::from_str::<String>(&plain).unwrap_or(plain))
}

fn derive(secret: &Secret<String>, salt: &[u8]) -> Secret<[u8; 32]> {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ITERATIONS, salt, secret.expose().as_bytes(), &mut key);
    Secret::new(key)
}

fn mac(key: &Secret<[u8; 32]>, text: &[u8]) -> hmac::Tag {
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

//! The two encryptions of connect-mongo 6: its Web Crypto adapter, and kruptein 3.
//!
//! They hide sessions from whoever reads the database. Neither binds a text to its session: who can write there can still swap them.

use std::num::NonZeroU32;

use aes::Aes256;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use hallpass_session::{Secret, hex, random};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey},
    pbkdf2,
};

use super::{super::rows::Unreadable, kruptein::Kruptein};

/// How connect-mongo is told to encrypt.
#[derive(Clone, Debug)]
pub enum Crypto {
    /// `cryptoAdapter: createWebCryptoAdapter(…)`.
    WebCrypto(WebCrypto),
    /// `crypto: { secret }` or `createKrupteinAdapter(…)`, with kruptein's defaults there. Express derives a key for each session that it
    /// writes, and what it wrote takes milliseconds here when it is first read; the Web Crypto adapter derives one key once.
    Kruptein(Secret<String>),
}

/// The options of `createWebCryptoAdapter`.
#[derive(Clone, Debug)]
pub struct WebCrypto {
    /// `secret`.
    pub secret: Secret<String>,
    /// `algorithm`. Default: AES-GCM.
    pub cipher: Cipher,
    /// `encoding`. Default: base64.
    pub encoding: Encoding,
    /// `salt`. Default: the adapter's own.
    pub salt: String,
    /// `iterations`. Default: 310,000.
    pub iterations: NonZeroU32,
}

/// How the Web Crypto adapter encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `AES-GCM`, which notices changes.
    AesGcm,
    /// `AES-CBC`, which does not.
    AesCbc,
}

/// How the Web Crypto adapter writes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `base64`.
    Base64,
    /// `base64url`.
    Base64Url,
    /// `hex`.
    Hex,
}

impl WebCrypto {
    /// The adapter's defaults with this secret.
    pub fn new(secret: impl Into<Secret<String>>) -> Self {
        Self {
            secret: secret.into(),
            cipher: Cipher::AesGcm,
            encoding: Encoding::Base64,
            salt: "connect-mongo:webcrypto-default-salt".to_owned(),
            iterations: const { NonZeroU32::new(310_000).expect("not zero") },
        }
    }
}

/// An encryption with its key.
pub(super) enum Sealer {
    WebCrypto { key: Secret<[u8; 32]>, cipher: Cipher, encoding: Encoding },
    Kruptein(Kruptein),
}

pub(super) const TAMPERED: Unreadable = Unreadable(
    "the stored session was not encrypted with this secret, or was changed; look at connect.mongo.crypto_secret",
);
pub(super) const NOT_ENCRYPTED: Unreadable =
    Unreadable("the stored session is not encrypted as configured; look at connect.mongo.crypto");

impl Sealer {
    /// Derives the key, if it is one for all: this takes a while.
    pub(super) fn new(crypto: &Crypto) -> Self {
        match crypto {
            Crypto::Kruptein(secret) => Self::Kruptein(Kruptein::new(secret.clone())),
            Crypto::WebCrypto(WebCrypto { secret, cipher, encoding, salt, iterations }) => {
                let mut key = [0; 32];
                let secret = secret.expose().as_bytes();
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, *iterations, salt.as_bytes(), secret, &mut key);
                Self::WebCrypto { key: Secret::new(key), cipher: *cipher, encoding: *encoding }
            }
        }
    }

    pub(super) fn seal(&self, text: &str) -> String {
        match self {
            Self::Kruptein(kruptein) => kruptein.seal(text),
            Self::WebCrypto { key, cipher: Cipher::AesGcm, encoding } => {
                let nonce: [u8; 12] = random();
                encoding.encode(
                    &[&nonce[..], &gcm_seal(key.expose(), nonce, &[], text.as_bytes()).concat()].concat(),
                )
            }
            Self::WebCrypto { key, cipher: Cipher::AesCbc, encoding } => {
                let iv: [u8; 16] = random();
                let cipher = cbc::Encryptor::<Aes256>::new(key.expose().into(), &iv.into());
                let mut sealed = iv.to_vec();
                sealed.extend(cbc_seal(cipher, text.as_bytes()));
                encoding.encode(&sealed)
            }
        }
    }

    pub(super) fn open(&self, sealed: &str) -> Result<String, Unreadable> {
        let plain = match self {
            Self::Kruptein(kruptein) => return kruptein.open(sealed),
            Self::WebCrypto { key, cipher, encoding } => {
                let bytes = encoding.decode(sealed).ok_or(NOT_ENCRYPTED)?;
                match cipher {
                    Cipher::AesGcm => {
                        let (nonce, sealed) = bytes.split_first_chunk().ok_or(NOT_ENCRYPTED)?;
                        gcm_open(key.expose(), *nonce, &[], sealed)?
                    }
                    Cipher::AesCbc => {
                        let (iv, sealed) = bytes.split_first_chunk::<16>().ok_or(NOT_ENCRYPTED)?;
                        let cipher = cbc::Decryptor::<Aes256>::new(key.expose().into(), iv.into());
                        let mut sealed = sealed.to_vec();
                        cipher.decrypt_padded::<Pkcs7>(&mut sealed).map_err(|_| TAMPERED)?.to_vec()
                    }
                }
            }
        };
        String::from_utf8(plain).map_err(|_| TAMPERED)
    }

    /// Whether sealing and opening take so long that others must not wait for it.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Kruptein(_))
    }
}

fn cbc_seal(cipher: cbc::Encryptor<Aes256>, plain: &[u8]) -> Vec<u8> {
    let mut sealed = plain.to_vec();
    sealed.resize(plain.len() / 16 * 16 + 16, 0);
    // There is room for the padding.
    let length = cipher.encrypt_padded::<Pkcs7>(&mut sealed, plain.len()).map_or(0, <[u8]>::len);
    sealed.truncate(length);
    sealed
}

/// Ciphertext and tag.
pub(super) fn gcm_seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], plain: &[u8]) -> [Vec<u8>; 2] {
    let mut sealed = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    match gcm(key).seal_in_place_separate_tag(nonce, Aad::from(aad), &mut sealed) {
        Ok(tag) => [sealed, Tag::as_ref(&tag).to_vec()],
        Err(_) => unreachable!("a session is shorter than 64 GiB"),
    }
}

pub(super) fn gcm_open(
    key: &[u8; 32],
    nonce: [u8; 12],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, Unreadable> {
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plain = gcm(key).open_in_place(nonce, Aad::from(aad), &mut sealed).map_err(|_| TAMPERED)?;
    Ok(plain.to_vec())
}

fn gcm(key: &[u8; 32]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, key);
    LessSafeKey::new(key.unwrap_or_else(|_| unreachable!("32 bytes are a key")))
}

impl Encoding {
    fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
            Self::Hex => hex(bytes),
        }
    }

    fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Base64 => STANDARD.decode(text).ok(),
            Self::Base64Url => URL_SAFE_NO_PAD.decode(text).ok(),
            Self::Hex => (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Sealer {
        /// Notices no change but by chance.
        fn is_cbc(&self) -> bool {
            matches!(self, Self::WebCrypto { cipher: Cipher::AesCbc, .. })
        }
    }

    fn sealers() -> Vec<Sealer> {
        let web = |cipher, encoding| {
            let iterations = NonZeroU32::MIN;
            Crypto::WebCrypto(WebCrypto { cipher, encoding, iterations, ..WebCrypto::new("s".to_owned()) })
        };
        let all = [
            web(Cipher::AesGcm, Encoding::Base64),
            web(Cipher::AesGcm, Encoding::Hex),
            web(Cipher::AesCbc, Encoding::Base64Url),
            Crypto::Kruptein("s".to_owned().into()),
        ];
        all.iter().map(Sealer::new).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_was_sealed_opens_again(text in ".*") {
            for sealer in sealers() {
                prop_assert_eq!(sealer.open(&sealer.seal(&text)).unwrap(), text.as_str());
            }
        }

        #[test]
        fn nonsense_is_an_error(text in "[A-Za-z0-9+/=]{0,300}") {
            for sealer in sealers().iter().filter(|sealer| !sealer.is_cbc()) {
                prop_assert!(sealer.open(&text).is_err());
            }
        }
    }

    #[test]
    fn a_change_is_noticed() {
        for sealer in sealers().iter().filter(|sealer| !sealer.is_cbc()) {
            let sealed = sealer.seal(r#"{"cookie":{}}"#);
            for at in [20, 30] {
                let other = if sealed.as_bytes()[at] == b'1' { "2" } else { "1" };
                let changed = [&sealed[..at], other, &sealed[at + 1..]].concat();
                assert!(sealer.open(&changed).is_err());
            }
        }
    }
}

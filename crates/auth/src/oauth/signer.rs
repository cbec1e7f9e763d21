//! [`Signer`]: a private key of ours that signs tokens (JWS compact serialisation, RFC 7515).

use std::sync::Arc;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hallpass_session::Secret;
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use serde_json::{Value, json};

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A private key. Cheap to clone.
#[derive(Clone)]
pub(super) struct Signer(Arc<Pair>);

impl Signer {
    /// The key in `pem` (PKCS #8, not encrypted): P-256, P-384, Ed25519, or RSA of 2048 bits or more.
    pub(super) fn from_pem(pem: &Secret<String>) -> Option<Self> {
        let lines = pem.expose().lines().map(str::trim).filter(|line| !line.starts_with("-----"));
        let der = Secret::new(STANDARD.decode(lines.collect::<String>()).ok()?);
        let (der, random) = (der.expose(), SystemRandom::new());
        let ecdsa = |curve| EcdsaKeyPair::from_pkcs8(curve, der, &random).ok();
        let pair = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map(Pair::P256)
            .or_else(|| ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Pair::P384))
            .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Pair::Ed25519))
            .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Pair::Rsa))?;
        Some(Self(Arc::new(pair)))
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match *self.0 {
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed25519(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// A token with these claims. Signing fails only when the system has no randomness; whoever gets it then refuses what is not signed.
    pub(super) fn token(&self, key_id: &str, claims: &Value) -> Secret<String> {
        let header = json!({ "alg": self.algorithm(), "kid": key_id, "typ": "JWT" });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.sign(signed.as_bytes()).unwrap_or_default();
        Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &*self.0 {
            Pair::P256(pair) | Pair::P384(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }

    /// The public half (RFC 7517): the members that make the key, in the order of RFC 7638 §3.
    pub(super) fn public(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // SEC 1: a 4, then the two coordinates.
        let point = |curve: &str, bytes: &[u8]| {
            let (x, y) = bytes[1..].split_at(bytes.len() / 2);
            json!({ "crv": curve, "kty": "EC", "x": text(x), "y": text(y) })
        };
        match &*self.0 {
            Pair::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Pair::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Pair::Ed25519(pair) => {
                json!({ "crv": "Ed25519", "kty": "OKP", "x": text(pair.public_key().as_ref()) })
            }
            Pair::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                json!({ "e": text(&e), "kty": "RSA", "n": text(&n) })
            }
        }
    }
}

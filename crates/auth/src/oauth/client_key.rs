//! [`ClientKey`]: an application proves itself with a signature instead of a secret (`private_key_jwt`: OpenID Connect Core 1.0 §9, RFC 7523 §3).
//! Nothing that the provider keeps, or that goes over the wire, lets anybody else do that.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_session::{Secret, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Providers, attempt::secret, provider::ClientAuth, signer::Signer};

/// What an assertion is, to the token endpoint (RFC 7523 §2.2).
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long one counts: it is used at once.
const VALID_FOR: Duration = Duration::from_secs(60);

/// A private key of this application, of which the provider knows the public half. `Debug` shows its name only.
#[derive(Clone)]
pub struct ClientKey {
    id: String,
    signer: Signer,
}

/// The key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the private key cannot be used; write one as PKCS #8 in PEM, of P-256, P-384, Ed25519 or RSA: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
)]
pub struct ClientKeyError;

impl ClientKey {
    /// The key `pem` (PKCS #8), under the name `id`; without one, under its thumbprint (RFC 7638).
    pub fn new(id: Option<&str>, pem: &Secret<String>) -> Result<Self, ClientKeyError> {
        let signer = Signer::from_pem(pem).ok_or(ClientKeyError)?;
        let thumbprint = || URL_SAFE_NO_PAD.encode(Sha256::digest(signer.public().to_string()));
        let id = id.map_or_else(thumbprint, str::to_owned);
        Ok(Self { id, signer })
    }

    /// The public half, as a provider wants it (RFC 7517).
    pub fn public(&self) -> Value {
        let mut key = self.signer.public();
        key["kid"] = self.id.as_str().into();
        key["alg"] = self.signer.algorithm().into();
        key["use"] = "sig".into();
        key
    }

    /// The proof for one request to the provider `audience`. It is of no use anywhere else, so a provider that is given it cannot pass it on.
    pub(super) fn assertion(&self, client_id: &str, audience: &str, now: Timestamp) -> Secret<String> {
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": secret(),
            "iat": now.as_millis() / 1000,
            "exp": (now + VALID_FOR).as_millis() / 1000,
        });
        self.signer.token(&self.id, &claims)
    }
}

impl Providers {
    /// The keys (JWK Set) with which this application proves itself to the provider `name`, for its `jwks_uri`. `None`: it has none there.
    pub fn client_keys(&self, name: &str) -> Option<Value> {
        match &self.get(name)?.client_auth {
            ClientAuth::PrivateKey(key) => Some(json!({ "keys": [key.public()] })),
            _ => None,
        }
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::jwt::{Jwt, KeySet, Signature},
        *,
    };

    /// Made with openssl genpkey, for this test alone.
    const KEYS: [(&str, &str); 4] = [
        ("ES256", include_str!("../../tests/keys/p256.pem")),
        ("ES384", include_str!("../../tests/keys/p384.pem")),
        ("EdDSA", include_str!("../../tests/keys/ed25519.pem")),
        ("RS256", include_str!("../../tests/keys/rsa.pem")),
    ];

    #[test]
    fn every_kind_of_key_signs_what_its_public_half_verifies() {
        let issuer = "https://login.example.com";
        for (algorithm, pem) in KEYS {
            let key = ClientKey::new(None, &Secret::new(pem.to_owned())).unwrap();
            let now = Timestamp::from_millis(1_000_000_000);
            let (one, other) = (key.assertion("app", issuer, now), key.assertion("app", issuer, now));
            assert_ne!(one.expose(), other.expose(), "each is used once (jti)");
            let jwt = Jwt::parse(one.expose()).unwrap();
            let keys = json!({ "keys": [key.public()] });
            assert_eq!(KeySet::parse(&keys).unwrap().check(&jwt), Signature::Good, "{algorithm}");
            assert_eq!(key.public()["alg"], algorithm);
            assert_eq!(jwt.claims["aud"], issuer);
            assert_eq!(jwt.claims["exp"].as_i64().unwrap() - jwt.claims["iat"].as_i64().unwrap(), 60);
            assert!(key.public().get("d").is_none() && !format!("{key:?}").contains("PRIVATE"));
        }
        let named = ClientKey::new(Some("mine"), &Secret::new(KEYS[0].1.to_owned())).unwrap();
        assert_eq!(named.public()["kid"], "mine");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            assert!(ClientKey::new(None, &Secret::new(bad.to_owned())).is_err(), "{bad:?}");
        }
    }
}

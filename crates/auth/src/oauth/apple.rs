//! [`AppleKey`]: Apple wants no secret from an application, but a token signed with a key that it gave out.

use std::{fmt, sync::Arc, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hallpass_session::{Secret, Timestamp};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::json;

/// How long a proof counts. Apple allows half a year; a minute's use needs no more than minutes.
const VALID_FOR: Duration = Duration::from_secs(300);

/// The key of "Sign in with Apple": the file `AuthKey_….p8` and its names.
#[derive(Clone)]
pub struct AppleKey {
    team_id: String,
    key_id: String,
    pair: Arc<EcdsaKeyPair>,
}

/// The key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the private key cannot be used; name the file AuthKey_….p8 that Apple gave out, as it is")]
pub struct AppleKeyError;

impl AppleKey {
    /// The key `pem` (PKCS #8, P-256) that Apple calls `key_id`, of the team `team_id`.
    pub fn new(team_id: &str, key_id: &str, pem: &Secret<String>) -> Result<Self, AppleKeyError> {
        let body: String =
            pem.expose().lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let der = Secret::new(STANDARD.decode(body).map_err(|_| AppleKeyError)?);
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose(), &SystemRandom::new());
        let pair = Arc::new(pair.map_err(|_| AppleKeyError)?);
        Ok(Self { team_id: team_id.to_owned(), key_id: key_id.to_owned(), pair })
    }

    /// The client secret of this moment: a JWT signed with ES256.
    pub(super) fn client_secret(&self, client_id: &str, now: Timestamp) -> Secret<String> {
        let seconds = now.as_millis() / 1000;
        let until = (now + VALID_FOR).as_millis() / 1000;
        let header = json!({ "alg": "ES256", "kid": self.key_id, "typ": "JWT" });
        let claims = json!({
            "iss": self.team_id,
            "iat": seconds,
            "exp": until,
            "aud": "https://appleid.apple.com",
            "sub": client_id,
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        // It fails only when the system has no randomness; Apple then refuses what is not signed.
        let signature = signature.map(|signature| URL_SAFE_NO_PAD.encode(signature)).unwrap_or_default();
        Secret::new(format!("{signed}.{signature}"))
    }
}

impl fmt::Debug for AppleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppleKey")
            .field("team_id", &self.team_id)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair, UnparsedPublicKey};

    use super::*;

    #[test]
    fn the_secret_of_the_moment_verifies_with_the_key() {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let key = AppleKey::new("TEAM", "KEY", &Secret::new(pem)).unwrap();
        let secret = key.client_secret("com.example.web", Timestamp::from_millis(1_000_000_000));
        let (signed, signature) = secret.expose().rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(signed.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    #[test]
    fn other_text_is_refused() {
        for bad in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            assert!(AppleKey::new("TEAM", "KEY", &Secret::new(bad.to_owned())).is_err(), "{bad:?}");
        }
    }
}

//! [`AppleKey`]: Apple wants no secret from an application, but a token signed with a key that it gave out.

use std::{fmt, time::Duration};

use hallpass_session::{Secret, Timestamp};
use serde_json::json;

use super::signer::Signer;

/// How long a proof counts. Apple allows half a year; a minute's use needs no more than minutes.
const VALID_FOR: Duration = Duration::from_secs(300);

/// The key of "Sign in with Apple": the file `AuthKey_….p8` and its names.
#[derive(Clone)]
pub struct AppleKey {
    team_id: String,
    key_id: String,
    signer: Signer,
}

/// The key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the private key cannot be used; name the file AuthKey_….p8 that Apple gave out, as it is")]
pub struct AppleKeyError;

impl AppleKey {
    /// The key `pem` (PKCS #8, P-256) that Apple calls `key_id`, of the team `team_id`.
    pub fn new(team_id: &str, key_id: &str, pem: &Secret<String>) -> Result<Self, AppleKeyError> {
        let signer = Signer::from_pem(pem).filter(|signer| signer.algorithm() == "ES256");
        let signer = signer.ok_or(AppleKeyError)?;
        Ok(Self { team_id: team_id.to_owned(), key_id: key_id.to_owned(), signer })
    }

    /// The client secret of this moment: a JWT signed with ES256.
    pub(super) fn client_secret(&self, client_id: &str, now: Timestamp) -> Secret<String> {
        let seconds = now.as_millis() / 1000;
        let until = (now + VALID_FOR).as_millis() / 1000;
        let claims = json!({
            "iss": self.team_id,
            "iat": seconds,
            "exp": until,
            "aud": "https://appleid.apple.com",
            "sub": client_id,
        });
        self.signer.token(&self.key_id, &claims)
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
    use super::{
        super::jwt::{Jwt, KeySet, Signature},
        *,
    };

    #[test]
    fn the_secret_of_the_moment_verifies_with_the_key() {
        let pem = Secret::new(include_str!("../../tests/keys/p256.pem").to_owned());
        let key = AppleKey::new("TEAM", "KEY", &pem).unwrap();
        let secret = key.client_secret("com.example.web", Timestamp::from_millis(1_000_000_000));
        let jwt = Jwt::parse(secret.expose()).unwrap();
        let mut public = key.signer.public();
        public["kid"] = "KEY".into();
        let keys = KeySet::parse(&json!({ "keys": [public] })).unwrap();
        assert_eq!(keys.check(&jwt), Signature::Good);
        assert_eq!(jwt.claims["exp"].as_i64().unwrap() - jwt.claims["iat"].as_i64().unwrap(), 300);
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    #[test]
    fn other_text_is_refused() {
        let rsa = include_str!("../../tests/keys/rsa.pem");
        for bad in ["", "hello", rsa, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            assert!(AppleKey::new("TEAM", "KEY", &Secret::new(bad.to_owned())).is_err(), "{bad:?}");
        }
    }
}

//! [`Attempt`]: somebody went to a provider and is expected back, in the same browser, once, and soon.
//!
//! The state in the address names the attempt; a cookie of its own, which no address ever shows, proves the browser. Each attempt has
//! its own state, nonce, PKCE verifier and cookie, so tabs do not disturb each other. The record keeps hashes of state and cookie only.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_session::{StoreError, Timestamp, hex, random};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::id_token::SKEW;
use crate::{Inserted, Record, RecordKey, RecordStore, records::kinds::OAUTH_ATTEMPT};

/// How long somebody may stay at the provider: long enough to find a password, or to make an account there.
pub(super) const ATTEMPT_TTL: Duration = Duration::from_secs(20 * 60);

/// What is remembered of an attempt. No `Debug`: nonce and verifier are secrets.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) provider: String,
    pub(super) nonce: String,
    /// PKCE (RFC 7636): proves at the token endpoint that the code is the answer to our request.
    pub(super) verifier: String,
    pub(super) redirect_uri: String,
    /// SHA-256 of the cookie, in hex.
    browser: String,
    pub(super) next: Option<String>,
    /// Whose account the provider's is linked to; `None`: signs in.
    pub(super) link: Option<String>,
    /// The `session_epoch` of that account then.
    pub(super) epoch: u64,
    /// A sign-in at the provider from before this moment does not count; milliseconds since the epoch.
    #[serde(default)]
    pub(super) anew: Option<i64>,
}

/// What only the browser and the provider get to know.
pub(super) struct Secrets {
    /// Goes through the provider and comes back.
    pub(super) state: String,
    /// Stays in the browser.
    pub(super) cookie: String,
}

impl Attempt {
    /// A new attempt at `provider`, for a browser that will prove itself with the cookie.
    pub(super) fn new(provider: &str, redirect_uri: &str) -> (Self, Secrets) {
        let secrets = Secrets { state: secret(), cookie: secret() };
        let attempt = Self {
            provider: provider.to_owned(),
            nonce: secret(),
            verifier: secret(),
            redirect_uri: redirect_uri.to_owned(),
            browser: hash(&secrets.cookie),
            next: None,
            link: None,
            epoch: 0,
            anew: None,
        };
        (attempt, secrets)
    }

    /// The PKCE challenge, method S256.
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()))
    }

    pub(super) async fn remember(
        &self,
        records: &dyn RecordStore,
        state: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let body = serde_json::to_string(self);
        let record = Record {
            key: key(state),
            owner: None,
            body: body.map_err(|error| StoreError::new("remember a sign-in attempt", error))?,
            expires: Some(now + ATTEMPT_TTL),
            version: 0,
        };
        match records.insert(&record, now).await? {
            Inserted::Done => Ok(()),
            Inserted::Taken => {
                Err(StoreError::new("remember a sign-in attempt", "two random states are equal"))
            }
        }
    }

    /// The attempt of this state, if this is its browser and provider; it is over then, whatever comes of it. A wrong browser ends
    /// nothing, so that nobody can spoil the attempt of another.
    pub(super) async fn take(
        records: &dyn RecordStore,
        state: &str,
        provider: &str,
        cookie: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Self>, StoreError> {
        let Some(cookie) = cookie else { return Ok(None) };
        let expected = |record: Record| {
            let attempt: Self = serde_json::from_str(&record.body).ok()?;
            let same = bool::from(hash(cookie).as_bytes().ct_eq(attempt.browser.as_bytes()));
            (same && attempt.provider == provider).then_some(attempt)
        };
        let key = key(state);
        let found = records.get(&key, now).await?.filter(|found| ends_within(found, ATTEMPT_TTL, now));
        if found.and_then(expected).is_none() {
            return Ok(None);
        }
        // Of many callbacks at once, one gets it.
        Ok(records.take(&key, now).await?.and_then(expected))
    }
}

/// Whether a record ends when one that is made now ends, or earlier. One that ends later was made by a clock
/// that was ahead, and would be good for too long.
pub(super) fn ends_within(record: &Record, lives: Duration, now: Timestamp) -> bool {
    record.expires.is_some_and(|expires| expires <= now + lives + SKEW)
}

fn key(state: &str) -> RecordKey {
    RecordKey { kind: OAUTH_ATTEMPT, id: hash(state) }
}

/// 256 random bits as base64url: also a verifier of the length that RFC 7636 §4.1 recommends.
pub(super) fn secret() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}

/// SHA-256 in hex.
pub(super) fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryRecords;

    #[tokio::test]
    async fn one_browser_one_provider_once() {
        let (records, now) = (MemoryRecords::new(), Timestamp::from_millis(1_000_000));
        let (attempt, secrets) = Attempt::new("google", "https://app.example/callback");
        attempt.remember(&records, &secrets.state, now).await.unwrap();
        let take = |provider: &'static str, cookie: Option<String>, now| {
            let (records, state) = (records.clone(), secrets.state.clone());
            async move { Attempt::take(&records, &state, provider, cookie.as_deref(), now).await.unwrap() }
        };
        let good = || Some(secrets.cookie.clone());
        assert!(take("google", None, now).await.is_none());
        assert!(take("google", Some(secrets.state.clone()), now).await.is_none());
        assert!(take("github", good(), now).await.is_none());
        assert!(take("google", good(), now + ATTEMPT_TTL).await.is_none(), "too late");
        assert_eq!(
            take("google", good(), now).await.unwrap().verifier,
            attempt.verifier,
            "not spoilt by others"
        );
        assert!(take("google", good(), now).await.is_none(), "only once");
    }

    #[test]
    fn the_challenge_is_the_one_of_the_standard() {
        // RFC 7636, appendix B.
        let (attempt, _) = Attempt::new("x", "y");
        let attempt =
            Attempt { verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(), ..attempt };
        assert_eq!(attempt.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}

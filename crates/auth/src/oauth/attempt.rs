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
use crate::{Inserted, Record, RecordKey, RecordStore, Replaced, records::kinds::OAUTH_ATTEMPT, stamp::Via};

/// How long somebody may stay at the provider: long enough to find a password, or to make an account there.
pub(super) const ATTEMPT_TTL: Duration = Duration::from_secs(20 * 60);

/// How long a request may be repeated that is good for once: it gets what the first one got.
pub(super) const REPEAT_FOR: Duration = Duration::from_secs(60);

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
    #[serde(default)]
    stage: Stage,
}

/// How far an attempt is.
#[derive(Clone, Default, Serialize, Deserialize)]
enum Stage {
    /// The person is at the provider.
    #[default]
    Begun,
    /// A request brought the provider's answer and looks into it.
    Answered,
    /// That is done.
    Over(Answer),
}

/// What came of an attempt. A repeated request gets the same for a minute: browsers repeat one after a broken connection.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    SignedIn(Box<SignedIn>),
    Linked,
    /// The failure's code.
    Failed(String),
}

/// A sign-in that has happened.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SignedIn {
    pub(super) user: String,
    /// The account's `session_epoch` then.
    pub(super) epoch: u64,
    pub(super) created: bool,
    pub(super) claimed: bool,
    /// The handle of the session that it opened.
    pub(super) session: String,
    pub(super) via: Via,
    /// When the person signed in at the provider; milliseconds since the epoch.
    pub(super) proved: Option<i64>,
}

/// An attempt, as the request that brings an answer to it meets it.
pub(super) enum Met {
    /// This request is the first; the record is as it was left.
    First(Box<Attempt>, Record),
    /// Another request is at work on it.
    Busy,
    /// It is over; the record is as it was left.
    Over(Box<Attempt>, Record, Answer),
    /// This browser has no such attempt, or none any more.
    Missing,
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
            stage: Stage::Begun,
        };
        (attempt, secrets)
    }

    /// The PKCE challenge, method S256.
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.as_bytes()))
    }

    fn body(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(|error| StoreError::new("remember a sign-in attempt", error))
    }

    pub(super) async fn remember(
        &self,
        records: &dyn RecordStore,
        state: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let record = Record {
            key: key(state),
            owner: None,
            body: self.body()?,
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

    /// The attempt of this state, if this is its browser and provider. The first request that meets it has it alone. A wrong browser ends
    /// nothing, so that nobody can spoil the attempt of another.
    pub(super) async fn meet(
        records: &dyn RecordStore,
        state: &str,
        provider: &str,
        cookie: Option<&str>,
        now: Timestamp,
    ) -> Result<Met, StoreError> {
        let Some(cookie) = cookie else { return Ok(Met::Missing) };
        let expected = |record: &Record| {
            let attempt: Self = serde_json::from_str(&record.body).ok()?;
            let same = bool::from(hash(cookie).as_bytes().ct_eq(attempt.browser.as_bytes()));
            (same && attempt.provider == provider).then_some(attempt)
        };
        let found = records.get(&key(state), now).await?;
        let Some(record) = found.filter(|found| ends_within(found, ATTEMPT_TTL, now)) else {
            return Ok(Met::Missing);
        };
        let Some(mut attempt) = expected(&record) else { return Ok(Met::Missing) };
        match std::mem::replace(&mut attempt.stage, Stage::Answered) {
            Stage::Answered => Ok(Met::Busy),
            Stage::Over(answer) => Ok(Met::Over(Box::new(attempt), record, answer)),
            Stage::Begun => {
                let answered = Record { body: attempt.body()?, ..record };
                // Of many callbacks at once, one gets it.
                match records.replace(&answered, now).await? {
                    Replaced::Done => {
                        let record = Record { version: answered.version + 1, ..answered };
                        Ok(Met::First(Box::new(attempt), record))
                    }
                    Replaced::Refused => Ok(Met::Busy),
                }
            }
        }
    }

    /// Notes what came of it, for requests that repeat the first one. `false`: the record has changed meanwhile.
    pub(super) async fn close(
        &self,
        records: &dyn RecordStore,
        record: Record,
        answer: Answer,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (nonce, verifier) = (String::new(), String::new());
        let over = Self { nonce, verifier, stage: Stage::Over(answer), ..self.clone() };
        let record = Record { body: over.body()?, expires: Some(now + REPEAT_FOR), ..record };
        Ok(records.replace(&record, now).await? == Replaced::Done)
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
        let meet = |provider: &'static str, cookie: Option<String>, now| {
            let (records, state) = (records.clone(), secrets.state.clone());
            async move { Attempt::meet(&records, &state, provider, cookie.as_deref(), now).await.unwrap() }
        };
        let good = || Some(secrets.cookie.clone());
        let missing = |met| matches!(met, Met::Missing);
        assert!(missing(meet("google", None, now).await));
        assert!(missing(meet("google", Some(secrets.state.clone()), now).await));
        assert!(missing(meet("github", good(), now).await));
        assert!(missing(meet("google", good(), now + ATTEMPT_TTL).await), "too late");
        let Met::First(first, record) = meet("google", good(), now).await else { panic!("spoilt by others") };
        assert_eq!(first.verifier, attempt.verifier);
        assert!(matches!(meet("google", good(), now).await, Met::Busy), "only one at a time");
        assert!(first.close(&records, record, Answer::Linked, now).await.unwrap());
        assert!(matches!(meet("google", good(), now).await, Met::Over(_, _, Answer::Linked)));
        assert!(missing(meet("google", None, now).await), "of this browser only");
        assert!(missing(meet("google", good(), now + REPEAT_FOR).await), "for a minute");
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

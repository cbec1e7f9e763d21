//! Signing out at the provider too (OpenID Connect RP-Initiated Logout 1.0).
//!
//! The provider wants to see its ID token again, to know whose session ends. No script and no page gets to see that: whoever signs out is
//! led through an address of ours, which is good once, soon, and in this browser only, and redirects to the provider.

use std::time::Duration;

use hallpass_session::{Session, StoreError, Timestamp};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use url::Url;

use super::{
    Entry, Providers,
    attempt::{ends_within, hash, secret},
};
use crate::{
    Error, Inserted, Record, RecordKey,
    records::kinds::OAUTH_DEPARTURE,
    stamp::{STAMP, Via},
};

/// How long a browser may take for the next request.
const DEPARTURE_TTL: Duration = Duration::from_secs(120);

/// Somebody signs out here and is to sign out at a provider. `Debug` shows no ticket.
#[derive(Clone)]
pub struct Departure {
    /// The provider's name.
    pub provider: String,
    /// What [`Providers::depart`] wants, out of the address that the browser is sent to next.
    pub ticket: String,
    /// For `Set-Cookie`: they bind the ticket to this browser.
    pub cookies: Vec<HeaderValue>,
}

impl std::fmt::Debug for Departure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Departure").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// The browser that signed out here goes on.
#[derive(Clone, Debug)]
pub struct Departed {
    /// The provider's address; `None` when that cannot be had now.
    pub location: Option<String>,
    /// For `Set-Cookie`: the ticket is used.
    pub cookie: Option<HeaderValue>,
}

/// What is remembered of it.
#[derive(Serialize, Deserialize)]
struct Body {
    /// SHA-256 of the cookie, in hex.
    browser: String,
    via: Via,
}

fn key(ticket: &str) -> RecordKey {
    RecordKey { kind: OAUTH_DEPARTURE, id: hash(ticket) }
}

impl Providers {
    /// Somebody signs out of `session`: if it was opened with a provider that wants to know, what leads them on to it. Call it before the session
    /// ends; `headers` are the request's.
    pub async fn begin_departure(
        &self,
        session: &Session,
        headers: &HeaderMap,
    ) -> Result<Option<Departure>, Error> {
        let now = session.now();
        let Some(via) = STAMP.get(session).ok().flatten().and_then(|stamp| stamp.via) else {
            return Ok(None);
        };
        let Some(entry) = self.entry(&via.provider) else { return Ok(None) };
        if self.end_session_endpoint(entry, now).await.is_none() {
            return Ok(None);
        }
        let (ticket, cookie, provider) = (secret(), secret(), via.provider.clone());
        let failed = |error| StoreError::new("remember a sign-out", error);
        let body = serde_json::to_string(&Body { browser: hash(&cookie), via }).map_err(failed)?;
        let expires = Some(now + DEPARTURE_TTL);
        let record = Record { key: key(&ticket), owner: None, body, expires, version: 0 };
        if self.records().insert(&record, now).await? == Inserted::Taken {
            return Err(StoreError::new("remember a sign-out", "two random tickets are equal").into());
        }
        let cookies = self.0.cookies.begin(headers, &ticket, &cookie, now);
        Ok(Some(Departure { provider, ticket, cookies }))
    }

    /// Where the browser with this ticket goes at the provider `name`, which sends it back to `return_to`; that must be registered there.
    /// `None`: this browser has no such ticket, or none any more.
    pub async fn depart(
        &self,
        name: &str,
        ticket: &str,
        headers: &HeaderMap,
        return_to: &str,
        now: Timestamp,
    ) -> Result<Option<Departed>, Error> {
        let Some(cookie) = self.0.cookies.secret(headers, ticket) else { return Ok(None) };
        let of_here = |record: Record| {
            let body: Body = serde_json::from_str(&record.body).ok()?;
            let same = bool::from(hash(cookie).as_bytes().ct_eq(body.browser.as_bytes()));
            (same && body.via.provider == name).then_some(body.via)
        };
        let key = key(ticket);
        // A wrong browser ends nothing; of many requests at once, one goes.
        let found = self.records().get(&key, now).await?;
        if found.filter(|found| ends_within(found, DEPARTURE_TTL, now)).and_then(of_here).is_none() {
            return Ok(None);
        }
        let Some(via) = self.records().take(&key, now).await?.and_then(of_here) else { return Ok(None) };
        let location = match self.entry(name) {
            Some(entry) => self.end_session_endpoint(entry, now).await.map(|mut url| {
                self.describe(&mut url, &via, &entry.provider.client_id, return_to);
                url.into()
            }),
            None => None,
        };
        Ok(Some(Departed { location, cookie: self.0.cookies.end(ticket) }))
    }

    /// Where the provider is told of sign-outs, if it is to be. Signing out here must not depend on it.
    async fn end_session_endpoint(&self, entry: &Entry, now: Timestamp) -> Option<Url> {
        if !entry.provider.end_session {
            return None;
        }
        match self.endpoints(entry, now).await {
            Ok(endpoints) => endpoints.metadata?.end_session_endpoint,
            Err(problem) => {
                entry.log(&problem);
                None
            }
        }
    }

    fn describe(&self, url: &mut Url, via: &Via, client_id: &str, return_to: &str) {
        let hint = via.hint.as_deref();
        let hint = hint.and_then(|hint| self.0.options.seal.as_ref()?.open(&via.link, hint));
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", client_id).append_pair("post_logout_redirect_uri", return_to);
        if let Some(hint) = hint {
            query.append_pair("id_token_hint", hint.expose());
        }
    }
}

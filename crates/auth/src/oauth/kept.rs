//! Provider tokens that are kept because somebody asked for it: sealed, and refreshed when they are used.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use hallpass_session::{Secret, StoreError, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::{Entry, Failure, Outcome, Providers, failure::Stop, finish::Arrival, token::Tokens};
use crate::{Error, Inserted, Record, RecordKey, Replaced, User, UserId, records::kinds::OAUTH_TOKENS};

/// A token that ends this soon is refreshed before it is handed out.
const MARGIN: Duration = Duration::from_secs(60);

/// How often writing is tried again when somebody else writes.
const MAX_TRIES: usize = 8;

/// What the record shows; everything else is sealed.
#[derive(Serialize, Deserialize)]
struct Body {
    sealed: String,
    /// When the access token ends; milliseconds since the epoch.
    expires: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    access: String,
    refresh: Option<String>,
}

/// Whose tokens are being refreshed here: one at a time for each link, because a refresh token is often good for one use only.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<Turn<()>>>>);

impl Turns {
    async fn of(&self, link: &str) -> OwnedMutexGuard<()> {
        self.turn(link).lock_owned().await
    }

    fn turn(&self, link: &str) -> Arc<Turn<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(link).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(link.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

fn key(link: &str) -> RecordKey {
    RecordKey { kind: OAUTH_TOKENS, id: link.to_owned() }
}

impl Providers {
    /// An access token of the user for the API of the provider `name`, good for another minute at least: refreshed if need be. `None`: the
    /// provider does not [keep tokens](super::Provider::keep_tokens), has not seen the user, or wants to see them again.
    pub async fn access_token(
        &self,
        user: &User,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<Secret<String>>, Error> {
        let Some(entry) = self.entry(name).filter(|entry| entry.provider.keep_tokens) else {
            return Ok(None);
        };
        let links = self.links(user, now).await?;
        let Some(link) = links.iter().find(|link| link.provider == name) else { return Ok(None) };
        let _alone = entry.refreshing.of(&link.id).await;
        let Some(record) = self.records().get(&key(&link.id), now).await? else { return Ok(None) };
        let Some((sealed, expires)) = self.open(&record) else { return Ok(None) };
        let good = expires.is_none_or(|expires| now + MARGIN < expires);
        match sealed.refresh {
            _ if good => Ok(Some(Secret::new(sealed.access))),
            Some(refresh) => self.renew(entry, record, &Secret::new(refresh), now).await,
            None => Ok(None),
        }
    }

    async fn renew(
        &self,
        entry: &Entry,
        record: Record,
        refresh: &Secret<String>,
        now: Timestamp,
    ) -> Result<Option<Secret<String>>, Error> {
        let answer = match self.endpoints(entry, now).await {
            Ok(endpoints) => entry.refresh(self.fetch(), &endpoints, refresh, now).await,
            Err(problem) => Err(problem),
        };
        let mut tokens = match answer {
            Ok(tokens) => tokens,
            Err(problem) => {
                entry.log(&problem);
                if problem.failure == Failure::Unexpected {
                    // The grant has ended; unless another server has refreshed it at this very moment.
                    return self.after_another(record, now).await;
                }
                return Ok(None);
            }
        };
        tokens.refresh = tokens.refresh.or_else(|| Some(refresh.clone()));
        self.write_renewed(record, refresh, &tokens, now).await?;
        Ok(Some(tokens.access))
    }

    /// Writes what a refresh token was used for, over whatever holds that token still. A newer one that is there meanwhile stays.
    async fn write_renewed(
        &self,
        mut record: Record,
        used: &Secret<String>,
        tokens: &Tokens,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(body) = self.body(&record.key.id, tokens, now)? else { break };
            if self.records().replace(&Record { body, ..record.clone() }, now).await? == Replaced::Done {
                break;
            }
            let Some(newer) = self.records().get(&record.key, now).await? else { break };
            let refresh = self.open(&newer).and_then(|(sealed, _)| sealed.refresh);
            if newer.owner != record.owner || refresh.as_ref() != Some(used.expose()) {
                break;
            }
            record = newer;
        }
        Ok(())
    }

    async fn after_another(&self, record: Record, now: Timestamp) -> Result<Option<Secret<String>>, Error> {
        let newer =
            self.records().get(&record.key, now).await?.filter(|newer| newer.version != record.version);
        let Some(newer) = newer else {
            self.records().take(&record.key, now).await?;
            return Ok(None);
        };
        Ok(self.open(&newer).map(|(sealed, _)| Secret::new(sealed.access)))
    }

    /// Keeps what came with a sign-in or a link.
    pub(super) async fn keep(
        &self,
        arrival: &Arrival<'_>,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<(), Stop> {
        if !arrival.entry.provider.keep_tokens || matches!(outcome, Outcome::Failed(_)) {
            return Ok(());
        }
        let id = arrival.identity.key();
        let link = self.records().get(&super::link::key(&id), now).await?;
        let Some(owner) = link.and_then(|link| link.owner) else { return Ok(()) };
        Ok(self.write(&id, &owner, &arrival.tokens, now).await?)
    }

    async fn write(
        &self,
        id: &str,
        owner: &UserId,
        tokens: &Tokens,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_TRIES {
            let old = self.records().get(&key(id), now).await?;
            let mine = old.as_ref().filter(|old| old.owner.as_ref() == Some(owner));
            let tokens = self.with_refresh(tokens, mine);
            let Some(body) = self.body(id, &tokens, now)? else { return Ok(()) };
            let version = old.as_ref().map_or(0, |old| old.version);
            let record = Record { key: key(id), owner: Some(owner.clone()), body, expires: None, version };
            let written = match old {
                Some(_) => self.records().replace(&record, now).await? == Replaced::Done,
                None => self.records().insert(&record, now).await? == Inserted::Done,
            };
            if written {
                break;
            }
        }
        Ok(())
    }

    /// The tokens, with the refresh token that is kept already when none came: many providers give one at the first sign-in only.
    fn with_refresh(&self, tokens: &Tokens, old: Option<&Record>) -> Tokens {
        let old = || old.and_then(|old| self.open(old)).and_then(|(sealed, _)| sealed.refresh);
        let refresh = tokens.refresh.clone().or_else(|| old().map(Secret::new));
        Tokens { refresh, ..tokens.clone() }
    }

    fn body(&self, id: &str, tokens: &Tokens, now: Timestamp) -> Result<Option<String>, StoreError> {
        let failed = |error| StoreError::new("keep a provider's tokens", error);
        let sealed = Sealed {
            access: tokens.access.expose().clone(),
            refresh: tokens.refresh.as_ref().map(|refresh| refresh.expose().clone()),
        };
        let text = Secret::new(serde_json::to_string(&sealed).map_err(failed)?);
        let Some(sealed) = self.0.options.seal.as_ref().and_then(|seal| seal.seal(id, &text)) else {
            return Ok(None);
        };
        let expires = tokens.expires_in.map(|seconds| (now + Duration::from_secs(seconds)).as_millis());
        serde_json::to_string(&Body { sealed, expires }).map(Some).map_err(failed)
    }

    fn open(&self, record: &Record) -> Option<(Sealed, Option<Timestamp>)> {
        let body: Body = serde_json::from_str(&record.body).ok()?;
        let text = self.0.options.seal.as_ref()?.open(&record.key.id, &body.sealed)?;
        let sealed = serde_json::from_str(text.expose()).ok()?;
        Some((sealed, body.expires.map(Timestamp::from_millis)))
    }

    /// The ID token, sealed for the session, with which the provider recognises the session that is to end there.
    pub(super) fn sealed_hint(&self, arrival: &Arrival<'_>) -> Option<String> {
        let token = arrival.tokens.id_token.as_ref().filter(|_| arrival.entry.provider.end_session)?;
        self.0.options.seal.as_ref()?.seal(&arrival.identity.key(), token)
    }
}

//! [`Link`]: an account at a provider that opens an account here. Its key is issuer and subject, so one person there is one here.

use hallpass_session::{Session, StoreError, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Failure, Outcome, Providers,
    failure::{Problem, Stop},
    finish::Arrival,
    logout::Opened,
    metadata::same_host,
    profile::Identity,
    provider::Protocol,
};
use crate::{
    Change, Ending, Error, Inserted, Record, RecordKey, Reuse, User, UserChanged, UserId,
    records::kinds::{OAUTH_LINK, OAUTH_TOKENS},
};

/// An account at a provider that opens an account here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Names the link.
    pub id: String,
    /// The provider's name; it may no longer be configured.
    pub provider: String,
    /// The address that the provider last told.
    pub email: Option<String>,
    /// Since when.
    pub linked: Timestamp,
}

/// The answer to [`Providers::unlink`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlinked {
    /// It no longer opens the account.
    Done,
    /// The user has no such link.
    NotFound,
    /// It is the last way in, not counting links of providers that are no longer configured: set a password or link another account first.
    LastWayIn,
    /// It no longer opens the account, but sessions that it opened could not be ended, or tokens of it not be removed.
    Remains,
    /// The user must sign in again first.
    NotFresh,
    /// An application's own table says who the person at the provider is, in a field that must not be empty.
    Kept,
    /// The application's own table no longer says who the person at the provider is, but a store failed before the link here could
    /// be removed: it still opens the account. To be repeated.
    Interrupted,
}

/// What became of the field in an application's own table.
enum Disconnected {
    /// It was empty, or there is none.
    Nothing,
    Emptied,
    /// It must not be empty.
    Kept,
}

/// What a record of a link holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) provider: String,
    pub(super) issuer: String,
    pub(super) subject: String,
    email: Option<String>,
    /// Milliseconds since the epoch.
    linked: i64,
    /// [What tells the account apart](crate::Reuse::mark), where its id is not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

pub(super) fn key(id: &str) -> RecordKey {
    RecordKey { kind: OAUTH_LINK, id: id.to_owned() }
}

fn record(
    arrival: &Arrival<'_>,
    owner: &UserId,
    account: Option<String>,
    now: Timestamp,
) -> Result<Record, StoreError> {
    let Identity { issuer, subject, email, .. } = &arrival.identity;
    let body = Body {
        provider: arrival.entry.provider.name.clone(),
        issuer: issuer.clone(),
        subject: subject.clone(),
        email: email.as_ref().map(|email| email.as_str().to_owned()),
        linked: now.as_millis(),
        account,
    };
    Ok(Record {
        key: key(&arrival.identity.key()),
        owner: Some(owner.clone()),
        body: serde_json::to_string(&body).map_err(|error| StoreError::new("note a link", error))?,
        expires: None,
        version: 0,
    })
}

/// A record as a link; one that nobody can read is shown as of no provider, so that it can be removed.
pub(super) fn read(record: &Record) -> Link {
    let body: Option<Body> = serde_json::from_str(&record.body).ok();
    let (provider, email, linked) =
        body.map_or_else(Default::default, |body| (body.provider, body.email, body.linked));
    Link { id: record.key.id.clone(), provider, email, linked: Timestamp::from_millis(linked) }
}

/// Whether a link was made for this account, and not for a former one of the same id.
pub(super) fn is_of(record: &Record, user: &User, reuse: Reuse) -> bool {
    let body = serde_json::from_str::<Body>(&record.body).ok();
    reuse.fits(body.and_then(|body| body.account).as_deref(), user)
}

/// Notes in a link what tells its account apart. What nobody can read stays as it is.
pub(super) fn set_account(record: &mut Record, account: Option<String>) -> Result<(), StoreError> {
    let Ok(body) = serde_json::from_str::<Body>(&record.body) else { return Ok(()) };
    record.body = serde_json::to_string(&Body { account, ..body })
        .map_err(|error| StoreError::new("note a link", error))?;
    Ok(())
}

impl Providers {
    /// The user's links, in the order of their making.
    pub async fn links(&self, user: &User, now: Timestamp) -> Result<Vec<Link>, Error> {
        let mut links: Vec<Link> = self.own(user, now).await?.iter().map(read).collect();
        links.sort_by_key(|link| link.linked);
        Ok(links)
    }

    /// The records of the user's links, without those of a former account of the same id.
    pub(super) async fn own(&self, user: &User, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        let mut records = self.records().list(OAUTH_LINK, &user.id, now).await?;
        records.retain(|record| is_of(record, user, self.0.auth.conventions().reuse));
        Ok(records)
    }

    /// Removes a link, and ends the sessions that were opened with it, except this one.
    pub async fn unlink(&self, session: &Session, user: &User, id: &str) -> Result<Unlinked, Error> {
        let now = session.now();
        if !session.is_fresh() {
            return Ok(Unlinked::NotFresh);
        }
        let links = self.own(user, now).await?;
        let Some(link) = links.iter().find(|link| link.key.id == id) else { return Ok(Unlinked::NotFound) };
        if user.password.is_none() && !self.opens_without(user, id, now).await? {
            return Ok(Unlinked::LastWayIn);
        }
        // Or the next sign-in would make the link again.
        let emptied = match self.disconnect(user, link).await? {
            Disconnected::Kept => return Ok(Unlinked::Kept),
            Disconnected::Emptied => true,
            Disconnected::Nothing => false,
        };
        match self.remove(user, link, now).await {
            Ok(None) => {}
            Ok(Some(kept)) => return Ok(kept),
            Err(error) if emptied => {
                tracing::error!(event = "unlink_interrupted", user = %user.id, error = &error as &dyn std::error::Error);
                return Ok(Unlinked::Interrupted);
            }
            Err(error) => return Err(error),
        }
        tracing::info!(event = "provider_unlinked", user = %user.id, provider = read(link).provider);
        let tokens = RecordKey { kind: OAUTH_TOKENS, id: id.to_owned() };
        let removed = self.records().take(&tokens, now).await.map(drop).map_err(Error::from);
        let store = session.store().as_ref();
        let except = session.handle();
        let opened = Opened { user: &user.id, link: id, sid: None, except, why: Ending::Disconnected };
        let ended = self.end_sessions(store, opened, now, &mut 0).await;
        match removed.and(ended) {
            Ok(()) => Ok(Unlinked::Done),
            Err(error) => {
                tracing::error!(event = "unlinked_remains", user = %user.id, error = &error as &dyn std::error::Error);
                Ok(Unlinked::Remains)
            }
        }
    }

    /// Empties the field of the application's own table in which the person at the provider stands. When the answer is lost, the
    /// table says whether it was.
    async fn disconnect(&self, user: &User, link: &Record) -> Result<Disconnected, Error> {
        let Ok(Body { provider, subject, .. }) = serde_json::from_str(&link.body) else {
            return Ok(Disconnected::Nothing);
        };
        let known = async || self.users().find_by_provider(&provider, &subject).await;
        let emptied = if known().await?.is_some() { Disconnected::Emptied } else { Disconnected::Nothing };
        let change = Change::Disconnect(Some((provider.clone(), subject.clone())));
        match self.users().change(&user.id, &change).await {
            Ok(UserChanged::Refused) => Ok(Disconnected::Kept),
            Ok(_) => Ok(emptied),
            Err(error) => match known().await {
                Ok(None) => Ok(emptied),
                _ => Err(error.into()),
            },
        }
    }

    /// Removes the record of a link; `Some` when it stays, and why. After an error it stays too, unless it is not known.
    async fn remove(&self, user: &User, link: &Record, now: Timestamp) -> Result<Option<Unlinked>, Error> {
        let Some(taken) = self.taken(link, now).await? else { return Ok(Some(Unlinked::NotFound)) };
        // Of two that are removed at once, or beside the password, one stays. What cannot be told is as before.
        let wrong = match self.has_way_in(user, &link.key.id, now).await {
            Ok(true) => return Ok(None),
            Ok(false) => Ok(Some(Unlinked::LastWayIn)),
            Err(error) => Err(error),
        };
        if self.put_back(&taken, now).await {
            return wrong;
        }
        // The link is gone, as it was to be.
        tracing::error!(event = "unlinked_unseen", user = %user.id);
        Ok(None)
    }

    /// Takes the record of a link. When the answer is lost, a second look says whether it is gone.
    async fn taken(&self, link: &Record, now: Timestamp) -> Result<Option<Record>, StoreError> {
        match self.records().take(&link.key, now).await {
            Err(error) => match self.records().get(&link.key, now).await {
                Ok(None) => Ok(Some(link.clone())),
                _ => Err(error),
            },
            taken => taken,
        }
    }

    /// Whether a link that was taken is there again.
    async fn put_back(&self, taken: &Record, now: Timestamp) -> bool {
        match self.records().insert(taken, now).await {
            Ok(_) => true,
            Err(_) => matches!(self.records().get(&taken.key, now).await, Ok(Some(_))),
        }
    }

    /// Whether the user can sign in without this link.
    async fn has_way_in(&self, user: &User, id: &str, now: Timestamp) -> Result<bool, Error> {
        let found = self.users().find(&user.id).await?;
        let password = found.is_some_and(|user| user.password.is_some());
        Ok(password || self.opens_without(user, id, now).await?)
    }

    /// Whether another link than this one opens the user's account: one of a provider that is configured still.
    async fn opens_without(&self, user: &User, id: &str, now: Timestamp) -> Result<bool, Error> {
        let records = self.own(user, now).await?;
        Ok(records.iter().any(|record| record.key.id != id && self.opens(record)))
    }

    fn opens(&self, record: &Record) -> bool {
        let Ok(body) = serde_json::from_str::<Body>(&record.body) else { return false };
        self.iter().any(|provider| match &provider.protocol {
            Protocol::OpenId(openid) if openid.tenants => same_host(&body.issuer, &openid.issuer),
            Protocol::OpenId(openid) => body.issuer == openid.issuer,
            Protocol::OAuth2(oauth) => body.issuer == oauth.issuer,
        })
    }

    /// Notes that the person opens this account; `false` when the person opens one already.
    pub(super) async fn note_link(
        &self,
        arrival: &Arrival<'_>,
        owner: &User,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let account = self.0.auth.conventions().reuse.mark(owner);
        let record = record(arrival, &owner.id, account, now)?;
        Ok(self.records().insert(&record, now).await? == Inserted::Done)
    }

    /// The same for an account that is about to be made: what tells it apart, the database may say otherwise.
    pub(super) async fn note_first_link(
        &self,
        arrival: &Arrival<'_>,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let record = record(arrival, owner, None, now)?;
        Ok(self.records().insert(&record, now).await? == Inserted::Done)
    }

    /// Notes with a link what tells its account apart now. Whoever is at work on the link at the same moment does so too, or the next sign-in.
    pub(super) async fn mark_link(
        &self,
        link: Record,
        user: &User,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let account = self.0.auth.conventions().reuse.mark(user);
        let Ok(body) = serde_json::from_str::<Body>(&link.body) else { return Ok(()) };
        if account.is_none() || body.account == account {
            return Ok(());
        }
        let body = serde_json::to_string(&Body { account, ..body })
            .map_err(|error| StoreError::new("note a link", error))?;
        self.records().replace(&Record { body, ..link }, now).await?;
        Ok(())
    }

    /// Notes that the person opens this account; `false` when they do already. A link to an account that was deleted gives way.
    async fn note_new_link(&self, arrival: &Arrival<'_>, owner: &User, now: Timestamp) -> Result<bool, Stop> {
        if self.note_link(arrival, owner, now).await? {
            return Ok(true);
        }
        if let Some(mut found) = self.records().get(&key(&arrival.identity.key()), now).await? {
            let reuse = self.0.auth.conventions().reuse;
            if found.owner.as_ref() == Some(&owner.id) && is_of(&found, owner, reuse) {
                return Ok(false);
            }
            if self.owner(&mut found, now).await?.is_none() {
                self.remove_dangling(found, now).await?;
            }
        }
        if self.note_link(arrival, owner, now).await? {
            return Ok(true);
        }
        Err(Problem::new(Failure::LinkedElsewhere, "another user has this link").into())
    }

    /// Links the provider's account to the user who began this.
    pub(super) async fn link(
        &self,
        session: &Session,
        arrival: &Arrival<'_>,
        user: &str,
        epoch: u64,
    ) -> Result<Outcome, Stop> {
        let now = session.now();
        let not_signed_in =
            || Problem::new(Failure::NotSignedIn, "the user who began to link is not signed in here now");
        let current = self.0.auth.current_user(session).await?;
        let same = |current: &User| current.id.as_str() == user && current.session_epoch == epoch;
        let current =
            current.filter(|current| same(current) && session.is_fresh()).ok_or_else(not_signed_in)?;
        arrival.begin();
        if !self.note_new_link(arrival, &current, now).await? {
            return Ok(Outcome::Linked);
        }
        // Whoever claims this account meanwhile moves its epoch on first and removes links afterwards: one of us sees the other.
        let still = self.users().find(&current.id).await;
        let same = |user: &User| !user.disabled && user.session_epoch == epoch;
        if !still.as_ref().is_ok_and(|user| user.as_ref().is_some_and(same)) {
            self.records().take(&key(&arrival.identity.key()), now).await?;
            still?;
            return Err(not_signed_in().into());
        }
        if arrival.identity.proves(&current.email) {
            self.0.auth.note_verified(&current, now).await?;
        }
        tracing::info!(event = "provider_linked", user = %current.id, provider = arrival.entry.provider.name);
        Ok(Outcome::Linked)
    }
}

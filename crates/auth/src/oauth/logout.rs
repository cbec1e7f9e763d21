//! Being signed out by a provider (OpenID Connect Back-Channel Logout 1.0).

use hallpass_session::{SessionHandle, SessionStore, Timestamp};
use serde::Deserialize;

use super::{
    Failure, Providers,
    attempt::hash,
    failure::{Problem, Stop},
    id_token::{LogoutToken, logout_token},
    link,
    metadata::Patience,
    profile,
    provider::Protocol,
};
use crate::{
    Ending, Error, Inserted, Record, RecordKey, UserId,
    records::kinds::{OAUTH_LOGOUT, OAUTH_SESSION},
};

/// How long a logout token's name is remembered: longer than its age may be, so that it counts once.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(600);

/// How often sessions are listed again: one that renews its id at this very moment is met the next time.
const MAX_ROUNDS: usize = 16;

/// Why [`Providers::back_channel_logout`] ends nothing. Anybody may ask, so why exactly is told to the log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutRefused {
    /// The token is not to be believed: 400.
    #[error("the logout token is refused")]
    Invalid,
    /// The provider, whose keys are needed, does not answer; it may post the token again later: 503.
    #[error("the logout token cannot be verified now")]
    Unavailable,
    /// A store failed when sessions may have ended already: 500. The token counts still; posted again, it ends the others.
    #[error("a store failed before all sessions had ended; post the logout token again")]
    Interrupted,
}

/// What a session's label says about its opening.
#[derive(Deserialize)]
struct Label {
    via: Option<String>,
    sid: Option<String>,
}

/// Sessions that were opened with a link.
pub(super) struct Opened<'a> {
    pub(super) user: &'a UserId,
    pub(super) link: &'a str,
    /// The provider's name for its session; `None`: of any.
    pub(super) sid: Option<&'a str>,
    pub(super) except: Option<SessionHandle>,
    pub(super) why: Ending,
}

impl Providers {
    /// Takes a logout token that the provider `name` has posted: ends the session it names, or all that the person has opened with the
    /// provider. How many ended. The same token once more ends nothing: 0.
    pub async fn back_channel_logout(
        &self,
        name: &str,
        token: &str,
        sessions: &dyn SessionStore,
        now: Timestamp,
    ) -> Result<Result<u64, LogoutRefused>, Error> {
        match self.logged_out(name, token, sessions, now).await {
            Ok(ended) => {
                tracing::info!(event = "back_channel_logout", provider = name, ended);
                Ok(Ok(ended))
            }
            Err(Stop::Problem(problem)) => {
                tracing::warn!(
                    event = "back_channel_logout_refused",
                    provider = name,
                    detail = problem.detail
                );
                Ok(Err(match problem.failure {
                    Failure::Unreachable | Failure::Unavailable => LogoutRefused::Unavailable,
                    Failure::Interrupted => LogoutRefused::Interrupted,
                    _ => LogoutRefused::Invalid,
                }))
            }
            Err(Stop::Broken(error)) => Err(error),
        }
    }

    async fn logged_out(
        &self,
        name: &str,
        token: &str,
        sessions: &dyn SessionStore,
        now: Timestamp,
    ) -> Result<u64, Stop> {
        let token = self.verified_logout(name, token, now).await?;
        // The provider did not get the answer the first time, or somebody has seen the token: it ends nothing again.
        if self.records().get(&once(&token), now).await?.is_some() {
            return Ok(0);
        }
        let owner = self.whose(&token, now).await?;
        let ended = match owner {
            Some((user, link)) => {
                let mut ended = 0;
                let sid = token.session.as_deref();
                let opened = Opened { user: &user, link: &link, sid, except: None, why: Ending::Provider };
                let all = self.end_sessions(sessions, opened, now, &mut ended).await;
                all.map_err(|error| interrupted(ended, error))?;
                ended
            }
            None => 0,
        };
        // Noted only when it is done: if a store fails, the provider may try again.
        self.note_once(&token, now).await.map_err(|error| interrupted(ended, error))?;
        Ok(ended)
    }

    async fn verified_logout(&self, name: &str, token: &str, now: Timestamp) -> Result<LogoutToken, Stop> {
        let unknown = || Problem::untrusted("there is no such OpenID provider");
        let entry = self.entry(name).ok_or_else(unknown)?;
        let Protocol::OpenId(openid) = &entry.provider.protocol else { return Err(unknown().into()) };
        let metadata = entry.known.metadata(self.fetch(), openid, now).await?;
        let jwt = entry.known.verified(self.fetch(), &metadata, token, Patience::Refuse, now).await?;
        let expected = entry.expected(openid, &metadata);
        Ok(logout_token(jwt.kind.as_deref(), &jwt.claims, expected, now)?)
    }

    async fn note_once(&self, token: &LogoutToken, now: Timestamp) -> Result<(), Error> {
        let key = once(token);
        let record =
            Record { key, owner: None, body: "{}".to_owned(), expires: Some(now + REMEMBERED), version: 0 };
        if let Err(error) = self.records().insert(&record, now).await {
            // When the answer was lost, the note is there, and the token would not count again.
            return match self.records().get(&record.key, now).await {
                Ok(Some(_)) => Ok(()),
                _ => Err(error.into()),
            };
        }
        Ok(())
    }

    /// The user and link that a logout token is about.
    async fn whose(&self, token: &LogoutToken, now: Timestamp) -> Result<Option<(UserId, String)>, Stop> {
        let (key, link) = match (&token.subject, &token.session) {
            (Some(subject), _) => {
                let id = profile::key(&token.issuer, subject);
                (link::key(&id), Some(id))
            }
            (None, Some(sid)) => (session_key(&token.issuer, sid), None),
            (None, None) => return Ok(None),
        };
        let Some(record) = self.records().get(&key, now).await? else { return Ok(None) };
        let link = link.unwrap_or_else(|| record.body.trim_matches('"').to_owned());
        Ok(record.owner.map(|owner| (owner, link)))
    }

    /// Notes whose the provider's session is, so that a logout token that names only that finds it.
    pub(super) async fn note_session(
        &self,
        arrival: &super::finish::Arrival<'_>,
        user: &UserId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(sid) = arrival.identity.session.as_deref() else { return Ok(()) };
        let record = Record {
            key: session_key(&arrival.identity.issuer, sid),
            owner: Some(user.clone()),
            body: format!("\"{}\"", arrival.identity.key()),
            expires: Some(until),
            version: 0,
        };
        if self.records().insert(&record, now).await? == Inserted::Taken {
            // The same session at the provider opens another here: it lasts longer now.
            if let Some(old) = self.records().get(&record.key, now).await? {
                self.records().replace(&Record { version: old.version, ..record }, now).await?;
            }
        }
        Ok(())
    }

    /// Ends a user's sessions that were opened with this link, of one session at the provider or of all, and counts them in `ended`.
    pub(super) async fn end_sessions(
        &self,
        sessions: &dyn SessionStore,
        Opened { user, link, sid, except, why }: Opened<'_>,
        now: Timestamp,
        ended: &mut u64,
    ) -> Result<(), Error> {
        let sid = sid.map(hash);
        for _ in 0..MAX_ROUNDS {
            let listed = sessions.of_user(user.as_str(), now).await?;
            let opened = listed.iter().filter(|listed| {
                let label =
                    listed.label.as_deref().and_then(|label| serde_json::from_str::<Label>(label).ok());
                let fits = label.is_some_and(|label| {
                    label.via.as_deref() == Some(link) && (sid.is_none() || label.sid == sid)
                });
                fits && Some(listed.handle) != except
            });
            let opened: Vec<SessionHandle> = opened.map(|listed| listed.handle).collect();
            if opened.is_empty() {
                break;
            }
            for handle in opened {
                let one = self.0.auth.end_session_of(sessions, Some(user), handle, why, now).await?;
                *ended += u64::from(one);
            }
        }
        Ok(())
    }
}

/// What a failure means once `ended` sessions have ended.
fn interrupted(ended: u64, error: Error) -> Stop {
    if ended == 0 {
        return error.into();
    }
    let detail = format!("a store failed after {ended} sessions had ended: {error}");
    Problem::new(Failure::Interrupted, detail).into()
}

fn once(token: &LogoutToken) -> RecordKey {
    RecordKey { kind: OAUTH_LOGOUT, id: profile::key(&token.issuer, &token.id) }
}

fn session_key(issuer: &str, sid: &str) -> RecordKey {
    RecordKey { kind: OAUTH_SESSION, id: profile::key(issuer, sid) }
}

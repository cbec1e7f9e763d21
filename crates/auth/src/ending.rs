//! Why sessions ended: what the sign-in page says in a browser that was signed out from elsewhere.
//!
//! A note is a record under the session's handle. It is written after the session has ended and read only for a
//! request whose signed cookie names a session that is not there. Nothing depends on it: a note that cannot be
//! written or read is left out.

use std::time::Duration;

use hallpass_session::{Session, SessionHandle, SessionId, SessionStore, StoreError, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Auth, Record, RecordKey, UserId, records::kinds::SESSION_ENDED};

/// How long a note lasts.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many sessions of a user get a note when all of them end; the most recently used ones.
const MAX_NOTES: usize = 20;

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// The user ended it in another session.
    User,
    /// The password of the account was changed or set.
    Password,
    /// An operator ended it, or disabled the account.
    Operator,
    /// The user signed out at the identity provider.
    Provider,
    /// The identity that had opened it was disconnected from the account.
    Disconnected,
    /// It expired, or nothing says why it ended.
    Unknown,
}

#[derive(Serialize, Deserialize)]
struct Body {
    why: Ending,
}

fn key(handle: SessionHandle) -> RecordKey {
    RecordKey { kind: SESSION_ENDED, id: handle.to_string() }
}

impl Auth {
    /// Ends all sessions of a user but `except`, and notes why. Returns how many ended.
    ///
    /// # Errors
    /// The session store failed; then sessions may remain.
    pub async fn end_sessions_of(
        &self,
        sessions: &dyn SessionStore,
        user: &UserId,
        except: Option<&SessionId>,
        why: Ending,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        // Without the list the sessions end all the same.
        let recent = sessions.recent_of_user(user.as_str(), MAX_NOTES, now).await.unwrap_or_default();
        let ended = sessions.delete_of_user(user.as_str(), except, now).await?;
        let kept = except.map(SessionId::handle);
        let handles = recent.listed.iter().map(|listed| listed.handle);
        let handles: Vec<_> = handles.filter(|handle| Some(*handle) != kept).collect();
        self.note_ended(Some(user), &handles, why, now).await;
        Ok(ended)
    }

    /// Ends a session, of this user if one is given, and notes why. Returns `false` when there is no such session. When the store
    /// fails, it is asked once more.
    ///
    /// # Errors
    /// The session store failed twice; then the session may remain.
    pub async fn end_session_of(
        &self,
        sessions: &dyn SessionStore,
        user: Option<&UserId>,
        handle: SessionHandle,
        why: Ending,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let user_id = user.map(UserId::as_str);
        let ended = match sessions.delete_handle(handle, user_id, now).await {
            // When the answer was lost, the session may be gone: then it is not found any more, and that is what was asked for.
            Err(_) => sessions.delete_handle(handle, user_id, now).await.map(|_| true)?,
            Ok(ended) => ended,
        };
        if ended {
            self.note_ended(user, &[handle], why, now).await;
        }
        Ok(ended)
    }

    /// Notes why these sessions ended.
    async fn note_ended(
        &self,
        user: Option<&UserId>,
        handles: &[SessionHandle],
        why: Ending,
        now: Timestamp,
    ) {
        let Ok(body) = serde_json::to_string(&Body { why }) else { return };
        for handle in handles {
            let (key, owner) = (key(*handle), user.cloned());
            let record =
                Record { key, owner, body: body.clone(), expires: Some(now + REMEMBERED), version: 0 };
            if let Err(error) = self.inner().records.insert(&record, now).await {
                tracing::debug!(event = "ending_not_noted", session = %handle, %error);
                return;
            }
        }
    }

    /// Why the session that the request's cookie names is not there: `None` when the cookie names none, or when the
    /// user is signed in.
    pub async fn why_ended(&self, session: &Session) -> Option<Ending> {
        let keys: Vec<RecordKey> = session.ended_handles().iter().copied().map(key).collect();
        if keys.is_empty() {
            return None;
        }
        let found = self.inner().records.get_all(&keys, session.now()).await.unwrap_or_default();
        let bodies = found.into_iter().flatten();
        let mut notes = bodies.filter_map(|record| serde_json::from_str::<Body>(&record.body).ok());
        Some(notes.next().map_or(Ending::Unknown, |body| body.why))
    }
}

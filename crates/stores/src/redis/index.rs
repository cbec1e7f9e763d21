//! The index of a user's sessions: a hash from session to `END:WRITTEN`, its absolute end (0: none) and when the entry was written.

use hallpass_session::{SessionHandle, SessionRecord, StoreError, Timestamp};

use super::{
    Redis,
    scripts::{Call, ENTER, LEAVE},
};

/// How old the entry of a missing session must be to be taken out: the session of a younger one may be about to appear.
const HEALABLE_AFTER_MILLIS: i64 = 60_000;

/// An entry of an index.
pub(super) struct Entry {
    pub(super) handle: SessionHandle,
    /// As it is written there.
    text: String,
}

impl Redis {
    pub(super) fn index(&self, user: &str) -> String {
        format!("{}u:{user}", self.prefix)
    }

    /// What enters the session into its user's index; `None`: it is nobody's.
    pub(super) fn enter(
        &self,
        handle: SessionHandle,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Option<Call> {
        let user = record.user.as_deref()?;
        let end = record.lifetime.until.map_or(0, Timestamp::as_millis);
        let now = now.as_millis();
        let call = ENTER.on(&[&self.index(user)]).with(now).with(handle.to_string()).with(end);
        Some(call.with(format!("{end}:{now}")))
    }

    /// The sessions that may be the user's.
    pub(super) async fn entries(&self, doing: &'static str, user: &str) -> Result<Vec<Entry>, StoreError> {
        let mut all = redis::cmd("HGETALL");
        all.arg(self.index(user));
        let pairs: Vec<(String, String)> = self.ask(doing, all).await?;
        let entry = |(handle, text): (String, String)| Some(Entry { handle: handle.parse().ok()?, text });
        Ok(pairs.into_iter().filter_map(entry).collect())
    }

    /// Takes entries out whose sessions have ended. That this fails harms nobody: the next one heals.
    pub(super) async fn heal(&self, user: &str, ended: &[&Entry], now: Timestamp) {
        let old = ended
            .iter()
            .filter(|entry| entry.is_old(now))
            .map(|entry| (entry.handle.to_string(), &entry.text));
        let old: Vec<(String, &String)> = old.collect();
        if old.is_empty() {
            return;
        }
        let mut leave = LEAVE.on(&[&self.index(user)]);
        for (handle, text) in old {
            leave = leave.with(handle).with(text);
        }
        if let Err(error) = self.number("heal a user's index", leave).await {
            tracing::debug!(event = "index_not_healed", error = &error as &dyn std::error::Error);
        }
    }
}

impl Entry {
    /// Whether the session it names is no longer about to be stored.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        let written = self.text.split(':').nth(1).and_then(|written| written.parse::<i64>().ok());
        written.is_none_or(|written| written + HEALABLE_AFTER_MILLIS <= now.as_millis())
    }
}

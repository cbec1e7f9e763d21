//! What one request changed: kept apart from what was loaded, so that it can be applied again to a newer version.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::{Lifetime, SessionRecord, Timestamp};

/// The changes of one request, in a form that can be applied to any version of the session, any number of times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// The document was emptied before `entries`.
    pub(crate) cleared: bool,
    entries: Vec<(Box<str>, Option<Box<RawValue>>)>,
    /// The session begins anew with a proof of identity.
    pub(crate) established: Option<Established>,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) lifetime: Option<Lifetime>,
}

/// Who proved their identity.
#[derive(Clone, Debug)]
pub(crate) struct Established {
    pub(crate) user: Arc<str>,
    /// When the session began anew.
    pub(crate) at: Timestamp,
    /// When the identity was proved.
    pub(crate) proved: Timestamp,
}

impl Changes {
    /// What this request did to `key`: `None` nothing, `Some(None)` removed it, `Some(Some(..))` set it.
    #[expect(clippy::option_option, reason = "three answers, spelled out above")]
    pub(crate) fn entry(&self, key: &str) -> Option<Option<&RawValue>> {
        let (_, value) = self.entries.iter().find(|(name, _)| **name == *key)?;
        Some(value.as_deref())
    }

    /// Sets `key`, or removes it.
    pub(crate) fn set(&mut self, key: &str, value: Option<Box<RawValue>>) {
        match self.entries.iter_mut().find(|(name, _)| **name == *key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.into(), value)),
        }
    }

    /// Empties the document.
    pub(crate) fn clear(&mut self) {
        self.cleared = true;
        self.entries.clear();
    }

    /// `base` with these changes, last used at `now`.
    pub(crate) fn apply(&self, base: &SessionRecord, now: Timestamp) -> SessionRecord {
        let mut record = base.clone();
        if self.cleared {
            record.document.clear();
        }
        for (key, value) in &self.entries {
            match value {
                Some(value) => record.document.insert_raw(key, value),
                None => {
                    record.document.remove(key);
                }
            }
        }
        if let Some(Established { user, at, proved }) = &self.established {
            record.user = Some(user.clone());
            record.authenticated = Some(*proved);
            record.created = *at;
        }
        if let Some(label) = &self.label {
            record.label = Some(label.clone());
        }
        if let Some(lifetime) = self.lifetime {
            record.lifetime = lifetime;
        }
        record.seen = record.seen.max(now);
        record
    }
}

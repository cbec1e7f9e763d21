//! A session as it lies in the database: JSON, with the data as text inside, so that it stays byte for byte.

use std::{sync::Arc, time::Duration};

use hallpass_session::{Document, IdHash, Lifetime, Listed, Revision, SessionRecord, Stored, Timestamp};
use serde::{Deserialize, Serialize};

/// Times in milliseconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) user: Option<Arc<str>>,
    label: Option<Arc<str>>,
    created: i64,
    authenticated: Option<i64>,
    pub(crate) seen: i64,
    idle: Duration,
    until: Option<i64>,
    persistent: bool,
    pub(crate) expires: i64,
    pub(crate) revision: u64,
    document: String,
}

impl Row {
    pub(crate) fn new(record: &SessionRecord, revision: u64) -> Self {
        Self {
            user: record.user.clone(),
            label: record.label.clone(),
            created: record.created.as_millis(),
            authenticated: record.authenticated.map(Timestamp::as_millis),
            seen: record.seen.as_millis(),
            idle: record.lifetime.idle,
            until: record.lifetime.until.map(Timestamp::as_millis),
            persistent: record.lifetime.persistent,
            expires: record.expires().as_millis(),
            revision,
            document: record.document.to_json(),
        }
    }

    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        now.as_millis() < self.expires
    }

    /// `None` when somebody wrote something else into it.
    pub(crate) fn stored(self) -> Option<Stored> {
        let record = SessionRecord {
            document: Document::from_json(&self.document).ok()?,
            user: self.user,
            label: self.label,
            created: Timestamp::from_millis(self.created),
            authenticated: self.authenticated.map(Timestamp::from_millis),
            seen: Timestamp::from_millis(self.seen),
            lifetime: Lifetime {
                idle: self.idle,
                until: self.until.map(Timestamp::from_millis),
                persistent: self.persistent,
            },
        };
        Some(Stored { record: Arc::new(record), revision: Revision(self.revision) })
    }

    pub(crate) fn listed(self, id: [u8; 32]) -> Listed {
        Listed {
            handle: IdHash(id).handle(),
            user: self.user,
            label: self.label,
            created: Timestamp::from_millis(self.created),
            authenticated: self.authenticated.map(Timestamp::from_millis),
            seen: Timestamp::from_millis(self.seen),
            expires: Timestamp::from_millis(self.expires),
        }
    }
}

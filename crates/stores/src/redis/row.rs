//! A session as the fields of a hash.

use std::{sync::Arc, time::Duration};

use hallpass_session::{
    IdHash, Lifetime, Listed, Revision, SessionHandle, SessionId, SessionRecord, Stored, Timestamp, hex,
    unhex,
};

use super::scripts::Call;
use crate::native;

/// The fields of a hash, in the order they are asked for.
pub(super) const FIELDS: [&str; 12] = [
    "user",
    "label",
    "created",
    "authenticated",
    "seen",
    "idle",
    "until",
    "persistent",
    "expires",
    "revision",
    "document",
    "hash",
];

/// How many of them a listing needs: all but the data.
pub(super) const LISTED: usize = 10;

/// Adds a session's fields to a call; `expires` is the script's to write.
pub(super) fn fields(call: Call, id: &SessionId, record: &SessionRecord, revision: Revision) -> Call {
    let always = [
        ("created", record.created.as_millis().to_string()),
        ("seen", record.seen.as_millis().to_string()),
        ("idle", native::idle_millis(record.lifetime.idle).to_string()),
        ("persistent", i32::from(record.lifetime.persistent).to_string()),
        ("revision", revision.0.to_string()),
        ("document", record.document.to_json()),
        // The key is half of it; other stores need the whole.
        ("hash", hex(&id.hash().0)),
    ];
    let sometimes = [
        ("user", record.user.as_deref().map(str::to_owned)),
        ("label", record.label.as_deref().map(str::to_owned)),
        ("authenticated", record.authenticated.map(|time| time.as_millis().to_string())),
        ("until", record.lifetime.until.map(|time| time.as_millis().to_string())),
    ];
    let sometimes = sometimes.into_iter().filter_map(|(name, value)| Some((name, value?)));
    always.into_iter().chain(sometimes).fold(call, |call, (name, value)| call.with(name).with(value))
}

/// The answer to a read.
pub(super) type Fields = Vec<Option<String>>;

/// A session as it is stored.
pub(super) struct Row {
    pub(super) user: Option<Arc<str>>,
    pub(super) label: Option<Arc<str>>,
    pub(super) created: Timestamp,
    pub(super) authenticated: Option<Timestamp>,
    pub(super) seen: Timestamp,
    pub(super) lifetime: Lifetime,
    pub(super) expires: Timestamp,
    revision: u64,
    pub(super) document: Option<String>,
    pub(super) hash: Option<IdHash>,
}

impl Row {
    /// `None` when there is none, or none that makes sense.
    pub(super) fn read(fields: Fields) -> Option<Self> {
        let mut fields = fields.into_iter();
        let mut next = || fields.next().flatten();
        let time = |text: Option<String>| text.and_then(|text| text.parse().ok()).map(Timestamp::from_millis);
        Some(Self {
            user: next().map(Arc::from),
            label: next().map(Arc::from),
            created: time(next())?,
            authenticated: time(next()),
            seen: time(next())?,
            lifetime: Lifetime {
                idle: Duration::from_millis(next()?.parse().ok()?),
                until: time(next()),
                persistent: next()? == "1",
            },
            expires: time(next())?,
            revision: next()?.parse().ok()?,
            document: next(),
            hash: next().and_then(|text| unhex(&text).map(IdHash)),
        })
    }

    pub(super) fn stored(self) -> Option<Stored> {
        let record = SessionRecord {
            document: native::document(self.document.as_deref()?)?,
            user: self.user,
            label: self.label,
            created: self.created,
            authenticated: self.authenticated,
            seen: self.seen,
            lifetime: self.lifetime,
        };
        Some(Stored { record: Arc::new(record), revision: Revision(self.revision) })
    }

    pub(super) fn listed(self, handle: SessionHandle) -> Listed {
        let Self { user, label, created, authenticated, seen, expires, .. } = self;
        Listed { handle, user, label, created, authenticated, seen, expires }
    }
}

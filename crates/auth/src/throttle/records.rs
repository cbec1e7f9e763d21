//! [`Place`]: a record of counts as it was read, and changes to it by compare-and-swap.

use hallpass_session::{StoreError, Timestamp};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Inserted, Record, RecordKey, RecordStore, Replaced, UserId};

/// Attempts at one key are counted one after the other. Each conflict means that another one was counted, so this many only meet when as
/// many come at the same moment.
const MAX_CONFLICTS: u32 = 1024;

/// The content of a record of counts.
pub(super) trait Body: Clone + Default + PartialEq + Serialize + DeserializeOwned {
    /// When nothing in it counts any more.
    fn ends(&self) -> Timestamp;
}

/// A record of counts, and what was read of it. A count nobody can read begins anew.
#[derive(Clone, Debug)]
pub(super) struct Place<B> {
    pub(super) key: RecordKey,
    record: Option<Record>,
    pub(super) body: B,
}

impl<B: Body> Place<B> {
    pub(super) fn new(key: RecordKey, record: Option<Record>) -> Self {
        let body = record.as_ref().and_then(|record| serde_json::from_str(&record.body).ok());
        Self { key, record, body: body.unwrap_or_default() }
    }

    #[cfg(test)]
    pub(super) fn is_stored(&self) -> bool {
        self.record.is_some()
    }

    /// Applies `change` to what was read, or to what is there now when others came first, until it is stored. Nothing is
    /// written when nothing changes. `None`: too many others came first.
    pub(super) async fn change<T>(
        &mut self,
        records: &dyn RecordStore,
        owner: Option<&UserId>,
        now: Timestamp,
        change: impl Fn(&mut B) -> T,
    ) -> Result<Option<T>, StoreError> {
        for _ in 0..MAX_CONFLICTS {
            let mut body = self.body.clone();
            let done = change(&mut body);
            let same_owner =
                owner.is_none() || self.record.as_ref().is_some_and(|record| record.owner.as_ref() == owner);
            if body == self.body && same_owner {
                return Ok(Some(done));
            }
            if self.write(records, body, owner, now).await? {
                return Ok(Some(done));
            }
            let record = records.get(&self.key, now).await?;
            *self = Self::new(self.key.clone(), record);
        }
        Ok(None)
    }

    /// Writes over what was read, unless somebody else came first. What has ended is removed.
    async fn write(
        &mut self,
        records: &dyn RecordStore,
        body: B,
        owner: Option<&UserId>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let ends = body.ends().max(now);
        if ends == now && self.record.is_none() {
            self.body = body;
            return Ok(true);
        }
        let text =
            serde_json::to_string(&body).map_err(|error| StoreError::new("count an attempt", error))?;
        let (before, version) =
            self.record.as_ref().map_or((None, 0), |old| (old.owner.clone(), old.version));
        let owner = owner.cloned().or(before);
        let record = Record { key: self.key.clone(), owner, body: text, expires: Some(ends), version };
        let done = if self.record.is_some() {
            records.replace(&record, now).await? == Replaced::Done
        } else {
            records.insert(&record, now).await? == Inserted::Done
        };
        if done {
            self.record = (ends > now).then_some(Record { version: version + 1, ..record });
            self.body = body;
        }
        Ok(done)
    }
}

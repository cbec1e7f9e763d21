//! [`MemoryUsers`] and [`MemoryRecords`]: the contracts at their simplest, for tests. Everything ends with the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use hallpass_session::{StoreError, Timestamp};

use crate::{
    Change, Email, Inserted, Record, RecordKey, RecordStore, Replaced, User, UserChanged, UserCreated,
    UserId, UserStore,
};

/// Keeps users in memory. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryUsers {
    users: Arc<Mutex<BTreeMap<UserId, User>>>,
}

impl MemoryUsers {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn users(&self) -> MutexGuard<'_, BTreeMap<UserId, User>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl UserStore for MemoryUsers {
    fn cached(&self, id: &UserId) -> Option<User> {
        self.users().get(id).cloned()
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        Ok(self.users().get(id).cloned())
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        Ok(self.users().values().find(|user| user.email == *email).cloned())
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        let mut users = self.users();
        if users.contains_key(&user.id) || users.values().any(|other| other.email == user.email) {
            return Ok(UserCreated::Taken);
        }
        users.insert(user.id.clone(), User { verified: Some(false), ..user.clone() });
        Ok(UserCreated::Done(user.id.clone()))
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        let mut users = self.users();
        let taken =
            matches!(change, Change::Email { to, .. } if users.values().any(|other| other.email == *to));
        let Some(user) = users.get_mut(id) else { return Ok(UserChanged::Gone) };
        match change {
            Change::Password { from, .. } if user.password != *from => return Ok(UserChanged::Refused),
            Change::Rehash { from, .. } if user.password.as_ref() != Some(from) => {
                return Ok(UserChanged::Refused);
            }
            Change::Password { to, .. } => {
                user.password.clone_from(to);
                user.session_epoch += 1;
            }
            Change::Rehash { to, .. } => user.password = Some(to.clone()),
            Change::Name(name) => user.name.clone_from(name),
            Change::Email { from, .. } if user.email != *from || taken => return Ok(UserChanged::Refused),
            Change::Email { to, .. } => user.email.clone_from(to),
            Change::Roles(roles) => user.roles.clone_from(roles),
            Change::Verified(_) | Change::Disconnect(_) => return Ok(UserChanged::NoPlace),
            Change::Disabled(disabled) => {
                user.disabled = *disabled;
                user.session_epoch += u64::from(*disabled);
            }
        }
        Ok(UserChanged::Done)
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        Ok(self.users().remove(id).is_some())
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        let mut users: Vec<User> = self.users().values().cloned().collect();
        users.retain(|user| after.is_none_or(|after| user.email > *after));
        users.sort_by(|one, other| one.email.cmp(&other.email));
        users.truncate(limit);
        Ok(users)
    }
}

/// Keeps records in memory. Clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryRecords {
    records: Arc<Mutex<BTreeMap<RecordKey, Record>>>,
}

impl MemoryRecords {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<RecordKey, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_live(record: &Record, now: Timestamp) -> bool {
    record.expires.is_none_or(|expires| now < expires)
}

#[async_trait]
impl RecordStore for MemoryRecords {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        let mut records = self.records();
        if records.get(&record.key).is_some_and(|old| is_live(old, now)) {
            return Ok(Inserted::Taken);
        }
        records.insert(record.key.clone(), Record { version: 1, ..record.clone() });
        Ok(Inserted::Done)
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        Ok(self.records().get(key).filter(|record| is_live(record, now)).cloned())
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        let mut records = self.records();
        let old =
            records.get_mut(&record.key).filter(|old| is_live(old, now) && old.version == record.version);
        let Some(old) = old else { return Ok(Replaced::Refused) };
        *old = Record { version: record.version + 1, ..record.clone() };
        Ok(Replaced::Done)
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let mut records = self.records();
        if !records.get(key).is_some_and(|record| is_live(record, now)) {
            return Ok(None);
        }
        Ok(records.remove(key))
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let records = self.records();
        let wanted = |record: &&Record| {
            record.key.kind == kind && record.owner.as_ref() == Some(owner) && is_live(record, now)
        };
        Ok(records.values().filter(wanted).cloned().collect())
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        let mut live = 0;
        self.records().retain(|_, record| {
            let owned = record.owner.as_ref() == Some(owner);
            live += u64::from(owned && is_live(record, now));
            !owned
        });
        Ok(live)
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let records = self.records();
        let wanted = |record: &&Record| {
            record.key.kind == kind
                && after.is_none_or(|after| *record.key.id > *after)
                && is_live(record, now)
        };
        Ok(records.values().filter(wanted).take(limit).cloned().collect())
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let mut records = self.records();
        let expired: Vec<_> = records
            .values()
            .filter(|record| !is_live(record, now))
            .map(|record| record.key.clone())
            .take(limit)
            .collect();
        for key in &expired {
            records.remove(key);
        }
        Ok(expired.len())
    }
}

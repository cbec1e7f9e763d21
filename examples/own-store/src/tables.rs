//! The tables: sessions by the hash of their id, and two indexes that every change keeps in step, in the same transaction.

use std::error::Error;

use hallpass_session::SessionHandle;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::row::Row;

pub(crate) const SESSIONS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("sessions");
pub(crate) const OF_USER: TableDefinition<'_, (&str, [u8; 32]), ()> = TableDefinition::new("of_user");
pub(crate) const EXPIRES: TableDefinition<'_, (i64, [u8; 32]), ()> = TableDefinition::new("expires");

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// All tables, open for change.
pub(crate) struct Tables<'a> {
    sessions: Table<'a, [u8; 32], &'static [u8]>,
    of_user: Table<'a, (&'static str, [u8; 32]), ()>,
    expires: Table<'a, (i64, [u8; 32]), ()>,
}

impl<'a> Tables<'a> {
    pub(crate) fn open(transaction: &'a WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            sessions: transaction.open_table(SESSIONS)?,
            of_user: transaction.open_table(OF_USER)?,
            expires: transaction.open_table(EXPIRES)?,
        })
    }

    pub(crate) fn get(&self, id: [u8; 32]) -> Result<Option<Row>, Failure> {
        Ok(self.sessions.get(id)?.map(|row| serde_json::from_slice(row.value())).transpose()?)
    }

    pub(crate) fn put(&mut self, id: [u8; 32], row: &Row) -> Result<(), Failure> {
        self.remove(id)?;
        if let Some(user) = &row.user {
            self.of_user.insert((&**user, id), ())?;
        }
        self.expires.insert((row.expires, id), ())?;
        self.sessions.insert(id, serde_json::to_vec(row)?.as_slice())?;
        Ok(())
    }

    /// Removes a session and returns it.
    pub(crate) fn remove(&mut self, id: [u8; 32]) -> Result<Option<Row>, Failure> {
        let Some(row) = self.get(id)? else { return Ok(None) };
        if let Some(user) = &row.user {
            self.of_user.remove((&**user, id))?;
        }
        self.expires.remove((row.expires, id))?;
        self.sessions.remove(id)?;
        Ok(Some(row))
    }

    pub(crate) fn ids_of(&self, user: &str) -> Result<Vec<[u8; 32]>, Failure> {
        let all = self.of_user.range((user, [0; 32])..=(user, [u8::MAX; 32]))?;
        all.map(|entry| Ok(entry?.0.value().1)).collect()
    }

    /// The session of this handle, which is the first half of its id's hash.
    pub(crate) fn of_handle(&self, handle: SessionHandle) -> Result<Option<([u8; 32], Row)>, Failure> {
        let (mut first, mut last) = ([0; 32], [u8::MAX; 32]);
        first[..16].copy_from_slice(&handle.0);
        last[..16].copy_from_slice(&handle.0);
        let Some(entry) = self.sessions.range(first..=last)?.next() else { return Ok(None) };
        let (id, row) = entry?;
        Ok(Some((id.value(), serde_json::from_slice(row.value())?)))
    }

    /// The ids of what has expired by `now`, at most so many.
    pub(crate) fn expired(&self, now: i64, limit: usize) -> Result<Vec<[u8; 32]>, Failure> {
        let expired = self.expires.range(..=(now, [u8::MAX; 32]))?.take(limit);
        expired.map(|entry| Ok(entry?.0.value().1)).collect()
    }
}

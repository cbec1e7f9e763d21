//! What happens to sessions and users, as the writing thread hears it.
//!
//! Its own changes it names one by one, through triggers that exist on its connection alone, before whoever made them is answered. Of other
//! programs on the same file SQLite tells only that they changed something (`data_version`): then everything may be different. The thread
//! looks every [`LOOK_EVERY`], and what it has not been able to look at (a lock, a stalled disk) is not proven.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_session::{CacheKey, ChangeFeed, Listener, Moment, NoFeed, Timer};
use rusqlite::{Connection, functions::FunctionFlags, types::ValueRef};

use super::Sqlite;

/// How long another program's change may go unnoticed.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

const TRIGGERS: &str = "
    create temp trigger hallpass_tell_session_delete after delete on main.sessions
    begin select hallpass_tell(0, old.id); end;
    create temp trigger hallpass_tell_session_update after update on main.sessions
    when old.revision is not new.revision or old.id is not new.id or new.expires < old.expires
    begin select hallpass_tell(0, old.id); end;
    create temp trigger hallpass_tell_user_delete after delete on main.users
    begin select hallpass_tell(1, old.id); end;
    create temp trigger hallpass_tell_user_update after update on main.users
    begin select hallpass_tell(1, old.id); end;";

/// A table whose changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Sessions,
    Users,
}

/// Somebody who listens.
pub(super) trait Hears: Send {
    fn changed(&self, table: Table, id: &[u8]);
    fn everything(&self);
    fn alive(&self, asked: Moment);
}

struct Told<K> {
    table: Table,
    key_of: fn(&[u8]) -> Option<K>,
    listener: Listener<K>,
}

impl<K: CacheKey> Hears for Told<K> {
    fn changed(&self, table: Table, id: &[u8]) {
        if table == self.table {
            match (self.key_of)(id) {
                Some(key) => self.listener.changed(&key),
                None => self.listener.everything(),
            }
        }
    }

    fn everything(&self) {
        self.listener.everything();
    }

    fn alive(&self, asked: Moment) {
        self.listener.alive(asked);
    }
}

impl Sqlite {
    pub(super) fn feed<K: CacheKey>(&self, table: Table, key_of: fn(&[u8]) -> Option<K>) -> ChangeFeed<K> {
        let workers = Arc::downgrade(&self.workers);
        ChangeFeed::new(move |listener| async move {
            let hears = Box::new(Told { table, key_of, listener });
            // Held until nobody listens any more.
            let Some(_ear) = workers.upgrade().map(|workers| workers.listen(hears)) else {
                return NoFeed("the database has been closed".to_owned());
            };
            std::future::pending().await
        })
    }
}

/// Who listens. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Ears(Arc<Mutex<Numbered>>);

type Numbered = Vec<(u64, Box<dyn Hears>)>;

/// A place among those who listen; ends with this value.
pub(super) struct Ear {
    ears: Ears,
    number: u64,
}

impl Ears {
    fn all(&self) -> MutexGuard<'_, Numbered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, hears: Box<dyn Hears>) -> Ear {
        let mut all = self.all();
        let number = all.last().map_or(0, |(last, _)| last + 1);
        hears.everything();
        all.push((number, hears));
        Ear { ears: self.clone(), number }
    }

    fn are_none(&self) -> bool {
        self.all().is_empty()
    }

    fn tell(&self, tell: impl Fn(&dyn Hears)) {
        self.all().iter().for_each(|(_, hears)| tell(&**hears));
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.ears.all().retain(|(number, _)| *number != self.number);
    }
}

/// What the writing thread keeps for those who listen.
pub(super) struct Watch {
    ears: Ears,
    changed: Changed,
    version: Option<i64>,
}

type Changed = Arc<Mutex<Vec<(Table, Box<[u8]>)>>>;

impl Watch {
    /// Where there are no sessions of ours, there is nothing to note.
    pub(super) fn of_nothing(ears: Ears) -> Self {
        Self { ears, changed: Arc::default(), version: None }
    }

    /// From now on the changes of this connection are noted.
    pub(super) fn of(connection: &Connection, ears: Ears) -> rusqlite::Result<Self> {
        let changed = Changed::default();
        let noted = changed.clone();
        connection.create_scalar_function("hallpass_tell", 2, FunctionFlags::SQLITE_UTF8, move |values| {
            let table = if values.get::<i64>(0)? == 0 { Table::Sessions } else { Table::Users };
            if let ValueRef::Blob(id) | ValueRef::Text(id) = values.get_raw(1) {
                noted.lock().unwrap_or_else(PoisonError::into_inner).push((table, id.into()));
            }
            Ok(0)
        })?;
        connection.execute_batch(TRIGGERS)?;
        Ok(Self { ears, changed, version: None })
    }

    /// How long the thread may wait for work before it looks; `None`: for ever.
    pub(super) fn patience(&self) -> Option<Duration> {
        (!self.ears.are_none()).then_some(LOOK_EVERY)
    }

    /// Tells the changes of a group that has just been committed, or undone.
    pub(super) fn tell_own(&self) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if !changed.is_empty() {
            self.ears.tell(|hears| changed.iter().for_each(|(table, id)| hears.changed(*table, id)));
            changed.clear();
        }
    }

    /// Looks whether another program has changed something.
    pub(super) fn look(&mut self, connection: &Connection) {
        if self.ears.are_none() {
            return;
        }
        let asked = Timer::default().read();
        let version = connection
            .prepare_cached("pragma data_version")
            .and_then(|mut version| version.query_row([], |row| row.get::<_, i64>(0)));
        let Ok(version) = version else { return };
        if self.version.replace(version) != Some(version) {
            self.ears.tell(|hears| hears.everything());
        }
        self.ears.tell(|hears| hears.alive(asked));
    }
}

//! What happens to sessions, as the writing thread hears it.
//!
//! Its own changes it names one by one, through triggers that exist on its connection alone, before whoever made them is answered. Of other
//! programs on the same file SQLite tells only that they changed something (`data_version`): then everything may be different. The thread looks every
//! [`LOOK_EVERY`], and what it has not been able to look at (a lock, a stalled disk) is not proven.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hallpass_session::{ChangeFeed, IdHash, Listener, NoFeed, SessionHandle};
use rusqlite::{Connection, functions::FunctionFlags};

use super::Sqlite;

/// How long another program's change may go unnoticed.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

const TRIGGERS: &str = "
    create temp trigger hallpass_tell_delete after delete on main.sessions
    begin select hallpass_tell(old.id); end;
    create temp trigger hallpass_tell_update after update on main.sessions
    when old.revision is not new.revision or old.id is not new.id or new.expires < old.expires
    begin select hallpass_tell(old.id); end;";

impl Sqlite {
    pub(super) fn feed(&self) -> ChangeFeed<SessionHandle> {
        let workers = Arc::downgrade(&self.workers);
        ChangeFeed::new(move |listener| async move {
            // Held until nobody listens any more.
            let Some(_ear) = workers.upgrade().map(|workers| workers.listen(listener)) else {
                return NoFeed("the database has been closed".to_owned());
            };
            drop(workers);
            std::future::pending().await
        })
    }
}

/// Who listens. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Ears(Arc<Mutex<Numbered>>);

type Numbered = Vec<(u64, Listener<SessionHandle>)>;

/// A place among those who listen; ends with this value.
pub(super) struct Ear {
    ears: Ears,
    number: u64,
}

impl Ears {
    fn all(&self) -> MutexGuard<'_, Numbered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, listener: Listener<SessionHandle>) -> Ear {
        let mut all = self.all();
        let number = all.last().map_or(0, |(last, _)| last + 1);
        listener.everything();
        all.push((number, listener));
        Ear { ears: self.clone(), number }
    }

    fn are_none(&self) -> bool {
        self.all().is_empty()
    }

    fn tell(&self, tell: impl Fn(&Listener<SessionHandle>)) {
        self.all().iter().for_each(|(_, listener)| tell(listener));
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
    changed: Arc<Mutex<Vec<SessionHandle>>>,
    version: Option<i64>,
}

impl Watch {
    /// From now on the changes of this connection are noted.
    pub(super) fn of(connection: &Connection, ears: Ears) -> rusqlite::Result<Self> {
        let changed: Arc<Mutex<Vec<SessionHandle>>> = Arc::default();
        let noted = changed.clone();
        connection.create_scalar_function("hallpass_tell", 1, FunctionFlags::SQLITE_UTF8, move |values| {
            if let Ok(id) = values.get::<[u8; 32]>(0) {
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(IdHash(id).handle());
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
            self.ears.tell(|listener| changed.iter().for_each(|handle| listener.changed(handle)));
            changed.clear();
        }
    }

    /// Looks whether another program has changed something.
    pub(super) fn look(&mut self, connection: &Connection) {
        if self.ears.are_none() {
            return;
        }
        let asked = Instant::now();
        let version = connection
            .prepare_cached("pragma data_version")
            .and_then(|mut version| version.query_row([], |row| row.get::<_, i64>(0)));
        let Ok(version) = version else { return };
        if self.version.replace(version) != Some(version) {
            self.ears.tell(Listener::everything);
        }
        self.ears.tell(|listener| listener.alive(asked));
    }
}

//! [`Checkpoints`]: the write-ahead log goes back into the file on a thread of its own, so that nobody who writes waits for it.
//!
//! SQLite's own way is that every thousand pages whoever commits copies them, and waits until a thousand places of the file are on disk.
//! Here the writing thread only tells that so many have come together, and goes on. So the log grows while it is being copied; when it has
//! become [`FULL`], writers are held up for a moment, in which what little is left is copied and the log begins anew.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, hooks::Wal};

/// So many pages of the log are copied together. SQLite takes a thousand; then the disk is busy with them for longer than whoever commits
/// meanwhile likes to wait.
const DUE: usize = 250;

/// A log of so many pages is to begin anew: 16 MiB with pages of 4 KiB.
const FULL: usize = 4096;

/// How long writers are held up here at most; while the log begins anew SQLite's own lock may hold them longer.
const HELD_UP: Duration = Duration::from_millis(2);

/// How long to wait for those who still read the old log.
const PATIENCE: Duration = Duration::from_millis(10);

/// The thread. Drop it after the writing connection: its own connection is then the last one, which folds the
/// log into the file. In another order, the log stays beside the file.
pub(super) struct Checkpoints {
    due: Arc<Due>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread waits for.
#[derive(Default)]
struct Due {
    state: Mutex<DueState>,
    changed: Condvar,
}

#[derive(Default)]
struct DueState {
    copy: bool,
    closing: bool,
}

impl Due {
    fn change(&self, change: impl FnOnce(&mut DueState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Waits until there is something to copy; `false` when the thread is to end.
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(state, |state| !state.copy && !state.closing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.copy = false;
        !state.closing
    }
}

impl Checkpoints {
    /// Copies what `writer` writes, through `own`; whoever writes asks `pause` first.
    pub(super) fn start(writer: &mut Connection, own: Connection, pause: Arc<Pause>) -> io::Result<Self> {
        own.busy_timeout(PATIENCE).map_err(io::Error::other)?;
        let due = Arc::<Due>::default();
        let copied = Arc::new(AtomicUsize::new(0));
        writer.wal_hook(Some(hook(due.clone(), copied.clone()))).map_err(io::Error::other)?;
        let log = Log { connection: own, copied, fails: false };
        let dues = due.clone();
        let work = move || copy_all(log, &dues, &pause);
        let thread = thread::Builder::new().name("sqlite-fold".to_owned()).spawn(work)?;
        Ok(Self { due, thread: Some(thread) })
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.due.change(|state| state.closing = true);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Called by SQLite after each commit, with the length of the log. It takes the place of SQLite's own way.
fn hook(
    due: Arc<Due>,
    copied: Arc<AtomicUsize>,
) -> impl FnMut(&mut Wal, i32) -> rusqlite::Result<()> + Send + 'static {
    move |_, pages| {
        let pages = usize::try_from(pages).unwrap_or(0);
        if pages < copied.load(Ordering::Relaxed) {
            // It has begun anew.
            copied.store(0, Ordering::Relaxed);
        }
        if pages.saturating_sub(copied.load(Ordering::Relaxed)) >= DUE {
            due.change(|state| state.copy = true);
        }
        Ok(())
    }
}

fn copy_all(mut log: Log, due: &Due, pause: &Pause) {
    while due.wait() {
        let done = log.copy(pause);
        if let Err(error) = &done
            && !log.fails
        {
            tracing::warn!(event = "sqlite_log_grows", %error, "the write-ahead log cannot be copied into the file");
        }
        log.fails = done.is_err();
    }
}

struct Log {
    connection: Connection,
    /// How many pages of it are in the file.
    copied: Arc<AtomicUsize>,
    /// The last attempt failed, which has been said.
    fails: bool,
}

impl Log {
    fn copy(&self, pause: &Pause) -> rusqlite::Result<()> {
        let before = self.copied.load(Ordering::Relaxed);
        let (_, copied) = self.checkpoint("passive")?;
        if copied == before {
            // Nothing new, or somebody still reads what was before: writers would wait in vain.
            return Ok(());
        }
        // SQLite brings the file to the disk when it finds nothing more to copy. To that point writers wait, and not for the disk.
        let (pages, copied) = self.held(pause, "passive")?;
        if pages >= FULL && copied == pages {
            // What came while the disk was busy, so that there is little to do while all wait.
            self.held(pause, "passive")?;
            self.held(pause, "restart")?;
        }
        Ok(())
    }

    fn held(&self, pause: &Pause, mode: &str) -> rusqlite::Result<(usize, usize)> {
        let _held = pause.hold();
        self.checkpoint(mode)
    }

    /// How long the log is, and how much of it is in the file now.
    fn checkpoint(&self, mode: &str) -> rusqlite::Result<(usize, usize)> {
        let number = |pages: i64| usize::try_from(pages).unwrap_or(0);
        let (pages, copied) =
            self.connection.query_row(&format!("pragma wal_checkpoint({mode})"), [], |row| {
                Ok((number(row.get(1)?), number(row.get(2)?)))
            })?;
        self.copied.store(copied, Ordering::Relaxed);
        Ok((pages, copied))
    }
}

/// Where writers wait while the log begins anew.
#[derive(Default)]
pub(super) struct Pause {
    held: Mutex<bool>,
    over: Condvar,
}

impl Pause {
    fn held(&self) -> MutexGuard<'_, bool> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on when nobody holds writers up, or has for long enough.
    pub(super) fn pass(&self) {
        let over = self.over.wait_timeout_while(self.held(), HELD_UP, |held| *held);
        drop(over.unwrap_or_else(PoisonError::into_inner));
    }

    /// Until this is dropped.
    fn hold(&self) -> Held<'_> {
        *self.held() = true;
        Held(self)
    }
}

struct Held<'a>(&'a Pause);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.0.held() = false;
        self.0.over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_ends_while_the_writer_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut writer = Connection::open(&path).unwrap();
        let checkpoints =
            Checkpoints::start(&mut writer, Connection::open(&path).unwrap(), Arc::default()).unwrap();
        let (ended, ends) = std::sync::mpsc::channel();
        thread::spawn(move || {
            drop(checkpoints);
            ended.send(()).unwrap();
        });
        ends.recv_timeout(Duration::from_secs(30)).expect("dropping the checkpoints must not hang");
        drop(writer);
    }

    #[test]
    fn the_log_begins_anew_though_it_grows_while_it_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut writer = Connection::open(&path).unwrap();
        // So that commits come faster than pages are copied.
        writer
            .execute_batch("pragma journal_mode = wal; pragma synchronous = off; create table t (x)")
            .unwrap();
        let pause = Arc::<Pause>::default();
        let own = Connection::open(&path).unwrap();
        let checkpoints = Checkpoints::start(&mut writer, own, pause.clone()).unwrap();
        let mut longest = 0;
        for _ in 0..60 {
            for _ in 0..1000 {
                pause.pass();
                writer.prepare_cached("insert into t values (zeroblob(3000))").unwrap().execute([]).unwrap();
            }
            longest = longest.max(std::fs::metadata(path.with_extension("db-wal")).unwrap().len());
        }
        drop(writer);
        drop(checkpoints);
        assert!(longest < 64 << 20, "the log grew to {longest} bytes of some 750 million");
    }
}

//! [`Sqlite`]: sessions, users and records in one file, embedded.
//!
//! One thread writes and commits whatever has piled up in a single transaction, so that many durable writes share one
//! `fsync`; a few threads read. A write is answered when it is on disk (WAL, `synchronous = full`): neither `kill -9` nor a power
//! cut takes back an acknowledged logout. One more thread copies the log into the file. Other processes may use the file at the same time.

mod backup;
mod checkpoints;
mod durability;
mod feed;
mod files;
mod migrate;
#[cfg(all(test, feature = "auth"))]
mod plans;
#[cfg(feature = "auth")]
mod records;
mod sessions;
#[cfg(feature = "auth")]
mod users;
mod worker;

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hallpass_session::{StoreError, StoreTime, Timestamp};
use rusqlite::{Connection, OpenFlags};

pub use self::backup::{BackupError, backup};
pub(crate) use self::durability::file_durability;
use self::{
    files::create_private,
    worker::{Connections, Workers},
};
use crate::durability::report;

/// Between two attempts to open a file that another program is just making.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// How to open the database.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Whether a file that is not there is made. Default: yes.
    pub make: bool,
    /// How many threads read. Default: 2.
    pub readers: usize,
    /// How long an operation may take, waiting included, before it fails. Default: 5 seconds.
    pub timeout: Duration,
    /// How many operations may wait. Default: 4096.
    pub queue: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { make: true, readers: 2, timeout: Duration::from_secs(5), queue: 4096 }
    }
}

/// A database file that keeps sessions (layout `native`), and with the feature `auth` users and records too.
/// Clones share its threads.
#[derive(Clone)]
pub struct Sqlite {
    workers: Arc<Workers>,
}

/// The database cannot be opened. Says why and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such file, and none was to be made.
    #[error(
        "there is no database {path:?}; name the one you mean with --database, or start the server, which makes it"
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// The file cannot be created or opened.
    #[error(
        "cannot open the database {path:?}: {source}; check that the folder exists and that this user may write there"
    )]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path:?} is not a Hallpass database; name another file")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// The file was put in the place of another one, whose log is still there.
    #[error(
        "the database {path:?} was written long after the log beside it, as when it was restored. If it was, delete the files {0}-wal \
         and {0}-shm, which belong to the former one. If not, run `touch {0}-wal`, and the log counts. Nothing was changed",
        path.display()
    )]
    Replaced {
        /// Which file.
        path: PathBuf,
    },
    /// What is in the file does not fit together.
    #[error(
        "the database {path:?} is damaged ({detail}). A restored file beside the log of the former one looks like this: stop all \
         servers, delete {0}, {0}-wal and {0}-shm, and restore it again",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What SQLite found first.
        detail: String,
    },
    /// The file is from the future.
    #[error(
        "the database {path:?} was written by a newer Hallpass (schema {found}, this program knows {known}); \
         start the newer program, or restore a backup"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The database refuses.
    #[error("cannot use the database {path:?}: {source}")]
    Database {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl OpenError {
    fn is_busy(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        matches!(
            source.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        )
    }
}

impl Sqlite {
    /// Opens the file, makes it if there is none (readable by this user only), and brings its schema up to date.
    pub fn open(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Self, OpenError> {
        let (path, deadline) = (path.as_ref(), Instant::now() + options.timeout);
        report("SQLite", Ok::<_, Infallible>(file_durability(path)));
        loop {
            match Self::try_open(path, options) {
                // SQLite does not wait for a lock while another program is just making the file or switching its journal.
                Err(error) if error.is_busy() && Instant::now() < deadline => thread::sleep(BUSY_PAUSE),
                answer => return answer,
            }
        }
    }

    fn try_open(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        if !options.make && !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        create_private(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign { path: path.to_owned() },
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
                OpenError::Damaged { path: path.to_owned(), detail: source.to_string() }
            }
            _ => OpenError::Database { path: path.to_owned(), source },
        };
        files::check(path, options)?;
        let mut writer = connect(path, options).map_err(failed)?;
        migrate::migrate(&mut writer, path)?;
        let readers = (0..options.readers.max(1)).map(|_| connect(path, options));
        let readers = readers.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let checkpoints = Some(connect(path, options).map_err(failed)?);
        let workers = Workers::start(Connections { writer, readers, checkpoints }, options)
            .map_err(|source| OpenError::File { path: path.to_owned(), source })?;
        Ok(Self { workers: Arc::new(workers) })
    }

    /// Opens a file that another application made: nothing in it is made or changed, not even its journal.
    #[cfg(feature = "auth")]
    pub(crate) fn reach(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let failed = |source: rusqlite::Error| OpenError::Database { path: path.to_owned(), source };
        let writer = attach(path, options).map_err(failed)?;
        let readers = (0..options.readers.max(1)).map(|_| attach(path, options));
        let readers = readers.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let workers = Workers::start(Connections { writer, readers, checkpoints: None }, options)
            .map_err(|source| OpenError::File { path: path.to_owned(), source })?;
        Ok(Self { workers: Arc::new(workers) })
    }

    /// The newest stamp among the sessions that began last and those that end last: looking at all would take too long.
    pub(crate) async fn newest(&self) -> Result<StoreTime, StoreError> {
        let newest = self.read("read the newest session", |connection| {
            let sql = "select max(stamp) from (
                select max(created, seen) as stamp from (select created, seen from sessions order by rowid desc limit 100)
                union all
                select max(created, seen) from (select created, seen from sessions order by expires desc limit 100))";
            connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0))
        });
        Ok(newest.await?.map_or(StoreTime::Unknown, |stamp| StoreTime::Newest(Timestamp::from_millis(stamp))))
    }

    /// Runs `work` on a reading thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.workers.read(work).await.map_err(|error| StoreError::new(doing, error))
    }

    /// Runs `work` on the writing thread; its answer comes when it is on disk.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.workers.write(work).await.map_err(|error| StoreError::new(doing, error))
    }
}

fn connect(path: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let connection = attach(path, options)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    Ok(connection)
}

/// A connection that leaves the file's own settings alone.
fn attach(path: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(options.timeout)?;
    // In a file of another application without a write-ahead log, this also waits until the end of its journal is on disk.
    connection.pragma_update(None, "synchronous", "extra")?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(64);
    #[cfg(all(test, feature = "auth"))]
    let connection = plans::noted(connection, path)?;
    Ok(connection)
}

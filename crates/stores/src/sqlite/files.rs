//! The files of a database: who may read them, and whether they belong together.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{OpenError, SqliteOptions};

/// Up to this size the whole file is checked with its indexes; of a larger one, whether its pages fit together, which takes a
/// fraction of the time.
const CHECKED_WHOLE: u64 = 64 * 1024 * 1024;

/// How long after its log a file may be written.
const LAG: Duration = Duration::from_secs(60);

/// Makes the file with mode 0600 if it is missing; SQLite gives its companions (`-wal`, `-shm`) the same mode. What root makes
/// in the folder of a service belongs to the service.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    let there = path.exists();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    if there { Ok(()) } else { give_to_owner_of_folder(&file, path) }
}

#[cfg(unix)]
fn give_to_owner_of_folder(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (made, folder) = (file.metadata()?, fs::metadata(folder)?);
    if made.uid() != 0 || folder.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(folder.uid()), Some(folder.gid()))
}

#[cfg(not(unix))]
fn give_to_owner_of_folder(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Refuses a file that does not fit the write-ahead log beside it: one that was restored from a backup beside the log of what
/// was there before. SQLite would take that log for its own, and put what it holds over what was restored. Where there is no
/// log, nothing is to be checked, because the last server closed the file.
pub(super) fn check(path: &Path, options: &SqliteOptions) -> Result<(), OpenError> {
    let log = companion(path, "-wal");
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length(&log) == 0 {
        return Ok(());
    }
    let written = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    // The log is copied into the file within seconds, so a file that was written long after its log is another one.
    if let (Ok(file), Ok(last)) = (written(path), written(&log))
        && file > last + LAG
    {
        return Err(OpenError::Replaced { path: path.to_owned() });
    }
    if !options.make {
        return Ok(());
    }
    let check =
        if length(path) <= CHECKED_WHOLE { "pragma integrity_check(1)" } else { "pragma quick_check(1)" };
    match first_problem(path, check) {
        Ok(Some(detail)) => Err(OpenError::Damaged { path: path.to_owned(), detail }),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            Err(OpenError::Damaged { path: path.to_owned(), detail: error.to_string() })
        }
        // Locked or missing, say: opening it says so better.
        Ok(None) | Err(_) => Ok(()),
    }
}

/// What is wrong first. This connection writes nothing, also when it closes: the log is not copied into the file.
fn first_problem(path: &Path, check: &str) -> rusqlite::Result<Option<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let found: String = connection.query_row(check, [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}

/// `hallpass.db-wal`
fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

//! A copy of the database that is whole, checked, and readable by its owner only.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use super::{OpenError, SqliteOptions, attach};

/// There is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The copy cannot be written.
    #[error("cannot write the copy {path:?}: {source}")]
    Copy {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The copy is no good.
    #[error("the copy {path:?} is damaged ({detail}), so it was deleted; check the disk and the database")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What SQLite found first.
        detail: String,
    },
}

/// Copies the database at `path` to `to`, a file that is not there yet, while servers work on it. What was acknowledged before is in
/// the copy. Only its owner may read it.
///
/// # Errors
/// When there is no database, when `to` is there already, or when the copy cannot be written or is damaged; then there is none.
pub fn backup(path: &Path, to: &Path) -> Result<(), BackupError> {
    if !path.exists() {
        return Err(OpenError::Missing { path: path.to_owned() }.into());
    }
    let failed = |source| BackupError::Copy { path: to.to_owned(), source };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(to).map_err(failed)?;
    let copied = copy(path, to).and_then(|()| file.sync_all().map_err(failed));
    if copied.is_err() {
        fs::remove_file(to).ok();
    }
    copied
}

fn copy(path: &Path, to: &Path) -> Result<(), BackupError> {
    let options = SqliteOptions::default();
    let broken = |source| OpenError::Database { path: path.to_owned(), source };
    let source = attach(path, &options).map_err(broken)?;
    let target = to.to_str().ok_or_else(|| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "its name is no UTF-8 text");
        BackupError::Copy { path: to.to_owned(), source }
    })?;
    source.execute("vacuum into ?1", [target]).map_err(broken)?;
    let check = || {
        let copy = attach(to, &options)?;
        copy.query_row("pragma integrity_check(1)", [], |row| row.get::<_, String>(0))
    };
    match check() {
        Ok(found) if found == "ok" => Ok(()),
        Ok(detail) => Err(BackupError::Damaged { path: to.to_owned(), detail }),
        Err(error) => Err(BackupError::Damaged { path: to.to_owned(), detail: error.to_string() }),
    }
}

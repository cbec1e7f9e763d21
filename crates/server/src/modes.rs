//! Who else may read what only this program should: the database, the key file, files with secrets.

use std::path::{Path, PathBuf};

use hallpass_stores::StoreUrl;

use crate::{config::Config, key_file::is_loose};

/// A file that others may read.
pub(crate) struct Loose {
    pub(crate) path: PathBuf,
    /// The log's event.
    pub(crate) event: &'static str,
    /// What is in it, and what to do.
    pub(crate) advice: &'static str,
}

/// The files that others may read, without the key file, which says so when it is read.
pub(crate) fn loose(config: &Config) -> Vec<Loose> {
    let mut found = Vec::new();
    if let StoreUrl::Sqlite(path) = &config.stores.database
        && is_loose(path)
    {
        let advice = "others can read the accounts; run chmod 600 on the file";
        found.push(Loose { path: path.clone(), event: "database_readable", advice });
    }
    let files = config.secret_files.iter().filter(|path| is_open_to_all(path));
    found.extend(files.map(|path| {
        let advice = "everybody on this machine can read the secrets in it; run chmod o= on the file";
        Loose { path: path.clone(), event: "secrets_readable", advice }
    }));
    found
}

/// A group may be meant to read a configuration: that of the service.
#[cfg(unix)]
fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}

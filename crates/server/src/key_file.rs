//! The signing secrets of a server whose operator configured none: made on first start, kept beside the database.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_session::{Keys, KeysError, Secret, hex, random};

use crate::config::lines;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file can be neither read nor made.
    #[error(
        "cannot use the key file {path:?}: {source}; check that the folder exists and that this user may write there"
    )]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What it holds is no use.
    #[error("the key file {path:?} cannot be used: {source}")]
    Keys {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: KeysError,
    },
}

/// Keys from a file.
#[derive(Debug)]
pub(crate) struct FoundKeys {
    pub(crate) keys: Keys,
    pub(crate) secrets: Vec<Secret<String>>,
    /// The file was made just now.
    pub(crate) made: bool,
    /// Others than its owner may read the file.
    pub(crate) loose: bool,
}

/// A new secret: 256 random bits as base64url.
pub(crate) fn new_secret() -> Secret<String> {
    Secret::new(URL_SAFE_NO_PAD.encode(random::<32>()))
}

/// Reads the file, or makes it. Of several servers that start at once, all get the same secret.
pub(crate) fn read_or_make(path: &Path) -> Result<FoundKeys, KeyFileError> {
    let failed = |source| KeyFileError::File { path: path.to_owned(), source };
    let mut made = false;
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            made = make(path).map_err(failed)?;
            fs::read_to_string(path).map_err(failed)?
        }
        text => text.map_err(failed)?,
    };
    let secrets: Vec<Secret<String>> = lines(&text).into_iter().map(Secret::new).collect();
    let keys = Keys::new(secrets.iter().map(Secret::expose));
    let keys = keys.map_err(|source| KeyFileError::Keys { path: path.to_owned(), source })?;
    Ok(FoundKeys { keys, secrets, made, loose: is_loose(path) })
}

/// Writes a file of its own first and links it into place: nobody ever reads half a secret. `false`: another was quicker.
fn make(path: &Path) -> io::Result<bool> {
    let draft = path.with_extension(format!("key.{}", hex(&random::<8>())));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    let secret = new_secret();
    let text = format!(
        "# Signs the session cookies. To rotate, put a new line from `hallpass key generate` above the old one.\n{}\n",
        secret.expose()
    );
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        linked => linked.map(|()| true),
    }
}

#[cfg(unix)]
fn is_loose(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_loose(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::thread;

    use hallpass_session::{IdGenerator, RandomIds};

    use super::*;

    #[test]
    fn servers_that_start_at_once_share_one_secret_that_only_the_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hallpass.key");
        let id = RandomIds.generate();
        let starts = (0..8).map(|_| {
            let path = path.clone();
            thread::spawn(move || read_or_make(&path).unwrap())
        });
        let found: Vec<_> =
            starts.collect::<Vec<_>>().into_iter().map(|start| start.join().unwrap()).collect();
        assert_eq!(found.iter().filter(|found| found.made).count(), 1);
        let signed: Vec<_> = found.iter().map(|found| found.keys.sign(&id)).collect();
        assert!(signed.iter().all(|value| *value == signed[0]));
        assert!(found.iter().all(|found| !found.loose));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_file_without_a_good_secret_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hallpass.key");
        fs::write(&path, "# nothing\nshort\n").unwrap();
        let error = read_or_make(&path).unwrap_err().to_string();
        assert!(error.contains("hallpass key generate") && !error.contains("short\n"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "# nothing\nshort\n");
    }
}

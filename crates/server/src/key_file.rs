//! The signing secrets of a server whose operator configured none: made on first start, kept beside the database.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_session::{Keys, KeysError, Secret, SessionStore, Timestamp, hex, random};
use hallpass_stores::StoreUrl;

use crate::config::{Config, Source, lines};

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
    /// There is none, and what it signed is there.
    #[error("there is no key file {path:?}, but {what}; {advice}")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What would be lost with a new one.
        what: &'static str,
        /// What to do.
        advice: String,
    },
    /// It does not have the secret that sessions from elsewhere are signed with.
    #[error("the key file {path:?} does not have the secret of the sessions that are moved; {advice}")]
    Lacks {
        /// Which file.
        path: PathBuf,
        /// What to do.
        advice: String,
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

/// Finds what is wrong with the file, if there is one.
pub(crate) fn check(path: &Path) -> Result<(), KeyFileError> {
    if path.exists() { read_or_make(path).map(drop) } else { Ok(()) }
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

/// Sees to it that no new key signs out people whose sessions are there already: brings the key file of stores that are moved
/// from, and refuses to go on without one.
///
/// # Errors
/// When the file is missing, or lacks the secret that sessions from the old stores are signed with.
pub(crate) async fn bring(
    config: &Config,
    sessions: &dyn SessionStore,
    now: Timestamp,
) -> Result<(), KeyFileError> {
    let path = &config.key_file;
    if let Some(source) = &config.stores.moving {
        follow(config, source)?;
    }
    if !config.secrets.is_empty() || path.exists() || !has_any(sessions, now).await {
        return Ok(());
    }
    if let Some(source) = &config.stores.moving {
        let advice = if source.is_connect() {
            "give Express's secrets in session.secrets_file"
        } else {
            "copy the key file of the old server there, or give its secrets in session.secrets_file"
        };
        let what = "the sessions that are moved were signed with another one";
        return Err(KeyFileError::Missing { path: path.clone(), what, advice: advice.to_owned() });
    }
    let advice = format!(
        "bring it from the backup or from the other servers; `(umask 077; hallpass key generate > {})` makes a new one, and \
         everybody has to sign in again",
        path.display()
    );
    let what = "there are sessions, which were signed with one";
    Err(KeyFileError::Missing { path: path.clone(), what, advice })
}

/// The key goes where the sessions go. What cannot be found here, the server asks for at its start.
pub(crate) fn follow(config: &Config, source: &Source) -> Result<(), KeyFileError> {
    let path = &config.key_file;
    let theirs = match &source.url {
        StoreUrl::Sqlite(database) => database.with_file_name("hallpass.key"),
        _ => return Ok(()),
    };
    if !config.secrets.is_empty() || !theirs.exists() {
        return Ok(());
    }
    if path.exists() { has_secret_of(path, &theirs) } else { copy(&theirs, path) }
}

/// What cannot be read now is found out at the first request.
async fn has_any(sessions: &dyn SessionStore, now: Timestamp) -> bool {
    sessions.list(None, 1, now).await.is_ok_and(|listed| !listed.is_empty())
}

fn copy(theirs: &Path, path: &Path) -> Result<(), KeyFileError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyFileError::File { path, source }
    };
    let text = fs::read_to_string(theirs).map_err(failed(theirs))?;
    write_new(path, &text).map_err(failed(path))?;
    let (from, path) = (theirs.display(), path.display());
    tracing::info!(event = "key_file_copied", %from, %path, "the sessions that are moved stay valid");
    Ok(())
}

/// Both are there: the new one must know the secret that signs in the old place.
fn has_secret_of(path: &Path, theirs: &Path) -> Result<(), KeyFileError> {
    let secrets = |path: &Path| {
        let text = fs::read_to_string(path)
            .map_err(|source| KeyFileError::File { path: path.to_owned(), source })?;
        Ok::<_, KeyFileError>(lines(&text))
    };
    let (ours, old) = (secrets(path)?, secrets(theirs)?);
    if old.first().is_none_or(|signing| ours.contains(signing)) {
        return Ok(());
    }
    let advice = format!("add the first secret of {} to it, below the one that is there", theirs.display());
    Err(KeyFileError::Lacks { path: path.to_owned(), advice })
}

/// A file that is not there yet, whole or not at all; `false`: another process was quicker.
fn write_new(path: &Path, text: &str) -> io::Result<bool> {
    let draft = path.with_extension(format!("key.{}", hex(&random::<8>())));
    let linked = write_private(&draft, text).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        linked => linked.map(|()| true),
    }
}

/// Replaces a file, whole or not at all, and leaves it to its owner: an operator may be root.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("key.{}", hex(&random::<8>())));
    let before = fs::metadata(path)?;
    let written = write_private(&draft, text).and_then(|()| {
        fs::set_permissions(&draft, before.permissions())?;
        give_to_owner_of(&draft, &before)?;
        fs::rename(&draft, path)
    });
    if written.is_err() {
        fs::remove_file(&draft).ok();
    }
    written
}

pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    // What root makes in the folder of a service must be the service's.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if is_root(&file) {
        give_to_owner_of(path, &fs::metadata(folder)?)?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(unix)]
fn is_root(file: &fs::File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(not(unix))]
fn is_root(_: &fs::File) -> bool {
    false
}

/// Only root may give a file away, and nobody else has to.
#[cfg(unix)]
fn give_to_owner_of(path: &Path, model: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let current = fs::metadata(path)?;
    if (current.uid(), current.gid()) == (model.uid(), model.gid()) {
        return Ok(());
    }
    chown(path, Some(model.uid()), Some(model.gid()))
}

#[cfg(not(unix))]
fn give_to_owner_of(_: &Path, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// A file with one new secret; `false`: another process was quicker.
fn make(path: &Path) -> io::Result<bool> {
    let secret = new_secret();
    let text = format!(
        "# Signs the session cookies: the first line signs, all are accepted. Rotate with `hallpass key accept`.\n{}\n",
        secret.expose()
    );
    write_new(path, &text)
}

#[cfg(unix)]
pub(crate) fn is_loose(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
pub(crate) fn is_loose(_: &Path) -> bool {
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

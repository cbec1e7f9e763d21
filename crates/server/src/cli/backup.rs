//! `hallpass backup`: a copy of the database file, with the signing secrets that belong to it.

use std::{fs, path::PathBuf};

use clap::Args;
use hallpass_stores::{StoreUrl, backup};
use serde_json::json;

use super::{
    Exit, Global,
    audit::{self, Target},
    environment,
    output::{Failure, Output},
};
use crate::{config::Config, key_file, log};

#[derive(Args)]
pub(super) struct Backup {
    /// The file to make; the key file goes beside it, as FILE.key
    file: PathBuf,
}

pub(super) fn run(output: &Output, global: &Global, Backup { file }: Backup) -> Result<(), Failure> {
    let config = Config::load(&global.flags(), environment()?)?;
    log::start_for_commands(&config);
    let StoreUrl::Sqlite(database) = &config.stores.database else {
        let message = "only SQLite is a file; copy a database server with its own tool, such as pg_dump or mongodump, and keep \
             the signing secrets with the copy";
        return Err(Failure::new(Exit::Refused, "no_file", message));
    };
    backup(database, &file).map_err(Failure::failed)?;
    let key = key_copy(&config, &file);
    audit::log("backup_made", Target::All, if key.is_ok() { "done" } else { "failed" });
    let key = key?.map(|key| key.display().to_string());
    let file = file.display().to_string();
    let sentence = match &key {
        Some(key) => format!("Copied the database to {file} and its key file to {key}; keep both secret"),
        None => format!("Copied the database to {file}; keep it secret, and the signing secrets with it"),
    };
    output.answer(&sentence, &json!({ "file": file, "key_file": key }));
    Ok(())
}

/// Without the secrets everybody would have to sign in again. Those of the configuration are kept with that.
fn key_copy(config: &Config, file: &std::path::Path) -> Result<Option<PathBuf>, Failure> {
    if !config.secrets.is_empty() || !config.key_file.exists() {
        return Ok(None);
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".key");
    let path = PathBuf::from(name);
    let copied = fs::read_to_string(&config.key_file).and_then(|text| key_file::write_private(&path, &text));
    copied.map_err(|error| {
        let message =
            format!("the database is copied, but its key file is not, to {}: {error}", path.display());
        Failure::new(Exit::Failed, "failed", message)
    })?;
    Ok(Some(path))
}

//! `hallpass check-config --online`: whether the configured providers are what the configuration takes them for, and whether the stores
//! keep what they answer.

use std::{io, path::Path, sync::Arc};

use hallpass_auth::{
    Auth, MemoryRecords, MemoryUsers,
    oauth::{Finding, Verdict},
};
use hallpass_session::{Secret, SystemClock, hex, random};
use hallpass_stores::{Layout, OpenOptions, StoreUrl, inspect};
use serde_json::{Value, json};

use super::{
    Exit, clock,
    output::{Failure, Output},
    runtime,
};
use crate::{app, config::Config};

/// Asks each of them and the stores, and says what was found. Nothing is opened or changed, here or there.
pub(super) fn check(output: &Output, config: &Config) -> Result<(), Failure> {
    let (rows, stores) = runtime()?.block_on(async {
        let clock = clock::examine(config).await.map(|finding| ("database".to_owned(), finding));
        let mut rows: Vec<(String, Finding)> = clock.into_iter().collect();
        if !config.providers.is_empty() {
            rows.extend(ask(config).await?);
        }
        Ok::<_, Failure>((rows, stores(config).await))
    })?;
    let cells: Vec<Vec<Value>> =
        stores.into_iter().chain(rows.iter().map(|(name, finding)| row(name, finding))).collect();
    output.list(&["of", "check", "result", "detail"], &cells);
    match cells.iter().filter(|row| row[2] == "wrong").count() {
        0 => {
            output.good("OK: everything that was asked is as the configuration says.");
            Ok(())
        }
        1 => Err(Failure::new(Exit::Failed, "online", "one check failed")),
        count => Err(Failure::new(Exit::Failed, "online", format!("{count} checks failed"))),
    }
}

/// Whether each store can be reached, and what it is set to that may take back what it has answered.
async fn stores(config: &Config) -> Vec<Vec<Value>> {
    let stores = &config.stores;
    let users = stores.users.as_ref().and_then(|users| users.url.as_ref());
    let moving = stores.moving.as_ref().map(|source| &source.url);
    let places = [
        ("database", Some(&stores.database)),
        ("sessions", stores.sessions.as_ref()),
        ("users", users),
        ("moving.from", moving),
    ];
    let mut rows = Vec::new();
    for (name, url) in places.into_iter().filter_map(|(name, url)| Some((name, url?))) {
        let row = |check: &str, result: &str, detail: String| {
            vec![json!(name), json!(check), json!(result), json!(detail)]
        };
        // Only sessions are where an Express app keeps them.
        let shared = name == "sessions" || (name == "database" && stores.sessions.is_none());
        let layout = if shared { stores.options.layout.clone() } else { Layout::Native };
        match inspect(url, &OpenOptions { layout, ..stores.options.clone() }).await {
            Ok(found) => {
                rows.push(reached(url, name == "database", row));
                let durable = found.is_empty() && !matches!(url, StoreUrl::Sqlite(_));
                rows.extend(durable.then(|| row("durability", "good", String::new())));
                rows.extend(found.iter().map(|warning| row("durability", "doubtful", warning.to_string())));
            }
            Err(error) => rows.push(row("reachable", "wrong", error.to_string())),
        }
    }
    rows
}

/// A server has answered. Of a file is known whether it is there, or can be made.
fn reached(url: &StoreUrl, made: bool, row: impl Fn(&str, &str, String) -> Vec<Value>) -> Vec<Value> {
    let StoreUrl::Sqlite(path) = url else { return row("reachable", "good", String::new()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => row("reachable", "good", String::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && made && folder.is_dir() => {
            row("reachable", "good", "there is no file yet; the server makes it".to_owned())
        }
        Err(error) => row("reachable", "wrong", format!("cannot open {}: {error}", path.display())),
    }
}

async fn ask(config: &Config) -> Result<Vec<(String, Finding)>, Failure> {
    // Nobody signs in: no accounts are needed, and secrets for nothing but to be there.
    let stores = (Arc::new(MemoryUsers::new()), Arc::new(MemoryRecords::new()));
    let auth = Auth::new(stores.0, stores.1, config.auth.clone()).map_err(Failure::failed)?;
    let secrets = [Secret::new(hex(&random::<32>()))];
    let public_url = config.public_url(config.listen);
    let providers = app::providers(config, &auth, &secrets, &public_url).map_err(Failure::failed)?;
    let mut found = Vec::new();
    for provider in providers.iter() {
        let findings = providers.examine(&provider.name, &SystemClock).await;
        found.extend(findings.into_iter().map(|finding| (provider.name.clone(), finding)));
    }
    Ok(found)
}

fn row(name: &str, finding: &Finding) -> Vec<Value> {
    let result = match finding.verdict {
        Verdict::Good => "good",
        Verdict::Doubtful => "doubtful",
        Verdict::Bad => "wrong",
    };
    vec![json!(name), json!(finding.what), json!(result), json!(finding.detail)]
}

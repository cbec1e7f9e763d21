//! `hallpass check-config --online`: whether the configured providers are what the configuration takes them for.

use std::sync::Arc;

use hallpass_auth::{
    Auth, MemoryRecords, MemoryUsers,
    oauth::{Finding, Verdict},
};
use hallpass_session::{Secret, SystemClock, hex, random};
use serde_json::{Value, json};

use super::{
    Exit, clock,
    output::{Failure, Output},
    runtime,
};
use crate::{app, config::Config};

/// Asks each of them, and says what was found. Nothing is opened or changed, here or there.
pub(super) fn check(output: &Output, config: &Config) -> Result<(), Failure> {
    let rows = runtime()?.block_on(async {
        let clock = clock::examine(config).await.map(|finding| ("database".to_owned(), finding));
        let mut rows: Vec<(String, Finding)> = clock.into_iter().collect();
        if !config.providers.is_empty() {
            rows.extend(ask(config).await?);
        }
        Ok::<_, Failure>(rows)
    })?;
    if rows.is_empty() {
        output.answer("No provider is configured, so nobody was asked.", &json!([]));
        return Ok(());
    }
    let cells: Vec<Vec<Value>> = rows.iter().map(|(name, finding)| row(name, finding)).collect();
    output.list(&["provider", "check", "result", "detail"], &cells);
    match rows.iter().filter(|(_, finding)| finding.verdict == Verdict::Bad).count() {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Failed, "providers", "one check of a provider failed")),
        count => Err(Failure::new(Exit::Failed, "providers", format!("{count} checks of providers failed"))),
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

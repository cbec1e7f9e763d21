//! `hallpass link`: connections of accounts to sign-in providers.

use clap::Subcommand;
use hallpass_session::{Secret, hex, random};
use serde_json::json;

use super::{
    Desk, Exit,
    audit::Target,
    output::{Failure, Output},
};
use crate::app;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Keep connections when a provider's issuer or link key changes
    Rekey {
        /// The provider's name in the configuration
        provider: String,
        /// What it was called before: its issuer, or its link key
        #[arg(long, value_name = "ISSUER")]
        from: String,
    },
}

pub(super) async fn run(output: &Output, desk: &Desk, command: Command) -> Result<(), Failure> {
    let Command::Rekey { provider, from } = command;
    // Nothing is sealed or opened here.
    let secrets = [Secret::new(hex(&random::<32>()))];
    let public_url = desk.config.public_url(desk.config.listen);
    let providers = app::providers(&desk.config, &desk.auth, &secrets, &public_url);
    let providers = providers.map_err(Failure::failed)?;
    let rekeyed = desk.act("links_rekeyed", Target::All, async {
        let rekeyed = providers.rekey(&provider, &from, desk.now).await.map_err(Failure::failed)?;
        let message = format!("no provider {provider:?} is configured");
        rekeyed.ok_or_else(|| Failure::new(Exit::NotFound, "not_found", message))
    });
    let (moved, taken) = {
        let rekeyed = rekeyed.await?;
        (rekeyed.moved, rekeyed.taken)
    };
    let text = format!(
        "{moved} connections have the provider's present name now; {taken} were left, because the person has another account already."
    );
    output.answer(&text, &json!({ "moved": moved, "taken": taken }));
    Ok(())
}

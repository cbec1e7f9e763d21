//! `hallpass key`: signing secrets.

use clap::Subcommand;
use serde_json::json;

use super::output::Output;
use crate::key_file::new_secret;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a new secret and print it: put it in front of the others to rotate
    Generate,
}

pub(super) fn run(output: &Output, command: &Command) {
    match command {
        Command::Generate => {
            let secret = new_secret();
            output.answer(secret.expose(), &json!({ "secret": secret.expose() }));
        }
    }
}

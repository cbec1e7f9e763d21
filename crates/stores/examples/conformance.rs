//! Checks every promise of the session contract against real stores and prints a table:
//!
//! ```text
//! cargo run -p hallpass-stores --example conformance -- sqlite:/tmp/check.db postgres://… mongodb://… redis://…
//! ```
//!
//! It writes sessions of its own and leaves some behind: use databases that hold nothing else.

#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::{env, error::Error, process::ExitCode};

use hallpass_session::conformance::{SWEEP, Store, contracts};
use hallpass_stores::{OpenOptions, StoreUrl, open_sessions};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut stores: Vec<(String, Store)> = Vec::new();
    for text in env::args().skip(1) {
        let url: StoreUrl = text.parse()?;
        let kind = text.split(':').next().unwrap_or_default().to_owned();
        stores.push((kind, open_sessions(&url, &OpenOptions::default()).await?));
    }
    // What is broken is said in the table; the panic's own words go to standard error.
    let kinds: Vec<&str> = stores.iter().map(|(kind, _)| kind.as_str()).collect();
    println!("| contract | {} |\n|---|{}", kinds.join(" | "), "---|".repeat(kinds.len()));
    let mut broken = 0;
    for contract in contracts() {
        let mut cells = Vec::new();
        let name = contract.name;
        for (kind, store) in &stores {
            if name == SWEEP && kind.starts_with("redis") {
                cells.push("by itself");
                continue;
            }
            let contract = contracts().into_iter().find(|other| other.name == name);
            let store = store.clone();
            let checked = tokio::spawn(async move {
                if let Some(contract) = contract {
                    contract.check(store).await;
                }
            });
            let kept = checked.await.is_ok();
            broken += u32::from(!kept);
            cells.push(if kept { "kept" } else { "BROKEN" });
        }
        println!("| {name} | {} |", cells.join(" | "));
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

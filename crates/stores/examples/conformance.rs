//! Checks every promise of the session contract against real stores and prints a table:
//!
//! ```text
//! cargo run -p hallpass-stores --example conformance -- sqlite:/tmp/check.db postgres://… connect+postgres://…
//! ```
//!
//! `connect+` in front of a URL takes the layout of the store that Express has there, `objects+mongodb://…` that of connect-mongo with
//! `stringify: false`. It writes sessions of its own and leaves some behind: use databases that hold nothing else.

#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::{env, error::Error, process::ExitCode, time::Duration};

use hallpass_session::conformance::{SWEEP, Store, contracts};
use hallpass_stores::{AutoRemove, ConnectLayouts, Layout, OpenOptions, StoreUrl, open_sessions};

/// What objects keep by value only: `1.50` becomes `1.5`.
const VERBATIM: &str = "documents survive byte for byte";

struct Column {
    name: String,
    store: Store,
    /// Promises that are kept in another way, and how.
    otherwise: Vec<(&'static str, &'static str)>,
}

async fn column(argument: &str) -> Result<Column, Box<dyn Error>> {
    let (layout, text) =
        argument.split_once('+').filter(|(layout, _)| !layout.contains(':')).unwrap_or(("", argument));
    let url: StoreUrl = text.parse()?;
    let mut layouts = ConnectLayouts::default();
    layouts.pg.create_table = true;
    // MongoDB's own clock is later than the suite's: its index would end the suite's sessions.
    layouts.mongo.auto_remove = AutoRemove::Interval(Duration::from_secs(600));
    layouts.mongo.stringify = layout != "objects";
    let layout = match layout {
        "connect" | "objects" => Layout::Connect(Box::new(layouts)),
        _ => Layout::Native,
    };
    let kind = text.split(':').next().unwrap_or_default();
    let name = match (&layout, &url) {
        (Layout::Native, _) => kind.to_owned(),
        (Layout::Connect(layouts), StoreUrl::Mongo(_)) if !layouts.mongo.stringify => {
            "connect-mongo, objects".to_owned()
        }
        (Layout::Connect(_), StoreUrl::Mongo(_)) => "connect-mongo".to_owned(),
        (Layout::Connect(_), StoreUrl::Postgres(_)) => "connect-pg-simple".to_owned(),
        (Layout::Connect(_), _) => format!("connect-redis ({kind})"),
    };
    let mut otherwise = Vec::new();
    if matches!(url, StoreUrl::Redis(_)) {
        otherwise.push((SWEEP, "by itself"));
    }
    if name.ends_with("objects") {
        otherwise.push((VERBATIM, "by value"));
    }
    let options = OpenOptions { layout, ..OpenOptions::default() };
    Ok(Column { name, store: open_sessions(&url, &options).await?, otherwise })
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut columns = Vec::new();
    for argument in env::args().skip(1) {
        columns.push(column(&argument).await?);
    }
    // What is broken is said in the table; the panic's own words go to standard error.
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    println!("| contract | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    let mut broken = 0;
    for contract in contracts() {
        let mut cells = Vec::new();
        let name = contract.name;
        for Column { store, otherwise, .. } in &columns {
            if let Some((_, how)) = otherwise.iter().find(|(other, _)| *other == name) {
                cells.push(*how);
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

//! `hallpass migrate`: from one store to another, with everybody signed in all along.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use clap::Args;
use hallpass_stores::{Extent, Moved, Mover, Step};
use serde_json::json;

use super::{
    Exit, Global,
    audit::{self, Target},
    environment,
    output::{Failure, Output},
    runtime,
};
use crate::{
    config::{Config, Flags, Old},
    key_file, log,
};

/// How often the progress is shown.
const BLINK: Duration = Duration::from_millis(100);

/// How wide the bar is, in characters.
const BAR: usize = 30;

#[derive(Args)]
pub(super) struct Migrate {
    /// Where everything is now; it goes to --database and --sessions, or what the configuration says
    #[arg(long, value_name = "URL")]
    from: String,
    /// How sessions are stored there [default: native]; of `connect`, only sessions are moved
    #[arg(long, value_name = "LAYOUT", value_parser = ["native", "connect"])]
    from_layout: Option<String>,
    /// Leave accounts where they are
    #[arg(long, conflicts_with = "accounts_only")]
    sessions_only: bool,
    /// Leave sessions where they are
    #[arg(long)]
    accounts_only: bool,
    /// Count only, change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What it says where ids would be needed that nobody knows.
const ONLY_HASHES: &str = "sessions of the native layout cannot be moved to the layout of Express's stores: only the hashes of their ids are \
     known, and Express needs the ids";

/// What to do instead: browsers know their ids.
const WAIT_FOR_BROWSERS: &str = "move the accounts with --accounts-only, and run the server with --moving-from: it moves each session when \
     its browser comes back, and nobody is signed out; after session.absolute_timeout none is left. With connect-mongo and transform_id = \
     \"sha256\" on both sides, hashes are enough";

pub(super) fn run(output: &Output, global: &Global, migrate: Migrate) -> Result<(), Failure> {
    let flags =
        Flags { moving_from: Some(migrate.from), moving_layout: migrate.from_layout, ..global.flags() };
    let sessions_only = ("HALLPASS__MOVING__SESSIONS_ONLY".to_owned(), "true".to_owned());
    let sessions_only = migrate.sessions_only.then_some(sessions_only);
    let config = Config::load(&flags, environment()?.into_iter().chain(sessions_only))?;
    let Some(source) = config.stores.moving.clone() else {
        return Err(Failure::new(Exit::Usage, "usage", "--from is empty; name the stores to move from"));
    };
    let extent = match (migrate.accounts_only, source.is_sessions_only()) {
        (true, true) => {
            let what = "there are no accounts to move: where --from leads, only sessions are moved";
            return Err(Failure::new(Exit::Usage, "usage", what));
        }
        (true, false) => Extent::Accounts,
        (false, true) => Extent::Sessions,
        (false, false) => Extent::All,
    };
    if extent != Extent::Accounts && !source.is_connect() && !config.stores.takes_hashed_ids() {
        return Err(Failure::new(Exit::Refused, "only_hashes", ONLY_HASHES).with_advice(WAIT_FOR_BROWSERS));
    }
    log::start_for_commands(&config);
    runtime()?.block_on(async {
        let new = config.stores.open_target(!migrate.dry_run).await.map_err(Failure::failed)?;
        let old = source.open(&config.stores, &new).await.map_err(Failure::failed)?;
        let (Old::All(old) | Old::Sessions(old)) = old;
        if extent != Extent::Accounts && !migrate.dry_run {
            key_file::follow(&config, &source).map_err(Failure::failed)?;
        }
        move_all(output, Mover::new(old, new), extent, migrate.dry_run).await
    })
}

async fn move_all(output: &Output, mover: Mover, extent: Extent, dry_run: bool) -> Result<(), Failure> {
    let found = mover.count(extent).await.map_err(Failure::failed)?;
    if dry_run {
        answer(output, "To move", &found);
        return Ok(());
    }
    let mut progress = Progress::new(found);
    let moved = mover.run(extent, |step, count| progress.show(step, count)).await;
    progress.end();
    audit::log("migrated", Target::All, if moved.is_ok() { "done" } else { "failed" });
    let moved = moved.map_err(|error| {
        let failure = Failure::failed(error);
        failure.with_advice("what was moved is there; run the command again to go on")
    })?;
    answer(output, "Moved", &moved);
    if moved.refused > 0 {
        let accounts =
            format!("{} accounts stayed: others have their addresses in the new store", moved.refused);
        return Err(Failure::new(Exit::Refused, "email_taken", accounts));
    }
    Ok(())
}

fn answer(output: &Output, done: &str, moved: &Moved) {
    let Moved { users, records, sessions, refused } = *moved;
    let sentence = format!("{done}: {users} users, {records} records, {sessions} sessions");
    let value = json!({ "users": users, "records": records, "sessions": sessions, "refused": refused });
    output.answer(&sentence, &value);
}

/// A line at the terminal that says how far it is.
struct Progress {
    whole: Moved,
    shown: Option<Instant>,
    visible: bool,
}

impl Progress {
    fn new(whole: Moved) -> Self {
        Self { whole, shown: None, visible: io::stderr().is_terminal() }
    }

    fn show(&mut self, step: Step, count: u64) {
        let whole = match step {
            Step::Users => self.whole.users,
            Step::Records => self.whole.records,
            Step::Sessions => self.whole.sessions,
        };
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= BLINK) || count >= whole;
        if self.visible && due {
            self.shown = Some(Instant::now());
            write!(io::stderr(), "\r{}", line(step, count, whole)).ok();
        }
    }

    fn end(&self) {
        if self.visible && self.shown.is_some() {
            writeln!(io::stderr()).ok();
        }
    }
}

/// `sessions [#####.....] 50 of 100`. More may come than were counted.
fn line(step: Step, count: u64, whole: u64) -> String {
    let whole = whole.max(count).max(1);
    let part = usize::try_from(count * BAR as u64 / whole).unwrap_or(BAR);
    format!("{:<8} [{}{}] {count} of {whole}", step.to_string(), "#".repeat(part), ".".repeat(BAR - part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_long_as_what_is_done() {
        assert_eq!(
            line(Step::Users, 1, 2),
            format!("users    [{}{}] 1 of 2", "#".repeat(15), ".".repeat(15))
        );
        assert_eq!(line(Step::Sessions, 0, 0), format!("sessions [{}] 0 of 1", ".".repeat(30)));
        assert_eq!(line(Step::Records, 5, 3), format!("records  [{}] 5 of 5", "#".repeat(30)));
    }
}

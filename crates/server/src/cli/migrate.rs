//! `hallpass migrate`: from one store to another, with everybody signed in all along.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use clap::Args;
use hallpass_stores::{Moved, Mover, Step};
use serde_json::json;

use super::{
    Exit, Global, environment,
    output::{Failure, Output},
    runtime,
};
use crate::config::{Config, Flags, Old};

/// How often the progress is shown.
const BLINK: Duration = Duration::from_millis(100);

/// How wide the bar is, in characters.
const BAR: usize = 30;

#[derive(Args)]
pub(super) struct Migrate {
    /// Where everything is now; it goes to --database and --sessions, or what the configuration says
    #[arg(long, value_name = "URL")]
    from: String,
    /// Leave accounts where they are
    #[arg(long)]
    sessions_only: bool,
    /// Count only, change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(output: &Output, global: &Global, migrate: Migrate) -> Result<(), Failure> {
    let flags = Flags { moving_from: Some(migrate.from), ..global.flags() };
    let sessions_only = ("HALLPASS__MOVING__SESSIONS_ONLY".to_owned(), migrate.sessions_only.to_string());
    let config = Config::load(&flags, environment()?.into_iter().chain([sessions_only]))?;
    let Some(source) = config.stores.moving.clone() else {
        return Err(Failure::new(Exit::Usage, "usage", "--from is empty; name the stores to move from"));
    };
    runtime()?.block_on(async {
        let new = config.stores.open_target(!migrate.dry_run).await.map_err(Failure::failed)?;
        let old = source.open(&config.stores, &new).await.map_err(Failure::failed)?;
        let (Old::All(old) | Old::Sessions(old)) = old;
        move_all(output, Mover::new(old, new), source.is_sessions_only(), migrate.dry_run).await
    })
}

async fn move_all(output: &Output, mover: Mover, sessions_only: bool, dry_run: bool) -> Result<(), Failure> {
    let found = mover.count(sessions_only).await.map_err(Failure::failed)?;
    if dry_run {
        answer(output, "To move", &found);
        return Ok(());
    }
    let mut progress = Progress::new(found);
    let moved = mover.run(sessions_only, |step, count| progress.show(step, count)).await;
    progress.end();
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

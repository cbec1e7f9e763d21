//! How SQLite finds what each statement asks for: every statement that the contracts' tests run is explained.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rusqlite::{
    Connection,
    trace::{TraceEvent, TraceEventCodes},
};

use super::{Sqlite, SqliteOptions};

/// The statements that were run, by the file they were run on.
static RUN: Mutex<BTreeMap<PathBuf, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

/// What a scan may say that stops by itself: the newest rows.
const BOUNDED: &str = "from sessions order by rowid desc limit 100";

/// Notes every statement that the connection runs.
pub(super) fn noted(mut connection: Connection, path: &Path) -> rusqlite::Result<Connection> {
    let path = path.to_owned();
    let note = move |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(_, sql) = event {
            RUN.lock().unwrap().entry(path.clone()).or_default().insert(sql.to_owned());
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note))?;
    Ok(connection)
}

/// The steps of a statement that read a whole table; `None` when it cannot be explained, such as `begin`.
fn scans(connection: &Connection, sql: &str) -> Option<Vec<String>> {
    let mut plan = connection.prepare(&format!("explain query plan {sql}")).ok()?;
    let steps = plan.raw_query().mapped(|row| row.get::<_, String>("detail"));
    let steps: Vec<String> = steps.map(Result::unwrap).collect();
    let whole =
        |step: &String| ["sessions", "records", "users"].iter().any(|table| *step == format!("SCAN {table}"));
    Some(steps.into_iter().filter(whole).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_reads_a_whole_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plans.db");
    let open = || Arc::new(Sqlite::open(&path, &SqliteOptions::default()).unwrap());
    hallpass_session::conformance::run(open()).await;
    hallpass_auth::conformance::records(open()).await;
    hallpass_auth::conformance::users(open()).await;
    let run = RUN.lock().unwrap().get(&path).unwrap().clone();
    let connection = Connection::open(&path).unwrap();
    let explained = run.iter().filter_map(|sql| Some((sql, scans(&connection, sql)?)));
    let explained: Vec<_> = explained.filter(|(sql, _)| !sql.contains(BOUNDED)).collect();
    let part = |word: &str| explained.iter().filter(|(sql, _)| sql.contains(word)).count();
    assert!(part("sessions") > 10 && part("records") > 5 && part("users") > 5, "{run:#?}");
    let whole: Vec<_> = explained.iter().filter(|(_, steps)| !steps.is_empty()).collect();
    assert!(whole.is_empty(), "{whole:#?}");
}

//! The schema: forward only, one step after the other.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::OpenError;

/// `HaPa`, in the file's header: whose database this is.
const APPLICATION_ID: u32 = 0x4861_5061;

/// Step n brings schema n-1 to n. A step that was released is never changed again.
const STEPS: &[&str] = &[include_str!("../migrations/sqlite/0001_initial.sql")];

/// Brings the database up to date. Of two programs that start at once, one does it and the other waits.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign { path: path.to_owned() },
        _ => OpenError::Database { path: path.to_owned(), source },
    };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let pragma =
        |name| transaction.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map_err(failed);
    let (application, found) = (pragma("application_id")?, pragma("user_version")?);
    let tables: u32 =
        transaction.query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if application != APPLICATION_ID && (tables > 0 || found > 0) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    for step in STEPS.iter().skip(found as usize) {
        transaction.execute_batch(step).map_err(failed)?;
    }
    if found < known {
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        transaction.pragma_update(None, "user_version", known).map_err(failed)?;
        tracing::info!(event = "database_migrated", from = found, to = known);
    }
    transaction.commit().map_err(failed)
}

//! The schema: forward only, one step after the other.

use deadpool_postgres::GenericClient;
use tokio_postgres::Error;

use super::{KIND, Postgres};
use crate::{ConnectError, server::preparing};

/// Step n brings schema n-1 to n. A step that was released is never changed again.
const STEPS: &[&str] = &[include_str!("../migrations/postgres/0001_initial.sql")];

/// `HaPa`: the lock that programs take which start at once.
const LOCK: i64 = 0x4861_5061;

/// Brings the schema up to date. Of two programs that start at once, one does it and the other waits.
pub(super) async fn migrate(postgres: &Postgres) -> Result<(), ConnectError> {
    preparing(KIND, "the schema to be brought up to date", steps(postgres)).await
}

async fn steps(postgres: &Postgres) -> Result<(), ConnectError> {
    let mut client = postgres.client().await?;
    let failed = |error: Error| ConnectError::Prepare { kind: KIND, source: error.into() };
    let transaction = client.transaction().await.map_err(failed)?;
    let found = version(&transaction).await.map_err(failed)?;
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(ConnectError::Newer { kind: KIND, found, known });
    }
    for step in STEPS.iter().skip(found as usize) {
        transaction.batch_execute(step).await.map_err(failed)?;
    }
    if found < known {
        let note = "insert into hallpass_schema (version) values ($1)";
        transaction.execute(note, &[&i64::from(known)]).await.map_err(failed)?;
        tracing::info!(event = "database_migrated", from = found, to = known);
    }
    transaction.commit().await.map_err(failed)
}

/// The schema's version, with the lock held until the transaction ends.
async fn version(transaction: &impl GenericClient) -> Result<u32, Error> {
    transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let table = "create table if not exists hallpass_schema (version bigint not null primary key)";
    transaction.batch_execute(table).await?;
    let newest = "select coalesce(max(version), 0) as version from hallpass_schema";
    let row = transaction.query_one(newest, &[]).await?;
    Ok(u32::try_from(row.try_get::<_, i64>("version")?).unwrap_or(u32::MAX))
}

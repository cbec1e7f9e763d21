//! [`DurabilityWarning`]: a setting of a database under which it may take back what it has answered.

use std::fmt;

/// A setting of a database under which a crash, a failover or a lack of memory can take back what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DurabilityWarning {
    /// The kind of the database, such as `PostgreSQL`.
    pub database: &'static str,
    /// The setting as it was found, such as `fsync = off`.
    pub setting: String,
    /// What can happen because of it.
    pub consequence: &'static str,
    /// What to do.
    pub advice: &'static str,
}

impl fmt::Display for DurabilityWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.setting, self.consequence, self.advice)
    }
}

/// Logs what was found when a store was opened. That it could not be found out is no reason not to serve.
pub(crate) fn report<E: std::error::Error + 'static>(
    database: &'static str,
    found: Result<Vec<DurabilityWarning>, E>,
) {
    match found {
        Ok(found) => found.iter().for_each(DurabilityWarning::log),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::info!(event = "store_durability_unknown", database, error);
        }
    }
}

impl DurabilityWarning {
    fn log(&self) {
        let Self { database, setting, consequence, advice } = self;
        tracing::warn!(event = "store_not_durable", database, setting, consequence, advice);
    }
}

//! [`StoreUrl`]: where a store is, as operators write it.

use std::{fmt, path::PathBuf, str::FromStr};

use hallpass_session::Secret;

/// Where a store is. Prints without passwords. Equal when written the same way.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `mongodb://…` or `mongodb+srv://…`
    Mongo(Secret<String>),
    /// `postgres://…` or `postgresql://…`
    Postgres(Secret<String>),
    /// `redis://…`, `rediss://…`, `redis-sentinel://…`, `redis-cluster://…`; keeps sessions only
    Redis(Secret<String>),
}

impl PartialEq for StoreUrl {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(one), Self::Sqlite(other)) => one == other,
            (Self::Mongo(one), Self::Mongo(other))
            | (Self::Postgres(one), Self::Postgres(other))
            | (Self::Redis(one), Self::Redis(other)) => one.expose() == other.expose(),
            _ => false,
        }
    }
}

/// The text names no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// There is no such kind.
    #[error(
        "the database {scheme:?} is of no kind this program knows; write sqlite:PATH, such as sqlite:hallpass.db, \
         mongodb://host/database, postgres://host/database, or for sessions redis://host"
    )]
    Unknown {
        /// What was given, up to the first colon: the rest may hold a password.
        scheme: String,
    },
    /// Other programs are told options of SQLite there; here they would become part of the file's name.
    #[error(
        "{text:?} has the parameter {parameter:?}, which does nothing here; write sqlite:PATH without it"
    )]
    Parameter {
        /// What was given.
        text: String,
        /// The parameter.
        parameter: String,
    },
    /// A file's name without what kind it is.
    #[error("{text:?} does not say what kind of database it is; write sqlite:{text}")]
    NoScheme {
        /// What was given.
        text: String,
    },
    /// SQLite could keep it in memory, or be told options; here, that would lose accounts.
    #[error("{text:?} is no path to a file; write sqlite:PATH, such as sqlite:hallpass.db")]
    NoPath {
        /// What was given.
        text: String,
    },
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.starts_with(['?', ':']) || path.starts_with("file:") {
                    return Err(StoreUrlError::NoPath { text: text.to_owned() });
                }
                // What this program does anyway.
                let path = path.strip_suffix("?mode=rwc").unwrap_or(path);
                if let Some((_, parameter)) = path.split_once('?') {
                    let (text, parameter) = (text.to_owned(), parameter.to_owned());
                    return Err(StoreUrlError::Parameter { text, parameter });
                }
                Ok(Self::Sqlite(path.into()))
            }
            "mongodb" | "mongodb+srv" => Ok(Self::Mongo(Secret::new(text.to_owned()))),
            "postgres" | "postgresql" => Ok(Self::Postgres(Secret::new(text.to_owned()))),
            _ if is_redis(scheme) => Ok(Self::Redis(Secret::new(text.to_owned()))),
            _ if is_file(text) => Err(StoreUrlError::NoScheme { text: text.to_owned() }),
            _ => Err(StoreUrlError::Unknown { scheme: format!("{scheme}:…") }),
        }
    }
}

/// Whether it looks like a file of SQLite's, and like nothing that could hold a password.
fn is_file(text: &str) -> bool {
    let endings = [".db", ".db3", ".sqlite", ".sqlite3"];
    !text.contains([':', '@']) && (text.contains('/') || endings.iter().any(|ending| text.ends_with(ending)))
}

fn is_redis(scheme: &str) -> bool {
    let plain =
        scheme.strip_suffix("-sentinel").or_else(|| scheme.strip_suffix("-cluster")).unwrap_or(scheme);
    matches!(plain, "redis" | "rediss" | "valkey" | "valkeys")
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Mongo(_) => f.write_str("mongodb://…"),
            Self::Postgres(_) => f.write_str("postgres://…"),
            Self::Redis(_) => f.write_str("redis://…"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_and_passwords_never_shown() {
        for (text, shown) in [
            ("sqlite:hallpass.db", "sqlite:hallpass.db"),
            ("sqlite:///var/lib/x.db", "sqlite:/var/lib/x.db"),
            ("sqlite://app.db?mode=rwc", "sqlite:app.db"),
            ("mongodb://u:hunter2@a,b/x?replicaSet=r", "mongodb://…"),
            ("mongodb+srv://u:hunter2@a/x", "mongodb://…"),
            ("postgresql://u:hunter2@a/x", "postgres://…"),
            ("rediss-cluster://u:hunter2@a,b", "redis://…"),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hunter2"));
        }
        for text in ["hallpass.db", "/var/lib/hallpass/hallpass.sqlite3", "./accounts"] {
            let error = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(error.contains(&format!("write sqlite:{text}")), "{error}");
        }
        for text in [
            "mysql://u:hunter2@a/x",
            "hunter2",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:file:x?mode=memory",
            "sqlite://app.db?mode=ro",
            "sqlite:app.db?cache=shared",
            "sqlite:app.db?mode=rwc&cache=shared",
            "sqlite:?mode=rwc",
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(error.contains("sqlite:PATH"), "{error}");
            assert!(!error.contains("hunter2@"), "{error}");
        }
    }
}

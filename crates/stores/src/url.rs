//! [`DatabaseUrl`]: where things are kept, as operators write it.

use std::{fmt, path::PathBuf, str::FromStr};

use hallpass_session::Secret;

/// Where everything is kept. Prints without passwords.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `mongodb://…` or `mongodb+srv://…`
    Mongo(Secret<String>),
    /// `postgres://…` or `postgresql://…`
    Postgres(Secret<String>),
}

/// The text names no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// There is no such kind.
    #[error(
        "the database {scheme:?} is of no kind this program knows; write sqlite:PATH, such as sqlite:hallpass.db, \
         mongodb://host/database or postgres://host/database"
    )]
    Unknown {
        /// What was given, up to the first colon: the rest may hold a password.
        scheme: String,
    },
    /// SQLite could keep it in memory, or be told options; here, that would lose accounts.
    #[error("{text:?} is no path to a file; write sqlite:PATH, such as sqlite:hallpass.db")]
    NoPath {
        /// What was given.
        text: String,
    },
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.starts_with(':') || path.starts_with("file:") {
                    return Err(DatabaseUrlError::NoPath { text: text.to_owned() });
                }
                Ok(Self::Sqlite(path.into()))
            }
            "mongodb" | "mongodb+srv" => Ok(Self::Mongo(Secret::new(text.to_owned()))),
            "postgres" | "postgresql" => Ok(Self::Postgres(Secret::new(text.to_owned()))),
            _ => Err(DatabaseUrlError::Unknown { scheme: format!("{scheme}:…") }),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Mongo(_) => f.write_str("mongodb://…"),
            Self::Postgres(_) => f.write_str("postgres://…"),
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
            ("mongodb://u:hunter2@a,b/x?replicaSet=r", "mongodb://…"),
            ("mongodb+srv://u:hunter2@a/x", "mongodb://…"),
            ("postgresql://u:hunter2@a/x", "postgres://…"),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hunter2"));
        }
        for text in
            ["mysql://u:hunter2@a/x", "hunter2", "sqlite:", "sqlite::memory:", "sqlite:file:x?mode=memory"]
        {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains("sqlite:PATH"), "{error}");
            assert!(!error.contains("hunter2@"), "{error}");
        }
    }
}

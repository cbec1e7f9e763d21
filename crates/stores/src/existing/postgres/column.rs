//! One column of the table, as the catalog of PostgreSQL describes it.

use serde_json::Value;

use crate::existing::{Roles, reading::Raw};

pub(super) struct Column {
    pub(super) name: String,
    /// As a cast takes it.
    pub(super) kind: String,
    pub(super) exact: String,
    pub(super) required: bool,
    /// The database gives a value.
    pub(super) given: bool,
}

/// A cast to `character` would cut everything but the first.
pub(super) fn castable(kind: &str) -> String {
    if kind == "character" { "bpchar".to_owned() } else { kind.to_owned() }
}

pub(super) fn of_json(text: &str) -> Raw<'static> {
    match serde_json::from_str(text) {
        Ok(Value::Null) => Raw::Missing,
        Ok(Value::Bool(flag)) => Raw::Bool(flag),
        Ok(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Raw::Whole(whole),
            (None, Some(number)) => Raw::Real(number),
            (None, None) => Raw::Other,
        },
        Ok(Value::String(text)) => Raw::Text(text.into()),
        Ok(Value::Array(_) | Value::Object(_)) | Err(_) => Raw::Other,
    }
}

impl Column {
    pub(super) fn is_text(&self) -> bool {
        matches!(&*self.kind, "text" | "character varying" | "bpchar") || self.is_citext()
    }

    pub(super) fn is_citext(&self) -> bool {
        self.kind.rsplit('.').next() == Some("citext")
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(&*self.kind, "smallint" | "integer" | "bigint")
    }

    pub(super) fn is_moment(&self) -> bool {
        self.kind.starts_with("timestamp") || self.kind == "date"
    }

    pub(super) fn is_fraction(&self) -> bool {
        matches!(&*self.kind, "numeric" | "real" | "double precision")
    }

    /// The most characters that it holds, where it says so.
    pub(super) fn length(&self) -> Option<usize> {
        let (_, rest) = self.exact.split_once('(')?;
        rest.trim_end_matches(')').parse().ok()
    }

    pub(super) fn can_be_flag(&self) -> bool {
        let number = self.is_whole() || self.is_fraction();
        self.kind == "boolean" || number || self.is_moment() || self.is_text() || self.is_json()
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(&*self.kind, "json" | "jsonb")
    }

    /// One role may be a text or one of an enumeration.
    pub(super) fn can_be(&self, roles: Option<&Roles>) -> bool {
        let list = self.kind.ends_with("[]") || self.is_json();
        match roles {
            Some(Roles::List(_)) => list,
            _ => !list && !self.is_whole(),
        }
    }
}

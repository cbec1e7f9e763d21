//! [`LoginKey`]: where in the session the user's id stands.

use hallpass_session::{Session, ValueError};
use serde_json::{Map, Value};

use crate::UserId;

/// Under which key of the session's data the signed-in user stands, so that an Express app on the same store sees the
/// same login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginKey {
    key: String,
    nested: bool,
}

impl Default for LoginKey {
    /// `userId`, as tutorials write by hand.
    fn default() -> Self {
        Self::plain("userId")
    }
}

impl LoginKey {
    /// The id stands directly under `key`.
    pub fn plain(key: &str) -> Self {
        Self { key: key.to_owned(), nested: false }
    }

    /// As passport has it: `passport: { user: id }`.
    pub fn passport() -> Self {
        Self { key: "passport".to_owned(), nested: true }
    }

    /// Who is signed in. A session that is listed under another user than its data says belongs to nobody.
    pub fn user(&self, session: &Session) -> Result<Option<UserId>, ValueError> {
        let listed = session.user();
        if let Some(user) = &listed
            && !self.nested
            && session.with_raw(&self.key, |json| json.is_some_and(|json| is_text(json, user)))
        {
            return Ok(Some(user.clone().into()));
        }
        let Some(value) = session.get::<Value>(&self.key)? else { return Ok(None) };
        let value = if self.nested { value.get("user").cloned().unwrap_or_default() } else { value };
        let id = match value {
            Value::String(id) if !id.is_empty() => id,
            Value::Number(id) => id.to_string(),
            _ => return Ok(None),
        };
        let same = listed.is_none_or(|listed| *listed == *id);
        Ok(same.then(|| UserId::new(&id)))
    }

    /// Writes who is signed in, beside [`Session::establish`].
    pub(crate) fn set(&self, session: &Session, user: &UserId, numeric: bool) -> Result<(), ValueError> {
        let id = value_of(user, numeric);
        if !self.nested {
            return session.insert(&self.key, &id);
        }
        let mut members = session.get::<Map<String, Value>>(&self.key).ok().flatten().unwrap_or_default();
        members.insert("user".to_owned(), id);
        session.insert(&self.key, &members)
    }
}

/// Whether JSON is plainly this text: the common case, told without parsing. A text with escapes is left to the parser.
fn is_text(json: &str, text: &str) -> bool {
    let inner = json.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    !text.is_empty() && inner == Some(text) && !text.contains('\\')
}

/// An id as it stands in the data. JavaScript knows integers up to 2^53 - 1; drivers give larger ones as texts, and so do we.
fn value_of(user: &UserId, numeric: bool) -> Value {
    let number = user.as_str().parse::<i64>().ok().filter(|id| id.unsigned_abs() < 1 << 53);
    number.filter(|_| numeric).map_or_else(|| user.as_str().into(), Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_numbers_where_an_application_has_numbers_and_javascript_can_hold_them() {
        for (id, numeric, expected) in [
            ("5", true, json!(5)),
            ("5", false, json!("5")),
            ("9007199254740991", true, json!(9_007_199_254_740_991_u64)),
            ("9007199254740992", true, json!("9007199254740992")),
            ("507f1f77bcf86cd799439011", true, json!("507f1f77bcf86cd799439011")),
        ] {
            assert_eq!(value_of(&UserId::new(id), numeric), expected, "{id}");
        }
    }

    #[test]
    fn only_a_text_that_needs_no_parsing_is_told_without() {
        for (json, text, plainly) in [
            (r#""ann""#, "ann", true),
            (r#""ann""#, "an", false),
            ("5", "5", false),
            (r#""""#, "", false),
            (r#"{"user":"ann"}"#, "ann", false),
            // Literally the same characters, but the JSON says "A".
            (r#""\u0041""#, r"\u0041", false),
        ] {
            assert_eq!(is_text(json, text), plainly, "{json}");
        }
    }
}

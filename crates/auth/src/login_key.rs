//! [`LoginKey`]: where in the session the user's id stands.

use hallpass_session::{LogLimit, Session, ValueError};
use serde_json::{Map, Value};

use crate::UserId;

/// Under which key of the session's data the signed-in user stands, so that an Express app on the same store sees the
/// same login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginKey {
    key: String,
    nested: bool,
}

/// Whom a session names as its user.
enum Named {
    Nobody,
    User(UserId),
    /// There is something, but no ID.
    Unreadable,
    /// The session is listed under another user than its data names.
    Two,
}

/// Clients may send such a session as often as they like.
static UNREADABLE: LogLimit = LogLimit::per_minute();

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

    /// Who is signed in. A session that is listed under another user than its data says belongs to nobody, and neither does one whose
    /// data names its user in a form that is no ID, such as an object, a lone surrogate, or a value nested too deeply to be read.
    pub fn user(&self, session: &Session) -> Option<UserId> {
        match self.named(session) {
            Named::User(id) => Some(id),
            Named::Nobody | Named::Two => None,
            Named::Unreadable => {
                self.say_unreadable(session);
                None
            }
        }
    }

    fn say_unreadable(&self, session: &Session) {
        let Some(left_out) = UNREADABLE.allows() else { return };
        let (session, login_key) = (session.handle().map(tracing::field::display), &*self.key);
        let reason = "the session's data names its user by something that is no text and no number; \
                      it counts as signed out";
        tracing::warn!(event = "session_user_unreadable", session, login_key, left_out, reason);
    }

    /// Whether the session may hold data of somebody else than `user`.
    pub(crate) fn is_of_another(&self, session: &Session, user: &UserId) -> bool {
        match self.named(session) {
            Named::Nobody => false,
            Named::User(former) => former != *user,
            Named::Unreadable | Named::Two => true,
        }
    }

    fn named(&self, session: &Session) -> Named {
        let listed = session.user();
        if let Some(user) = &listed
            && !self.nested
            && session.with_raw(&self.key, |json| json.is_some_and(|json| is_text(json, user)))
        {
            return Named::User(user.clone().into());
        }
        let Ok(value) = session.get::<Value>(&self.key) else { return Named::Unreadable };
        let value = match value {
            Some(Value::Object(mut members)) if self.nested => members.remove("user"),
            Some(value) if self.nested && !value.is_null() => return Named::Unreadable,
            value => value,
        };
        let id = match value {
            None | Some(Value::Null | Value::Bool(false)) => return Named::Nobody,
            Some(Value::String(id)) if id.is_empty() => return Named::Nobody,
            Some(Value::String(id)) => id,
            Some(Value::Number(id)) => id.to_string(),
            Some(_) => return Named::Unreadable,
        };
        if listed.is_none_or(|listed| *listed == *id) { Named::User(UserId::new(&id)) } else { Named::Two }
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

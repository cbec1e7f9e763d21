//! Sessions as objects (`stringify: false`): BSON as JavaScript's `JSON.stringify` shows it, and back without changing the types of what
//! stayed the same.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use mongodb::bson::{Bson, DateTime, Document};
use serde_json::{Map, Number, Value, json};

/// JSON as JavaScript would have it, were it to encode this.
pub(super) fn to_json(bson: &Bson) -> Value {
    match bson {
        Bson::Double(number) => double(*number),
        Bson::String(text) | Bson::Symbol(text) => text.as_str().into(),
        Bson::Array(all) => all.iter().map(to_json).collect(),
        Bson::Document(document) => object(document),
        Bson::Boolean(flag) => (*flag).into(),
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => long(*number),
        Bson::DateTime(date) => {
            date.try_to_rfc3339_string().map_or(Value::Null, |text| with_millis(&text).into())
        }
        Bson::ObjectId(id) => id.to_hex().into(),
        Bson::Null | Bson::Undefined => Value::Null,
        Bson::Binary(binary) => STANDARD.encode(&binary.bytes).into(),
        Bson::Decimal128(number) => json!({ "$numberDecimal": number.to_string() }),
        // Nothing that sessions hold; what it looks like matters only in that it stays the same.
        other => other.to_string().into(),
    }
}

pub(super) fn object(document: &Document) -> Value {
    let shown = document.iter().filter(|(_, value)| !matches!(value, Bson::Undefined));
    shown.map(|(key, value)| (key.clone(), to_json(value))).collect::<Map<_, _>>().into()
}

/// BSON of JSON, in which everything that equals the old keeps its type.
pub(super) fn merged(old: Option<&Bson>, new: &Value) -> Bson {
    match (old, new) {
        (Some(old), new) if to_json(old) == *new => old.clone(),
        (Some(Bson::Document(old)), Value::Object(new)) => {
            let merged = new.iter().map(|(key, value)| (key.clone(), merged(old.get(key), value)));
            Bson::Document(merged.collect())
        }
        (Some(Bson::Array(old)), Value::Array(new)) => {
            new.iter().enumerate().map(|(at, value)| merged(old.get(at), value)).collect()
        }
        (Some(Bson::DateTime(_)), Value::String(text)) => date(text).unwrap_or_else(|| text.as_str().into()),
        (_, new) => plain(new),
    }
}

/// JSON in which half a surrogate pair is what Node's driver stores for it: U+FFFD. BSON has no way to keep it.
pub(super) fn without_halves(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        // Texts are as JavaScript writes them: whole pairs are letters, and what is escaped is half of one.
        let is_half = escape
            .strip_prefix("\\ud")
            .is_some_and(|digits| digits.starts_with(['8', '9', 'a', 'b', 'c', 'd', 'e', 'f']));
        let length = if is_half { 6 } else { 2 };
        out.push_str(if is_half { "\u{fffd}" } else { &escape[..length] });
        rest = &escape[length..];
    }
    out.push_str(rest);
    out.into()
}

/// Whether JSON holds values within values more than `most` deep.
pub(super) fn is_nested(json: &str, most: usize) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > most {
            return true;
        }
    }
    false
}

/// A session as connect-mongo stores it: its cookie first.
pub(super) fn session(session: &Document) -> Document {
    let mut stored = Document::new();
    if let Ok(cookie) = session.get_document("cookie") {
        stored.insert("cookie", self::cookie(cookie));
    }
    for (key, value) in session {
        if !stored.contains_key(key) {
            stored.insert(key, value.clone());
        }
    }
    stored
}

/// A session's cookie as Express's driver stores it: `expires` as a date, and what is not set as `null`.
fn cookie(cookie: &Document) -> Document {
    const KEYS: [&str; 9] = [
        "originalMaxAge",
        "partitioned",
        "priority",
        "expires",
        "secure",
        "httpOnly",
        "domain",
        "path",
        "sameSite",
    ];
    let value = |key: &str| cookie.get(key).cloned().unwrap_or(Bson::Null);
    let mut stored: Document = KEYS.iter().map(|key| ((*key).to_owned(), value(key))).collect();
    if let Some(expires) = cookie.get_str("expires").ok().and_then(date) {
        stored.insert("expires", expires);
    }
    stored
}

/// The moment that JavaScript writes this way.
pub(super) fn date(text: &str) -> Option<Bson> {
    DateTime::parse_rfc3339_str(text).ok().map(Bson::DateTime)
}

/// As Node's driver stores what JSON can express.
fn plain(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(flag) => Bson::Boolean(*flag),
        Value::Number(number) => {
            let small = number.as_i64().and_then(|number| i32::try_from(number).ok());
            small.map_or_else(|| Bson::Double(number.as_f64().unwrap_or_default()), Bson::Int32)
        }
        Value::String(text) => text.as_str().into(),
        Value::Array(all) => all.iter().map(plain).collect(),
        Value::Object(map) => {
            Bson::Document(map.iter().map(|(key, value)| (key.clone(), plain(value))).collect())
        }
    }
}

/// JavaScript has doubles only: beyond 2^53 it shows the nearest.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "that is what is shown")]
fn long(number: i64) -> Value {
    (number as f64 as i64).into()
}

/// JavaScript shows whole numbers without a fraction.
#[expect(clippy::cast_possible_truncation, reason = "exact below 2^53")]
fn double(number: f64) -> Value {
    const SAFE: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < SAFE {
        return (number as i64).into();
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// JavaScript always shows milliseconds.
fn with_millis(text: &str) -> String {
    let (seconds, fraction) =
        text.trim_end_matches('Z').split_once('.').unwrap_or((text.trim_end_matches('Z'), ""));
    format!("{seconds}.{fraction:0<3}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{bson, doc, oid::ObjectId};

    fn everything() -> Document {
        doc! {
            "int": 3, "double": 3.0, "half": 0.5, "big": 1e21, "nan": f64::NAN, "long": 5_i64, "longer": 9_007_199_254_740_993_i64, "null": null, "flag": true,
            "id": ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap(),
            "date": DateTime::from_millis(1_795_424_473_300), "list": [1, "two", { "three": 3.0 }],
            "inner": { "date": DateTime::from_millis(0), "undefined": Bson::Undefined, "n": 1 },
        }
    }

    #[test]
    fn objects_look_as_javascript_shows_them() {
        let expected = json!({
            "int": 3, "double": 3, "half": 0.5, "big": 1e21, "nan": null, "long": 5, "longer": 9_007_199_254_740_992_i64, "null": null, "flag": true,
            "id": "507f1f77bcf86cd799439011", "date": "2026-11-23T09:01:13.300Z", "list": [1, "two", { "three": 3 }],
            "inner": { "date": "1970-01-01T00:00:00.000Z", "n": 1 },
        });
        assert_eq!(object(&everything()), expected);
    }

    #[test]
    fn depth_is_counted_outside_of_texts() {
        assert!(is_nested(&"[".repeat(100_000), 96));
        assert!(!is_nested(r#"{"a":"[[[[","b":"\"{{{{","c":[[1],[2]]}"#, 3));
        assert!(is_nested(r#"{"c":[[1]]}"#, 2));
    }

    #[test]
    fn halves_of_pairs_are_replaced_and_nothing_else() {
        assert_eq!(without_halves(r#"{"a":"x"}"#), r#"{"a":"x"}"#);
        let text = r#"{"\\ud83d":"\ud83d \u0001 \\ude00\ude00"}"#;
        let expected = "{\"\\\\ud83d\":\"\u{fffd} \\u0001 \\\\ude00\u{fffd}\"}";
        assert_eq!(without_halves(text), expected);
    }

    #[test]
    fn what_stays_keeps_its_type_beside_what_changes() {
        let old = everything();
        let mut json = object(&old);
        json["inner"]["n"] = json!(2);
        json["date"] = json!("2026-11-23T09:01:14.000Z");
        json["list"][1] = json!("zwei");
        json["new"] = json!({ "small": -1, "large": 5_000_000_000_i64 });
        let Bson::Document(new) = merged(Some(&Bson::Document(old.clone())), &json) else {
            panic!("no document")
        };
        for key in ["int", "double", "half", "big", "long", "longer", "null", "flag", "id"] {
            assert_eq!(new.get(key), old.get(key), "{key}");
        }
        assert_eq!(new.get("list"), Some(&bson!([1, "zwei", { "three": 3.0 }])));
        assert_eq!(new.get("inner"), Some(&doc! { "date": DateTime::from_millis(0), "n": 2 }.into()));
        assert_eq!(new.get("date"), Some(&DateTime::from_millis(1_795_424_474_000).into()));
        assert_eq!(new.get("new"), Some(&doc! { "small": -1, "large": 5e9 }.into()));
    }
}

//! JSON as JavaScript reads and writes it: what `JSON.stringify(JSON.parse(text))` makes of a text.
//!
//! Express compares sessions by that text, and stores it. Keys that are whole numbers come first, of two equal keys the last value
//! counts, numbers are doubles in their shortest form, and half a surrogate pair is written as an escape (ECMA-262 §25.5).

mod reader;

use std::fmt::Write;

use serde_json::value::RawValue;

use self::reader::Reader;
use crate::Document;

/// The text is no JSON. Says so in the words of Node's `JSON.parse`, which Express apps have in their logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// The object that a text holds, its values as JavaScript would write them; `None` when it holds something else.
pub(crate) fn object(text: &str) -> Result<Option<Document>, JsonError> {
    let Some(entries) = Reader::new(text).object()? else { return Ok(None) };
    let mut document = Document::new();
    for (key, value) in entries {
        let key: String = serde_json::from_str(&key).map_err(|_| {
            JsonError("a key of the session holds half a surrogate pair, which cannot be kept".to_owned())
        })?;
        document.insert_raw(&key, &raw(value));
    }
    Ok(Some(document))
}

/// The value that a text holds, as JavaScript would write it.
pub(crate) fn canonical(text: &str) -> Result<Box<RawValue>, JsonError> {
    Reader::new(text).whole().map(raw)
}

/// The document as JavaScript would write it, without the key `but`.
pub(crate) fn text(document: &Document, but: Option<&str>) -> String {
    let mut entries: Vec<_> = document.iter().filter(|(key, _)| but != Some(key)).collect();
    entries.sort_by_key(|(key, _)| index(key).map_or(u64::MAX, u64::from));
    let mut json = String::with_capacity(entries.iter().map(|(key, raw)| key.len() + raw.len() + 4).sum());
    json.push('{');
    for (key, value) in entries {
        if json.len() > 1 {
            json.push(',');
        }
        quote(key, &mut json);
        json.push(':');
        json.push_str(value);
    }
    json.push('}');
    json
}

/// What was made by this module is JSON.
fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_else(|_| unreachable!("what was just written is JSON"))
}

/// The whole number that a key is, if it is one: such keys come first, in order (ECMA-262 §10.1.11).
fn index(key: &str) -> Option<u32> {
    let number: u32 = key.parse().ok()?;
    (number < u32::MAX && number.to_string() == key).then_some(number)
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    text.chars().for_each(|letter| escape(letter, out));
    out.push('"');
}

fn escape(letter: char, out: &mut String) {
    match letter {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        control if control < ' ' => unit(u32::from(control), out),
        other => out.push(other),
    }
}

/// One UTF-16 code unit as an escape.
fn unit(unit: u32, out: &mut String) {
    // A String takes everything.
    let _ = write!(out, "\\u{unit:04x}");
}

/// A number as JavaScript writes it (ECMA-262 §6.1.6.1.20).
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "null".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let shortest = format!("{value:e}");
    let (sign, shortest) = shortest.strip_prefix('-').map_or(("", &*shortest), |rest| ("-", rest));
    let (digits, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let digits = digits.replace('.', "");
    let (length, point) = (digits.len(), exponent.parse::<i32>().unwrap_or_default() + 1);
    let whole = usize::try_from(point).unwrap_or_default();
    let body = match point {
        1..=21 if whole >= length => format!("{digits}{}", "0".repeat(whole - length)),
        1..=21 => format!("{}.{}", &digits[..whole], &digits[whole..]),
        -5..=0 => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        _ => {
            let fraction = if length > 1 { format!(".{}", &digits[1..]) } else { String::new() };
            format!("{}{fraction}e{:+}", &digits[..1], point - 1)
        }
    };
    format!("{sign}{body}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Left: a text; right: what Node 20 prints for `JSON.stringify(JSON.parse(text))`.
    #[test]
    fn texts_come_out_as_javascript_writes_them() {
        for (text, javascript) in [
            (
                " [ 1.0 , -0.0, 1e21, 1e-7, 123456789012345680000, 0.1, -1.50, 1e400 ] ",
                "[1,0,1e+21,1e-7,123456789012345680000,0.1,-1.5,null]",
            ),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("0.000001", "0.000001"),
            ("9007199254740993", "9007199254740992"),
            (r#""\u00e9\ud83d\ude00\ud83d\/\u001f\b\ude00""#, "\"é😀\\ud83d/\\u001f\\b\\ude00\""),
            (
                r#"{"b":1,"2":2,"a":3,"10":4,"b":5,"01":6,"-1":7}"#,
                r#"{"2":2,"10":4,"b":5,"a":3,"01":6,"-1":7}"#,
            ),
            ("\"\u{2028}\u{7f}\"", "\"\u{2028}\u{7f}\""),
            ("[]", "[]"),
            ("{ }", "{}"),
            ("[null,true,false]", "[null,true,false]"),
        ] {
            assert_eq!(canonical(text).unwrap().get(), javascript, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_as_node_does() {
        for (text, problem) in [
            ("{oops", "Expected property name or '}' in JSON at position 1"),
            ("", "Unexpected end of JSON input"),
            ("[1", "Expected ',' or ']' after array element in JSON at position 2"),
            (r#"{"a" 1}"#, "Expected ':' after property name in JSON at position 5"),
            (r#"{"a":1 "b"}"#, "Expected ',' or '}' after property value in JSON at position 7"),
            (r#"{"a":1,}"#, "Expected double-quoted property name in JSON at position 7"),
            ("\"ab", "Unterminated string in JSON at position 3"),
            ("\"a\nb\"", "Bad control character in string literal in JSON at position 2"),
            ("1 2", "Unexpected non-whitespace character after JSON at position 2"),
            (r#""\x""#, "Bad escaped character in JSON at position 2"),
        ] {
            assert_eq!(canonical(text).unwrap_err().to_string(), problem, "{text}");
        }
        assert!(canonical(&"[".repeat(5000)).is_err());
        assert_eq!(object("[1]").unwrap(), None);
        assert_eq!(object(" 5 ").unwrap(), None);
    }

    /// Comparing each of these keys with all others takes minutes, which a test notices without measuring time.
    #[test]
    fn an_object_of_many_keys_is_read_in_one_pass() {
        const KEYS: usize = 500_000;
        let pairs = (0..KEYS).map(|key| format!("\"k{key}\":{key}")).collect::<Vec<_>>().join(",");
        let read = object(&format!("{{{pairs},\"k5\":6}}")).unwrap().unwrap();
        assert_eq!((read.len(), read.get_raw("k5"), read.get_raw("k6")), (KEYS, Some("6"), Some("6")));
    }

    #[test]
    fn documents_are_written_in_javascripts_order() {
        let document = object(r#"{"cookie":{"b":1,"a":2},"x":1,"7":2}"#).unwrap().unwrap();
        assert_eq!(text(&document, None), r#"{"7":2,"cookie":{"b":1,"a":2},"x":1}"#);
        assert_eq!(text(&document, Some("cookie")), r#"{"7":2,"x":1}"#);
    }

    proptest! {
        #[test]
        fn writing_again_changes_nothing(value: f64, text in ".*", bytes: String) {
            let once = canonical(&serde_json::json!({ "a": value, "b": text }).to_string()).unwrap();
            let twice = canonical(once.get()).unwrap();
            prop_assert_eq!(twice.get(), once.get());
            // Anything at all is read or refused, never a panic.
            let _ = canonical(&bytes);
        }

        #[test]
        fn numbers_survive(value: f64) {
            prop_assume!(value.is_finite());
            // Minus zero becomes zero.
            prop_assert_eq!(number(value).parse::<f64>().unwrap().to_bits(), (value + 0.0).to_bits());
        }
    }
}

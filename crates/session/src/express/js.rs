//! JSON as JavaScript reads and writes it: what `JSON.stringify(JSON.parse(text))` makes of a text.
//!
//! Express compares sessions by that text, and stores it. Keys that are whole numbers come first, of two equal keys the last value
//! counts, numbers are doubles in their shortest form, and half a surrogate pair is written as an escape (ECMA-262 §25.5).

use std::fmt::Write;

use serde_json::value::RawValue;

use crate::Document;

/// Deeper values are refused: reading them would exhaust the stack.
const MAX_DEPTH: usize = 1000;

/// The text is no JSON. Says so in the words of Node's `JSON.parse`, which Express apps have in their logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// The object that a text holds, its values as JavaScript would write them; `None` when it holds something else.
pub(crate) fn object(text: &str) -> Result<Option<Document>, JsonError> {
    let mut reader = Reader { text, at: 0 };
    reader.blanks();
    if reader.peek() != Some(b'{') {
        reader.whole()?;
        return Ok(None);
    }
    let entries = reader.entries(1)?;
    reader.end()?;
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
    Reader { text, at: 0 }.whole().map(raw)
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

/// Reads a text from `at` on and writes what it reads anew.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte after blanks, if it is this one.
    fn takes(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn whole(&mut self) -> Result<String, JsonError> {
        let value = self.value(0)?;
        self.end()?;
        Ok(value)
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.at_position("Unexpected non-whitespace character after JSON")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<String, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError(format!(
                "the session holds values within values, more than {MAX_DEPTH} deep"
            )));
        }
        self.blanks();
        match self.peek() {
            Some(b'{') => self.entries(depth + 1).map(|entries| {
                let entries = entries.into_iter().map(|(key, value)| format!("{key}:{value}"));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    /// The entries of an object, keys quoted, in JavaScript's order.
    fn entries(&mut self, depth: usize) -> Result<Vec<(String, String)>, JsonError> {
        self.at += 1;
        let mut entries: Vec<(String, String)> = Vec::new();
        if self.takes(b'}') {
            return Ok(entries);
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                let first = "Expected property name or '}' in JSON";
                let later = "Expected double-quoted property name in JSON";
                return Err(self.ended_or(if entries.is_empty() { first } else { later }));
            }
            let key = self.string()?;
            if !self.takes(b':') {
                return Err(self.ended_or("Expected ':' after property name in JSON"));
            }
            let value = self.value(depth)?;
            match entries.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => entries.push((key, value)),
            }
            if self.takes(b'}') {
                break;
            }
            if !self.takes(b',') {
                return Err(self.ended_or("Expected ',' or '}' after property value in JSON"));
            }
        }
        entries.sort_by_key(|(key, _)| index(key.trim_matches('"')).map_or(u64::MAX, u64::from));
        Ok(entries)
    }

    fn array(&mut self, depth: usize) -> Result<String, JsonError> {
        self.at += 1;
        let mut values = Vec::new();
        if self.takes(b']') {
            return Ok("[]".to_owned());
        }
        loop {
            values.push(self.value(depth)?);
            if self.takes(b']') {
                return Ok(format!("[{}]", values.join(",")));
            }
            if !self.takes(b',') {
                return Err(self.ended_or("Expected ',' or ']' after array element in JSON"));
            }
        }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::from('"');
        loop {
            let letter = self.text[self.at..].chars().next();
            match letter {
                None => return Err(self.at_position("Unterminated string in JSON")),
                Some('"') => break,
                Some('\\') => self.escaped(&mut out)?,
                Some(control) if control < ' ' => {
                    return Err(self.at_position("Bad control character in string literal in JSON"));
                }
                Some(letter) => {
                    self.at += letter.len_utf8();
                    escape(letter, &mut out);
                }
            }
        }
        self.at += 1;
        out.push('"');
        Ok(out)
    }

    fn escaped(&mut self, out: &mut String) -> Result<(), JsonError> {
        let letter = match self.text.as_bytes().get(self.at + 1) {
            Some(b'u') => return self.units(out),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(*plain),
            _ => {
                self.at += 1;
                return Err(self.at_position("Bad escaped character in JSON"));
            }
        };
        self.at += 2;
        escape(letter, out);
        Ok(())
    }

    /// `\uXXXX`, and the other half of a pair if it follows.
    fn units(&mut self, out: &mut String) -> Result<(), JsonError> {
        let first = self.unit().ok_or_else(|| self.at_position("Bad Unicode escape in JSON"))?;
        if let Some(letter) = char::from_u32(first) {
            escape(letter, out);
            return Ok(());
        }
        let before = self.at;
        let second = if first < 0xdc00 { self.unit() } else { None };
        if let Some(second) = second.filter(|second| (0xdc00..0xe000).contains(second)) {
            let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            out.extend(char::from_u32(pair));
        } else {
            self.at = before;
            unit(first, out);
        }
        Ok(())
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 6)?.strip_prefix("\\u")?;
        let unit = u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        self.at += 6;
        Some(unit)
    }

    fn number(&mut self) -> Result<String, JsonError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else if self.digits() == 0 {
            return Err(self.at_position("No number after minus sign in JSON"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.at_position("Unterminated fractional number in JSON"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(self.at_position("Exponent part is missing a number in JSON"));
            }
        }
        Ok(number(self.text[start..self.at].parse().unwrap_or(f64::NAN)))
    }

    /// Moves over digits; how many.
    fn digits(&mut self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        digits
    }

    fn word(&mut self) -> Result<String, JsonError> {
        let rest = &self.text[self.at..];
        let word = ["null", "true", "false"].into_iter().find(|word| rest.starts_with(word));
        let word = word.ok_or_else(|| self.unexpected())?;
        self.at += word.len();
        Ok(word.to_owned())
    }

    fn at_position(&self, problem: &str) -> JsonError {
        let position = self.text[..self.at].encode_utf16().count();
        JsonError(format!("{problem} at position {position}"))
    }

    fn ended_or(&self, problem: &str) -> JsonError {
        if self.at >= self.text.len() {
            return JsonError(format!("{problem} at position {}", self.text.encode_utf16().count()));
        }
        self.at_position(problem)
    }

    /// Names the letter, but nothing of what stands around it: that may be a secret.
    fn unexpected(&self) -> JsonError {
        match self.text[self.at..].chars().next() {
            None => JsonError("Unexpected end of JSON input".to_owned()),
            Some(letter) => self.at_position(&format!("Unexpected token '{letter}' in JSON")),
        }
    }
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

//! Reads JSON and writes it as JavaScript does, in one go.

use std::collections::{HashMap, hash_map::Entry};

use super::{JsonError, escape, index, number, unit};

/// Deeper values are refused: reading them would exhaust the stack.
const MAX_DEPTH: usize = 1000;

/// Up to so many keys, looking at each of them is faster than a map.
const FEW: usize = 32;

/// Where keys stand that were read before, once there are many.
#[derive(Default)]
struct Seen(HashMap<String, usize>);

impl Seen {
    /// Adds an entry. Of two with equal keys the last value counts, in the place of the first.
    fn put(&mut self, entries: &mut Vec<(String, String)>, key: String, value: String) {
        if entries.len() < FEW {
            match entries.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => entries.push((key, value)),
            }
            return;
        }
        if self.0.is_empty() {
            self.0.extend(entries.iter().enumerate().map(|(at, (known, _))| (known.clone(), at)));
        }
        match self.0.entry(key) {
            Entry::Occupied(place) => entries[*place.get()].1 = value,
            Entry::Vacant(place) => {
                entries.push((place.key().clone(), value));
                place.insert(entries.len() - 1);
            }
        }
    }
}

/// Reads a text from `at` on and writes what it reads anew.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The entries of the object that is the whole text, keys quoted, in JavaScript's order; `None` when it is something else.
    pub(super) fn object(mut self) -> Result<Option<Vec<(String, String)>>, JsonError> {
        self.blanks();
        if self.peek() != Some(b'{') {
            self.whole()?;
            return Ok(None);
        }
        let entries = self.entries(1)?;
        self.end()?;
        Ok(Some(entries))
    }

    /// The whole text, which is one value.
    pub(super) fn whole(mut self) -> Result<String, JsonError> {
        let value = self.value(0)?;
        self.end()?;
        Ok(value)
    }

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
        let (mut entries, mut seen) = (Vec::new(), Seen::default());
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
            seen.put(&mut entries, key, value);
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

    /// `\u` and four digits, and the other half of a pair if it follows.
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

//! [`Document`]: the application's data, carried verbatim.
//!
//! A document is an ordered map of raw JSON values. Only what is touched is ever parsed or encoded again, so what another
//! program wrote (`1e+21`, a lone `\ud83d`, its key order) is the same after we wrote it back.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, MapAccess, Visitor},
    ser::{self, SerializeMap},
};
use serde_json::value::RawValue;

/// The data of a session: JSON values by name, in the order they were first inserted.
#[derive(Clone, Default)]
pub struct Document {
    // Sessions hold a handful of keys: a list is smaller and faster than a map, and keeps the order.
    entries: Vec<Entry>,
    source: Option<Arc<[u8]>>,
}

/// A key and its value in one piece of memory: a cache holds a hundred thousand of them.
#[derive(Clone)]
struct Entry {
    /// The key, then the value as JSON text.
    text: Box<str>,
    /// Where the value begins.
    value: usize,
}

impl Entry {
    fn new(key: &str, value: &RawValue) -> Self {
        Self { text: [key, value.get()].concat().into(), value: key.len() }
    }

    fn key(&self) -> &str {
        &self.text[..self.value]
    }

    fn json(&self) -> &str {
        &self.text[self.value..]
    }
}

/// A value does not fit: it cannot be written as JSON, or the stored JSON is of another shape.
/// Names the key, never the value.
#[derive(Debug, thiserror::Error)]
#[error("the session value {key:?} is not of the expected shape")]
pub struct ValueError {
    key: String,
    source: serde_json::Error,
}

impl Document {
    /// A document without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the store read this document from, in that store's own words: it may need them to write a changed document in its
    /// place. They are no part of the value; whoever makes a document has none.
    pub fn source(&self) -> Option<&Arc<[u8]>> {
        self.source.as_ref()
    }

    /// Notes what the document was read from; for stores.
    pub fn set_source(&mut self, source: Arc<[u8]>) {
        self.source = Some(source);
    }

    /// The value of `key` as JSON text.
    pub fn get_raw(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.key() == key).map(Entry::json)
    }

    /// The value of `key` as a `T`; `None` when there is none.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ValueError> {
        self.get_raw(key).map(|json| decode(key, json)).transpose()
    }

    /// Sets `key` to JSON text, in its old place if it has one.
    pub fn insert_raw(&mut self, key: &str, value: &RawValue) {
        self.put(Entry::new(key, value));
    }

    /// Sets `key` to what it is in `other`, if it is there.
    pub fn copy_from(&mut self, other: &Self, key: &str) {
        if let Some(entry) = other.entries.iter().find(|entry| entry.key() == key) {
            self.put(entry.clone());
        }
    }

    /// Appends the entries of `other` whose keys `keep` accepts. A key that this document has already takes the value of `other`,
    /// in its old place.
    pub fn append(&mut self, other: &Self, keep: impl Fn(&str) -> bool) {
        let others = other.entries.iter().filter(|entry| keep(entry.key()));
        if self.entries.len() <= FEW {
            let before = self.entries.len();
            for entry in others {
                // The keys of `other` differ from each other: only those from before can be the same.
                match self.entries[..before].iter_mut().find(|old| old.key() == entry.key()) {
                    Some(old) => *old = entry.clone(),
                    None => self.entries.push(entry.clone()),
                }
            }
        } else {
            self.entries.extend(others.cloned());
            self.without_repeats();
        }
    }

    /// Removes the entries whose keys `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.entries.retain(|entry| keep(entry.key()));
    }

    /// Finds values by their keys, for callers that look for many of them.
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        if self.entries.len() <= FEW { Lookup::Few(self) } else { Lookup::Many(self.iter().collect()) }
    }

    /// Adds an entry whose key is known to be new.
    pub(crate) fn put_new(&mut self, key: &str, value: &RawValue) {
        self.entries.push(Entry::new(key, value));
    }

    /// Adds an entry that was read from a text, which may contain its key twice; [`without_repeats`](Self::without_repeats) follows.
    fn put_read(&mut self, entry: Entry) {
        if self.entries.len() < FEW { self.put(entry) } else { self.entries.push(entry) }
    }

    /// Of entries with equal keys the last value counts, in the place of the first.
    fn without_repeats(&mut self) {
        if self.entries.len() <= FEW {
            return;
        }
        let mut first: HashMap<&str, usize> = HashMap::with_capacity(self.entries.len());
        let places: Vec<usize> = self
            .entries
            .iter()
            .enumerate()
            .map(|(at, entry)| *first.entry(entry.key()).or_insert(at))
            .collect();
        if first.len() == self.entries.len() {
            return;
        }
        let mut kept: Vec<Option<Entry>> = self.entries.iter().map(|_| None).collect();
        for (entry, place) in std::mem::take(&mut self.entries).into_iter().zip(places) {
            kept[place] = Some(entry);
        }
        self.entries = kept.into_iter().flatten().collect();
    }

    fn put(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|old| old.key() == entry.key()) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// Sets `key` to any value that serialises to JSON.
    pub fn insert<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), ValueError> {
        self.insert_raw(key, &encode(key, value)?);
        Ok(())
    }

    /// Removes `key`; `true` when it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let at = self.entries.iter().position(|entry| entry.key() == key);
        at.map(|at| self.entries.remove(at)).is_some()
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The keys and their values as JSON text, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (entry.key(), entry.json()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The document as one JSON object, values byte for byte as they came in.
    pub fn to_json(&self) -> String {
        let values: usize = self.entries.iter().map(|entry| entry.text.len() + 4).sum();
        let mut json = String::with_capacity(values + 2);
        json.push('{');
        for (index, (key, value)) in self.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(key).to_string());
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }

    /// Reads a JSON object. Of a key that occurs twice the last value counts, as in JavaScript.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let document = reader.deserialize_map(Entries)?;
        reader.end()?;
        Ok(document)
    }

    /// How much memory it takes, about, in bytes; what it was read from included.
    pub(crate) fn weight(&self) -> usize {
        let list = self.entries.capacity() * size_of::<Entry>() + ALLOCATION;
        let texts: usize = self.entries.iter().map(|entry| entry.text.len() + ALLOCATION).sum();
        let source = self.source.as_ref().map_or(0, |source| source.len() + 2 * ALLOCATION);
        list + texts + source
    }
}

/// Up to so many entries, looking at each of them is faster than a map.
const FEW: usize = 32;

/// The values of a document by their keys.
pub(crate) enum Lookup<'a> {
    Few(&'a Document),
    Many(HashMap<&'a str, &'a str>),
}

impl Lookup<'_> {
    /// The value of `key` as JSON text.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        match self {
            Self::Few(document) => document.get_raw(key),
            Self::Many(values) => values.get(key).copied(),
        }
    }
}

/// What an allocation takes beside its content.
const ALLOCATION: usize = 16;

/// Equal when the same keys in the same order hold the same JSON text.
impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Shows the keys only: values may be secrets.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(key, _)| key)).finish()
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            let value: &RawValue = serde_json::from_str(value).map_err(ser::Error::custom)?;
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(object.get()).map_err(de::Error::custom)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut document = Document::new();
        while let Some((key, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            document.put_read(Entry::new(&key, value));
        }
        document.without_repeats();
        // It may lie in a cache for hours.
        document.entries.shrink_to_fit();
        Ok(document)
    }
}

/// `json` as a `T`, naming `key` if it is of another shape.
pub(crate) fn decode<T: DeserializeOwned>(key: &str, json: &str) -> Result<T, ValueError> {
    serde_json::from_str(json).map_err(|source| ValueError { key: key.to_owned(), source })
}

/// `value` as JSON text, naming `key` if it has none.
pub(crate) fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Box<RawValue>, ValueError> {
    serde_json::value::to_raw_value(value).map_err(|source| ValueError { key: key.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_values_survive_unchanged() {
        // What JSON.stringify writes and serde_json would refuse or rewrite: big numbers, odd floats, a lone surrogate.
        let json =
            r#"{"z":1e+21,"a":1.50,"smile":"\ud83d","cookie":{"originalMaxAge":null},"n":-0,"é\n":[1, 2]}"#;
        let mut document = Document::from_json(json).unwrap();
        assert_eq!(document.to_json(), json);
        document.insert("new", &7).unwrap();
        document.insert("a", &2).unwrap();
        let expected = json.replace("1.50", "2").replace("[1, 2]}", "[1, 2],\"new\":7}");
        assert_eq!(document.to_json(), expected);
        assert!(document.get::<String>("smile").is_err());
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(Document::from_json(r#"{"a":1,"b":2,"a":3}"#).unwrap().to_json(), r#"{"a":3,"b":2}"#);
    }

    /// Comparing each of these keys with all others takes minutes, which a test notices without measuring time.
    #[test]
    fn a_document_of_many_keys_is_read_in_one_pass() {
        const KEYS: usize = 1_000_000;
        let pair = |key: usize| format!("\"k{key}\":{key}");
        let entries: Vec<String> = (0..KEYS).map(pair).collect();
        let text = format!("{{{}}}", entries.join(","));
        let document = Document::from_json(&text).unwrap();
        assert_eq!((document.len(), document.to_json() == text), (KEYS, true));
        let mut whole = Document::new();
        whole.insert("cookie", &1).unwrap();
        whole.append(&document, |key| key != "k0");
        assert_eq!((whole.len(), whole.get_raw("k1"), whole.get_raw("k0")), (KEYS, Some("1"), None));
    }

    #[test]
    fn appended_entries_follow_and_replace() {
        let mut document = Document::from_json(r#"{"a":1,"b":2}"#).unwrap();
        let other = Document::from_json(r#"{"c":3,"a":4,"d":5}"#).unwrap();
        document.append(&other, |key| key != "d");
        assert_eq!(document.to_json(), r#"{"a":4,"b":2,"c":3}"#);
        let numbered = (0..=FEW).map(|key| format!("\"{key}\":0")).collect::<Vec<_>>().join(",");
        let mut large = Document::from_json(&format!("{{\"a\":1,{numbered}}}")).unwrap();
        large.append(&document, |key| key != "b");
        assert_eq!(large.to_json(), format!("{{\"a\":4,{numbered},\"c\":3}}"));
    }

    #[test]
    fn what_is_not_an_object_is_an_error() {
        for bad in ["", "[]", "null", "{", r#"{"a"}"#, r#"{"a":1}x"#] {
            assert!(Document::from_json(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_values() {
        let mut document = Document::new();
        document.insert("token", "hunter2").unwrap();
        assert_eq!(format!("{document:?}"), r#"{"token"}"#);
        let error = document.get::<u8>("token").unwrap_err();
        assert!(!format!("{error}").contains("hunter2"));
    }

    proptest! {
        /// What holds of few keys holds of many: `serde_json` keeps the first place and the last value too.
        #[test]
        fn of_equal_keys_the_last_value_counts(keys in proptest::collection::vec(0..60_u8, 0..120)) {
            let pairs = keys.iter().enumerate().map(|(value, key)| format!("\"{key}\":{value}"));
            let text = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
            let mut expected = Document::new();
            for (value, key) in keys.iter().enumerate() {
                expected.insert(&key.to_string(), &value).unwrap();
            }
            prop_assert_eq!(Document::from_json(&text).unwrap(), expected);
        }

        #[test]
        fn any_document_round_trips(entries in proptest::collection::vec((".*", any::<Option<f64>>()), 0..8)) {
            let mut document = Document::new();
            for (key, value) in &entries {
                document.insert(key, value).unwrap();
            }
            let again = Document::from_json(&document.to_json()).unwrap();
            prop_assert_eq!(&again, &document);
            prop_assert_eq!(serde_json::to_string(&document).unwrap(), document.to_json());
        }
    }
}

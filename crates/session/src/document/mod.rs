//! [`Document`]: the application's data, carried verbatim.
//!
//! A document is an ordered map of raw JSON values. Only what is touched is ever parsed or encoded again, so what another
//! program wrote (`1e+21`, a lone `\ud83d`, its key order) is the same after we wrote it back.

mod index;
mod json;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use serde::{Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

#[cfg(test)]
pub(crate) use self::index::work;
use self::json::Entries;
pub use self::json::ValueError;
pub(crate) use self::{
    index::{FEW, Index, Named},
    json::{decode, encode},
};

/// The data of a session: JSON values by name, in the order they were first inserted.
#[derive(Clone, Default)]
pub struct Document {
    // Sessions hold a handful of keys: a list is smaller and faster than a map, and keeps the order. A long one has an index.
    entries: Vec<Entry>,
    /// How many of the entries are removed, and only keep their places.
    gone: usize,
    index: Index,
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

/// Where the value of a removed entry begins.
const GONE: usize = usize::MAX;

impl Entry {
    fn new(key: &str, value: &RawValue) -> Self {
        Self { text: [key, value.get()].concat().into(), value: key.len() }
    }

    fn gone() -> Self {
        Self { text: Box::default(), value: GONE }
    }

    fn is_gone(&self) -> bool {
        self.value == GONE
    }

    fn key(&self) -> &str {
        &self.text[..self.value]
    }

    fn json(&self) -> &str {
        &self.text[self.value..]
    }
}

impl Named for Entry {
    fn name(&self) -> Option<&str> {
        (!self.is_gone()).then(|| self.key())
    }
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
        self.find(key).map(Entry::json)
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
        if let Some(entry) = other.find(key) {
            self.put(entry.clone());
        }
    }

    /// Appends the entries of `other` whose keys `keep` accepts. A key that this document has already takes the value of `other`,
    /// in its old place.
    pub fn append(&mut self, other: &Self, keep: impl Fn(&str) -> bool) {
        other.present().filter(|entry| keep(entry.key())).for_each(|entry| self.put(entry.clone()));
    }

    /// Removes the entries whose keys `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.entries.retain(|entry| entry.name().is_some_and(&keep));
        self.gone = 0;
        self.index.reset();
    }

    fn present(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.is_gone())
    }

    fn find(&self, key: &str) -> Option<&Entry> {
        self.index.find(&self.entries, key).map(|place| &self.entries[place])
    }

    fn put(&mut self, entry: Entry) {
        if let Some(place) = self.index.find(&self.entries, entry.key()) {
            self.entries[place] = entry;
        } else {
            self.index.add(entry.key(), self.entries.len());
            self.entries.push(entry);
        }
    }

    /// Sets `key` to any value that serialises to JSON.
    pub fn insert<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), ValueError> {
        self.insert_raw(key, &encode(key, value)?);
        Ok(())
    }

    /// Removes `key`; `true` when it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let Some(place) = self.index.find(&self.entries, key) else { return false };
        if self.entries.len() <= FEW {
            self.entries.remove(place);
            return true;
        }
        // To close the gap moves all that follows, so gaps are closed together.
        self.index.remove(key);
        self.entries[place] = Entry::gone();
        self.gone += 1;
        if 2 * self.gone > self.entries.len() {
            self.retain(|_| true);
        }
        true
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.gone = 0;
        self.index.reset();
    }

    /// The keys and their values as JSON text, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.present().map(|entry| (entry.key(), entry.json()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.gone
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        // Made when somebody looks, perhaps only after the document was weighed.
        let index = if self.entries.len() > FEW { self.entries.capacity() * index::WEIGHT } else { 0 };
        list + texts + source + index
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

//! Documents and values as JSON.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, MapAccess, Visitor},
    ser::{self, SerializeMap},
};
use serde_json::value::RawValue;

use super::{Document, Entry};

/// A value does not fit: it cannot be written as JSON, or the stored JSON is of another shape.
/// Names the key, never the value.
#[derive(Debug, thiserror::Error)]
#[error("the session value {key:?} is not of the expected shape")]
pub struct ValueError {
    key: String,
    source: serde_json::Error,
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

pub(super) struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Document;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut document = Document::new();
        while let Some((key, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            document.put(Entry::new(&key, value));
        }
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

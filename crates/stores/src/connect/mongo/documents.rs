//! Documents of connect-mongo as rows: one byte that says what `session` is, and its content.

use hallpass_session::Timestamp;
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocument, doc, serialize_to_vec};

use super::ended::MOVED;
use crate::{
    connect::rows::Row,
    mongo::{date, time},
};

/// In front of the bytes of a row: a text, or an object.
pub(super) const TEXT: u8 = b't';
pub(super) const OBJECT: u8 = b'o';
/// What the driver cannot read.
const UNREADABLE: u8 = b'?';

/// What is read of a document.
pub(super) fn shown() -> Document {
    doc! { "session": 1, "expires": 1, "lastModified": 1, MOVED: 1 }
}

pub(super) fn live(mut filter: Document, now: Timestamp) -> Document {
    filter.insert(MOVED, doc! { "$exists": false });
    filter.insert(
        "$or",
        vec![doc! { "expires": { "$exists": false } }, doc! { "expires": { "$gt": date(now) } }],
    );
    filter
}

/// `None` for documents of another make, and for those whose sessions have a new ID.
pub(super) fn row(document: &RawDocument) -> Option<Row> {
    if document.get(MOVED).is_ok_and(|moved| moved.is_some()) {
        return None;
    }
    let key = document.get_str("_id").ok()?.to_owned();
    let bytes = match document.get("session") {
        Ok(session) => raw_bytes(session?)?,
        Err(_) => vec![UNREADABLE],
    };
    let moment = |name: &str| document.get_datetime(name).ok().map(time);
    Some(Row { key, bytes: bytes.into(), expires: moment("expires"), last_modified: moment("lastModified") })
}

fn raw_bytes(session: RawBsonRef<'_>) -> Option<Vec<u8>> {
    match session {
        RawBsonRef::String(text) => Some([&[TEXT], text.as_bytes()].concat()),
        RawBsonRef::Document(document) => Some([&[OBJECT], document.as_bytes()].concat()),
        _ => None,
    }
}

pub(super) fn bytes(session: &Bson) -> Option<Vec<u8>> {
    let (kind, content) = match session {
        Bson::String(text) => (TEXT, text.clone().into_bytes()),
        Bson::Document(document) => (OBJECT, serialize_to_vec(document).ok()?),
        _ => return None,
    };
    Some([&[kind][..], &content].concat())
}

/// What [`bytes`] was made of.
pub(super) fn value(bytes: &[u8]) -> Bson {
    match bytes.split_first() {
        Some((&TEXT, text)) => String::from_utf8_lossy(text).into_owned().into(),
        Some((_, object)) => Document::from_reader(object).map_or(Bson::Null, Bson::Document),
        None => Bson::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_whose_text_is_not_utf8_is_a_row_that_cannot_be_read() {
        let mut bytes = serialize_to_vec(
            &doc! { "_id": "sid", "session": "{}", "expires": date(Timestamp::from_millis(5)) },
        )
        .unwrap();
        let at = bytes.windows(2).position(|pair| pair == b"{}").unwrap();
        bytes[at] = 0xff;
        let row = row(RawDocument::from_bytes(&bytes).unwrap()).unwrap();
        assert_eq!((&*row.key, &*row.bytes), ("sid", &[UNREADABLE][..]));
        assert_eq!(value(&row.bytes), Bson::Null);
    }
}

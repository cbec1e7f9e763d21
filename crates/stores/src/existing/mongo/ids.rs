//! IDs of any BSON type as text, and back.
//!
//! The IDs of a collection are of one type, which the map names, but rows from another library or another time may have another.
//! An ID reads as the application's sessions write it, unless that text would mean an ID of another type. Then its type comes first:
//! `string:…`.

use hallpass_session::{hex, unhex};
use mongodb::bson::{Binary, Bson, Document, doc, oid::ObjectId, spec::BinarySubtype};

use super::{
    super::{Ids, uuid},
    document::whole,
};

/// The longest text, in bytes: it is part of the keys of records.
const LONGEST: usize = 200;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ObjectId,
    Uuid,
    Number,
    Text,
    /// Dates, documents and what else may be unique: as BSON in hex.
    Other,
}

impl Kind {
    /// In the order in which a text is tried.
    const ALL: [(Self, &str); 5] = [
        (Self::ObjectId, "objectid"),
        (Self::Uuid, "uuid"),
        (Self::Number, "number"),
        (Self::Text, "string"),
        (Self::Other, "bson"),
    ];

    fn of(ids: Ids) -> Self {
        match ids {
            Ids::ObjectId => Self::ObjectId,
            Ids::Text => Self::Text,
            Ids::Number => Self::Number,
            Ids::Uuid => Self::Uuid,
        }
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("bson", |(_, name)| name)
    }

    /// An ID of this type, from its plain text.
    fn parse(self, text: &str) -> Option<Bson> {
        let id = match self {
            Self::ObjectId => Bson::ObjectId(ObjectId::parse_str(text).ok()?),
            Self::Uuid => binary(uuid::parse(text)?),
            Self::Number => Bson::Int64(text.parse().ok()?),
            Self::Text => Bson::String(text.to_owned()),
            Self::Other => Document::from_reader(&*unhex_all(text)?).ok()?.get("")?.clone(),
        };
        // One ID has one text.
        (plain(&id)? == (self, text.to_owned())).then_some(id)
    }
}

/// The text of an ID; `None`: it has none, and its row cannot be read.
pub(super) fn text(ids: Ids, id: &Bson) -> Option<String> {
    let (kind, plain) = plain(id)?;
    let named = format!("{}:{plain}", kind.name());
    let means = |text: &String| read(ids, text).is_some_and(|(other, _)| other == kind);
    let fits = |text: &String| text.len() <= LONGEST && means(text) && is_same(ids, text, id);
    [plain, named].into_iter().find(fits)
}

/// The ID of a text.
pub(super) fn id(ids: Ids, text: &str) -> Option<Bson> {
    read(ids, text).map(|(_, id)| id).filter(|id| self::text(ids, id).as_deref() == Some(text))
}

fn is_same(ids: Ids, text: &str, id: &Bson) -> bool {
    read(ids, text).is_some_and(|(_, other)| plain(&other) == plain(id))
}

fn read(ids: Ids, text: &str) -> Option<(Kind, Bson)> {
    let named = text.split_once(':').and_then(|(name, rest)| {
        let (kind, _) = Kind::ALL.into_iter().find(|(_, known)| *known == name)?;
        Some((kind, kind.parse(rest)?))
    });
    let mapped = Kind::of(ids);
    let tried = || {
        let kinds = [mapped, Kind::ObjectId, Kind::Uuid, Kind::Number, Kind::Text];
        kinds.into_iter().find_map(|kind| Some((kind, kind.parse(text)?)))
    };
    named.or_else(tried)
}

/// The type of an ID and its text alone.
fn plain(id: &Bson) -> Option<(Kind, String)> {
    if let Some(number) = whole(id) {
        return Some((Kind::Number, number.to_string()));
    }
    Some(match id {
        Bson::ObjectId(id) => (Kind::ObjectId, id.to_hex()),
        Bson::String(id) if !id.is_empty() => (Kind::Text, id.clone()),
        Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes }) if bytes.len() == 16 => {
            (Kind::Uuid, uuid::show(bytes.as_slice().try_into().ok()?))
        }
        Bson::Null | Bson::Undefined | Bson::String(_) => return None,
        other => {
            let mut bytes = Vec::new();
            doc! { "": other.clone() }.to_writer(&mut bytes).ok()?;
            (Kind::Other, hex(&bytes))
        }
    })
}

fn unhex_all(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| unhex::<1>(str::from_utf8(pair).ok()?).map(|[byte]| byte)).collect()
}

pub(super) fn binary(bytes: [u8; 16]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use mongodb::bson::DateTime;

    use super::*;

    #[test]
    fn every_id_has_a_text_of_its_own_whatever_the_map_says() {
        let hex = "507f1f77bcf86cd799439011";
        let ids = [
            Bson::ObjectId(ObjectId::parse_str(hex).unwrap()),
            Bson::String(hex.to_owned()),
            Bson::String("text-id".to_owned()),
            Bson::String("string:text-id".to_owned()),
            Bson::String(format!("objectid:{hex}")),
            Bson::String("7".to_owned()),
            Bson::Int64(7),
            Bson::Int64(-7),
            Bson::Double(7.5),
            binary([7; 16]),
            Bson::String(uuid::show([7; 16])),
            Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] }),
            Bson::DateTime(DateTime::from_millis(7)),
            Bson::Boolean(true),
            Bson::Document(doc! { "b": 1, "a": "x" }),
        ];
        for map in [Ids::ObjectId, Ids::Text, Ids::Number, Ids::Uuid] {
            let mut texts: Vec<String> = ids.iter().map(|id| text(map, id).unwrap()).collect();
            for (text, expected) in texts.iter().zip(&ids) {
                assert_eq!(id(map, text).as_ref(), Some(expected), "{map:?} {text}");
            }
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), ids.len(), "{map:?}");
        }
        assert_eq!(text(Ids::ObjectId, &ids[0]).as_deref(), Some(hex));
        assert_eq!(text(Ids::ObjectId, &ids[2]).as_deref(), Some("text-id"), "as the application writes it");
        assert_eq!(text(Ids::Text, &ids[1]).as_deref(), Some(hex));
        assert_eq!(text(Ids::Number, &Bson::Int32(7)).as_deref(), Some("7"));
        let long = Bson::String("x".repeat(300));
        for none in [Bson::Null, Bson::String(String::new()), long] {
            assert_eq!(text(Ids::ObjectId, &none), None);
        }
        assert_eq!(id(Ids::ObjectId, &hex.to_uppercase()), Some(Bson::String(hex.to_uppercase())));
    }
}

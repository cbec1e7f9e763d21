//! What must hold of stored objects and encrypted texts whatever somebody else wrote there: for the fuzzer, and for tests with random bytes.

use std::num::NonZeroU32;

use mongodb::bson::{Bson, Document, serialize_to_vec};

use super::{
    bson,
    crypto::{Cipher, Crypto, Encoding, Sealer, WebCrypto},
    kruptein,
};

/// Reads BSON as JavaScript shows it, changes something and makes BSON of it again: everything else must be the same, byte for byte.
pub fn object(bytes: &[u8]) {
    let Ok(old) = Document::from_reader(bytes) else { return };
    let mut json = bson::object(&old);
    let object = json.as_object_mut().expect("an object is an object");
    object.insert("ours, not theirs".to_owned(), 1.into());
    let shown: Vec<String> = object.keys().cloned().collect();
    let new = bson::merged(Some(&Bson::Document(old.clone())), &json);
    let new = new.as_document().expect("an object stays one");
    assert_eq!(new.keys().collect::<Vec<_>>(), shown.iter().collect::<Vec<_>>());
    for (key, value) in old.iter().filter(|(key, _)| shown.contains(key) && *key != "ours, not theirs") {
        let alone = |value: &Bson| {
            serialize_to_vec(&Document::from_iter([(key.clone(), value.clone())])).expect("BSON")
        };
        assert_eq!(alone(&new[key]), alone(value), "{key}");
    }
    super::super::arbitrary::text(&json.to_string());
}

/// Opens bytes that nobody sealed.
pub fn sealed(bytes: &[u8]) {
    kruptein::reads_what_it_writes(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for (cipher, encoding) in [
        (Cipher::AesGcm, Encoding::Base64),
        (Cipher::AesCbc, Encoding::Base64Url),
        (Cipher::AesGcm, Encoding::Hex),
    ] {
        let crypto =
            WebCrypto { cipher, encoding, iterations: NonZeroU32::MIN, ..WebCrypto::new("s".to_owned()) };
        let opened = Sealer::new(&Crypto::WebCrypto(crypto)).open(text);
        // The other cipher notices no change but by chance.
        assert!(opened.is_err() || cipher == Cipher::AesCbc);
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc, oid::ObjectId};
    use proptest::prelude::*;

    use super::*;

    fn seed() -> Vec<u8> {
        let session = doc! {
            "cookie": { "expires": DateTime::from_millis(5), "originalMaxAge": 60_000, "httpOnly": true },
            "passport": { "user": ObjectId::from_bytes([7; 12]) }, "n": [1, 2.5, f64::NAN, Bson::Undefined, 1e21],
        };
        serialize_to_vec(&session).unwrap()
    }

    proptest! {
        #[test]
        fn any_object_keeps_its_types(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4)) {
            let mut bytes = seed();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            object(&bytes);
        }

        #[test]
        fn any_bytes_can_be_opened(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            sealed(&bytes);
        }
    }
}

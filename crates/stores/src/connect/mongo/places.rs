//! Where a document may name its user.

use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

use crate::connect::text::needle;

/// Filters that match all documents which name this user, and some others.
pub(super) fn places(user: &str, user_path: Option<&str>) -> Vec<Document> {
    let mut named: Vec<Bson> = vec![user.into()];
    named.extend(ObjectId::parse_str(user).ok().map(Bson::ObjectId));
    named.extend(user.parse().ok().map(Bson::Double));
    let in_text = doc! { "session": { "$regex": escaped(&needle(user)) } };
    let mut places = vec![in_text, doc! { "session._hallpass.user": user }];
    if let Some(path) = user_path {
        places.push(doc! { format!("session.{path}"): { "$in": named } });
    }
    places
}

/// Text as a regular expression that matches only itself.
fn escaped(text: &str) -> String {
    let special = |letter: char| letter.is_ascii_punctuation();
    text.chars().flat_map(|letter| special(letter).then_some('\\').into_iter().chain([letter])).collect()
}

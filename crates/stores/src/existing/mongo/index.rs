//! Whether the database keeps logins unique.

use hallpass_auth::Case;
use mongodb::{
    Collection, IndexModel,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::{Collation, CollationStrength},
};

use super::UserMap;

/// There is no such collection yet.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// The indexes of a collection.
pub(super) async fn of(users: &Collection<Document>) -> Result<Vec<IndexModel>, Error> {
    let mut indexes = match users.list_indexes().await {
        Err(error) => match &*error.kind {
            ErrorKind::Command(command) if command.code == NAMESPACE_NOT_FOUND => return Ok(Vec::new()),
            _ => return Err(error),
        },
        Ok(indexes) => indexes,
    };
    let mut found = Vec::new();
    while indexes.advance().await? {
        found.push(indexes.deserialize_current()?);
    }
    Ok(found)
}

/// Whether one of these keeps logins unique, as the map compares them.
pub(super) fn is_unique(indexes: &[IndexModel], map: &UserMap) -> bool {
    let unique = |index: &&IndexModel| {
        let unique = index.options.as_ref().and_then(|options| options.unique) == Some(true);
        of_login(index, &map.login) && is_whole(index) && unique
    };
    let blind = map.logins.case == Case::Insensitive;
    indexes.iter().filter(unique).any(|index| !blind || ignores_case(index))
}

/// How the database is asked to compare: as an index does, if one ignores case.
pub(super) fn collation(indexes: &[IndexModel], login: &str) -> Collation {
    let fitting = indexes.iter().find(|index| serves(index, login));
    let found = fitting.and_then(|index| index.options.as_ref()?.collation.clone());
    found.unwrap_or_else(|| {
        Collation::builder().locale("en".to_owned()).strength(CollationStrength::Secondary).build()
    })
}

/// Whether an index finds a login in any spelling.
pub(super) fn serves_any_spelling(indexes: &[IndexModel], login: &str) -> bool {
    indexes.iter().any(|index| serves(index, login))
}

/// Whether some index begins with this field.
pub(super) fn begins_with(indexes: &[IndexModel], field: &str) -> bool {
    indexes.iter().any(|index| index.keys.keys().next().is_some_and(|first| first == field))
}

fn serves(index: &IndexModel, login: &str) -> bool {
    of_login(index, login) && is_whole(index) && ignores_case(index)
}

/// Whether it has every account that has its field.
fn is_whole(index: &IndexModel) -> bool {
    index.options.as_ref().is_none_or(|options| options.partial_filter_expression.is_none())
}

fn of_login(index: &IndexModel, login: &str) -> bool {
    index.keys.len() == 1
        && index.keys.get(login).is_some_and(|order| *order == 1.into() || *order == (-1).into())
}

fn ignores_case(index: &IndexModel) -> bool {
    let strength = index.options.as_ref().and_then(|options| options.collation.as_ref()?.strength);
    matches!(strength, Some(CollationStrength::Primary | CollationStrength::Secondary))
}

/// What makes logins unique.
pub(super) fn cure(map: &UserMap) -> String {
    let keys = doc! { &map.login: 1 };
    let collation = match map.logins.case {
        Case::Insensitive => ", collation: { locale: \"en\", strength: 2 }",
        Case::Lower | Case::Exact => "",
    };
    format!("db.{}.createIndex({keys}, {{ unique: true{collation} }})", map.table)
}

/// What finds logins in any spelling.
pub(super) fn cure_for_spellings(map: &UserMap) -> String {
    let keys = doc! { &map.login: 1 };
    let name = format!("{}_any_case", map.login);
    format!(
        "db.{}.createIndex({keys}, {{ name: \"{name}\", collation: {{ locale: \"en\", strength: 2 }} }})",
        map.table
    )
}

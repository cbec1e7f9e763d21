//! Rows that are not like the others: IDs of another type, and what cannot be read.

use hallpass_auth::{Change, Email, User, UserChanged, UserStore};
use hallpass_stores::UserMap;
use mongodb::bson::{Binary, Bson, DateTime, doc, oid::ObjectId, spec::BinarySubtype};

use super::{
    mongodb::Mongo,
    sqlite::{open, sqlite},
};

async fn found(users: &dyn UserStore, name: &str) -> Option<User> {
    users.find_by_email(&Email::parse(&format!("{name}@example.com")).unwrap()).await.unwrap()
}

/// The names of all accounts, in pages of two.
async fn listed(users: &dyn UserStore) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = users.list(after.as_ref(), 2).await.unwrap();
        names.extend(page.iter().map(|user| user.email.as_str().split('@').next().unwrap().to_owned()));
        match page.into_iter().next_back() {
            Some(last) => after = Some(last.email),
            None => return names,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_with_ids_of_every_type() {
    let Some(mongo) = Mongo::start().await else { return };
    let users = mongo.users("mixed", UserMap::default(), doc! {}).await;
    let ann = ObjectId::new();
    let binary = |subtype, bytes: Vec<u8>| Bson::Binary(Binary { subtype, bytes });
    let ids: [(&str, Bson); 10] = [
        ("ann", ann.into()),
        ("bob", "text-id".into()),
        // Its text is the ID of another account.
        ("carl", ann.to_hex().into()),
        ("dora", 7_i32.into()),
        ("eve", "7".into()),
        ("fay", binary(BinarySubtype::Uuid, vec![7; 16])),
        ("gus", binary(BinarySubtype::Generic, vec![1])),
        ("hal", DateTime::from_millis(7).into()),
        ("ida", doc! { "site": 1, "number": 2 }.into()),
        ("jan", 7.5.into()),
    ];
    let people = mongo.collection("mixed");
    for (name, id) in &ids {
        let row = doc! { "_id": id, "email": format!("{name}@example.com"), "name": *name };
        people.insert_one(row).await.unwrap();
    }
    for (name, id) in &ids {
        let user = found(&*users, name).await.unwrap();
        assert_eq!(users.find(&user.id).await.unwrap().unwrap().email, user.email, "{name}");
        let renamed = users.change(&user.id, &Change::Name(Some(format!("{name} renamed")))).await;
        assert_eq!(renamed.unwrap(), UserChanged::Done, "{name}");
        let row = people.find_one(doc! { "_id": id, "email": user.email.as_str() }).await.unwrap().unwrap();
        assert_eq!(row.get_str("name").unwrap(), format!("{name} renamed"));
    }
    assert_eq!(found(&*users, "ann").await.unwrap().id.as_str(), ann.to_hex());
    assert_eq!(found(&*users, "bob").await.unwrap().id.as_str(), "text-id");
    // Three that have no ID to work with, so that a whole page of them comes.
    for (name, id) in
        [("bea", Bson::from("")), ("bel", "x".repeat(300).into()), ("ben", "y".repeat(300).into())]
    {
        people.insert_one(doc! { "_id": id, "email": format!("{name}@example.com") }).await.unwrap();
        assert!(found(&*users, name).await.is_none(), "{name}");
    }
    assert_eq!(listed(&*users).await, ids.each_ref().map(|(name, _)| *name));
    for (name, _) in &ids {
        assert!(users.delete(&found(&*users, name).await.unwrap().id).await.unwrap(), "{name}");
    }
    assert_eq!(people.count_documents(doc! {}).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_leaves_out_what_cannot_be_read() {
    let (_folder, path) = sqlite(
        "create table users (id text primary key, email text not null unique, password text, name text);
         insert into users values ('1', 'ann@example.com', null, 'Ann');
         insert into users values ('2', 'bob@example.com', null, cast(x'ff' as text));
         insert into users values ('3', 'carl@example.com', null, 'Carl');",
    );
    let users = open(&path, &UserMap { table: "users".to_owned(), ..UserMap::default() });
    assert!(found(&*users, "bob").await.is_none());
    assert!(found(&*users, "ann").await.is_some());
    assert_eq!(listed(&*users).await, ["ann", "carl"]);
}

//! In MongoDB.

use std::sync::Arc;

use hallpass_auth::{
    Case, Change, LoginKind, User, UserChanged, UserCreated, UserId, UserStore,
    conformance::{CREATED, DISABLING, EPOCHS, OWN_IDS, ROLE_LISTS, ROLES, users, users_without},
};
use hallpass_stores::{Flag, Ids, MongoUsers, Roles, ServerOptions, UserMap, Verified};
use mongodb::{
    Client, Collection,
    bson::{Bson, DateTime, Document, RawDocumentBuf, doc, oid::ObjectId, spec::ElementType},
};

use super::{NOW, PEOPLE, closed, engines, login, one_address_is_one_account, password, some, typed, whole};

pub(super) struct Mongo {
    url: String,
    pub(super) client: Client,
    _server: engines::Reached,
}

impl Mongo {
    pub(super) async fn start() -> Option<Self> {
        let server = engines::mongodb::reach().await?;
        let url = server.url.clone();
        let client = Client::with_uri_str(&url).await.unwrap();
        Some(Self { url, client, _server: server })
    }

    pub(super) fn collection(&self, name: &str) -> Collection<Document> {
        self.client.default_database().unwrap().collection(name)
    }

    /// A collection as mongoose makes it, with its unique index.
    pub(super) async fn make(&self, name: &str, login: &str, options: Document) {
        self.collection(name).drop().await.unwrap();
        let mut index = doc! { "key": { login: 1 }, "name": "login", "unique": true };
        index.extend(options);
        let database = self.client.default_database().unwrap();
        database.run_command(doc! { "createIndexes": name, "indexes": [index] }).await.unwrap();
    }

    pub(super) async fn connect(&self, map: UserMap) -> MongoUsers {
        MongoUsers::connect(&self.url, &map, &ServerOptions::default()).await.unwrap()
    }

    pub(super) async fn users(&self, name: &str, map: UserMap, options: Document) -> Arc<MongoUsers> {
        self.make(name, &map.login, options).await;
        Arc::new(self.connect(UserMap { table: name.to_owned(), ..map }).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_with_a_place_for_everything() {
    let Some(mongo) = Mongo::start().await else { return };
    users(mongo.users("whole", whole(), doc! {}).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_as_mongoose_has_it() {
    let Some(mongo) = Mongo::start().await else { return };
    let store = mongo.users("mongoose", UserMap::default(), doc! {}).await;
    users_without(store, &[CREATED, DISABLING, EPOCHS, OWN_IDS, ROLES]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_with_a_validator_that_demands_a_password() {
    let Some(mongo) = Mongo::start().await else { return };
    let store = mongo.users("strict", UserMap::default(), doc! {}).await;
    let password = doc! { "bsonType": "string", "minLength": 6 };
    let schema = doc! { "required": ["email", "password"], "properties": { "password": password } };
    let database = mongo.client.default_database().unwrap();
    let validator = doc! { "$jsonSchema": schema };
    database.run_command(doc! { "collMod": "strict", "validator": validator }).await.unwrap();
    users_without(store, &[CREATED, DISABLING, EPOCHS, OWN_IDS, ROLES]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_with_nested_fields_user_names_and_uuids() {
    let Some(mongo) = Mongo::start().await else { return };
    let blind = doc! { "collation": { "locale": "en", "strength": 2 } };
    let map = UserMap {
        ids: Ids::Uuid,
        login: "local.username".to_owned(),
        password: "local.hash".to_owned(),
        name: None,
        logins: login(LoginKind::UserName, Case::Insensitive),
        roles: Some(Roles::One("profile.role".to_owned())),
        flag: Some(Flag::Enabled("profile.active".to_owned())),
        verified: Verified::Field("profile.verified".to_owned()),
        ..UserMap::default()
    };
    let store = mongo.users("nested", map, blind).await;
    let found = |name: &'static str| {
        let store = store.clone();
        async move { store.find_by_email(&typed(name)).await.unwrap().map(|user| user.email.to_string()) }
    };
    store.create(&User::new(typed("Ann"), NOW)).await.unwrap();
    assert_eq!(found("aNN").await, some("Ann"));
    assert_eq!(store.create(&User::new(typed("ANN"), NOW)).await.unwrap(), UserCreated::Taken);
    users_without(store, &[CREATED, EPOCHS, OWN_IDS, ROLE_LISTS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_finds_people_by_their_id_at_a_provider() {
    let Some(mongo) = Mongo::start().await else { return };
    let providers = vec![("google".to_owned(), "google.id".to_owned())];
    let store = mongo.users("provided", UserMap { providers, ..UserMap::default() }, doc! {}).await;
    for (email, id) in [("ann@x.org", "1"), ("bob@x.org", "2"), ("eve@x.org", "2")] {
        mongo
            .collection("provided")
            .insert_one(doc! { "email": email, "google": { "id": id } })
            .await
            .unwrap();
    }
    let found = async |provider, id| {
        store.find_by_provider(provider, id).await.unwrap().map(|user| user.email.to_string())
    };
    assert_eq!(found("google", "1").await, some("ann@x.org"));
    assert_eq!(found("google", "2").await, None, "of two, none can be meant");
    assert_eq!((found("google", "3").await, found("github", "1").await), (None, None));
    let numbers: [(Bson, &str, &[&str]); 4] = [
        (42_i32.into(), "42", &["042", "+42", "42.0"]),
        (43_i64.into(), "43", &[]),
        (44.0.into(), "44", &["44.0"]),
        (9_007_199_254_740_993_i64.into(), "9007199254740993", &["9007199254740992"]),
    ];
    for (there, id, others) in numbers {
        let person = doc! { "email": format!("{id}@x.org"), "google": { "id": there } };
        mongo.collection("provided").insert_one(person).await.unwrap();
        assert_eq!(found("google", id).await, Some(format!("{id}@x.org")));
        for other in others {
            assert_eq!(found("google", other).await, None, "{other}");
        }
    }
    let database = mongo.client.default_database().unwrap();
    mongo.collection("blind_ids").drop().await.unwrap();
    let blind = doc! { "create": "blind_ids", "collation": { "locale": "en", "strength": 2 } };
    database.run_command(blind).await.unwrap();
    mongo.collection("blind_ids").insert_one(doc! { "email": "ann@x.org", "there": "aBc" }).await.unwrap();
    let providers = vec![("login".to_owned(), "there".to_owned())];
    let map = UserMap { table: "blind_ids".to_owned(), providers, ..UserMap::default() };
    let store = mongo.connect(map).await;
    assert!(store.find_by_provider("login", "aBc").await.unwrap().is_some());
    assert_eq!(store.find_by_provider("login", "abc").await.unwrap(), None);
}

/// A user as an application of some age has them.
fn old_user() -> Document {
    doc! {
        "_id": ObjectId::parse_str("0123456789abcdef01234567").unwrap(),
        "email": "Ann@Example.com",
        "int32": 5_i32, "int64": 5_i64, "double": 5.0, "nan": f64::NAN,
        "password": "$2b$10$one",
        "born": DateTime::from_millis(-86_400_000),
        "nested": { "list": [1_i32, 2_i64, [3.0, { "deep": Bson::Null }]], "empty": {} },
        "isActive": true,
        "role": "editor",
        "__v": 3_i32,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_that_is_not_ours_stays() {
    let Some(mongo) = Mongo::start().await else { return };
    let map = UserMap {
        roles: Some(Roles::One("role".to_owned())),
        flag: Some(Flag::Enabled("isActive".to_owned())),
        ..UserMap::default()
    };
    let store = mongo.users("bytes", map, doc! {}).await;
    let rows = mongo.client.default_database().unwrap().collection::<RawDocumentBuf>("bytes");
    let mut expected = old_user();
    mongo.collection("bytes").insert_one(&expected).await.unwrap();
    let id = UserId::new("0123456789abcdef01234567");
    let user = store.find_by_email(&typed("Ann@Example.com")).await.unwrap().unwrap();
    assert_eq!((user.id.clone(), user.roles, user.disabled), (id.clone(), vec!["editor".to_owned()], false));
    let changes = [
        (password("$2b$10$one", "$2b$10$two"), "password", Bson::from("$2b$10$two")),
        (Change::Name(some("Ann")), "name", "Ann".into()),
        (Change::Roles(vec!["admin".to_owned()]), "role", "admin".into()),
        (Change::Disabled(true), "isActive", false.into()),
    ];
    for (change, field, value) in changes {
        assert_eq!(store.change(&id, &change).await.unwrap(), UserChanged::Done);
        expected.insert(field, value);
        let found = rows.find_one(doc! {}).await.unwrap().unwrap();
        let expected = RawDocumentBuf::try_from(&expected).unwrap();
        assert_eq!(found.as_bytes(), expected.as_bytes(), "{change:?}");
    }
    assert!(store.find(&id).await.unwrap().unwrap().disabled);
    let other_spelling = UserId::new("0123456789ABCDEF01234567");
    assert_eq!(store.find(&other_spelling).await.unwrap(), None, "one account has one id");
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_makes_no_account_that_could_be_made_twice() {
    let Some(mongo) = Mongo::start().await else { return };
    let map = UserMap { table: "loose".to_owned(), ..UserMap::default() };
    mongo.collection("loose").drop().await.unwrap();
    mongo.collection("loose").insert_one(old_user()).await.unwrap();
    let store = mongo.connect(map.clone()).await;
    let reason = closed(&store).await;
    assert!(reason.contains("db.loose.createIndex({ \"email\": 1 }, { unique: true })"), "{reason}");
    // Its index is made in the background, as mongoose does: no restart is needed.
    mongo.make("loose", "email", doc! {}).await;
    assert!(matches!(
        store.create(&User::new(typed("b@example.com"), NOW)).await.unwrap(),
        UserCreated::Done(_)
    ));
    // The field of another unique index is missing in all accounts made here.
    mongo.make("loose", "email", doc! {}).await;
    let google = doc! { "key": { "googleId": 1 }, "name": "googleId_1", "unique": true };
    let database = mongo.client.default_database().unwrap();
    database.run_command(doc! { "createIndexes": "loose", "indexes": [google] }).await.unwrap();
    mongo.collection("loose").insert_one(old_user()).await.unwrap();
    let reason = closed(&store).await;
    assert!(reason.contains("googleId_1") && reason.contains("sparse"), "{reason}");
    mongo.make("blind", "email", doc! {}).await;
    let blind =
        UserMap { table: "blind".to_owned(), logins: login(LoginKind::Email, Case::Insensitive), ..map };
    let reason = closed(&mongo.connect(blind).await).await;
    assert!(reason.contains("strength: 2"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_has_one_account_for_an_address_in_any_spelling() {
    let Some(mongo) = Mongo::start().await else { return };
    let map = UserMap { table: "spelling".to_owned(), ..UserMap::default() };
    let any = doc! { "key": { "email": 1 }, "name": "any", "collation": { "locale": "de", "strength": 2 } };
    let database = mongo.client.default_database().unwrap();
    for (others, index, searched) in [(0, false, true), (10_001, false, false), (10_001, true, true)] {
        mongo.make("spelling", "email", doc! {}).await;
        if index {
            database
                .run_command(doc! { "createIndexes": "spelling", "indexes": [any.clone()] })
                .await
                .unwrap();
        }
        let people = PEOPLE.iter().map(|login| doc! { "email": login });
        let others = (0..others).map(|number| doc! { "email": format!("{number}@y.org") });
        mongo.collection("spelling").insert_many(people.chain(others)).await.unwrap();
        one_address_is_one_account(&mongo.connect(map.clone()).await, searched).await;
    }
    let blind = UserMap { logins: login(LoginKind::Email, Case::Insensitive), ..map.clone() };
    let found = mongo.connect(blind).await.find_by_email(&typed("ANN@x.org")).await.unwrap();
    assert_eq!(found, None, "two are there, and neither can be meant");
    let lower = UserMap { logins: login(LoginKind::Email, Case::Lower), ..map };
    assert_eq!(mongo.connect(lower).await.find_by_email(&typed("bob@x.org")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_reads_and_writes_the_mark_of_a_verified_address_as_the_application_does() {
    let Some(mongo) = Mongo::start().await else { return };
    let moment = Bson::from(DateTime::from_millis(1));
    let kinds = [
        (true.into(), ElementType::Boolean),
        (1_i32.into(), ElementType::Int32),
        (moment.clone(), ElementType::DateTime),
    ];
    for (verified, kind) in kinds {
        mongo.make("marks", "email", doc! {}).await;
        let rows = mongo.collection("marks");
        let marks = [
            ("yes", verified, Some(true)),
            ("null", Bson::Null, Some(false)),
            ("no", false.into(), Some(false)),
            ("zero", 0_i64.into(), Some(false)),
            ("since", moment.clone(), Some(true)),
            ("code", "f3a9".into(), None),
        ];
        for (name, mark, _) in &marks {
            rows.insert_one(doc! { "email": format!("{name}@x.org"), "emailVerified": mark }).await.unwrap();
        }
        rows.insert_one(doc! { "email": "old@x.org" }).await.unwrap();
        let field = Verified::Field("emailVerified".to_owned());
        let store =
            mongo.connect(UserMap { table: "marks".to_owned(), verified: field, ..UserMap::default() }).await;
        let find =
            async |name: &str| store.find_by_email(&typed(&format!("{name}@x.org"))).await.unwrap().unwrap();
        for (name, _, expected) in marks {
            assert_eq!(find(name).await.verified, expected, "{name}");
        }
        let old = find("old").await;
        assert_eq!(old.verified, Some(false));
        store.change(&old.id, &Change::Verified(old.email.clone())).await.unwrap();
        let row = rows.find_one(doc! { "email": "old@x.org" }).await.unwrap().unwrap();
        assert_eq!(row["emailVerified"].element_type(), kind, "{row}");
        assert_eq!(find("old").await.verified, Some(true));
    }
    let map = UserMap { table: "marks".to_owned(), ..UserMap::default() };
    let verified = async |verified| {
        let store = mongo.connect(UserMap { verified, ..map.clone() }).await;
        store.find_by_email(&typed("old@x.org")).await.unwrap().unwrap().verified
    };
    assert_eq!(verified(Verified::Unknown).await, None);
    assert_eq!(verified(Verified::Always).await, Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_learns_the_mark_of_a_verified_address_from_the_first_document_that_has_one() {
    let Some(mongo) = Mongo::start().await else { return };
    for (field, first) in [("verifiedAt", ElementType::DateTime), ("isVerified", ElementType::Boolean)] {
        let map = UserMap { verified: Verified::Field(field.to_owned()), ..UserMap::default() };
        let store = mongo.users("learning", map, doc! {}).await;
        let rows = mongo.collection("learning");
        let kind = async |email: &str| {
            rows.find_one(doc! { "email": email }).await.unwrap().unwrap()[field].element_type()
        };
        let new = |email| User { verified: Some(true), ..User::new(typed(email), NOW) };
        store.create(&new("a@x.org")).await.unwrap();
        assert_eq!(kind("a@x.org").await, first, "by its name");
        rows.delete_many(doc! {}).await.unwrap();
        rows.insert_one(doc! { "email": "b@x.org", field: 1_i32 }).await.unwrap();
        store.create(&new("c@x.org")).await.unwrap();
        assert_eq!(kind("c@x.org").await, ElementType::Int32);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_gives_nobody_an_account_because_a_collation_takes_two_addresses_for_one() {
    let Some(mongo) = Mongo::start().await else { return };
    let database = mongo.client.default_database().unwrap();
    let blind = doc! { "locale": "en", "strength": 1 };
    mongo.collection("accents").drop().await.unwrap();
    database.run_command(doc! { "create": "accents", "collation": blind }).await.unwrap();
    let index = doc! { "key": { "email": 1 }, "name": "login", "unique": true };
    database.run_command(doc! { "createIndexes": "accents", "indexes": [index] }).await.unwrap();
    mongo.collection("accents").insert_one(doc! { "email": "ann@x.org" }).await.unwrap();
    for case in [Case::Exact, Case::Lower, Case::Insensitive] {
        let logins = login(LoginKind::Email, case);
        let store =
            mongo.connect(UserMap { table: "accents".to_owned(), logins, ..UserMap::default() }).await;
        assert!(store.find_by_email(&typed("ann@x.org")).await.unwrap().is_some());
        for other in ["\u{e1}nn@x.org", "a\u{ad}nn@x.org", "\u{ff41}nn@x.org"] {
            assert_eq!(store.find_by_email(&typed(other)).await.unwrap(), None, "{other}");
        }
        let created = store.create(&User::new(typed("\u{e1}nn@x.org"), NOW)).await.unwrap();
        assert_eq!(created, UserCreated::Taken, "{case:?}");
    }
}

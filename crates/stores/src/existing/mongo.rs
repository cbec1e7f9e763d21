//! [`MongoUsers`]: accounts that mongoose or somebody else keeps in MongoDB.

mod document;
mod ids;
mod index;
mod rows;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use hallpass_auth::{
    Case, Change, Conventions, Email, PasswordHash, User, UserChanged, UserCreated, UserId, UserStore,
};
use hallpass_session::StoreError;
use mongodb::{
    Collection, IndexModel,
    action::Find,
    bson::{Document, doc},
    error::{ErrorKind, WriteFailure},
    options::Collation,
};

use tokio::try_join;

use self::document::Documents;
use super::{Flag, Ids, UserMap, UsersError, epoch, spelling};
use crate::{
    ServerOptions,
    durability::report,
    mongo::{KIND, Mongo, TRIES, disagreement, is_duplicate, reason},
    native::limit_of,
};

/// Accounts in a collection that another application made. Clones share its connections.
///
/// Kept as they are: every field that is not mapped. Set: the one field that changes. New accounts need a unique index on the login:
/// without one, they are refused with a sentence that says how to make it.
#[derive(Clone)]
pub struct MongoUsers {
    mongo: Mongo,
    users: Collection<Document>,
    documents: Arc<Documents>,
    /// How the database compares logins without regard to case.
    collation: Collation,
    /// Whether whoever is not found as they typed it is searched for so.
    searched: bool,
    /// Logins were seen to be unique.
    unique: Arc<AtomicBool>,
}

impl MongoUsers {
    /// Connects and looks at the collection. URLs as in [`Mongo::connect`]; the database is the URL's, else `test`, as with mongoose.
    pub async fn connect(url: &str, map: &UserMap, options: &ServerOptions) -> Result<Self, UsersError> {
        map.check()?;
        let mongo = Mongo::reach(url, options, None, "test").await?;
        let collection = mongo.database().collection(&map.table);
        let unreadable = |error: &mongodb::error::Error| UsersError::Table {
            table: map.table.clone(),
            reason: reason(error),
        };
        let indexes = index::of(&collection).await.map_err(|error| unreadable(&error))?;
        let rows = if map.providers.is_empty() {
            0
        } else {
            collection.estimated_document_count().await.map_err(|error| unreadable(&error))?
        };
        if rows > spelling::SMALL.into() {
            map.warn_unindexed_providers(
                |field| index::begins_with(&indexes, field),
                |field| format!("db.{}.createIndex({}, {{ sparse: true }})", map.table, doc! { field: 1 }),
            );
        }
        let users = Self {
            mongo,
            documents: Arc::new(Documents { map: map.clone(), mark: OnceLock::new(), flag: OnceLock::new() }),
            collation: index::collation(&indexes, &map.login),
            searched: searched(&collection, &indexes, map).await.map_err(|error| unreadable(&error))?,
            users: collection,
            unique: Arc::default(),
        };
        let failed =
            |error: StoreError| UsersError::Table { table: map.table.clone(), reason: error.to_string() };
        users.learn_styles(true).await.map_err(failed)?;
        map.warn_reused(users.documents.again(), "whoever gives the numbers may give", "");
        report(KIND, users.mongo.durability().await);
        if let Some(reason) = users.closed().await.map_err(failed)? {
            tracing::warn!(event = "register_closed", reason);
        }
        Ok(users)
    }

    fn map(&self) -> &UserMap {
        &self.documents.map
    }

    /// Why no accounts can be made; `None` when they can.
    async fn closed(&self) -> Result<Option<String>, StoreError> {
        let map = self.map();
        if map.ids == Ids::Number {
            return Ok(Some(format!(
                "no new accounts: somebody else gives the numbers that are ids in {}",
                map.table
            )));
        }
        if self.unique.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let indexes = self.mongo.run("look at the indexes of the users", index::of(&self.users)).await?;
        if index::is_unique(&indexes, map) {
            self.unique.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        Ok(Some(super::no_unique_index(&map.table, &map.login, &index::cure(map))))
    }

    /// Looks how the application writes the flag and marks a verified address, until its documents have told.
    async fn learn_styles(&self, warns: bool) -> Result<(), StoreError> {
        let (map, documents) = (self.map(), &self.documents);
        let fields =
            [(map.verified.field(), &documents.mark), (map.flag.as_ref().map(Flag::field), &documents.flag)];
        for (field, style) in fields {
            let Some(field) = field.filter(|_| style.get().is_none()) else { continue };
            let look = document::look(&self.users, map, field, warns);
            if let Some(found) = self.mongo.run("look at the users", look).await? {
                style.get_or_init(|| found);
            }
        }
        Ok(())
    }

    /// The accounts with this login, as the collection itself compares them: its own collation may see no accents.
    async fn exactly(&self, login: &str) -> Result<Vec<User>, StoreError> {
        let find = self.confirmed(doc! { &self.map().login: login });
        self.all("find a user", find.limit(spelling::MOST.into())).await
    }

    /// The accounts with this login in any spelling.
    async fn spellings(&self, login: &Email) -> Result<Vec<User>, StoreError> {
        let find = self.confirmed(doc! { &self.map().login: login.as_str() }).limit(spelling::MOST.into());
        self.all("find a user", find.collation(self.collation.clone())).await
    }

    /// The accounts that match, by the word of a majority, whether there are any or not.
    fn confirmed(&self, filter: Document) -> Find<'_, Document> {
        let find = self.users.find(filter).with_options(self.mongo.listing());
        find.projection(self.documents.projection())
    }

    /// Whether some account has the login, as the unique index compares it.
    async fn has(&self, login: &Email) -> Result<bool, StoreError> {
        let blind = self.map().logins.case == Case::Insensitive;
        let filter = doc! { &self.map().login: login.as_str() };
        let collation = blind.then(|| self.collation.clone());
        self.mongo.is_there_in("create a user", &self.users, filter, collation).await
    }

    async fn has_in_any_spelling(&self, login: &Email) -> Result<bool, StoreError> {
        let filter = doc! { &self.map().login: login.as_str() };
        self.mongo.is_there_in("create a user", &self.users, filter, Some(self.collation.clone())).await
    }

    /// What a refused insert means: the login is taken, or another unique index has no room for accounts that lack its field.
    async fn duplicate(&self, user: &User, error: &str) -> Result<UserCreated, StoreError> {
        let index =
            error.split("index: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("another");
        if self.has(&user.email).await? || index == "_id_" {
            return Ok(UserCreated::Taken);
        }
        Ok(UserCreated::Closed(format!(
            "no new accounts: the unique index {index} of {} takes no second account without that field; make it sparse",
            self.map().table
        )))
    }
}

impl MongoUsers {
    /// Changes the document that matches; whether there was one, by the word of a majority. `None`: the collection refuses it.
    async fn apply(
        &self,
        filter: &Document,
        update: &Document,
        change: &Change,
    ) -> Result<Option<bool>, StoreError> {
        let doing = "change a user";
        for _ in 0..TRIES {
            let update = async {
                match self.users.update_one(filter.clone(), update.clone()).await {
                    // A validator, or a unique index that is not sparse.
                    Err(error) if matches!(change, Change::Disconnect(_)) && is_refused(&error) => Ok(None),
                    answer => answer.map(Some),
                }
            };
            match self.mongo.run(doing, update).await? {
                None => return Ok(None),
                Some(changed) if changed.matched_count == 1 => return Ok(Some(true)),
                Some(_) => {}
            }
            if !self.mongo.is_there(doing, &self.users, filter.clone()).await? {
                return Ok(Some(false));
            }
        }
        Err(disagreement(doing))
    }
}

#[async_trait]
impl UserStore for MongoUsers {
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let Some(id) = self.documents.id(id) else { return Ok(None) };
        let (filter, fields) = (doc! { "_id": id }, self.documents.projection());
        let found = self.mongo.find_confirmed("find a user", &self.users, filter, Some(fields)).await?;
        // Not left out: a user who is missing loses what belongs to them.
        found.as_ref().map(|document| self.documents.user(document)).transpose()
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        let (login, case) = (email.as_str(), self.map().logins.case);
        if case == Case::Insensitive {
            return Ok(spelling::meant(self.spellings(email).await?, email));
        }
        // Side by side, whether the first finds an account or not: the time must not tell.
        let lower = login.to_lowercase();
        let others = async {
            if self.searched {
                self.spellings(email).await
            } else if case == Case::Exact && lower != login {
                self.exactly(&lower).await
            } else {
                Ok(Vec::new())
            }
        };
        let (exact, others) = try_join!(self.exactly(login), others)?;
        Ok(spelling::meant(exact, email).or_else(|| spelling::meant(others, email)))
    }

    async fn find_by_provider(&self, provider: &str, subject: &str) -> Result<Option<User>, StoreError> {
        let Some(field) = self.map().provider(provider) else { return Ok(None) };
        let find = self.confirmed(doc! { field: Documents::any_of(subject) }).limit(spelling::MOST.into());
        let mut found = self.rows("find a user", find).await?.documents;
        found.retain(|document| Documents::is_at_provider(document, field, subject));
        let users = found.iter().filter_map(|document| self.documents.readable(document)).collect();
        Ok(super::only(users, provider))
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        if let Some(reason) = self.map().refuses(&user.roles) {
            return Ok(UserCreated::Closed(format!("no account with these roles: {reason}")));
        }
        if let Some(reason) = self.closed().await? {
            return Ok(UserCreated::Closed(reason));
        }
        if self.map().is_spelled_freely() && self.has_in_any_spelling(&user.email).await? {
            return Ok(UserCreated::Taken);
        }
        self.learn_styles(false).await?;
        let (id, document) = self.documents.new_document(user);
        let insert = async {
            match self.users.insert_one(document).await {
                Err(error) if is_duplicate(&error) => Ok(Err(error.to_string())),
                answer => answer.map(|_| Ok(())),
            }
        };
        match self.mongo.run("create a user", insert).await? {
            Ok(()) => Ok(UserCreated::Done(id)),
            Err(error) => self.duplicate(user, &error).await,
        }
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        let Some(id) = self.documents.id(id) else { return Ok(UserChanged::Gone) };
        if matches!(change, Change::Verified(_) | Change::Disabled(_)) {
            self.learn_styles(false).await?;
        }
        let Some((mut filter, update)) = self.documents.update(change) else {
            return Ok(UserChanged::NoPlace);
        };
        filter.insert("_id", id.clone());
        match self.apply(&filter, &update, change).await? {
            None => return Ok(UserChanged::Refused),
            Some(true) => return Ok(UserChanged::Done),
            Some(false) => {}
        }
        let found = self.mongo.is_there("change a user", &self.users, doc! { "_id": id }).await?;
        Ok(match (found, change) {
            (false, _) => UserChanged::Gone,
            // Another id stands there, or none.
            (true, Change::Disconnect(_)) => UserChanged::Done,
            (true, _) => UserChanged::Refused,
        })
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        let Some(id) = self.documents.id(id) else { return Ok(false) };
        Ok(self.mongo.delete_all("delete a user", &self.users, doc! { "_id": id }).await? > 0)
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.listed(after, limit).await
    }

    /// A change of no document, which waits for a majority like every other.
    async fn check(&self) -> Result<(), StoreError> {
        let nobody = doc! { "_id": "hallpass-check", &self.map().login: { "$in": [] } };
        let nothing = doc! { "$set": { &self.map().login: "" } };
        self.mongo.run("check the users", self.users.update_one(nobody, nothing)).await.map(drop)
    }

    async fn sample(&self, limit: usize) -> Result<Vec<User>, StoreError> {
        let find = self.confirmed(doc! {}).limit(limit_of(limit));
        let documents = self.rows("look at some users", find).await?;
        Ok(documents.documents.iter().filter_map(|document| self.documents.readable(document)).collect())
    }

    fn conventions(&self) -> Conventions {
        self.map().conventions(self.map().ids == Ids::Number, self.documents.reuse())
    }

    fn epoch_at_first(&self, user: &User) -> u64 {
        epoch::epoch(0, user, self.documents.reuse())
    }

    fn epoch_after(&self, user: &User, to: &PasswordHash) -> u64 {
        epoch::after(user, to, self.documents.reuse())
    }
}

/// Whether the collection takes no such document.
fn is_refused(error: &mongodb::error::Error) -> bool {
    const FAILED_VALIDATION: i32 = 121;
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == FAILED_VALIDATION => true,
        _ => is_duplicate(error),
    }
}

/// Whether people are searched for in any spelling of their login.
async fn searched(
    users: &Collection<Document>,
    indexes: &[IndexModel],
    map: &UserMap,
) -> Result<bool, mongodb::error::Error> {
    if !map.is_spelled_freely() || index::serves_any_spelling(indexes, &map.login) {
        return Ok(map.is_spelled_freely());
    }
    if users.estimated_document_count().await? <= spelling::SMALL.into() {
        return Ok(true);
    }
    spelling::warn_unindexed(map, &index::cure_for_spellings(map));
    Ok(false)
}

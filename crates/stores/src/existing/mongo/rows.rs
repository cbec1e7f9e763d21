//! Rows of queries. Each is read on its own: one that cannot be read is left out.

use hallpass_auth::{Email, User};
use hallpass_session::StoreError;
use mongodb::bson::{Document, doc};

use super::MongoUsers;
use crate::native::limit_of;

/// What a query found. A row that cannot be read is left out, and the log names it.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) documents: Vec<Document>,
    /// So many there are, those that cannot be read included.
    seen: usize,
    /// The login of the last.
    last: Option<String>,
}

impl MongoUsers {
    pub(super) async fn all(
        &self,
        doing: &'static str,
        find: impl IntoFuture<Output = Result<mongodb::Cursor<Document>, mongodb::error::Error>>,
    ) -> Result<Vec<User>, StoreError> {
        let rows = self.rows(doing, find).await?;
        Ok(rows.documents.iter().filter_map(|document| self.documents.readable(document)).collect())
    }

    pub(super) async fn rows(
        &self,
        doing: &'static str,
        find: impl IntoFuture<Output = Result<mongodb::Cursor<Document>, mongodb::error::Error>>,
    ) -> Result<Rows, StoreError> {
        let mut found = self.mongo.read(doing, true, find).await?;
        let mut rows = Rows::default();
        while self.mongo.advance(doing, &mut found, true).await? {
            let login = found.current().get_str(&self.map().login).ok().map(str::to_owned);
            match found.deserialize_current() {
                Ok(document) => rows.documents.push(document),
                Err(error) => self.documents.warn_unreadable(login.as_deref(), &error),
            }
            rows.seen += 1;
            rows.last = login.or(rows.last);
        }
        Ok(rows)
    }

    /// The accounts after this one, in the order of their logins.
    pub(super) async fn listed(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        let (login, mut skipped) = (&self.map().login, 0);
        let mut after = after.map_or("", Email::as_str).to_owned();
        loop {
            let filter = doc! { login: { "$gt": &after, "$type": "string" } };
            let find = self.confirmed(filter).sort(doc! { login: 1 }).limit(limit_of(limit));
            let rows = self.rows("list the users", find).await?;
            let users: Vec<User> =
                rows.documents.iter().filter_map(|document| self.documents.readable(document)).collect();
            skipped += rows.seen - users.len();
            // A page without an account would look like the end.
            if let Some(last) = rows.last.filter(|_| users.is_empty() && rows.seen > 0) {
                after = last;
                continue;
            }
            if skipped > 0 {
                tracing::warn!(event = "users_skipped", table = self.map().table, skipped);
            }
            return Ok(users);
        }
    }
}

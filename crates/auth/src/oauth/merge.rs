//! Two accounts of one person become one: [`Providers::merge`].

use hallpass_session::{SessionStore, StoreError, Timestamp};

use super::{Providers, link};
use crate::{
    Change, Deleted, Disabled, Error, Record, RecordKey, Replaced, RolesChanged, User,
    records::kinds::OAUTH_TOKENS,
};

/// How often a record is written again that another request writes.
const TRIES: usize = 4;

/// The answer to [`Providers::merge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// One account is left.
    Done {
        /// How many accounts at providers open it that opened the other one.
        links: usize,
        /// Its roles now.
        roles: Vec<String>,
    },
    /// One account is left; some sessions or records of the other one, which open nothing, could not be removed.
    Leftovers,
    /// Another application's table has no place for what this takes; nothing was changed.
    NoPlace,
    /// One of the two is not there.
    Gone,
}

impl Providers {
    /// Makes one account of two: `into` stays, with its ID, address and password. It gets the connected accounts of `from`
    /// with their tokens, its roles, and its name if it has none. The sessions of `from` end, and `from` is deleted.
    ///
    /// `from` is disabled first, so that nobody is at work in it meanwhile. A merge that was cut short leaves it disabled, and
    /// goes on when it is called again.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn merge(
        &self,
        from: &User,
        into: &User,
        sessions: &dyn SessionStore,
        now: Timestamp,
    ) -> Result<Merged, Error> {
        let auth = &self.0.auth;
        let Some(into) = self.users().find(&into.id).await? else { return Ok(Merged::Gone) };
        match auth.set_disabled(from, true, sessions, now).await? {
            // Sessions that remain in the store open nothing.
            Disabled::Done | Disabled::SessionsRemain => {}
            Disabled::NoPlace => return Ok(Merged::NoPlace),
            Disabled::Gone => return Ok(Merged::Gone),
        }
        let links = self.hand_over(from, &into, now).await?;
        if auth.is_provisioned(from, now).await? {
            // What an operator made stays closed to addresses.
            auth.note_provisioned(&into, now).await?;
        }
        if let (None, Some(name)) = (&into.name, &from.name) {
            self.users().change(&into.id, &Change::Name(Some(name.clone()))).await?;
        }
        let roles = match auth.change_roles(&into, &from.roles, &[]).await? {
            RolesChanged::Done(roles) => roles,
            RolesChanged::NoPlace | RolesChanged::Refused(_) => return Ok(Merged::NoPlace),
            RolesChanged::Gone => return Ok(Merged::Gone),
        };
        tracing::info!(event = "users_merged", user = %from.id, into = %into.id, links);
        Ok(match auth.delete_user(from, sessions, now).await? {
            Deleted::Done | Deleted::Missing => Merged::Done { links, roles },
            Deleted::Leftovers => Merged::Leftovers,
        })
    }

    /// Gives the links of one account to another one; how many.
    async fn hand_over(&self, from: &User, into: &User, now: Timestamp) -> Result<usize, StoreError> {
        let links = self.own(from, now).await?;
        for link in &links {
            let tokens = RecordKey { kind: OAUTH_TOKENS, id: link.key.id.clone() };
            self.own_by(&tokens, into, now, |_| Ok(())).await?;
            self.own_by(&link.key, into, now, |record| self.mark(record, into)).await?;
        }
        Ok(links.len())
    }

    /// Makes a record another user's. One that is gone meanwhile needs no owner.
    async fn own_by(
        &self,
        key: &RecordKey,
        owner: &User,
        now: Timestamp,
        change: impl Fn(&mut Record) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let Some(mut record) = self.records().get(key, now).await? else { return Ok(()) };
            record.owner = Some(owner.id.clone());
            change(&mut record)?;
            if self.records().replace(&record, now).await? == Replaced::Done {
                return Ok(());
            }
        }
        Err(StoreError::new("merge two accounts", "somebody else changes a link all the time; try again"))
    }

    /// Notes in a link what tells its new account apart.
    fn mark(&self, record: &mut Record, owner: &User) -> Result<(), StoreError> {
        let account = self.0.auth.conventions().reuse.mark(owner);
        link::set_account(record, account)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hallpass_session::MemoryStore;

    use super::*;
    use crate::{Auth, AuthOptions, Email, MemoryRecords, MemoryUsers, RecordStore, UserStore};

    const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);

    fn user(name: &str) -> User {
        User::new(Email::verbatim(&format!("{name}@example.com")), NOW)
    }

    #[tokio::test]
    async fn what_opened_one_account_at_a_provider_opens_the_other_one() {
        let (users, records) = (Arc::new(MemoryUsers::new()), Arc::new(MemoryRecords::new()));
        let (old, ann) = (user("old"), user("ann"));
        for user in [&old, &ann] {
            users.create(user).await.unwrap();
        }
        let body = r#"{"provider":"hub","issuer":"https://hub","subject":"7","email":"o@hub","linked":5}"#;
        for (key, body) in [
            (link::key("hub-7"), body),
            (RecordKey { kind: OAUTH_TOKENS, id: "hub-7".to_owned() }, "{}"),
            (RecordKey { kind: "other", id: "hub-7".to_owned() }, "{}"),
        ] {
            let owner = Some(old.id.clone());
            let record = Record { key, owner, body: body.to_owned(), expires: None, version: 0 };
            records.insert(&record, NOW).await.unwrap();
        }
        let auth = Auth::new(users.clone(), records.clone(), AuthOptions::default()).unwrap();
        let providers = Providers::none(auth);
        let sessions = MemoryStore::new();
        let merged = providers.merge(&old, &ann, &sessions, NOW).await.unwrap();
        assert_eq!(merged, Merged::Done { links: 1, roles: Vec::new() });
        let links = providers.links(&ann, NOW).await.unwrap();
        assert_eq!((links.len(), links[0].provider.as_str()), (1, "hub"));
        assert_eq!(records.list(OAUTH_TOKENS, &ann.id, NOW).await.unwrap().len(), 1);
        assert!(records.list("other", &old.id, NOW).await.unwrap().is_empty(), "what is left goes");
        assert_eq!(users.find(&old.id).await.unwrap(), None);
        let again = providers.merge(&old, &ann, &sessions, NOW).await.unwrap();
        assert_eq!(again, Merged::Gone);
        assert_eq!(providers.links(&ann, NOW).await.unwrap().len(), 1);
    }
}

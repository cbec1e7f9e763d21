//! Whose address has been proven to be theirs. A record beside the account, because most tables of users have no place for it.

use hallpass_session::{StoreError, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Auth, Change, Error, Record, RecordKey, Replaced, User, UserChanged, records::kinds::VERIFIED_EMAIL,
};

#[derive(Serialize, Deserialize)]
struct Verified {
    email: String,
    /// [What tells the account apart](crate::Reuse::mark).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

fn key(user: &User) -> RecordKey {
    RecordKey { kind: VERIFIED_EMAIL, id: user.id.as_str().to_owned() }
}

impl Auth {
    /// Whether somebody has proved that the account's present address is theirs, here or, where [its table says so](User::verified), to the
    /// application that made it. An account that nobody has verified may have been made by anybody, in wait for the owner of the address.
    pub async fn is_verified(&self, user: &User, now: Timestamp) -> Result<bool, Error> {
        if user.verified == Some(true) {
            return Ok(true);
        }
        let record = self.inner().records.get(&key(user), now).await?;
        let verified = record.and_then(|record| serde_json::from_str::<Verified>(&record.body).ok());
        let reuse = self.conventions().reuse;
        let same = |noted: &Verified| {
            noted.email == user.email.as_str() && reuse.fits(noted.account.as_deref(), user)
        };
        Ok(verified.as_ref().is_some_and(same))
    }

    /// Notes that the account's owner has proved that its present address is theirs: in the table, if that has a place for it, else in
    /// a record.
    pub async fn note_verified(&self, user: &User, now: Timestamp) -> Result<(), Error> {
        match self.inner().users.change(&user.id, &Change::Verified(user.email.clone())).await? {
            // The account has another address by now: nothing was proved of that.
            UserChanged::Done | UserChanged::Refused => Ok(()),
            // An account that is not there yet is about to be made.
            UserChanged::NoPlace | UserChanged::Gone => self.record_verified(user, now).await,
        }
    }

    /// Notes that nobody has proved that the account's present address is theirs. `false`: another application's table
    /// says that it is verified, which only that application may take back; nothing was changed.
    ///
    /// # Errors
    /// When the record store fails.
    pub async fn forget_verified(&self, user: &User, now: Timestamp) -> Result<bool, Error> {
        if user.verified == Some(true) {
            return Ok(false);
        }
        self.inner().records.take(&key(user), now).await?;
        Ok(true)
    }

    async fn record_verified(&self, user: &User, now: Timestamp) -> Result<(), Error> {
        let (key, records) = (key(user), &self.inner().records);
        let account = self.conventions().reuse.mark(user);
        let body = serde_json::to_string(&Verified { email: user.email.as_str().to_owned(), account })
            .map_err(|error| StoreError::new("note a verified address", error))?;
        let mut record = Record { key, owner: Some(user.id.clone()), body, expires: None, version: 0 };
        match records.get(&record.key, now).await? {
            Some(old) if old.body == record.body => {}
            Some(old) => {
                record.version = old.version;
                // Who is quicker has noted the same.
                let _: Replaced = records.replace(&record, now).await?;
            }
            None => drop(records.insert(&record, now).await?),
        }
        Ok(())
    }
}

//! Accounts that an operator makes, and which accounts no provider's word about an address opens.
//!
//! What an operator made may be worth more than its address: whoever can set that address at some provider must not have it. So such an
//! account, and one with roles, is connected by whoever is signed in to it. The note is written before the account is made: cut short,
//! it keeps somebody out, and lets nobody in.

use hallpass_session::{StoreError, Timestamp, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Auth, Email, Error, Record, RecordKey, RegisterOutcome, Registration, User, records::kinds::PROVISIONED,
};

#[derive(Serialize, Deserialize)]
struct Body {
    /// [What tells the account apart](crate::Reuse::mark).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

fn key(id: String) -> RecordKey {
    RecordKey { kind: PROVISIONED, id }
}

fn account_key(user: &User) -> RecordKey {
    key(format!("account:{}", user.id))
}

/// Stands until the account has its id, where the database gives ids.
fn address_key(email: &Email) -> RecordKey {
    key(format!("address:{}", hex(&Sha256::digest(email.grouping_key())[..16])))
}

impl Auth {
    /// Makes an account with these roles, as an operator: nobody is signed in, and no provider's word about its address
    /// [opens it](Self::is_provisioned). Its owner signs in with the password, and connects providers then.
    ///
    /// # Errors
    /// When a store fails, or hashing is busy.
    pub async fn provision_user(
        &self,
        registration: Registration,
        roles: Vec<String>,
        now: Timestamp,
    ) -> Result<RegisterOutcome, Error> {
        let pending = match self.new_login(&registration.email) {
            Ok(email) => Record {
                key: address_key(&email),
                owner: None,
                body: "{}".to_owned(),
                expires: None,
                version: 0,
            },
            Err(refusal) => return Ok(RegisterOutcome::Refused(refusal)),
        };
        let records = &self.inner().records;
        records.insert(&pending, now).await?;
        let outcome = self.create_user(registration, roles, now).await;
        if let Ok(RegisterOutcome::Registered(user)) = &outcome
            && let Err(error) = self.note_provisioned(user, now).await
        {
            // The account is made. The note on its address stays, and says the same.
            tracing::warn!(event = "provisioning_not_noted", user = %user.id, error = &error as &dyn std::error::Error);
            return outcome;
        }
        if let Err(error) = records.take(&pending.key, now).await {
            tracing::warn!(event = "provisioning_note_remains", error = &error as &dyn std::error::Error);
        }
        outcome
    }

    pub(crate) async fn note_provisioned(&self, user: &User, now: Timestamp) -> Result<(), StoreError> {
        // What the database has made of it tells it apart.
        let stored = self.inner().users.find(&user.id).await?;
        let user = stored.as_ref().unwrap_or(user);
        let body = Body { account: self.conventions().reuse.mark(user) };
        let body = serde_json::to_string(&body)
            .map_err(|error| StoreError::new("note who made an account", error))?;
        let record =
            Record { key: account_key(user), owner: Some(user.id.clone()), body, expires: None, version: 0 };
        self.inner().records.insert(&record, now).await.map(drop)
    }

    /// Whether an operator made the account with [`provision_user`](Self::provision_user).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_provisioned(&self, user: &User, now: Timestamp) -> Result<bool, Error> {
        let keys = [account_key(user), address_key(&user.email)];
        let found = self.inner().records.get_all(&keys, now).await?;
        let reuse = self.conventions().reuse;
        let of_account = |record: &Record| {
            let body = serde_json::from_str::<Body>(&record.body).ok();
            reuse.fits(body.and_then(|body| body.account).as_deref(), user)
        };
        Ok(match found.as_slice() {
            [Some(record), _] if of_account(record) => true,
            [_, pending] => pending.is_some(),
            _ => false,
        })
    }

    /// Whether only whoever is signed in to the account may connect a provider to it: it has roles beyond the
    /// [ordinary ones](crate::AuthOptions::ordinary_roles), or an operator made it.
    #[cfg(feature = "oauth")]
    pub(crate) async fn is_protected(&self, user: &User, now: Timestamp) -> Result<bool, Error> {
        let ordinary = &self.options().ordinary_roles;
        let extraordinary = user.roles.iter().any(|role| !ordinary.contains(role));
        Ok(extraordinary || self.is_provisioned(user, now).await?)
    }

    /// Removes what [`provision_user`](Self::provision_user) may have left when it was cut short.
    pub(crate) async fn forget_provisioned(&self, user: &User, now: Timestamp) -> Result<(), StoreError> {
        self.inner().records.take(&address_key(&user.email), now).await.map(drop)
    }
}

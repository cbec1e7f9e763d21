//! The contract between accounts and a database.
//!
//! As with sessions, "no" is an answer and `Err` means a broken store. Changes are named, one by one: no store ever
//! writes a whole user back, so concurrent changes of different things both last and fields that are not ours stay.

use async_trait::async_trait;
use hallpass_session::{ChangeFeed, StoreError};

use crate::{Conventions, Email, PasswordHash, User, UserId};

/// One change of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets, replaces or removes the password and moves [`User::session_epoch`] on.
    /// Refused when what is stored no longer is `from`: of two changes at once, one wins.
    Password {
        /// [What was there](User::stored_password): the hash that was verified, say.
        from: Option<PasswordHash>,
        /// The new one; `None`: no password.
        to: Option<PasswordHash>,
    },
    /// Stores the same password under a better hash; sessions live on. Refused when the stored hash no longer is `from`.
    Rehash {
        /// The hash that was verified.
        from: PasswordHash,
        /// The better one.
        to: PasswordHash,
    },
    /// Sets or removes the name.
    Name(Option<String>),
    /// Sets another address. Refused when the account's is not `from`, or when another account has `to`. Only our own layouts
    /// have a place for it: the login in another application's table is that application's.
    Email {
        /// What it is.
        from: Email,
        /// What it becomes, as [`UserStore::create`] would store it.
        to: Email,
    },
    /// Replaces the roles.
    Roles(Vec<String>),
    /// Says that the account's address is its owner's. Refused when the account has another address. Only the tables of other
    /// applications may have a place for it.
    Verified(Email),
    /// Disables or enables the account; disabling moves [`User::session_epoch`] on.
    Disabled(bool),
    /// Empties what an application's own table says of people at providers: the field of the provider of this name, if this id stands in
    /// it; `None`: all such fields. Refused where one must not be empty. Only the tables of other applications may have such fields.
    Disconnect(Option<(String, String)>),
}

/// The answer of [`UserStore::create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserCreated {
    /// The account exists now, under this id: the user's own, unless the database gives ids.
    Done(UserId),
    /// The address or the id has an account already; nothing was changed.
    Taken,
    /// An existing table takes no such account: nothing there keeps logins unique, say. For the operator: why, and what to do.
    Closed(String),
}

/// The answer of [`UserStore::change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserChanged {
    /// The change is stored.
    Done,
    /// The precondition of the change does not hold; nothing was changed.
    Refused,
    /// There is no such user.
    Gone,
    /// An existing table has no place for it; nothing was changed.
    NoPlace,
}

/// Keeps accounts. The [module documentation](self) states what every implementation promises.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// The user of this id.
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError>;

    /// The user with this address. Where spellings of one address may belong to several accounts, the one that is spelled exactly so; else the only
    /// one; of several, none.
    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError>;

    /// The user whom the provider of this name (as configured) knows as `subject`, in an application's own table: passport's `googleId`
    /// and the like. Asked only for people who have no link yet. Without such fields: nobody.
    async fn find_by_provider(&self, provider: &str, subject: &str) -> Result<Option<User>, StoreError> {
        let _ = (provider, subject);
        Ok(None)
    }

    /// Stores a new user, unless the address or the id is taken. Of many at once for one address, one wins.
    async fn create(&self, user: &User) -> Result<UserCreated, StoreError>;

    /// Makes one change.
    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError>;

    /// Deletes the user; `true` when there was one.
    async fn delete(&self, id: &UserId) -> Result<bool, StoreError>;

    /// A page of all users in the order of their addresses: those after `after`, at most `limit`.
    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError>;

    /// Some of the users, at most `limit`, in any order: what is typical of the table. Default: the first of all.
    async fn sample(&self, limit: usize) -> Result<Vec<User>, StoreError> {
        self.list(None, limit).await
    }

    /// Whether accounts can be changed now. `Err` means that changes fail: the database is down, read-only, or without its majority.
    ///
    /// Accounts are never made or touched for it. The default reads one, which says less; a store whose records are in the same
    /// database needs no more, because [`RecordStore::check`](crate::RecordStore::check) writes there.
    async fn check(&self) -> Result<(), StoreError> {
        self.find(&UserId::new("hallpass-check")).await.map(drop)
    }

    /// How accounts are kept here. Default: as in our own layouts.
    fn conventions(&self) -> Conventions {
        Conventions::default()
    }

    /// The [`session_epoch`](User::session_epoch) that this user, who has a password, will have once it is [created](Self::create).
    fn epoch_at_first(&self, user: &User) -> u64 {
        user.session_epoch
    }

    /// The [`session_epoch`](User::session_epoch) of this user after [`Change::Password`] to `to`, if nothing else changes it.
    /// What it will be without a password, only the store can tell afterwards.
    fn epoch_after(&self, user: &User, to: &PasswordHash) -> u64 {
        let _ = to;
        user.session_epoch + 1
    }

    /// Tells what happens to the users here, whoever does it, so that a [cache](crate::CachedUsers) can keep copies. `None`: the store cannot
    /// tell, or copies would be no faster than it is.
    fn changes(&self) -> Option<ChangeFeed<UserId>> {
        None
    }

    /// The user of this id, if that can be told without waiting; `None` says nothing about whether there is one.
    fn cached(&self, id: &UserId) -> Option<User> {
        let _ = id;
        None
    }
}

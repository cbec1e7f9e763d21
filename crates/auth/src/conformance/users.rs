//! The suite of user stores.

use std::sync::Arc;

use super::{NOW, at_once, fresh};
use crate::{Change, Email, LoginKind, PasswordHash, User, UserChanged, UserCreated, UserId, UserStore};

/// The time an account was made is not kept to the millisecond.
pub const CREATED: &str = "when an account was made";
/// The database gives ids, not the program.
pub const OWN_IDS: &str = "ids of the program's own";
/// There is no place for roles.
pub const ROLES: &str = "roles";
/// There is a place for one role only.
pub const ROLE_LISTS: &str = "several roles";
/// There is no flag that disables an account.
pub const DISABLING: &str = "disabling";
/// Nothing but the password hash moves sessions on: the same password under another hash ends them, and enabling a disabled
/// account again does not.
pub const EPOCHS: &str = "epochs of their own";

struct Suite {
    store: Arc<dyn UserStore>,
    without: &'static [&'static str],
}

/// Checks the whole contract of a user store; panics at the first promise that is broken.
pub async fn users(store: Arc<dyn UserStore>) {
    users_without(store, &[]).await;
}

/// The same for a table that another application made and that has no place for these things ([`ROLES`] and its neighbours): what
/// cannot be kept must be refused, and everything else holds.
pub async fn users_without(store: Arc<dyn UserStore>, without: &'static [&'static str]) {
    let suite = Suite { store, without };
    suite.round_trip().await;
    suite.unique().await;
    suite.changes_by_name().await;
    suite.addresses().await;
    suite.rehashes().await;
    suite.passwords_are_taken_away().await;
    suite.disabling().await;
    suite.verifying().await;
    suite.one_password_wins().await;
    suite.paged().await;
}

impl Suite {
    fn keeps(&self, what: &str) -> bool {
        !self.without.contains(&what)
    }

    fn roles(&self, roles: &[&str]) -> Vec<String> {
        let most = usize::from(self.keeps(ROLES)) * if self.keeps(ROLE_LISTS) { 2 } else { 1 };
        roles.iter().take(most).map(|role| (*role).to_owned()).collect()
    }

    fn user(&self) -> User {
        let conventions = self.store.conventions();
        let login = match conventions.logins.kind {
            LoginKind::Email => format!("{}@example.com", fresh()),
            LoginKind::UserName => fresh(),
        };
        let mut user = User {
            name: conventions.names.then(|| "Ann \u{1d11e} <b>".to_owned()),
            password: Some(PasswordHash::new("$argon2id$one")),
            roles: self.roles(&["admin", "a,\"b\""]),
            ..User::new(Email::verbatim(&login), NOW)
        };
        user.session_epoch = self.store.epoch_at_first(&user);
        user
    }

    /// Stores it; as it is then.
    async fn create(&self, user: &User) -> User {
        match self.store.create(user).await.expect("create") {
            UserCreated::Done(id) => {
                assert!(id == user.id || !self.keeps(OWN_IDS), "the id was replaced");
                User { id, ..user.clone() }
            }
            refused => panic!("a new user is refused: {refused:?}"),
        }
    }

    /// The same user, where the time it was made need not be kept. What is known of the address is a question of its own.
    fn same(&self, found: Option<User>, user: &User) -> Option<User> {
        let created = |found: &User| if self.keeps(CREATED) { found.created } else { user.created };
        found.map(|found| User { created: created(&found), verified: user.verified, ..found })
    }

    async fn find(&self, user: &User) -> Option<User> {
        self.same(self.store.find(&user.id).await.expect("find"), user)
    }

    async fn find_by_email(&self, user: &User) -> Option<User> {
        self.same(self.store.find_by_email(&user.email).await.expect("find_by_email"), user)
    }

    async fn change(&self, user: &User, change: Change) -> UserChanged {
        self.store.change(&user.id, &change).await.expect("change")
    }

    async fn round_trip(&self) {
        let bare = User { name: None, roles: vec![], disabled: self.keeps(DISABLING), ..self.user() };
        for user in [self.user(), bare] {
            assert_eq!(self.find(&user).await, None);
            let user = self.create(&user).await;
            assert_eq!(self.find(&user).await.as_ref(), Some(&user), "found by id");
            assert_eq!(self.find_by_email(&user).await.as_ref(), Some(&user), "found by address");
            assert!(self.store.delete(&user.id).await.expect("delete"));
            assert!(!self.store.delete(&user.id).await.expect("delete"));
            assert_eq!(self.find_by_email(&user).await, None);
        }
    }

    async fn unique(&self) {
        let first = self.create(&self.user()).await;
        let mut twins = vec![User { id: UserId::generate(), ..first.clone() }];
        if self.keeps(OWN_IDS) {
            twins.push(User { id: first.id.clone(), ..self.user() });
        }
        for twin in twins {
            assert_eq!(self.store.create(&twin).await.expect("create"), UserCreated::Taken);
        }
        assert_eq!(self.find(&first).await, Some(first), "a refused create changed the user");

        let wanted = self.user();
        let answers = at_once(|_| {
            let (store, user) = (self.store.clone(), User { id: UserId::generate(), ..wanted.clone() });
            async move { store.create(&user).await.expect("create") }
        })
        .await;
        let done = answers.iter().filter(|answer| matches!(answer, UserCreated::Done(_)));
        assert_eq!(done.count(), 1, "one address, one user");
    }

    async fn changes_by_name(&self) {
        let mut user = self.create(&self.user()).await;
        let (one, two) = (PasswordHash::new("$argon2id$one"), PasswordHash::new("$argon2id$two"));
        let set = |from: &PasswordHash, to: &PasswordHash| Change::Password {
            from: Some(from.clone()),
            to: Some(to.clone()),
        };
        assert_eq!(self.change(&user, set(&two, &one)).await, UserChanged::Refused);
        assert_eq!(self.find(&user).await.as_ref(), Some(&user), "a refused change changed the user");
        assert_eq!(self.change(&user, set(&one, &two)).await, UserChanged::Done);
        let epoch = self.store.epoch_after(&user, &two);
        assert_ne!(epoch, user.session_epoch, "a change of password leaves sessions alive");
        (user.password, user.session_epoch) = (Some(two), epoch);
        assert_eq!(self.find(&user).await.as_ref(), Some(&user), "after a change of password");
        let place = |kept: bool| if kept { UserChanged::Done } else { UserChanged::NoPlace };
        let names = self.store.conventions().names;
        assert_eq!(self.change(&user, Change::Name(Some("Bob".to_owned()))).await, place(names));
        user.name = names.then(|| "Bob".to_owned());
        assert_eq!(self.find(&user).await.as_ref(), Some(&user), "after a change of name");
        let editor = Change::Roles(vec!["editor".to_owned()]);
        assert_eq!(self.change(&user, editor).await, place(self.keeps(ROLES)));
        user.roles = self.roles(&["editor"]);
        let two_roles = Change::Roles(vec!["a".to_owned(), "b".to_owned()]);
        let lists = self.keeps(ROLES) && self.keeps(ROLE_LISTS);
        assert_eq!(self.change(&user, two_roles).await, place(lists));
        if lists {
            user.roles = self.roles(&["a", "b"]);
        }
        assert_eq!(self.find(&user).await, Some(user), "after a change of roles");
        let nobody = self.user();
        let change = Change::Password { from: nobody.password.clone(), to: None };
        assert_eq!(self.change(&nobody, change).await, UserChanged::Gone);
    }

    /// One account an address, also while several change theirs. What another application's table has for a login is its own.
    async fn addresses(&self) {
        let (user, other, free) =
            (self.create(&self.user()).await, self.create(&self.user()).await, self.user());
        let change =
            |from: &User, to: &User| Change::Email { from: from.email.clone(), to: to.email.clone() };
        let moved = self.change(&user, change(&user, &free)).await;
        if moved == UserChanged::NoPlace {
            assert_eq!(self.find(&user).await, Some(user), "what cannot be kept changed the user");
            return;
        }
        assert_eq!(moved, UserChanged::Done);
        let user = User { email: free.email.clone(), ..user };
        assert_eq!(self.find_by_email(&user).await.as_ref(), Some(&user), "found by the new address");
        assert_eq!(self.find(&user).await.as_ref(), Some(&user), "a new address changes nothing else");
        let stale = Change::Email { from: other.email.clone(), to: self.user().email };
        assert_eq!(self.change(&user, stale).await, UserChanged::Refused, "it has another address");
        assert_eq!(self.change(&user, change(&user, &other)).await, UserChanged::Refused, "it is taken");
        assert_eq!(self.find(&user).await.as_ref(), Some(&user), "a refused change changed the user");
        assert_eq!(self.find_by_email(&other).await, Some(other), "the other account has its address");
        let nobody = self.user();
        assert_eq!(self.change(&nobody, change(&nobody, &self.user())).await, UserChanged::Gone);
        let wanted = self.user();
        let mut users = Vec::new();
        for _ in 0..4 {
            users.push(self.create(&self.user()).await);
        }
        let users = Arc::new(users);
        let answers = at_once(|number| {
            let (store, users, to) = (self.store.clone(), users.clone(), wanted.email.clone());
            async move {
                let user = &users[number % users.len()];
                let change = Change::Email { from: user.email.clone(), to };
                store.change(&user.id, &change).await.expect("change")
            }
        })
        .await;
        let done = answers.iter().filter(|answer| **answer == UserChanged::Done);
        assert_eq!(done.count(), 1, "one address, one user");
    }

    async fn rehashes(&self) {
        let user = self.create(&self.user()).await;
        let (one, two) = (PasswordHash::new("$argon2id$one"), PasswordHash::new("$argon2id$two"));
        let stale = Change::Rehash { from: two.clone(), to: one.clone() };
        let rehash = Change::Rehash { from: one, to: two.clone() };
        if !self.keeps(EPOCHS) {
            assert_eq!(self.change(&user, rehash).await, UserChanged::NoPlace);
            assert_eq!(self.find(&user).await, Some(user), "what cannot be kept changed the user");
            return;
        }
        assert_eq!(self.change(&user, stale).await, UserChanged::Refused);
        assert_eq!(self.change(&user, rehash).await, UserChanged::Done);
        let rehashed = User { password: Some(two), ..user.clone() };
        assert_eq!(self.find(&user).await, Some(rehashed), "a rehash changes nothing else");
    }

    /// Each removal moves the epoch on, also of what was none before, and what was read before it changes nothing any more where nothing
    /// else would tell.
    async fn passwords_are_taken_away(&self) {
        let found = async |user: &User| self.store.find(&user.id).await.expect("find").expect("the user");
        let change = |from: &User, to: Option<&str>| Change::Password {
            from: from.stored_password(),
            to: to.map(PasswordHash::new),
        };
        let with = self.create(&self.user()).await;
        let without = self.create(&User { password: None, ..self.user() }).await;
        for user in [with, without] {
            let before = found(&user).await;
            assert_eq!(self.change(&before, change(&before, None)).await, UserChanged::Done);
            let taken = found(&user).await;
            assert_eq!(taken.password, None);
            assert_ne!(taken.session_epoch, before.session_epoch, "what was opened before lives on");
            let late = self.change(&before, change(&before, Some("$argon2id$late"))).await;
            let told = found(&user).await.session_epoch
                != self.store.epoch_after(&before, &PasswordHash::new("$argon2id$late"));
            assert!(late == UserChanged::Refused || told, "a password from before the removal");
            let now = found(&user).await;
            assert_eq!(self.change(&now, change(&now, Some("$argon2id$next"))).await, UserChanged::Done);
            assert_eq!(found(&user).await.password, Some(PasswordHash::new("$argon2id$next")));
        }
    }

    async fn disabling(&self) {
        let mut user = self.create(&self.user()).await;
        let done = if self.keeps(DISABLING) { UserChanged::Done } else { UserChanged::NoPlace };
        assert_eq!(self.change(&user, Change::Disabled(true)).await, done);
        let found = self.find(&user).await.expect("the user");
        assert_eq!(found.disabled, self.keeps(DISABLING));
        if self.keeps(DISABLING) && self.keeps(EPOCHS) {
            assert_ne!(found.session_epoch, user.session_epoch, "disabling leaves sessions alive");
        }
        assert_eq!(self.change(&user, Change::Disabled(false)).await, done);
        user.session_epoch = found.session_epoch;
        assert_eq!(self.find(&user).await, Some(user), "enabled again");
    }

    /// Whoever has no place for it says so, and changes nothing.
    async fn verifying(&self) {
        let verified =
            async |user: &User| self.store.find(&user.id).await.expect("find").expect("the user").verified;
        let user = self.create(&self.user()).await;
        let before = verified(&user).await;
        let elsewhere = self.change(&user, Change::Verified(Email::verbatim("other@example.com"))).await;
        assert_eq!(verified(&user).await, before, "another address was verified");
        let changed = self.change(&user, Change::Verified(user.email.clone())).await;
        if changed == UserChanged::NoPlace {
            assert_eq!((elsewhere, verified(&user).await), (UserChanged::NoPlace, before));
            return;
        }
        assert_eq!((before, elsewhere, changed), (Some(false), UserChanged::Refused, UserChanged::Done));
        assert_eq!(verified(&user).await, Some(true));
        assert_eq!(self.find(&user).await.as_ref(), Some(&user), "verifying changed something else");
        let made = self.create(&User { verified: Some(true), ..self.user() }).await;
        assert_eq!(verified(&made).await, Some(true), "made verified");
        let nobody = self.user();
        assert_eq!(self.change(&nobody, Change::Verified(nobody.email.clone())).await, UserChanged::Gone);
    }

    async fn one_password_wins(&self) {
        let user = self.create(&self.user()).await;
        let answers = at_once(|number| {
            let to = Some(PasswordHash::new(&format!("$argon2id${number}")));
            let change = Change::Password { from: user.password.clone(), to };
            let (store, id) = (self.store.clone(), user.id.clone());
            async move { store.change(&id, &change).await.expect("change") }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| **answer == UserChanged::Done).count(), 1);
    }

    async fn paged(&self) {
        let mut expected = Vec::new();
        for _ in 0..5 {
            expected.push(self.create(&self.user()).await.email);
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list(after.as_ref(), 2).await.expect("list");
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { break };
            after = Some(last.email.clone());
            seen.extend(page.into_iter().map(|user| user.email));
        }
        assert!(seen.is_sorted() && expected.iter().all(|email| seen.contains(email)));
    }
}

//! [`CachedUsers`]: a [`UserStore`] in front of another, so that looking up who is signed in costs nothing.

use std::sync::Arc;

use async_trait::async_trait;
use hallpass_session::{CacheKey, CacheOptions, Cached, ChangeFeed, Coherent, StoreError, text_mark};
use tokio::task::JoinHandle;

use crate::{Change, Conventions, Email, PasswordHash, User, UserChanged, UserCreated, UserId, UserStore};

/// Answers [`cached`](UserStore::cached) from memory while the store's feed proves that this is right, as
/// [`CachedSessions`](hallpass_session::CachedSessions) does for sessions: a disabled or deleted account is out within
/// [`max_staleness`](CacheOptions::max_staleness) wherever it was disabled, usually at once. Whoever signs in is always read from the store.
pub struct CachedUsers {
    store: Arc<dyn UserStore>,
    cache: Arc<Coherent<UserId, Kept>>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Kept(Arc<User>);

impl CacheKey for UserId {
    fn mark(&self) -> u64 {
        text_mark(self.as_str())
    }
}

impl Cached for Kept {
    fn weight(&self) -> usize {
        let user = &self.0;
        let text = |text: &str| text.len() + 32;
        let roles: usize = user.roles.iter().map(|role| text(role)).sum();
        size_of::<User>()
            + text(user.id.as_str())
            + text(user.email.as_str())
            + user.name.as_deref().map_or(0, text)
            + user.password.as_ref().or(user.placeholder.as_ref()).map_or(0, |hash| text(hash.expose()))
            + roles
    }
}

impl CachedUsers {
    /// Caches `store` if it has a feed. Starts a task, so it must be called within a Tokio runtime; it ends with this value.
    pub fn new(store: Arc<dyn UserStore>, options: &CacheOptions) -> Self {
        let wanted = options.size > 0 && !options.max_staleness.is_zero();
        let feed = wanted.then(|| store.changes()).flatten();
        let size = if feed.is_some() { options.size } else { 0 };
        let cache = Arc::new(Coherent::new(&CacheOptions { size, ..options.clone() }));
        let listening = feed.map(|feed| tokio::spawn(listen(feed, cache.clone())));
        Self { store, cache, listening }
    }

    /// Whether reads are answered from memory now: the feed has spoken within the bound.
    pub fn is_proven(&self) -> bool {
        self.cache.is_proven()
    }
}

async fn listen(feed: ChangeFeed<UserId>, cache: Arc<Coherent<UserId, Kept>>) {
    let reason = feed.run(cache.listener()).await;
    tracing::warn!(event = "users_not_cached", %reason, "every request of a signed-in user asks the store");
}

impl Drop for CachedUsers {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// Voids what is cached of a user when it is dropped: after the write, however it ended, and also when nobody waits for it any more.
struct Voids<'a>(&'a CachedUsers, &'a UserId);

impl Drop for Voids<'_> {
    fn drop(&mut self) {
        self.0.cache.changed(self.1);
    }
}

#[async_trait]
impl UserStore for CachedUsers {
    fn cached(&self, id: &UserId) -> Option<User> {
        self.cache.get(id).map(|kept| User::clone(&kept.0))
    }

    /// Asks the store, and remembers what it says: whoever finds that the copy does not fit wants to know how it is.
    async fn find(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let load = async || Ok(self.store.find(id).await?.map(|user| Kept(Arc::new(user))));
        let found: Result<_, StoreError> = self.cache.load(id, load).await;
        Ok(found?.map(|kept| User::clone(&kept.0)))
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.store.find_by_email(email).await
    }

    async fn find_by_provider(&self, provider: &str, subject: &str) -> Result<Option<User>, StoreError> {
        self.store.find_by_provider(provider, subject).await
    }

    async fn create(&self, user: &User) -> Result<UserCreated, StoreError> {
        self.store.create(user).await
    }

    async fn change(&self, id: &UserId, change: &Change) -> Result<UserChanged, StoreError> {
        let _voids = Voids(self, id);
        self.store.change(id, change).await
    }

    async fn delete(&self, id: &UserId) -> Result<bool, StoreError> {
        let _voids = Voids(self, id);
        self.store.delete(id).await
    }

    async fn list(&self, after: Option<&Email>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.store.list(after, limit).await
    }

    async fn sample(&self, limit: usize) -> Result<Vec<User>, StoreError> {
        self.store.sample(limit).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    fn conventions(&self) -> Conventions {
        self.store.conventions()
    }

    fn epoch_at_first(&self, user: &User) -> u64 {
        self.store.epoch_at_first(user)
    }

    fn epoch_after(&self, user: &User, to: &PasswordHash) -> u64 {
        self.store.epoch_after(user, to)
    }
}

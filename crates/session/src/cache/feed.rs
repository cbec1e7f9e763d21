//! [`ChangeFeed`]: how a store tells what happens to it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{coherent::Shared, key::CacheKey};
use crate::Moment;

/// What a store hears about its own changes, whoever makes them. A cache runs it.
pub struct ChangeFeed<K>(Run<K>);

type Run<K> = Box<dyn FnOnce(Listener<K>) -> Pin<Box<dyn Future<Output = NoFeed> + Send>> + Send>;

/// Why there can be no feed; the cache stays empty and every read goes to the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoFeed(pub String);

impl<K> ChangeFeed<K> {
    /// A feed that `run` carries out: it tells the listener for as long as it is polled, mends its connections itself, and returns only
    /// when there can be no feed here at all.
    ///
    /// The promise: a change that was acknowledged before an instant is told before [`Listener::alive`] is called with that instant.
    pub fn new<F, Fut>(run: F) -> Self
    where
        F: FnOnce(Listener<K>) -> Fut + Send + 'static,
        Fut: Future<Output = NoFeed> + Send + 'static,
    {
        Self(Box::new(move |listener| Box::pin(run(listener))))
    }

    /// Tells `listener` what happens.
    pub async fn run(self, listener: Listener<K>) -> NoFeed {
        (self.0)(listener).await
    }
}

/// Where a feed tells what it hears. Clones tell the same cache.
pub struct Listener<K>(Arc<Shared<K>>);

impl<K> Clone for Listener<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: CacheKey> Listener<K> {
    pub(super) fn new(shared: Arc<Shared<K>>) -> Self {
        Self(shared)
    }

    /// This one was changed or deleted. A longer life need not be told: who finds an expired copy asks the store.
    pub fn changed(&self, key: &K) {
        self.0.validity.changed(key.mark());
    }

    /// Anything may have changed: the feed begins, or has a gap.
    pub fn everything(&self) {
        self.0.validity.everything_changed();
    }

    /// The present moment, to be passed to [`alive`](Self::alive) later.
    pub fn now(&self) -> Moment {
        self.0.now()
    }

    /// Every change that was acknowledged before `asked` has been told. A feed finds out by sending something
    /// after the changes and hearing it: `asked` is [`now`](Self::now) before it was sent.
    pub fn alive(&self, asked: Moment) {
        self.0.prove(asked);
    }

    /// How often to ask at least, so that the cache can be used without a break.
    pub fn pace(&self) -> Duration {
        self.0.pace()
    }
}

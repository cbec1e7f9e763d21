//! [`Slot`]: a session key and its type, named in one place.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Session, TakeError, ValueError};

/// A key of the session whose values are always `T`.
///
/// Change a value with [`update`](Self::update) when the new one depends on the old one: of several requests at once, each adds its
/// item. A `get` followed by an `insert` keeps only the last one.
///
/// ```
/// # use hallpass_session::{Session, Slot, TakeError, ValueError};
/// const CART: Slot<Vec<String>> = Slot::new("cart");
///
/// fn add(session: &Session, item: String) -> Result<(), ValueError> {
///     CART.update(session, move |cart| {
///         let mut cart = cart.unwrap_or_default();
///         cart.push(item.clone());
///         cart
///     })
/// }
///
/// async fn check_out(session: &Session) -> Result<Vec<String>, TakeError> {
///     Ok(CART.take(session).await?.unwrap_or_default()) // of two clicks, one orders
/// }
/// ```
#[derive(Debug)]
pub struct Slot<T> {
    key: &'static str,
    holds: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Slot<T> {
    /// The slot stored under `key`.
    pub const fn new(key: &'static str) -> Self {
        Self { key, holds: PhantomData }
    }

    /// The value; `None` when there is none, an error when the stored value is no `T`.
    pub fn get(&self, session: &Session) -> Result<Option<T>, ValueError> {
        session.get(self.key)
    }

    /// Sets the value to `change(old)`; see [`Session::update`].
    pub fn update(
        &self,
        session: &Session,
        change: impl Fn(Option<T>) -> T + Send + Sync + 'static,
    ) -> Result<(), ValueError> {
        session.update(self.key, change)
    }

    /// Removes the value now and returns it; exactly one request gets it. See [`Session::take`].
    pub async fn take(&self, session: &Session) -> Result<Option<T>, TakeError> {
        session.take(self.key).await
    }

    /// Sets the value, whatever it was.
    pub fn insert(&self, session: &Session, value: &T) -> Result<(), ValueError> {
        session.insert(self.key, value)
    }

    /// Removes the value; `true` when there was one.
    pub fn remove(&self, session: &Session) -> bool {
        session.remove(self.key)
    }
}

//! [`Slot`]: a session key and its type, named in one place.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Session, ValueError};

/// A key of the session whose values are always `T`.
///
/// ```
/// # use hallpass_session::{Session, Slot, ValueError};
/// const CART: Slot<Vec<String>> = Slot::new("cart");
///
/// fn add(session: &Session, item: String) -> Result<(), ValueError> {
///     let mut cart = CART.get(session)?.unwrap_or_default();
///     cart.push(item);
///     CART.insert(session, &cart)
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

    /// Sets the value.
    pub fn insert(&self, session: &Session, value: &T) -> Result<(), ValueError> {
        session.insert(self.key, value)
    }

    /// Removes the value; `true` when there was one.
    pub fn remove(&self, session: &Session) -> bool {
        session.remove(self.key)
    }
}

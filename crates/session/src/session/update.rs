//! Changes of one key that depend on its value: none is lost when requests of one session run at once.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{Session, changes::Function};
use crate::{
    StoreError, ValueError,
    commit::Act,
    document::{decode, encode},
};

/// Why a value could not be [taken](Session::take).
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The store failed; whether the value was removed is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The value is of another shape. It stays.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl Session {
    /// Sets `key` to `change(old)`, where `old` is the value that is stored when this is written.
    ///
    /// Use it for every change that depends on the old value: a counter, a list that grows. `change` runs now, so that
    /// [`get`](Self::get) returns its result. It runs again on the newest value each time another request writes the session
    /// first, so of many requests at once none is lost. Keep it free of side effects. After an [`insert`](Self::insert) in the
    /// same request it applies to the inserted value.
    ///
    /// The result is final when the session is written: before the response leaves, or by [`save`](Self::save). If the
    /// store fails in that moment, the request fails with 503; an update is never applied twice.
    ///
    /// ```
    /// # use hallpass_session::{Session, ValueError};
    /// fn count(session: &Session) -> Result<(), ValueError> {
    ///     session.update("visits", |visits: Option<u32>| visits.unwrap_or(0) + 1)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ValueError`] when the value is no `T`; nothing is changed then.
    pub fn update<T, F>(&self, key: &str, change: F) -> Result<(), ValueError>
    where
        T: Serialize + DeserializeOwned,
        F: Fn(Option<T>) -> T + Send + Sync + 'static,
    {
        let name = key.to_owned();
        self.apply(
            key,
            Arc::new(move |old| {
                let old = old.map(|json| decode(&name, json)).transpose()?;
                encode(&name, &change(old)).map(Some)
            }),
        )
        .map(drop)
    }

    /// Removes `key` from the stored session now and returns its value; `None` when there is none.
    ///
    /// Of many requests at once exactly one gets the value. What this request changed before is written too, as by
    /// [`save`](Self::save). Use it for values that are good once: a flash message, a pending step.
    ///
    /// # Errors
    /// [`TakeError`] when the value is no `T`, or when the store fails.
    pub async fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, TakeError> {
        // Whether it fits is asked first: what cannot be returned stays.
        let Some(_) = self.get::<T>(key)? else { return Ok(None) };
        let before = self.get_raw(key);
        let taken: Arc<Mutex<Option<Box<RawValue>>>> = Arc::default();
        let cell = taken.clone();
        self.apply(
            key,
            Arc::new(move |old| {
                let old = old.and_then(|old| RawValue::from_string(old.to_owned()).ok());
                *cell.lock().unwrap_or_else(PoisonError::into_inner) = old;
                Ok(None)
            }),
        )?;
        match self.save().await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                self.withdraw(key, before);
                return Err(error.into());
            }
        }
        let taken = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(taken.map(|json| decode(key, json.get())).transpose()?)
    }

    /// Applies `function` to `key`; `true` when that changed something.
    pub(super) fn apply(&self, key: &str, function: Function) -> Result<bool, ValueError> {
        if let Some(held) = self.express() {
            return held.update(key, function);
        }
        let mut state = self.state();
        let state = &mut *state;
        let ended = state.base().is_none();
        let stored = state.known.as_ref().filter(|_| !ended);
        let stored = stored.and_then(|known| known.stored.record.document.get_raw(key));
        let changed = state.changes.update(key, stored, function)?;
        if changed || state.changes.established.is_some() {
            state.act(Act::Change);
        }
        Ok(changed)
    }

    /// Forgets the last function that was applied to `key`, before which it had this value.
    fn withdraw(&self, key: &str, value: Option<Box<RawValue>>) {
        match self.express() {
            Some(held) => held.withdraw(key, value.as_deref()),
            None => self.state().changes.withdraw(key, value),
        }
    }
}

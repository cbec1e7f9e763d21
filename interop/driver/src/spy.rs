//! A store that notes what is asked of it, and fails when it is told to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_session::{
    Document, SessionId, SessionStore, StoreError, Timestamp,
    express::{ExpressStore, Got, Over, Rotation, Set},
};

/// What all stacks share.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) asked: Vec<&'static str>,
    pub(crate) failing: HashMap<String, String>,
    pub(crate) slow: HashMap<String, u64>,
}

/// Notes that outlive a stack.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Notes>>);

impl Shared {
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Notes) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) struct Spy {
    pub(crate) store: Arc<dyn ExpressStore>,
    pub(crate) notes: Shared,
}

impl Spy {
    async fn asked(&self, what: &'static str) -> Result<(), StoreError> {
        let (failing, slow) = self.notes.with(|notes| {
            notes.asked.push(what);
            (notes.failing.get(what).cloned(), notes.slow.get(what).copied())
        });
        if let Some(millis) = slow {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        failing.map_or(Ok(()), |message| Err(StoreError::new(what, message)))
    }
}

#[async_trait]
impl ExpressStore for Spy {
    fn sessions(self: Arc<Self>) -> Arc<dyn SessionStore> {
        self.store.clone().sessions()
    }

    async fn get(&self, id: &SessionId, now: Timestamp) -> Result<Got, StoreError> {
        self.asked("get").await?;
        self.store.get(id, now).await
    }

    async fn set(
        &self,
        id: &SessionId,
        session: &mut Document,
        expires: Option<Timestamp>,
        over: Over<'_>,
        now: Timestamp,
    ) -> Result<Set, StoreError> {
        self.asked("set").await?;
        self.store.set(id, session, expires, over, now).await
    }

    async fn touch(
        &self,
        id: &SessionId,
        session: &Document,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.asked("touch").await?;
        self.store.touch(id, session, expires, now).await
    }

    async fn rotate(
        &self,
        rotation: Rotation<'_>,
        session: &mut Document,
        now: Timestamp,
    ) -> Result<Set, StoreError> {
        self.asked("rotate").await?;
        self.store.rotate(rotation, session, now).await
    }

    async fn destroy(&self, id: &SessionId, now: Timestamp) -> Result<(), StoreError> {
        self.asked("destroy").await?;
        self.store.destroy(id, now).await
    }
}

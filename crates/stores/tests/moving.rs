//! Stores on the move keep the contracts, wherever a thing happens to be; and nothing that has ended comes back.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use hallpass_auth::{
    Email, Inserted, MemoryRecords, MemoryUsers, Record, RecordKey, User, UserCreated, UserId,
};
use hallpass_session::{
    Clock, Created, Document, IdGenerator, Lifetime, Listed, MemoryStore, RandomIds, Revision, SessionHandle,
    SessionId, SessionRecord, SessionStore, StoreClock, StoreError, Stored, SystemClock, Timestamp, Touch,
    Updated, conformance::run_without,
};
use hallpass_stores::{Extent, Mover, Stores};

fn stores() -> Stores {
    Stores {
        sessions: Arc::new(MemoryStore::new()),
        users: Arc::new(MemoryUsers::new()),
        records: Arc::new(MemoryRecords::new()),
        clock: StoreClock::of_machine(),
        upkeep: hallpass_stores::Upkeep::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_keeps_the_contracts() {
    let moving = stores().moving_from(stores());
    run_without(moving.sessions, &[]).await;
    hallpass_auth::conformance::users(moving.users).await;
    hallpass_auth::conformance::records(moving.records).await;
}

/// Begins every session in the old place.
struct Seeded {
    old: Arc<dyn SessionStore>,
    moving: Arc<dyn SessionStore>,
}

#[async_trait]
impl SessionStore for Seeded {
    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        match self.moving.load(id, now).await? {
            Some(_) => Ok(Created::Taken),
            None => self.old.create(id, record, now).await,
        }
    }

    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        self.moving.load(id, now).await
    }

    /// The layer never changes what it has not loaded.
    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.moving.load(id, now).await?;
        self.moving.update(id, record, expected, now).await
    }

    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.moving.load(old, now).await?;
        self.moving.rotate(old, expected, new, record, now).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        for touch in batch {
            self.moving.load(&touch.id, now).await?;
        }
        self.moving.touch(batch, now).await
    }

    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        self.moving.delete(id, now).await
    }

    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        self.moving.of_user(user, now).await
    }

    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.moving.delete_of_user(user, except, now).await
    }

    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.moving.delete_handle(handle, user, now).await
    }

    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        self.moving.list(after, limit, now).await
    }

    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        self.moving.export(after, limit, now).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.moving.sweep(limit, now).await
    }

    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        self.moving.check(now).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_began_in_the_old_place_keeps_the_contract() {
    let old = stores();
    let moving = stores().moving_from(old.clone());
    let seeded = Seeded { old: old.sessions, moving: moving.sessions };
    // Nobody begins sessions in both places, nor one that has ended again: what this wrapper alone does.
    let except = [
        "of many creates of one id, one wins",
        "what is exported can be created again, and opens with the same id",
    ];
    run_without(Arc::new(seeded), &except).await;
}

fn record(user: &str, now: Timestamp) -> SessionRecord {
    SessionRecord {
        document: Document::from_json(r#"{"n":1}"#).unwrap(),
        user: Some(user.into()),
        label: None,
        created: now,
        authenticated: Some(now),
        seen: now,
        lifetime: Lifetime { idle: std::time::Duration::from_secs(3600), until: None, persistent: false },
    }
}

fn user(name: &str, now: Timestamp) -> User {
    User {
        id: UserId::new(name),
        email: Email::parse(&format!("{name}@example.com")).unwrap(),
        name: None,
        password: None,
        placeholder: None,
        roles: Vec::new(),
        disabled: false,
        verified: Some(false),
        created: now,
        session_epoch: 3,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_brought_while_it_is_used_and_what_ended_stays_ended() {
    let (old, new, now) = (stores(), stores(), SystemClock.now());
    let mut ids = Vec::new();
    for number in 0..3000 {
        let id = RandomIds.generate();
        old.sessions.create(&id, &record("ann", now), now).await.unwrap();
        ids.push((number, id));
    }
    for name in ["ann", "bob", "eve"] {
        assert!(matches!(old.users.create(&user(name, now)).await.unwrap(), UserCreated::Done(_)));
    }
    let key = RecordKey { kind: "throttle", id: "x".to_owned() };
    let count = Record { key: key.clone(), owner: None, body: "7".to_owned(), expires: None, version: 0 };
    assert_eq!(old.records.insert(&count, now).await.unwrap(), Inserted::Done);
    let mover = Mover::new(old.clone(), new.clone());
    let found = mover.count(Extent::All).await.unwrap();
    assert_eq!((found.users, found.records, found.sessions), (3, 1, 3000));

    let moving = new.clone().moving_from(old.clone());
    let (stop, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(tokio::sync::Mutex::new(Vec::new())));
    let uses = {
        let (moving, stop, ended, ids) = (moving.clone(), stop.clone(), ended.clone(), ids.clone());
        tokio::spawn(async move {
            for (number, id) in ids.iter().cycle() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let is_ended = ended.lock().await.contains(id);
                let found = moving.sessions.load(id, now).await.unwrap();
                assert_eq!(found.is_some(), !is_ended, "a live session is always there, an ended one never");
                if number % 10 == 0 && !is_ended {
                    assert!(moving.sessions.delete(id, now).await.unwrap());
                    ended.lock().await.push(id.clone());
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let mut heard = Vec::new();
    let moved = mover.run(Extent::All, |step, count| heard.push((step.to_string(), count))).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    uses.await.unwrap();
    assert_eq!((moved.users, moved.records, moved.refused), (3, 1, 0));
    assert!(heard.iter().any(|(step, _)| step == "sessions"));
    assert_eq!(mover.count(Extent::All).await.unwrap().sessions, 0, "nothing is left behind");
    let ended = ended.lock().await;
    for (_, id) in &ids {
        assert_eq!(new.sessions.load(id, now).await.unwrap().is_some(), !ended.contains(id));
    }
    assert_eq!(new.users.find(&UserId::new("eve")).await.unwrap().unwrap().session_epoch, 3);
    assert_eq!(new.records.get(&key, now).await.unwrap().unwrap().body, "7");
    assert!(old.users.list(None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn whoever_has_a_taken_address_stays_where_it_is() {
    let (old, new, now) = (stores(), stores(), SystemClock.now());
    old.users.create(&user("ann", now)).await.unwrap();
    new.users.create(&User { id: UserId::new("other"), ..user("ann", now) }).await.unwrap();
    let moved = Mover::new(old.clone(), new).run(Extent::All, |_, _| {}).await.unwrap();
    assert_eq!((moved.users, moved.refused), (0, 1));
    assert!(old.users.find(&UserId::new("ann")).await.unwrap().is_some());
}

//! The suite every [`SessionStore`] must pass: the sentences of [`store`](crate::store) as questions.
//!
//! A store's whole test file is
//!
//! ```
//! # use std::sync::Arc;
//! # use hallpass_session::{MemoryStore, conformance};
//! #[tokio::main]
//! async fn main() {
//!     conformance::run(Arc::new(MemoryStore::new())).await;
//! }
//! ```
//!
//! The database may hold other sessions: each contract uses ids and users of its own. Times are given, so nothing waits.

mod basics;
mod express;
mod faults;
mod races;
mod requests;
mod users;
mod watch;

use std::{pin::Pin, sync::Arc, time::Duration};

pub use self::{
    express::{Express, run_express},
    faults::{Faults, When, each_fault},
    watch::{Call, Watch, Watched, Work},
};
use crate::{
    Created, Document, IdGenerator, Lifetime, RandomIds, Revision, SessionId, SessionRecord, SessionStore,
    Timestamp,
};

/// The store under test.
pub type Store = Arc<dyn SessionStore>;

type Run = fn(Store) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// One promise of the contract.
pub struct Contract {
    /// What is promised.
    pub name: &'static str,
    check: Run,
}

impl Contract {
    /// Checks the promise; panics when it is broken.
    pub async fn check(&self, store: Store) {
        (self.check)(store).await;
    }
}

/// Lists contracts: the promise, and the function that checks it.
macro_rules! promises {
    ($($name:expr => $check:path,)*) => {
        vec![$($crate::conformance::Contract { name: $name, check: |store| Box::pin($check(store)) }),*]
    };
}
use promises;

/// All promises, for a table of what a store keeps.
pub fn contracts() -> Vec<Contract> {
    [basics::contracts(), users::contracts(), races::contracts(), requests::contracts()]
        .into_iter()
        .flatten()
        .collect()
}

/// The promise that stores make whose own work it is to remove what has expired. Redis keys expire by themselves.
pub const SWEEP: &str = "a sweep removes expired sessions only, a bounded number at once";

/// Checks all promises.
///
/// # Panics
/// At the first promise that is broken, with its name.
pub async fn run(store: Store) {
    run_without(store, &[]).await;
}

/// Checks all promises but these, such as [`SWEEP`].
///
/// # Panics
/// At the first promise that is broken, with its name; when there is no promise of a name.
pub async fn run_without(store: Store, except: &[&str]) {
    let contracts = contracts();
    for name in except {
        assert!(contracts.iter().any(|contract| contract.name == *name), "there is no contract {name:?}");
    }
    for contract in contracts.into_iter().filter(|contract| !except.contains(&contract.name)) {
        // A contract in a task of its own: when it panics, its name stands beside the reason.
        let checked = tokio::spawn((contract.check)(store.clone())).await;
        assert!(checked.is_ok(), "the store breaks the contract: {}", contract.name);
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);
const IDLE: Duration = Duration::from_secs(3600);

fn fresh_id() -> SessionId {
    RandomIds.generate()
}

/// A session of nobody with this data, from now on.
fn record(json: &str) -> SessionRecord {
    SessionRecord {
        document: Document::from_json(json).expect("a JSON object"),
        user: None,
        label: None,
        created: NOW,
        authenticated: None,
        seen: NOW,
        lifetime: Lifetime { idle: IDLE, until: None, persistent: false },
    }
}

/// Stores a session under a fresh id.
async fn stored(store: &Store, record: &SessionRecord) -> (SessionId, Revision) {
    let id = fresh_id();
    match store.create(&id, record, NOW).await.expect("create") {
        Created::Done(revision) => (id, revision),
        Created::Taken => panic!("a fresh id is taken"),
    }
}

async fn load(store: &Store, id: &SessionId, now: Timestamp) -> Option<SessionRecord> {
    store.load(id, now).await.expect("load").map(|stored| (*stored.record).clone())
}

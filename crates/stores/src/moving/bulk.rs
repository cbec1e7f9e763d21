//! Bringing over everything that nobody asks for.

use std::{fmt, sync::Arc};

use hallpass_auth::RECORD_KINDS;
use hallpass_session::{Clock, StoreClock, StoreError};
use tokio::task::JoinSet;

use super::{Ended, records::MovingRecords, sessions::MovingSessions, users::MovingUsers};
use crate::Stores;

/// How many things are read at once.
const PAGE: usize = 2000;

/// How many are on their way at once.
const AT_ONCE: usize = 64;

/// Brings users, records and sessions from one set of stores to another. It can be ended at any time and begun again: what has been
/// brought is no longer in the old place.
pub struct Mover {
    users: Arc<MovingUsers>,
    records: Arc<MovingRecords>,
    sessions: Arc<MovingSessions>,
    /// Of the new place.
    clock: StoreClock,
}

/// How much is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Accounts, what belongs to them, and sessions.
    All,
    /// Sessions; accounts are where they go to already.
    Sessions,
    /// Accounts and what belongs to them.
    Accounts,
}

/// What is being brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Accounts.
    Users,
    /// Everything small that belongs to them.
    Records,
    /// Live sessions.
    Sessions,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Users => "users",
            Self::Records => "records",
            Self::Sessions => "sessions",
        })
    }
}

/// How much there was of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Accounts.
    pub users: u64,
    /// Records.
    pub records: u64,
    /// Live sessions.
    pub sessions: u64,
    /// Accounts that stayed, because another one has their address in the new place.
    pub refused: u64,
}

impl Moved {
    fn count(&mut self, step: Step) -> &mut u64 {
        match step {
            Step::Users => &mut self.users,
            Step::Records => &mut self.records,
            Step::Sessions => &mut self.sessions,
        }
    }
}

impl Mover {
    /// From `old` to `new`.
    pub fn new(old: Stores, new: Stores) -> Self {
        let ended = Ended(new.records.clone());
        Self {
            users: Arc::new(MovingUsers {
                old: old.users,
                new: new.users,
                ended: ended.clone(),
                clock: new.clock.clone(),
            }),
            records: Arc::new(MovingRecords { old: old.records, new: new.records }),
            sessions: Arc::new(MovingSessions { old: old.sessions, new: new.sessions, ended }),
            clock: new.clock,
        }
    }

    /// Counts what there is to bring, and changes nothing.
    pub async fn count(&self, extent: Extent) -> Result<Moved, StoreError> {
        let mut found = Moved::default();
        if extent != Extent::Sessions {
            found.users = self.count_users().await?;
            found.records = self.count_records().await?;
        }
        if extent != Extent::Accounts {
            found.sessions = self.count_sessions().await?;
        }
        Ok(found)
    }

    async fn count_users(&self) -> Result<u64, StoreError> {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.users.old.list(after.as_ref(), PAGE).await?;
            count += page.len() as u64;
            let Some(last) = page.into_iter().next_back() else { return Ok(count) };
            after = Some(last.email);
        }
    }

    async fn count_records(&self) -> Result<u64, StoreError> {
        let (mut count, now) = (0, self.clock.now());
        for kind in RECORD_KINDS {
            let mut after: Option<String> = None;
            loop {
                let page = self.records.old.export(kind, after.as_deref(), PAGE, now).await?;
                count += page.len() as u64;
                let Some(last) = page.into_iter().next_back() else { break };
                after = Some(last.key.id);
            }
        }
        Ok(count)
    }

    async fn count_sessions(&self) -> Result<u64, StoreError> {
        let (mut count, mut after, now) = (0, None, self.clock.now());
        loop {
            let page = self.sessions.old.list(after, PAGE, now).await?;
            count += page.len() as u64;
            let Some(last) = page.last() else { return Ok(count) };
            after = Some(last.handle);
        }
    }

    /// Brings everything, users first: a session is no use without its user. `progress` hears how many of each are done.
    pub async fn run(
        &self,
        extent: Extent,
        mut progress: impl FnMut(Step, u64),
    ) -> Result<Moved, StoreError> {
        let mut moved = Moved::default();
        if extent != Extent::Sessions {
            self.bring_users(&mut moved, &mut progress).await?;
            self.bring_records(&mut moved, &mut progress).await?;
        }
        if extent != Extent::Accounts {
            self.bring_sessions(&mut moved, &mut progress).await?;
        }
        Ok(moved)
    }

    async fn bring_users(
        &self,
        moved: &mut Moved,
        progress: &mut impl FnMut(Step, u64),
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.users.old.list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.email.clone());
            let mut flight = Flight::default();
            for user in page {
                let users = self.users.clone();
                flight.launch(async move { users.bring(&user).await }).await?;
            }
            let (brought, refused) = flight.land().await?;
            moved.refused += refused;
            advance(moved, Step::Users, brought, progress);
        }
    }

    async fn bring_records(
        &self,
        moved: &mut Moved,
        progress: &mut impl FnMut(Step, u64),
    ) -> Result<(), StoreError> {
        for kind in RECORD_KINDS {
            let mut after: Option<String> = None;
            loop {
                let now = self.clock.now();
                let page = self.records.old.export(kind, after.as_deref(), PAGE, now).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key.id.clone());
                let mut flight = Flight::default();
                for record in page {
                    let records = self.records.clone();
                    flight.launch(async move { records.bring(&record, now).await.map(|()| true) }).await?;
                }
                let (brought, _) = flight.land().await?;
                advance(moved, Step::Records, brought, progress);
            }
        }
        Ok(())
    }

    async fn bring_sessions(
        &self,
        moved: &mut Moved,
        progress: &mut impl FnMut(Step, u64),
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let now = self.clock.now();
            let page = self.sessions.old.export(after, PAGE, now).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.handle());
            let mut flight = Flight::default();
            for (id, stored) in page {
                let sessions = self.sessions.clone();
                flight.launch(async move { sessions.bring(&id, &stored.record, now).await }).await?;
            }
            let (brought, _) = flight.land().await?;
            advance(moved, Step::Sessions, brought, progress);
        }
    }
}

fn advance(moved: &mut Moved, step: Step, by: u64, progress: &mut impl FnMut(Step, u64)) {
    *moved.count(step) += by;
    progress(step, *moved.count(step));
}

/// Things on their way, a bounded number at once.
#[derive(Default)]
struct Flight {
    tasks: JoinSet<Result<bool, StoreError>>,
    brought: u64,
    refused: u64,
}

impl Flight {
    async fn launch(
        &mut self,
        work: impl Future<Output = Result<bool, StoreError>> + Send + 'static,
    ) -> Result<(), StoreError> {
        if self.tasks.len() >= AT_ONCE {
            self.wait().await?;
        }
        self.tasks.spawn(work);
        Ok(())
    }

    async fn wait(&mut self) -> Result<bool, StoreError> {
        let Some(done) = self.tasks.join_next().await else { return Ok(false) };
        let brought = done.map_err(|error| StoreError::new("move", error))??;
        *if brought { &mut self.brought } else { &mut self.refused } += 1;
        Ok(true)
    }

    async fn land(mut self) -> Result<(u64, u64), StoreError> {
        while self.wait().await? {}
        Ok((self.brought, self.refused))
    }
}

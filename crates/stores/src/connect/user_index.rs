//! [`UserIndex`]: which sessions name which user.
//!
//! Express keeps no index of users, so the sessions of one are found by reading all sessions. Whoever only looks (the account page, the
//! limit of sessions at a sign-in) does not do that each time: what was found is kept for a while, callers at the same time share one
//! reading, and sessions that this process writes or loads are added at once. What is missing in between are sessions that others opened
//! and that were not used here yet. Whoever ends all sessions of a user searches always.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// How long what was found is used at least: as long as a cached session may be stale.
const FRESH: Duration = Duration::from_secs(1);

/// Reading all sessions again takes at most one part in so many of the database's time.
const SHARE: u32 = 50;

/// After this time without a reading, the memory is given back.
const UNUSED: Duration = Duration::from_secs(600);

/// More sessions than this are not kept in memory: about 100 bytes each.
const MOST: usize = 1_000_000;

/// A user with more sessions than this is not looked through each time that one of them is loaded.
const MOST_TO_COMPARE: usize = 1000;

/// The longest pause between two searches.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Keys of sessions by user.
#[derive(Default)]
pub(super) struct UserIndex {
    state: Mutex<State>,
    /// Held while all sessions are read, so that everybody who waits gets the same result.
    pub(super) building: tokio::sync::Mutex<()>,
    /// Held while anything searches all sessions; when the next search may begin.
    searching: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct State {
    index: Option<Index>,
    /// What was written or loaded since the reading that is under way began.
    noted: Option<Vec<(Arc<str>, Box<str>)>>,
}

struct Index {
    began: Instant,
    took: Duration,
    users: HashMap<Arc<str>, Vec<Box<str>>>,
    entries: usize,
}

impl Index {
    fn fresh_for(&self) -> Duration {
        FRESH.max(self.took * SHARE)
    }

    fn add(&mut self, user: &Arc<str>, key: &str) {
        let keys = self.users.entry(user.clone()).or_default();
        if keys.len() > MOST_TO_COMPARE || !keys.iter().any(|known| **known == *key) {
            keys.push(key.into());
            self.entries += 1;
        }
    }
}

/// A reading of all sessions: what it has found so far. One that is given up leaves nothing.
pub(super) struct Reading<'a> {
    users: &'a UserIndex,
    index: Option<Index>,
}

impl UserIndex {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user's sessions; `None` where all sessions must be read first.
    pub(super) fn keys(&self, user: &str) -> Option<Vec<String>> {
        let state = self.state();
        let index = state.index.as_ref().filter(|index| index.began.elapsed() < index.fresh_for())?;
        Some(keys_in(index, user))
    }

    /// The same of the last reading, however long ago: for callers that check each one and may miss some.
    pub(super) fn known_keys(&self, user: &str) -> Vec<String> {
        self.state().index.as_ref().map(|index| keys_in(index, user)).unwrap_or_default()
    }

    /// Adds a session that was written or loaded here.
    pub(super) fn note(&self, user: Option<&Arc<str>>, key: &str) {
        let Some(user) = user else { return };
        let mut state = self.state();
        if let Some(noted) = &mut state.noted {
            noted.push((user.clone(), key.into()));
        }
        let Some(index) = &mut state.index else { return };
        if index.entries > MOST || index.began.elapsed() > UNUSED.max(index.fresh_for() * 2) {
            state.index = None;
        } else {
            index.add(user, key);
        }
    }

    /// Begins to read all sessions; `None`: they are too many to be kept.
    pub(super) fn begin(&self, sessions: usize) -> Option<Reading<'_>> {
        if sessions > MOST {
            return None;
        }
        self.state().noted = Some(Vec::new());
        let index = Index { began: Instant::now(), took: Duration::ZERO, users: HashMap::new(), entries: 0 };
        Some(Reading { users: self, index: Some(index) })
    }

    /// Does what reads all sessions, never two at a time, and with a pause after it that is as long: however often it is asked for, the
    /// database has half of its time for everybody else.
    pub(super) async fn search<T>(&self, search: impl Future<Output = T>) -> T {
        let mut next = self.searching.lock().await;
        if let Some(next) = *next {
            sleep_until(next).await;
        }
        let began = Instant::now();
        let found = search.await;
        *next = Some(Instant::now() + began.elapsed().min(LONGEST_PAUSE));
        found
    }
}

impl Reading<'_> {
    /// Adds a session that was read.
    pub(super) fn add(&mut self, user: Option<&Arc<str>>, key: &str) {
        if let (Some(user), Some(index)) = (user, &mut self.index) {
            index.add(user, key);
        }
    }

    /// Keeps what was read.
    pub(super) fn end(mut self) {
        let Some(mut index) = self.index.take() else { return };
        index.took = index.began.elapsed();
        let mut state = self.users.state();
        for (user, key) in state.noted.take().unwrap_or_default() {
            index.add(&user, &key);
        }
        state.index = Some(index);
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.users.state().noted = None;
    }
}

fn keys_in(index: &Index, user: &str) -> Vec<String> {
    index.users.get(user).into_iter().flatten().map(|key| String::from(&**key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(users: &UserIndex, sessions: &[(&str, &str)]) {
        let mut reading = users.begin(sessions.len()).unwrap();
        for (user, key) in sessions {
            reading.add(Some(&Arc::from(*user)), key);
        }
        reading.end();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_counts_for_a_while_and_what_is_written_here_is_added() {
        let users = UserIndex::default();
        assert_eq!(users.keys("ann"), None);
        users.note(Some(&"ann".into()), "nobody looks, so nothing is kept");
        read(&users, &[("ann", "1"), ("bob", "2")]);
        users.note(Some(&"ann".into()), "3");
        users.note(Some(&"ann".into()), "3");
        users.note(None, "4");
        assert_eq!(users.keys("ann").unwrap(), ["1", "3"]);
        assert!(users.keys("eve").unwrap().is_empty());
        tokio::time::advance(FRESH).await;
        assert_eq!((users.keys("ann"), users.known_keys("ann").len()), (None, 2));
        tokio::time::advance(UNUSED).await;
        users.note(Some(&"ann".into()), "5");
        assert!(users.known_keys("ann").is_empty(), "the memory was given back");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_while_all_is_read_is_not_missed() {
        let users = UserIndex::default();
        let reading = users.begin(5).unwrap();
        users.note(Some(&"ann".into()), "new");
        tokio::time::advance(FRESH).await;
        reading.end();
        assert_eq!(users.keys("ann").unwrap(), ["new"]);
        tokio::time::advance(FRESH * 40).await;
        assert!(users.keys("ann").is_some(), "what took long is used for longer");
        assert!(users.begin(MOST + 1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn searches_take_turns_and_leave_half_of_the_time_to_others() {
        let users = Arc::new(UserIndex::default());
        let began = Instant::now();
        let search = |users: Arc<UserIndex>| async move {
            users.search(async { tokio::time::sleep(Duration::from_secs(1)).await }).await;
        };
        let all: Vec<_> = (0..4).map(|_| tokio::spawn(search(users.clone()))).collect();
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(began.elapsed().as_secs(), 7);
    }
}

//! [`Watched`]: sessions that ended a moment ago, whose documents are deleted again and again.
//!
//! A change stream tells of a stale save when a majority has it, and of one with `w: 1` up to 100
//! ms later. Most stale saves come from requests that were under way when the session ended. So for
//! ten seconds after the end the guard does not wait for the stream.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// Until how long after its end a session is deleted, and how long until the next time.
const PACES: [(Duration, Duration); 3] = [
    (Duration::from_millis(250), Duration::from_millis(5)),
    (Duration::from_secs(1), Duration::from_millis(10)),
    (Duration::from_secs(10), Duration::from_millis(50)),
];

/// How long until the next time, so long after the end; `None`: there is none.
fn pause(since: Duration) -> Option<Duration> {
    PACES.iter().find(|(until, _)| since < *until).map(|(_, pause)| *pause)
}

/// How many sessions are watched at once. The stream alone serves those beyond.
const MOST: usize = 1000;

/// The keys, and when each one's turn is.
#[derive(Default)]
pub(super) struct Watched {
    keys: Mutex<HashMap<String, Turns>>,
    changed: Notify,
}

#[derive(Clone, Copy)]
struct Turns {
    since: Instant,
    next: Instant,
}

impl Watched {
    fn keys(&self) -> MutexGuard<'_, HashMap<String, Turns>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session has ended, or was saved again after its end.
    pub(super) fn insert(&self, key: &str) {
        let since = Instant::now();
        let mut keys = self.keys();
        if keys.len() < MOST || keys.contains_key(key) {
            keys.insert(key.to_owned(), Turns { since, next: since });
            self.changed.notify_one();
        }
    }

    /// Of these keys, only those stay that are `wanted`.
    pub(super) fn retain_of(&self, keys: &[String], wanted: impl Fn(&str) -> bool) {
        let mut watched = self.keys();
        watched.retain(|key, _| wanted(key) || !keys.contains(key));
    }

    /// Waits until the turn of some keys has come.
    pub(super) async fn due(&self) -> Vec<String> {
        loop {
            let (due, next) = self.take_due(Instant::now());
            if !due.is_empty() {
                return due;
            }
            match next {
                None => self.changed.notified().await,
                Some(next) => tokio::select! {
                    () = sleep_until(next) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    /// Those whose turn has come, and when the next one comes.
    fn take_due(&self, now: Instant) -> (Vec<String>, Option<Instant>) {
        let mut keys = self.keys();
        keys.retain(|_, turns| pause(now.duration_since(turns.since)).is_some());
        let mut due = Vec::new();
        for (key, turns) in keys.iter_mut().filter(|(_, turns)| turns.next <= now) {
            turns.next = now + pause(now.duration_since(turns.since)).unwrap_or_default();
            due.push(key.clone());
        }
        (due, keys.values().map(|turns| turns.next).min())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    async fn turns_within(watched: &Watched, span: Duration) -> usize {
        let end = Instant::now() + span;
        let mut turns = 0;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(end) => return turns,
                due = watched.due() => turns += due.len(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_ended_session_has_many_turns_then_fewer_then_none() {
        let watched = Watched::default();
        assert_eq!(turns_within(&watched, TEN_SECONDS).await, 0, "nothing has ended");
        watched.insert("sid");
        assert_eq!(turns_within(&watched, Duration::from_millis(250)).await, 50);
        assert_eq!(turns_within(&watched, Duration::from_millis(750)).await, 75);
        assert_eq!(turns_within(&watched, Duration::from_secs(9)).await, 180);
        assert_eq!(turns_within(&watched, TEN_SECONDS).await, 0, "it ended long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_was_saved_again_is_watched_anew_and_many_are_bounded() {
        let watched = Watched::default();
        watched.insert("sid");
        turns_within(&watched, TEN_SECONDS / 2).await;
        watched.insert("sid");
        assert_eq!(turns_within(&watched, Duration::from_millis(250)).await, 50);
        for number in 0..MOST * 2 {
            watched.insert(&number.to_string());
        }
        assert_eq!(watched.due().await.len(), MOST);
    }
}

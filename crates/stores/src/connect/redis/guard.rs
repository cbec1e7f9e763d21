//! [`Guard`]: removes what stale copies of Express write over ended sessions.
//!
//! Redis has no trigger that could refuse such a write. So the guard hears of every change, whoever makes it and whether sessions are cached or
//! not, and removes what was written under a key that ended lately. A sweep finds what it missed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hallpass_session::{StoreError, Timestamp};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use super::{ENDED, Names, scripts::REMOVE_AGAIN};
use crate::{
    connect::{ended::Recent, sweep::Turn},
    feed::Pauses,
    redis::{Call, Hears, Redis},
};

/// How often a sweep reads all notes of ended sessions while the guard hears nothing.
const DEAF: Duration = Duration::from_secs(60);

/// How often while it does.
const HEARING: Duration = Duration::from_secs(5 * 60);

/// How many notes are read at once.
const PAGE: usize = 500;

/// How often the guard asks whether it still hears.
const PACE: Duration = Duration::from_secs(1);

/// Ends with this value.
pub(super) struct Guard {
    state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    recent: Recent,
    hears: AtomicBool,
    turn: Turn,
}

impl Guard {
    /// Must be called within a Tokio runtime; what does not listen only sweeps.
    pub(super) fn new(redis: &Redis, names: &Names, listens: bool) -> Self {
        let state = Arc::new(State::default());
        if !listens {
            return Self { state, tasks: Vec::new() };
        }
        let (sender, found) = unbounded_channel();
        let ear = Ear { state: state.clone(), prefix: names.prefix.clone(), found: sender };
        let remove = remove_found(redis.clone(), names.clone(), state.clone(), found);
        let tasks = vec![tokio::spawn(listen(redis.clone(), ear)), tokio::spawn(remove)];
        Self { state, tasks }
    }

    /// Removes what was written over any ended session, if it is time to.
    pub(super) async fn sweep(&self, redis: &Redis, names: &Names, now: Timestamp) -> Result<(), StoreError> {
        let every = if self.state.hears.load(Ordering::Relaxed) { HEARING } else { DEAF };
        if self.state.turn.has_come(every, now) {
            self.state.remove_all(redis, names).await?;
            self.state.turn.is_done(now);
        }
        Ok(())
    }
}

impl State {
    async fn remove_all(&self, redis: &Redis, names: &Names) -> Result<(), StoreError> {
        let notes = redis.scan(DOING, ENDED).await?;
        let keys: Vec<&str> = notes.iter().filter_map(|key| session_of(key, &names.prefix)).collect();
        for keys in keys.chunks(PAGE) {
            for key in keys {
                self.recent.insert(key);
            }
            let calls: Vec<Call> = keys.iter().map(|key| remove_again(names, key)).collect();
            redis.call_any(DOING, &calls).await?;
        }
        Ok(())
    }
}

const DOING: &str = "remove what was written over ended sessions";

/// The time does not matter: how long the session stays noted as ended is counted from the server's.
fn remove_again(names: &Names, key: &str) -> Call {
    names.call(REMOVE_AGAIN, key, Timestamp::from_millis(0)).with(names.ttl())
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The session's key in the key of a note: `hallpass:ended:{key}`, without braces if the key has its own.
fn session_of<'a>(note: &'a str, prefix: &str) -> Option<&'a str> {
    let key = note.strip_prefix(ENDED)?;
    let inner = key.strip_prefix('{').and_then(|key| key.strip_suffix('}'));
    inner.filter(|inner| !inner.contains('{')).or(Some(key)).filter(|key| key.starts_with(prefix))
}

/// What may have been written over an ended session.
enum Found {
    /// This key.
    One(String),
    /// Any key.
    Any,
}

/// Tells the guard what happens.
#[derive(Clone)]
struct Ear {
    state: Arc<State>,
    prefix: String,
    found: UnboundedSender<Found>,
}

impl Hears for Ear {
    fn changed(&self, key: &str) {
        if let Some(key) = session_of(key, &self.prefix) {
            self.state.recent.insert(key);
        } else if self.state.recent.contains(key) {
            // The other end is closed only when the store is.
            self.found.send(Found::One(key.to_owned())).ok();
        }
    }

    /// What was written before the connection was there.
    fn everything(&self) {
        self.found.send(Found::Any).ok();
    }

    fn proof(&self) -> Box<dyn FnOnce() + Send> {
        let state = self.state.clone();
        Box::new(move || state.hears.store(true, Ordering::Relaxed))
    }

    fn pace(&self) -> Duration {
        PACE
    }
}

async fn listen(redis: Redis, ear: Ear) {
    // Overlapping prefixes are an error, and no prefix is all keys.
    let mut prefixes = vec![ear.prefix.clone(), ENDED.to_owned()];
    if ENDED.starts_with(&ear.prefix) {
        prefixes.pop();
    }
    let mut pauses = Pauses::default();
    loop {
        let ended = redis.listen(&prefixes, &ear).await;
        ear.state.hears.store(false, Ordering::Relaxed);
        if let Some(never) = pauses.after(ended).await {
            let meaning = "what Express saves over ended sessions is removed once a minute; Hallpass refuses it at once";
            tracing::warn!(event = "ended_sessions_not_watched", reason = %never, meaning);
            return;
        }
    }
}

async fn remove_found(redis: Redis, names: Names, state: Arc<State>, mut found: UnboundedReceiver<Found>) {
    while let Some(found) = found.recv().await {
        let removed = match found {
            Found::One(key) => redis.number(DOING, remove_again(&names, &key)).await.map(drop),
            Found::Any => state.remove_all(&redis, &names).await,
        };
        if let Err(error) = removed {
            // A sweep will find it.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(event = "ended_session_not_removed", error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_of_a_note_is_found_also_with_braces_of_its_own() {
        assert_eq!(session_of("hallpass:ended:{sess:a}", "sess:"), Some("sess:a"));
        assert_eq!(session_of("hallpass:ended:{shop}sess:a", "{shop}sess:"), Some("{shop}sess:a"));
        assert_eq!(session_of("hallpass:ended:{sess:a}", "other:"), None);
        assert_eq!(session_of("sess:a", "sess:"), None);
    }
}

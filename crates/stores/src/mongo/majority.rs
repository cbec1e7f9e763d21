//! [`Majority`]: whether a majority has confirmed lately that this server is the primary.
//!
//! A primary that was cut off from the others goes on answering until it steps down, about ten
//! seconds later, and does not know what has ended elsewhere. A primary that was just elected shows
//! an old state for a moment. So a plain read counts only if a majority has confirmed the primary
//! within [`BELIEVED`]; otherwise the read is linearizable, which itself confirms the primary.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_session::{Moment, Timer};
use mongodb::{
    ServerType,
    event::{
        EventHandler,
        sdam::{SdamEvent, TopologyDescription},
    },
    options::ServerAddress,
};

/// How long after a majority has confirmed the primary its plain reads count.
pub(super) const BELIEVED: Duration = Duration::from_secs(1);

/// When a majority last confirmed the primary. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Majority(Arc<Shared>);

#[derive(Default)]
struct Shared {
    timer: Timer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts the changes of the primary.
    term: u64,
    confirmed: Option<Moment>,
}

/// When an operation that a majority confirms began, and under which primary.
#[derive(Clone, Copy)]
pub(crate) struct Begun {
    term: u64,
    at: Moment,
}

impl Majority {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation begins.
    pub(super) fn begin(&self) -> Begun {
        Begun { term: self.state().term, at: self.0.timer.read() }
    }

    /// A majority has confirmed an operation, so the server was the primary when it began.
    pub(super) fn confirm(&self, begun: Begun) {
        let mut state = self.state();
        let is_newer = state.confirmed.is_none_or(|before| !begun.at.since(before).is_zero());
        if state.term == begun.term && is_newer {
            state.confirmed = Some(begun.at);
        }
    }

    /// Whether a read that began then counts without a confirmation of its own.
    pub(super) fn is_believed(&self, begun: Begun) -> bool {
        let state = self.state();
        let is_recent = |confirmed: Moment| begun.at.is_within(BELIEVED, confirmed);
        state.term == begun.term && state.confirmed.is_some_and(is_recent)
    }

    /// Another server may be the primary now.
    pub(super) fn void(&self) {
        let mut state = self.state();
        state.term += 1;
        state.confirmed = None;
    }

    /// Voids the confirmation whenever the driver finds another primary.
    pub(super) fn watch(&self) -> EventHandler<SdamEvent> {
        let majority = self.clone();
        EventHandler::callback(move |event| {
            if let SdamEvent::TopologyDescriptionChanged(change) = event
                && primary(&change.previous_description) != primary(&change.new_description)
            {
                majority.void();
            }
        })
    }
}

fn primary(topology: &TopologyDescription) -> Option<ServerAddress> {
    let servers = topology.servers();
    let found = servers.iter().find(|(_, server)| server.server_type() == ServerType::RsPrimary);
    found.map(|(address, _)| (*address).clone())
}

#[cfg(test)]
mod tests {
    use hallpass_session::{ManualTimer, Timestamp};

    use super::*;

    fn manual() -> (ManualTimer, Majority) {
        let timer = ManualTimer::new(Timestamp::from_millis(1_795_424_473_327));
        let shared = Shared { timer: timer.clone().into(), state: Mutex::default() };
        (timer, Majority(Arc::new(shared)))
    }

    #[test]
    fn a_primary_is_believed_for_a_second_after_its_confirmation_began() {
        let (timer, majority) = manual();
        assert!(!majority.is_believed(majority.begin()), "nobody has confirmed it");
        let begun = majority.begin();
        timer.advance(BELIEVED / 2);
        majority.confirm(begun);
        timer.advance(BELIEVED / 2);
        assert!(majority.is_believed(majority.begin()));
        timer.advance(Duration::from_millis(1));
        assert!(!majority.is_believed(majority.begin()), "the answer took half of the second");
    }

    #[test]
    fn a_late_confirmation_does_not_replace_a_newer_one() {
        let (timer, majority) = manual();
        let late = majority.begin();
        timer.advance(BELIEVED);
        majority.confirm(majority.begin());
        majority.confirm(late);
        timer.advance(BELIEVED / 2);
        assert!(majority.is_believed(majority.begin()));
    }

    #[test]
    fn a_confirmation_ends_with_its_primary() {
        let (_, majority) = manual();
        let before = majority.begin();
        majority.confirm(before);
        majority.void();
        assert!(!majority.is_believed(majority.begin()), "another server answers now");
        majority.confirm(before);
        assert!(!majority.is_believed(majority.begin()), "the answer came from the server before");
        majority.confirm(majority.begin());
        assert!(!majority.is_believed(before), "a read that began at the server before");
        assert!(majority.is_believed(majority.begin()));
    }

    #[test]
    fn a_jump_of_the_wall_clock_ends_the_belief() {
        let (timer, majority) = manual();
        majority.confirm(majority.begin());
        timer.step_wall(60_000);
        assert!(!majority.is_believed(majority.begin()), "the machine may have stood still");
    }
}

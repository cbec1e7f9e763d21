//! [`Ending`]: the steps of the protocol.

use stateright::{Model, Property};

use crate::{
    rules::{Rule, Rules, Store},
    state::{Data, LEASE, Load, Probe, Process, Request, Server, State},
};

/// When the exploration ends.
const LAST_TICK: u8 = 3;

/// The model: the rules, and how much may go wrong in one run.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// The rules that are followed.
    pub rules: Rules,
    /// How many servers may crash.
    pub crashes: u8,
    /// How often the database may fail over to what a majority has.
    pub failovers: u8,
    /// How many requests Express gets.
    pub requests: u8,
}

/// One step of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes.
    Tick,
    /// Time passes while the machine of the caching server is suspended.
    TickSuspended,
    /// An Express request loads the session.
    ExpressLoads,
    /// It saves what it loaded.
    ExpressSaves,
    /// Another Express request destroys the session.
    ExpressDestroys,
    /// The caching server reads the session.
    Reads,
    /// It puts what it read into the cache.
    Caches,
    /// It sends a probe through the change feed.
    Probes,
    /// It hears its probe.
    HearsProbe,
    /// It hears of a change.
    HearsChange,
    /// It deletes the ended session that the feed showed back.
    DeletesAgain,
    /// Its sweeper deletes the ended session.
    Sweeps,
    /// The ending server begins.
    BeginsEnd,
    /// It writes the second half of the end.
    CompletesEnd,
    /// It answers that the session has ended.
    Acknowledges,
    /// The caching server crashes and starts again.
    Crashes,
    /// The ending server crashes before it answers.
    EndCrashes,
    /// A majority has what the primary has.
    Replicates,
    /// The primary fails; the new one has what the majority had.
    FailsOver,
    /// The end is no longer remembered.
    Forgets,
}

impl Ending {
    fn has(self, rule: Rule) -> bool {
        self.rules.has(rule)
    }

    /// A write arrives at the primary. One database without replicas has it for good at once.
    fn write(self, state: &mut State, data: Data) {
        state.unreplicated += u8::from(state.primary.row != data.row);
        state.primary = data;
        if self.rules.store == Store::Trigger {
            settle(state);
        }
    }

    fn begin_end(self, state: &mut State) {
        let Data { row, ended } = state.primary;
        let (data, step) = if !row && !self.has(Rule::RememberAbsent) {
            (Data { row, ended }, Process::Written)
        } else if self.rules.store == Store::Trigger {
            (Data { row: false, ended: true }, Process::Written)
        } else {
            (Data { row, ended: true }, Process::Remembered)
        };
        state.ending = Some(step);
        self.write(state, data);
    }

    fn complete_end(self, state: &mut State) {
        state.ending = Some(Process::Written);
        self.write(state, Data { row: false, ended: true });
    }

    fn can_acknowledge(self, state: &State) -> bool {
        match state.ending {
            Some(Process::Majority) => true,
            Some(Process::Written) => !self.has(Rule::MajorityBeforeAnswer),
            _ => false,
        }
    }

    fn hear_change(self, state: &mut State) {
        let Data { row, ended } = state.read(self.rules);
        let returned = row && ended;
        let server = &mut state.server;
        server.undelivered -= 1;
        if let Some(probe) = &mut server.probe {
            probe.behind = probe.behind.saturating_sub(1);
        }
        server.deletion_due |= returned && self.has(Rule::FeedDeletesEnded);
        server.cached = false;
        if let Some(load) = &mut server.load {
            load.overtaken = true;
        }
    }

    fn hear_probe(self, state: &mut State) {
        let clock = state.clock();
        let server = &mut state.server;
        let Some(probe) = server.probe.take() else { return };
        let from = if self.has(Rule::LeaseFromSending) { probe.sent } else { clock };
        server.proven_until = server.proven_until.max(from + LEASE);
    }

    fn cache(self, state: &mut State) {
        let server = &mut state.server;
        let Some(load) = server.load.take() else { return };
        server.cached = load.found && !(self.has(Rule::TicketBeforeLoad) && load.overtaken);
    }

    fn can_forget(self, state: &State) -> bool {
        let in_use = state.express == Request::Holding || state.primary.row || state.majority.row;
        let remembered = state.primary.ended && state.acknowledged.is_some();
        remembered && !(self.has(Rule::RememberLongEnough) && in_use)
    }

    fn server_actions(self, state: &State, mut offer: impl FnMut(bool, Action)) {
        let server = &state.server;
        let suspends = !self.has(Rule::LeaseCountsSuspension) && state.now < LAST_TICK;
        let probed = server.probe.is_some_and(|probe| probe.behind == 0);
        offer(suspends, Action::TickSuspended);
        offer(server.load.is_none() && !state.serves_cache(self.rules), Action::Reads);
        offer(server.load.is_some(), Action::Caches);
        offer(server.probe.is_none(), Action::Probes);
        offer(probed, Action::HearsProbe);
        offer(server.undelivered > 0, Action::HearsChange);
        offer(server.deletion_due, Action::DeletesAgain);
        offer(state.crashes_left > 0, Action::Crashes);
    }

    fn ending_actions(self, state: &State, mut offer: impl FnMut(bool, Action)) {
        let half = state.ending == Some(Process::Remembered);
        offer(state.ending.is_none() && state.acknowledged.is_none(), Action::BeginsEnd);
        offer(half, Action::CompletesEnd);
        offer(self.can_acknowledge(state), Action::Acknowledges);
        offer(state.ending.is_some() && state.crashes_left > 0, Action::EndCrashes);
    }

    fn database_actions(self, state: &State, mut offer: impl FnMut(bool, Action)) {
        let Data { row, ended } = state.primary;
        let behind = state.primary != state.majority || state.unreplicated > 0;
        let asked = state.requests_left > 0;
        offer(state.now < LAST_TICK, Action::Tick);
        offer(asked && state.express == Request::Idle, Action::ExpressLoads);
        offer(asked, Action::ExpressDestroys);
        offer(state.express == Request::Holding, Action::ExpressSaves);
        offer(row && ended && self.has(Rule::SweepDeletesEnded), Action::Sweeps);
        offer(behind, Action::Replicates);
        offer(behind && state.failovers_left > 0, Action::FailsOver);
        offer(self.can_forget(state), Action::Forgets);
    }

    fn express_step(self, state: &mut State, action: Action) {
        let Data { row, ended } = state.primary;
        match action {
            Action::ExpressLoads => {
                state.requests_left -= 1;
                state.express = if row { Request::Holding } else { Request::Idle };
            }
            Action::ExpressDestroys => {
                state.requests_left -= 1;
                self.write(state, Data { row: false, ended });
            }
            _ => {
                state.express = Request::Idle;
                if !(self.rules.store == Store::Trigger && ended) {
                    self.write(state, Data { row: true, ended });
                }
            }
        }
    }

    fn server_step(self, state: &mut State, action: Action) {
        match action {
            Action::Reads => {
                let found = state.reads_live(self.rules);
                state.server.load = Some(Load { found, overtaken: false });
            }
            Action::Caches => self.cache(state),
            Action::Probes => {
                let (sent, behind) = (state.clock(), state.server.undelivered);
                state.server.probe = Some(Probe { sent, behind });
            }
            Action::HearsProbe => self.hear_probe(state),
            Action::HearsChange => self.hear_change(state),
            Action::DeletesAgain => {
                state.server.deletion_due = false;
                if state.primary.ended {
                    self.write(state, Data { row: false, ended: true });
                }
            }
            Action::Crashes => {
                state.crashes_left -= 1;
                state.server = Server { missed: state.server.missed, ..Server::default() };
            }
            _ => {
                state.now += 1;
                state.server.missed += 1;
            }
        }
    }
}

/// What the primary has is what survives; the change feed announces it.
fn settle(state: &mut State) {
    state.majority = state.primary;
    state.server.undelivered += std::mem::take(&mut state.unreplicated);
    if state.ending == Some(Process::Written) {
        state.ending = Some(Process::Majority);
    }
}

fn ended_stays_ended(model: Ending, state: &State) -> bool {
    !state.is_past_bound() || !state.accepts(model.rules)
}

/// The feed alone is enough while no process fails.
fn feed_clears_express(model: Ending, state: &State) -> bool {
    let failed = state.crashes_left < model.crashes || state.failovers_left < model.failovers;
    failed || !is_left_behind(state)
}

/// With the sweeper it holds whatever fails.
fn sweeper_clears_express(model: Ending, state: &State) -> bool {
    let sweeps = model.has(Rule::SweepDeletesEnded) && state.primary.ended;
    sweeps || !is_left_behind(state)
}

/// The ended session is still in the database, and nothing is under way that would delete it.
fn is_left_behind(state: &State) -> bool {
    state.acknowledged.is_some() && state.is_quiet() && state.primary.row
}

impl Model for Ending {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::signed_in(self.crashes, self.failovers, self.requests)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let mut offer = |possible: bool, action: Action| {
            if possible {
                actions.push(action);
            }
        };
        self.database_actions(state, &mut offer);
        self.ending_actions(state, &mut offer);
        self.server_actions(state, &mut offer);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::ExpressLoads | Action::ExpressDestroys | Action::ExpressSaves => {
                self.express_step(&mut state, action);
            }
            Action::BeginsEnd => self.begin_end(&mut state),
            Action::CompletesEnd => self.complete_end(&mut state),
            Action::Acknowledges => {
                state.ending = None;
                state.acknowledged = Some(state.now);
            }
            Action::EndCrashes => {
                state.crashes_left -= 1;
                state.ending = None;
            }
            Action::Sweeps => self.write(&mut state, Data { row: false, ended: true }),
            Action::Replicates => settle(&mut state),
            Action::FailsOver => {
                state.failovers_left -= 1;
                state.primary = state.majority;
                state.unreplicated = 0;
                // A write that the new primary does not have is never acknowledged.
                state.ending = None;
            }
            Action::Forgets => self.write(&mut state, Data { ended: false, ..before.primary }),
            action => self.server_step(&mut state, action),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("ended stays ended", |model: &Self, state: &State| {
                ended_stays_ended(*model, state)
            }),
            Property::always("the feed clears Express", |model: &Self, state: &State| {
                feed_clears_express(*model, state)
            }),
            Property::always("the sweeper clears Express", |model: &Self, state: &State| {
                sweeper_clears_express(*model, state)
            }),
            Property::sometimes("an end is acknowledged", |_, state: &State| state.is_past_bound()),
            Property::sometimes("a cache answers", |model: &Self, state: &State| {
                state.serves_cache(model.rules)
            }),
        ]
    }
}

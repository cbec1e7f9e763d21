//! What the processes and the database know.

use crate::rules::{Rule, Rules};

/// How many ticks a cache entry may be served after the probe that proves it.
pub(crate) const LEASE: u8 = 1;

/// The two facts that the database holds about the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Data {
    /// The session is there, as Express sees it.
    pub row: bool,
    /// Its end is remembered.
    pub ended: bool,
}

/// How far a server has come with ending the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// The end is remembered, the session not yet deleted.
    Remembered,
    /// Both are written, but a failover may take them back.
    Written,
    /// A majority has both.
    Majority,
}

/// A load of the session on its way into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    /// What the database answered.
    pub found: bool,
    /// A change was announced since.
    pub overtaken: bool,
}

/// A probe on its way through the change feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// When it was sent, on the server's clock.
    pub sent: u8,
    /// How many changes arrive before it.
    pub behind: u8,
}

/// The server that caches the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    /// How many ticks its clock has missed while the machine was suspended.
    pub missed: u8,
    /// Whether the cache holds an entry that no announced change has invalidated.
    pub cached: bool,
    /// The load under way.
    pub load: Option<Load>,
    /// Changes that the feed has yet to deliver.
    pub undelivered: u8,
    /// The probe under way.
    pub probe: Option<Probe>,
    /// Until when the feed is proven, on the server's clock.
    pub proven_until: u8,
    /// The feed showed the ended session back; it is to be deleted.
    pub deletion_due: bool,
}

/// What the Express process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Nothing.
    Idle,
    /// A request has loaded the session and saves it when it is done.
    Holding,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Ticks since the beginning.
    pub now: u8,
    /// What readers and writers see.
    pub primary: Data,
    /// What survives a failover.
    pub majority: Data,
    /// Changes of the session that a majority does not have yet.
    pub unreplicated: u8,
    /// When a server answered that the session has ended.
    pub acknowledged: Option<u8>,
    /// The Express process.
    pub express: Request,
    /// How many requests Express still gets.
    pub requests_left: u8,
    /// The server that ends the session: how far it has come.
    pub ending: Option<Process>,
    /// The server that caches it.
    pub server: Server,
    /// How many servers may still crash.
    pub crashes_left: u8,
    /// How often the database may still fail over.
    pub failovers_left: u8,
}

impl State {
    /// A signed-in session, cached nowhere.
    pub(crate) fn signed_in(crashes: u8, failovers: u8, requests: u8) -> Self {
        let data = Data { row: true, ended: false };
        Self {
            now: 0,
            primary: data,
            majority: data,
            unreplicated: 0,
            acknowledged: None,
            express: Request::Idle,
            requests_left: requests,
            ending: None,
            server: Server::default(),
            crashes_left: crashes,
            failovers_left: failovers,
        }
    }

    /// The time on the server's clock.
    pub(crate) fn clock(&self) -> u8 {
        self.now - self.server.missed
    }

    /// Whether the server answers from its cache now.
    pub(crate) fn serves_cache(&self, rules: Rules) -> bool {
        let proven = self.clock() < self.server.proven_until;
        self.server.cached && (proven || !rules.has(Rule::LeaseBoundsCache))
    }

    /// What a read of the database answers.
    pub(crate) fn read(&self, rules: Rules) -> Data {
        if rules.has(Rule::ReadsSeeMajority) { self.majority } else { self.primary }
    }

    /// Whether that answer means a live session.
    pub(crate) fn reads_live(&self, rules: Rules) -> bool {
        let Data { row, ended } = self.read(rules);
        row && !(rules.has(Rule::ReadsRefuseEnded) && ended)
    }

    /// Whether a request with the session's cookie is accepted now, from the cache or the database.
    pub(crate) fn accepts(&self, rules: Rules) -> bool {
        self.serves_cache(rules) || self.reads_live(rules)
    }

    /// Whether the end was acknowledged so long ago that nobody may accept the session.
    pub(crate) fn is_past_bound(&self) -> bool {
        self.acknowledged.is_some_and(|at| self.now >= at + LEASE)
    }

    /// Whether all messages have arrived and no request is in flight.
    pub(crate) fn is_quiet(&self) -> bool {
        let delivered = self.server.undelivered == 0 && !self.server.deletion_due;
        delivered && self.express == Request::Idle && self.unreplicated == 0
    }
}

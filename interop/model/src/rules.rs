//! What the protocol demands, each rule by its name.

/// One rule of the protocol. The name of the code that follows it is in parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A read refuses a session whose end is remembered (`load` in the Express layouts).
    ReadsRefuseEnded,
    /// "Ended" is only answered when a majority has the end (write concern; confirmed absence).
    MajorityBeforeAnswer,
    /// A cache entry is only inserted if no change was announced since its load began (`Ticket`).
    TicketBeforeLoad,
    /// A cache entry is only served while the change feed is proven alive (`is_proven`).
    LeaseBoundsCache,
    /// The lease begins when the probe was sent, not when it was heard (`Validity::prove`).
    LeaseFromSending,
    /// The lease counts the time during which the machine was suspended.
    LeaseCountsSuspension,
    /// An ended session that the feed shows back is deleted again.
    FeedDeletesEnded,
    /// The sweeper deletes ended sessions that the feed missed.
    SweepDeletesEnded,
    /// An end is remembered for as long as an Express request can hold a copy.
    RememberLongEnough,
    /// An end is remembered even if the session is not in the database at that moment.
    RememberAbsent,
    /// Reads see what a majority has, so that no failover takes back what a cache entry was made of
    /// (read concern; an unannounced change otherwise).
    ReadsSeeMajority,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 11] = [
        Self::ReadsRefuseEnded,
        Self::MajorityBeforeAnswer,
        Self::TicketBeforeLoad,
        Self::LeaseBoundsCache,
        Self::LeaseFromSending,
        Self::LeaseCountsSuspension,
        Self::FeedDeletesEnded,
        Self::SweepDeletesEnded,
        Self::RememberLongEnough,
        Self::RememberAbsent,
        Self::ReadsSeeMajority,
    ];
}

/// How the database keeps an ended session out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Store {
    /// A trigger lets no ended session in; the end is one transaction (PostgreSQL).
    Trigger,
    /// An ended session may be written back and is deleted on the change (MongoDB, Redis). The end
    /// is two writes.
    Feed,
}

/// The rules that a model follows.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The kind of database.
    pub store: Store,
    /// The rule that is left out.
    pub without: Option<Rule>,
}

impl Rules {
    /// All rules.
    pub fn all(store: Store) -> Self {
        Self { store, without: None }
    }

    /// All rules but one.
    pub fn without(store: Store, rule: Rule) -> Self {
        Self { store, without: Some(rule) }
    }

    pub(crate) fn has(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}

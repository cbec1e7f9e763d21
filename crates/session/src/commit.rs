//! The middleware's one decision: what arrived × what the handler did × policy → what to write.
//!
//! Pure, so that its test can list every case. Everything around it only carries the answer out.

use crate::Unset;

/// What the request brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// No cookie, no valid cookie, or one whose session does not exist (any more).
    Nobody,
    /// A correctly signed cookie whose session was found.
    Known,
}

/// What the handler did with the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Read at most.
    Untouched,
    /// Changed data.
    Changed,
    /// Asked for a new id.
    Renewed,
    /// Somebody proved who they are.
    Established,
    /// Ended the session.
    Destroyed,
    /// Ended the session and began a new one in the same request.
    Replaced,
    /// Wants nothing to do with the session any more; see [`Unset`].
    Unset,
}

/// What a handler can do, as far as the outcome is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Change,
    Renew,
    Establish,
    Destroy,
    Unset,
}

impl Outcome {
    /// The outcome after one more act. A later act never weakens an earlier one: a change after a renewal is still a renewal.
    pub(crate) const fn then(self, act: Act) -> Self {
        match (self, act) {
            (_, Act::Destroy) => Self::Destroyed,
            (Self::Unset, _) | (_, Act::Unset) => Self::Unset,
            (Self::Destroyed | Self::Replaced, _) => Self::Replaced,
            (Self::Established, _) | (_, Act::Establish) => Self::Established,
            (Self::Renewed, _) | (_, Act::Renew) => Self::Renewed,
            (Self::Untouched | Self::Changed, Act::Change) => Self::Changed,
        }
    }
}

/// What the options and the moment say.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are the table's columns")]
pub(crate) struct Policy {
    pub(crate) save_uninitialized: bool,
    pub(crate) resave: bool,
    pub(crate) rolling: bool,
    pub(crate) unset: Unset,
    /// The cookie outlives the browser, so its `Max-Age` moves when the session is written.
    pub(crate) persistent: bool,
    /// This session's own lifetime outlives the browser ("remember me"), so the cookie moves whenever a use is noted. With
    /// `max_age` alone it moves as express-session has it: when the session is written, or with `rolling`.
    pub(crate) remembered: bool,
    /// The cookie was signed with a secret that is being retired.
    pub(crate) old_signature: bool,
    /// The last noted use is long enough ago.
    pub(crate) touch_due: bool,
}

/// What to do with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Nothing,
    Touch,
    Create,
    Update,
    /// To a new id; if the session ended meanwhile, drop the changes.
    Rotate,
    /// To a new id; if the session ended meanwhile, begin a new one with this request's changes only.
    RotateOrCreate,
    /// Delete what the cookies name, found or not.
    Delete,
    /// Delete what the cookies name, create a new session.
    Replace,
}

/// What to do with the cookie, once the store has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    Leave,
    Send,
    Expire,
}

/// The decision.
pub(crate) fn commit(arrived: Arrived, outcome: Outcome, policy: Policy) -> (Write, Cookie) {
    use {
        Arrived::{Known, Nobody},
        Outcome::{Changed, Destroyed, Established, Renewed, Replaced, Unset, Untouched},
    };
    let resend = |when: bool| if when { Cookie::Send } else { Cookie::Leave };
    match (arrived, outcome) {
        (Nobody, Untouched) if policy.save_uninitialized => (Write::Create, Cookie::Send),
        (Nobody, Untouched | Unset) => (Write::Nothing, Cookie::Leave),
        (Nobody, Changed | Renewed) => (Write::Create, Cookie::Send),
        (Known, Untouched) => {
            let write = match (policy.resave, policy.touch_due) {
                (true, _) => Write::Update,
                (false, true) => Write::Touch,
                (false, false) => Write::Nothing,
            };
            let moved = write == Write::Touch && policy.remembered;
            (write, resend(policy.rolling || policy.old_signature || moved))
        }
        (Known, Changed) => {
            (Write::Update, resend(policy.rolling || policy.persistent || policy.old_signature))
        }
        (Known, Renewed) => (Write::Rotate, Cookie::Send),
        (Known, Established) => (Write::RotateOrCreate, Cookie::Send),
        (Nobody, Established) | (_, Replaced) => (Write::Replace, Cookie::Send),
        (_, Destroyed) => (Write::Delete, Cookie::Expire),
        (Known, Unset) => match policy.unset {
            crate::Unset::Keep => (Write::Nothing, Cookie::Leave),
            crate::Unset::Destroy => (Write::Delete, Cookie::Expire),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OUTCOMES: [Outcome; 7] = [
        Outcome::Untouched,
        Outcome::Changed,
        Outcome::Renewed,
        Outcome::Established,
        Outcome::Destroyed,
        Outcome::Replaced,
        Outcome::Unset,
    ];
    const ACTS: [Act; 5] = [Act::Change, Act::Renew, Act::Establish, Act::Destroy, Act::Unset];

    /// All 256 policies.
    fn policies() -> impl Iterator<Item = Policy> {
        (0..256_u32).map(|bits| {
            let bit = |n: u32| bits & (1 << n) != 0;
            Policy {
                save_uninitialized: bit(0),
                resave: bit(1),
                rolling: bit(2),
                unset: if bit(3) { Unset::Destroy } else { Unset::Keep },
                persistent: bit(4),
                old_signature: bit(5),
                touch_due: bit(6),
                remembered: bit(7),
            }
        })
    }

    /// Every answer the table gives for one row, over all policies.
    fn answers(arrived: Arrived, outcome: Outcome) -> BTreeSet<String> {
        policies().map(|policy| format!("{:?}", commit(arrived, outcome, policy))).collect()
    }

    #[test]
    fn every_row_of_the_table() {
        use {
            Arrived::{Known, Nobody},
            Outcome::{Changed, Destroyed, Established, Renewed, Replaced, Unset, Untouched},
        };
        for (arrived, outcome, expected) in [
            (Nobody, Untouched, vec!["(Create, Send)", "(Nothing, Leave)"]),
            (Nobody, Changed, vec!["(Create, Send)"]),
            (Nobody, Renewed, vec!["(Create, Send)"]),
            (Nobody, Established, vec!["(Replace, Send)"]),
            (Nobody, Destroyed, vec!["(Delete, Expire)"]),
            (Nobody, Replaced, vec!["(Replace, Send)"]),
            (Nobody, Unset, vec!["(Nothing, Leave)"]),
            (
                Known,
                Untouched,
                vec![
                    "(Nothing, Leave)",
                    "(Nothing, Send)",
                    "(Touch, Leave)",
                    "(Touch, Send)",
                    "(Update, Leave)",
                    "(Update, Send)",
                ],
            ),
            (Known, Changed, vec!["(Update, Leave)", "(Update, Send)"]),
            (Known, Renewed, vec!["(Rotate, Send)"]),
            (Known, Established, vec!["(RotateOrCreate, Send)"]),
            (Known, Destroyed, vec!["(Delete, Expire)"]),
            (Known, Replaced, vec!["(Replace, Send)"]),
            (Known, Unset, vec!["(Delete, Expire)", "(Nothing, Leave)"]),
        ] {
            let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(answers(arrived, outcome), expected, "{arrived:?} × {outcome:?}");
        }
    }

    #[test]
    fn every_policy_that_matters_where_it_matters() {
        for policy in policies() {
            let known = |outcome| commit(Arrived::Known, outcome, policy);
            let (write, cookie) = known(Outcome::Untouched);
            assert_eq!(write == Write::Update, policy.resave);
            assert_eq!(write == Write::Touch, policy.touch_due && !policy.resave);
            let slid = policy.remembered && write == Write::Touch;
            assert_eq!(cookie == Cookie::Send, policy.rolling || policy.old_signature || slid);
            let resent = policy.rolling || policy.persistent || policy.old_signature;
            assert_eq!(known(Outcome::Changed).1 == Cookie::Send, resent);
            assert_eq!(known(Outcome::Unset).0 == Write::Delete, policy.unset == Unset::Destroy);
            let anonymous = commit(Arrived::Nobody, Outcome::Untouched, policy).0;
            assert_eq!(anonymous == Write::Create, policy.save_uninitialized);
        }
    }

    #[test]
    fn whatever_ends_a_session_takes_its_cookie_along_and_nothing_else_does() {
        for (policy, outcome) in policies().flat_map(|policy| OUTCOMES.map(|outcome| (policy, outcome))) {
            for arrived in [Arrived::Nobody, Arrived::Known] {
                let (write, cookie) = commit(arrived, outcome, policy);
                let ended = write == Write::Delete || outcome == Outcome::Destroyed;
                assert_eq!(cookie == Cookie::Expire, ended, "{arrived:?} × {outcome:?} × {policy:?}");
            }
        }
    }

    #[test]
    fn a_login_or_renewal_never_keeps_the_id() {
        for (policy, outcome) in policies().flat_map(|policy| OUTCOMES.map(|outcome| (policy, outcome))) {
            if matches!(outcome, Outcome::Renewed | Outcome::Established | Outcome::Replaced) {
                let (write, cookie) = commit(Arrived::Known, outcome, policy);
                assert!(matches!(write, Write::Rotate | Write::RotateOrCreate | Write::Replace));
                assert_eq!(cookie, Cookie::Send);
            }
        }
    }

    #[test]
    fn acts_only_ever_strengthen_an_outcome() {
        let rank = |outcome| match outcome {
            Outcome::Untouched => 0,
            Outcome::Changed => 1,
            Outcome::Renewed => 2,
            Outcome::Established => 3,
            Outcome::Destroyed | Outcome::Replaced | Outcome::Unset => 4,
        };
        for (outcome, act) in OUTCOMES.iter().flat_map(|outcome| ACTS.map(|act| (*outcome, act))) {
            let next = outcome.then(act);
            assert!(rank(next) >= rank(outcome), "{outcome:?} then {act:?} is {next:?}");
            assert_ne!(next, Outcome::Untouched);
            assert!(act != Act::Destroy || next == Outcome::Destroyed);
        }
    }
}

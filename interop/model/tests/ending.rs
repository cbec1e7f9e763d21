//! All rules together hold in every reachable state. Without any one of them something breaks.

use std::collections::BTreeSet;

use interop_model::{Ending, Rule, Rules, Store};
use stateright::{Checker, HasDiscoveries, Model};

const STAYS_ENDED: &str = "ended stays ended";
const FEED_CLEARS: &str = "the feed clears Express";
const SWEEPER_CLEARS: &str = "the sweeper clears Express";

/// What breaks without a rule; `None`: this kind of database does not need it.
fn breaks(store: Store, rule: Rule) -> Option<&'static str> {
    match (store, rule) {
        // The trigger keeps ended sessions out, in the one transaction that ends them.
        (
            Store::Trigger,
            Rule::ReadsRefuseEnded
            | Rule::MajorityBeforeAnswer
            | Rule::FeedDeletesEnded
            | Rule::SweepDeletesEnded
            | Rule::ReadsSeeMajority,
        ) => None,
        (_, Rule::FeedDeletesEnded) => Some(FEED_CLEARS),
        (_, Rule::SweepDeletesEnded) => Some(SWEEPER_CLEARS),
        _ => Some(STAYS_ENDED),
    }
}

fn model(rules: Rules) -> Ending {
    Ending { rules, crashes: 1, failovers: 1, requests: 2 }
}

/// Explores every state; returns how many, and the properties that are violated.
fn explore(rules: Rules, until: HasDiscoveries) -> (usize, BTreeSet<&'static str>) {
    let checker = model(rules).checker().threads(2).finish_when(until).spawn_bfs().join();
    let failures = [STAYS_ENDED, FEED_CLEARS, SWEEPER_CLEARS];
    let found = checker.discoveries().into_keys();
    let violated = found.filter(|name| failures.contains(name)).collect();
    (checker.unique_state_count(), violated)
}

#[test]
fn ended_sessions_are_never_accepted_after_the_bound() {
    for (store, least) in [(Store::Trigger, 10_000), (Store::Feed, 1_000_000)] {
        let (states, violated) = explore(Rules::all(store), HasDiscoveries::AllFailures);
        assert_eq!(violated, BTreeSet::new(), "{store:?}");
        assert!(states > least, "{store:?}: only {states} states, so the model hardly moves");
    }
}

#[test]
fn sessions_end_and_are_cached_in_the_model() {
    for store in [Store::Trigger, Store::Feed] {
        let wanted = ["an end is acknowledged", "a cache answers"];
        let until = HasDiscoveries::AllOf(wanted.into());
        let checker = model(Rules::all(store)).checker().finish_when(until).spawn_bfs().join();
        for name in wanted {
            checker.assert_any_discovery(name);
        }
    }
}

#[test]
fn something_breaks_without_any_one_rule() {
    for store in [Store::Trigger, Store::Feed] {
        for rule in Rule::ALL {
            let expected = breaks(store, rule);
            let until = HasDiscoveries::AnyOf(expected.into_iter().collect());
            let (_, violated) = explore(Rules::without(store, rule), until);
            match expected {
                Some(name) => assert!(violated.contains(name), "{store:?} without {rule:?}: {violated:?}"),
                None => assert_eq!(violated, BTreeSet::new(), "{store:?} without {rule:?}"),
            }
        }
    }
}

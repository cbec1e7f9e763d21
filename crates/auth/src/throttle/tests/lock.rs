//! Failures in a row.

use super::*;

/// One guess a window, so that no wait slows it down.
fn window(number: u64) -> Timestamp {
    NOW + seconds(number * 100)
}

#[tokio::test]
async fn failures_in_a_row_lock_an_account_however_slowly_they_come() {
    let (throttle, limits) = (throttle(), ThrottleOptions { max_failures: 20, ..limits(3, 1000) });
    let (ann, owner) = (Ann::at(&throttle, &limits), Ann::at(&throttle, &limits).known(NOW));
    for number in 0..19 {
        assert_eq!(ann.guess(ELSEWHERE, window(number)).await, Answer::Decided, "{number}");
    }
    assert_eq!(ann.guess(ELSEWHERE, window(19)).await, Answer::Last);
    for from in [ELSEWHERE, HOME] {
        assert_eq!(ann.attempt(from, true, window(20)).await, Answer::Locked);
    }
    assert_eq!(ann.attempt(HOME, true, NOW + seconds(19 * DAY)).await, Answer::Locked, "days later too");
    assert!(owner.sign_in(HOME, window(21)).await, "a known browser is never locked");
    assert_eq!(ann.guess(ELSEWHERE, window(22)).await, Answer::Decided, "and its success ends the row");
}

#[tokio::test]
async fn an_address_of_the_owner_is_locked_too() {
    let (throttle, limits) = (throttle(), ThrottleOptions { max_failures: 20, ..limits(3, 1000) });
    let ann = Ann::at(&throttle, &limits);
    assert!(ann.sign_in(HOME, NOW).await);
    for number in 1..=20 {
        let from = if number % 2 == 0 { HOME } else { ELSEWHERE };
        ann.guess(from, window(number)).await;
    }
    assert_eq!(ann.attempt(HOME, true, window(21)).await, Answer::Locked);
}

#[tokio::test]
async fn parallel_guesses_do_not_pass_the_limit_of_failures_in_a_row() {
    let (throttle, limits) = (throttle(), ThrottleOptions { max_failures: 20, ..limits(1000, 1000) });
    for ann in [Ann::at(&throttle, &limits), Ann::at(&throttle, &limits).known(NOW)] {
        assert_eq!(ann.guesses(std::iter::repeat_n(ELSEWHERE, 17), NOW).await, 17);
        assert_eq!(ann.guesses(std::iter::repeat_n(ELSEWHERE, 32), NOW).await, 3);
    }
}

#[tokio::test]
async fn a_known_browser_with_too_many_failures_is_no_longer_known() {
    let (throttle, limits) = (throttle(), ThrottleOptions { max_failures: 20, ..limits(3, 1000) });
    let (ann, stolen) = (Ann::at(&throttle, &limits), Ann::at(&throttle, &limits).known(NOW));
    for number in 0..20 {
        stolen.guess(ELSEWHERE, window(number)).await;
    }
    assert_eq!(ann.counts().await.failures.count(NOW), 0);
    assert_eq!(stolen.guess(ELSEWHERE, window(20)).await, Answer::Decided);
    assert_eq!(ann.counts().await.failures.count(window(20)), 1, "it counts among all others");
}

#[tokio::test]
async fn an_operator_and_a_provider_unlock() {
    let (throttle, limits) = (throttle(), ThrottleOptions { max_failures: 5, ..limits(1000, 1000) });
    let ann = Ann::at(&throttle, &limits);
    let lock = async || {
        for _ in 0..5 {
            ann.guess(ELSEWHERE, NOW).await;
        }
        assert_eq!(ann.attempt(HOME, true, NOW).await, Answer::Locked);
    };
    lock().await;
    assert_eq!(throttle.unlock(&ann.account, NOW).await.unwrap(), 5);
    assert!(ann.sign_in(HOME, NOW).await);
    lock().await;
    throttle.note_sign_in(&ann.account, HOME, &UserId::new("ann"), NOW).await.unwrap();
    assert!(ann.sign_in(HOME, NOW).await);
}

#[tokio::test]
async fn failures_are_forgotten_after_a_day_each_and_leave_nothing() {
    let (throttle, limits) = (throttle(), limits(1000, 1000));
    let ann = Ann::at(&throttle, &limits);
    for (guesses, days) in [(1, 1), (3, 3), (40, 30)] {
        for _ in 0..guesses {
            ann.guess(ELSEWHERE, NOW).await;
        }
        let place = throttle.account(&ann.account, NOW).await.unwrap();
        assert_eq!(place.body.ends(), NOW + seconds(days * DAY), "{guesses}");
        throttle.unlock(&ann.account, NOW).await.unwrap();
        assert!(!throttle.account(&ann.account, NOW).await.unwrap().is_stored(), "no record stays");
    }
}

#[tokio::test]
async fn whoever_is_signed_in_has_a_count_of_their_own() {
    let (throttle, limits) = (throttle(), ThrottleOptions { max_failures: 5, ..limits(3, 1000) });
    let ann = Ann::at(&throttle, &limits);
    while ann.guess(ELSEWHERE, NOW).await == Answer::Decided {}
    let charge = async |now| throttle.charge_signed_in(&ann.account, &limits, now).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(charge(NOW).await, Charge::Allowed(_)));
    }
    assert!(matches!(charge(NOW).await, Charge::Throttled { .. }));
    for number in 1..3 {
        assert!(matches!(charge(window(number)).await, Charge::Allowed(_)));
    }
    assert!(matches!(charge(window(3)).await, Charge::Locked), "five in a row: sign in again");
    assert!(ann.sign_in(HOME, window(4)).await);
    assert!(matches!(charge(window(4)).await, Charge::Allowed(_)));
}

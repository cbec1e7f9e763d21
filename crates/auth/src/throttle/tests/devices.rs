//! Known browsers.

use super::*;

#[tokio::test]
async fn a_known_browser_is_throttled_by_itself_only() {
    let (throttle, limits) = (throttle(), limits(3, 5));
    let (others, owner) = (Ann::at(&throttle, &limits), Ann::at(&throttle, &limits).known(NOW));
    // From the very same address, and until account and address have to wait.
    while others.guess(HOME, NOW).await == Answer::Decided {}
    for _ in 0..20 {
        others.guess(HOME, NOW).await;
    }
    assert!(!others.sign_in(HOME, NOW).await);
    for _ in 0..5 {
        assert!(owner.sign_in(HOME, NOW).await);
    }
    assert_eq!(owner.guesses(std::iter::repeat_n(HOME, 32), NOW).await, 3, "its own guesses count");
    assert_eq!(owner.guess(HOME, NOW).await, Answer::Waits(seconds(10)));
    let another = Ann::at(&throttle, &limits).known(NOW);
    assert!(another.sign_in(HOME, NOW).await, "each browser has its own count");
}

#[tokio::test]
async fn a_known_browsers_guesses_do_not_lock_others_out() {
    let (throttle, limits) = (throttle(), limits(3, 1000));
    let (others, stolen) = (Ann::at(&throttle, &limits), Ann::at(&throttle, &limits).known(NOW));
    assert_eq!(stolen.guesses(std::iter::repeat_n(ELSEWHERE, 32), NOW).await, 3);
    assert!(others.sign_in(HOME, NOW).await);
}

#[tokio::test]
async fn signing_out_everywhere_voids_device_cookies() {
    let (throttle, limits) = (throttle(), limits(3, 1000));
    let (others, stolen) = (Ann::at(&throttle, &limits), Ann::at(&throttle, &limits).known(NOW));
    let later = NOW + seconds(1);
    throttle.void_devices(&others.account, &UserId::new("ann"), later).await.unwrap();
    while others.guess(ELSEWHERE, later).await == Answer::Decided {}
    assert!(!stolen.sign_in(HOME, later).await, "it counts among all others");
    assert!(others.known(later).sign_in(HOME, later).await);
}

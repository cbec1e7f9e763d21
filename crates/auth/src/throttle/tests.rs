use async_trait::async_trait;

use super::*;
use crate::{MemoryRecords, UserId};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn limit() -> Limit {
    Limit {
        free: 3,
        window: Duration::from_secs(60),
        first_wait: Duration::from_secs(10),
        max_wait: Duration::from_secs(25),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets everybody else go first before each step, so that attempts at once meet.
struct Polite(MemoryRecords);

#[async_trait]
impl RecordStore for Polite {
    async fn insert(&self, record: &Record, now: Timestamp) -> Result<Inserted, StoreError> {
        tokio::task::yield_now().await;
        self.0.insert(record, now).await
    }

    async fn get(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        tokio::task::yield_now().await;
        self.0.get(key, now).await
    }

    async fn replace(&self, record: &Record, now: Timestamp) -> Result<Replaced, StoreError> {
        tokio::task::yield_now().await;
        self.0.replace(record, now).await
    }

    async fn take(&self, key: &RecordKey, now: Timestamp) -> Result<Option<Record>, StoreError> {
        tokio::task::yield_now().await;
        self.0.take(key, now).await
    }

    async fn list(
        &self,
        kind: &'static str,
        owner: &UserId,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.0.list(kind, owner, now).await
    }

    async fn delete_owned(&self, owner: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        self.0.delete_owned(owner, now).await
    }

    async fn export(
        &self,
        kind: &'static str,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        self.0.export(kind, after, limit, now).await
    }

    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.0.sweep(limit, now).await
    }
}

fn throttle() -> Throttle {
    Throttle::new(Arc::new(Polite(MemoryRecords::new())))
}

/// How long to wait; `None`: the attempt was counted.
async fn wait(throttle: &Throttle, limit: &Limit, now: Timestamp) -> Option<Duration> {
    match throttle.charge("x", limit, now).await.unwrap() {
        Charge::Allowed(_) => None,
        Charge::Throttled { retry_after } => Some(retry_after),
    }
}

#[tokio::test]
async fn waits_grow_up_to_the_longest_and_end_by_themselves() {
    let throttle = throttle();
    let wait = async |now| wait(&throttle, &limit(), now).await;
    for _ in 0..3 {
        assert_eq!(wait(NOW).await, None);
    }
    assert_eq!(wait(NOW).await, Some(seconds(10)));
    assert_eq!(wait(NOW + seconds(9)).await, Some(seconds(1)));
    assert_eq!(wait(NOW + seconds(10)).await, None);
    assert_eq!(wait(NOW + seconds(10)).await, Some(seconds(20)));
    assert_eq!(wait(NOW + seconds(30)).await, None);
    assert_eq!(wait(NOW + seconds(30)).await, Some(seconds(25)));
    let quiet = NOW + seconds(30 + 25 + 60);
    for _ in 0..3 {
        assert_eq!(wait(quiet).await, None, "counting began anew");
    }
}

#[tokio::test]
async fn a_wait_never_exceeds_the_longest_whatever_the_clock_did() {
    let throttle = throttle();
    let wait = async |now| wait(&throttle, &limit(), now).await;
    let ahead = NOW + seconds(24 * 3600);
    for _ in 0..4 {
        wait(ahead).await;
    }
    assert_eq!(wait(ahead).await, Some(seconds(10)));
    // The clock is set back by a day.
    assert_eq!(wait(NOW).await, Some(seconds(25)), "no wait of a day");
    assert_eq!(wait(NOW + seconds(5)).await, Some(seconds(20)), "the wait ends");
    assert_eq!(wait(NOW + seconds(25)).await, None);
    assert_eq!(wait(NOW + seconds(25)).await, Some(seconds(20)), "attempts from before still count");
    let quiet = NOW + seconds(25 + 25 + 60);
    assert_eq!(wait(quiet).await, None);
    assert_eq!(wait(quiet).await, None, "counting starts again, not a day later");
}

#[tokio::test]
async fn a_sign_in_waits_no_longer_than_the_longest_whatever_the_clock_did() {
    let (throttle, limits) =
        (throttle(), ThrottleOptions { account: limit(), address: limit(), ..ThrottleOptions::default() });
    let sign_in = async |now| {
        let asked = throttle.ask_sign_in("ann@example.com", HOME, now).await.unwrap();
        match throttle.charge_sign_in(asked, &limits, now).await.unwrap() {
            Charge::Allowed(_) => None,
            Charge::Throttled { retry_after } => Some(retry_after),
        }
    };
    let ahead = NOW + seconds(24 * 3600);
    for _ in 0..4 {
        sign_in(ahead).await;
    }
    assert_eq!(sign_in(NOW).await, Some(seconds(25)));
    assert_eq!(sign_in(NOW + seconds(25)).await, None);
}

#[tokio::test]
async fn parallel_attempts_cannot_slip_through() {
    let throttle = throttle();
    let attempts = (0..24).map(|_| {
        let throttle = throttle.clone();
        tokio::spawn(async move { wait(&throttle, &limit(), NOW).await })
    });
    let mut allowed = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        allowed += u32::from(attempt.await.unwrap().is_none());
    }
    assert_eq!(allowed, 3);
}

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

fn limits(account: u32, address: u32) -> ThrottleOptions {
    let free = |free| Limit { free, ..limit() };
    ThrottleOptions { account: free(account), address: free(address), register: limit() }
}

/// A sign-in of Ann's; whether it was allowed.
async fn sign_in(
    throttle: &Throttle,
    from: IpAddr,
    limits: &ThrottleOptions,
    succeeds: bool,
    now: Timestamp,
) -> bool {
    let asked = throttle.ask_sign_in("ann@example.com", from, now).await.unwrap();
    match throttle.charge_sign_in(asked, limits, now).await.unwrap() {
        Charge::Allowed(sign_in) => {
            if succeeds {
                throttle.settle(sign_in, now).await.unwrap();
            }
            true
        }
        Charge::Throttled { .. } => false,
    }
}

async fn attempts(throttle: &Throttle, id: &str) -> Option<u32> {
    throttle.records.get(&key(id), NOW).await.unwrap().map(|record| count(&record).attempts)
}

#[tokio::test]
async fn guesses_are_counted_on_the_account_and_on_the_address_however_many_come_at_once() {
    for (account, address) in [(3, 7), (7, 3)] {
        let (throttle, limits) = (throttle(), limits(account, address));
        let guesses = (0..24).map(|_| {
            let throttle = throttle.clone();
            tokio::spawn(async move { sign_in(&throttle, ELSEWHERE, &limits, false, NOW).await })
        });
        let mut allowed = 0;
        for guess in guesses.collect::<Vec<_>>() {
            allowed += u32::from(guess.await.unwrap());
        }
        assert_eq!(allowed, 3);
        let on_account = attempts(&throttle, &account_key("ann@example.com")).await;
        assert_eq!(on_account, Some(3), "what the address was refused for is not held against the account");
    }
    let (throttle, limits) = (throttle(), limits(1, 5));
    for allowed in [true, false, false] {
        assert_eq!(sign_in(&throttle, ELSEWHERE, &limits, false, NOW).await, allowed);
    }
    let on_address = attempts(&throttle, &address_key("login", ELSEWHERE)).await;
    assert_eq!(on_address, Some(3), "knocking at a closed account counts for the address");
}

#[tokio::test]
async fn success_gives_back_and_forgets() {
    let (throttle, limits) = (throttle(), limits(3, 2));
    for _ in 0..9 {
        assert!(sign_in(&throttle, HOME, &limits, true, NOW).await);
    }
    assert_eq!(attempts(&throttle, &address_key("login", HOME)).await, Some(0));
    assert!(sign_in(&throttle, HOME, &limits, false, NOW).await);
    for _ in 0..20 {
        assert!(sign_in(&throttle, HOME, &limits, true, NOW).await, "one failure, then only successes");
    }
    let [known, from_known, account] = account_keys("ann@example.com", HOME);
    for (key, there) in [(known, true), (from_known, false), (account, false)] {
        assert_eq!(throttle.records.get(&key, NOW).await.unwrap().is_some(), there, "{key:?}");
    }
}

#[tokio::test]
async fn successes_cost_nothing_however_many_come_at_once() {
    let (throttle, limits) = (throttle(), limits(1000, 1000));
    let sign_ins = (0..100).map(|_| {
        let throttle = throttle.clone();
        tokio::spawn(async move { sign_in(&throttle, HOME, &limits, true, NOW).await })
    });
    for sign_in in sign_ins.collect::<Vec<_>>() {
        assert!(sign_in.await.unwrap());
    }
    assert_eq!(attempts(&throttle, &address_key("login", HOME)).await, Some(0));
}

#[tokio::test]
async fn counting_begins_anew_even_where_somebody_always_signs_in() {
    let (throttle, limits) = (throttle(), limits(3, 3));
    for minute in 0..60 {
        let now = NOW + seconds(minute * 20);
        let allowed = sign_in(&throttle, HOME, &limits, minute % 3 != 0, now).await;
        assert!(allowed, "one failure in each window of a minute never adds up");
    }
}

#[tokio::test]
async fn the_owner_is_not_locked_out_by_guesses_from_elsewhere() {
    let (throttle, limits) = (throttle(), limits(3, 1000));
    assert!(sign_in(&throttle, HOME, &limits, true, NOW).await);
    while sign_in(&throttle, ELSEWHERE, &limits, false, NOW).await {}
    for _ in 0..3 {
        assert!(sign_in(&throttle, HOME, &limits, false, NOW).await);
    }
    assert!(!sign_in(&throttle, HOME, &limits, false, NOW).await, "but not without end either");
    let later = NOW + KNOWN_FOR;
    let elsewhere = throttle.charge_account("ann@example.com", HOME, &limits.account, later).await.unwrap();
    let Charge::Allowed(Counted(record)) = elsewhere else { panic!("{elsewhere:?}") };
    assert_eq!(record.key.id, account_key("ann@example.com"), "forgotten after a while");
}

#[test]
fn keys_hold_no_address_of_a_person_and_one_key_per_network() {
    for spelling in [" Ann@Example.com", "\u{ff41}nn@example.com", "ANN@EXAMPLE.COM\t"] {
        assert_eq!(account_key(spelling), account_key("ann@example.com"), "{spelling:?}");
    }
    assert!(!account_key("ann@example.com").contains("ann"));
    let key = |addr: &str| address_key("login", addr.parse().unwrap());
    assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::"));
    assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

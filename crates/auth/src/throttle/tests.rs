mod devices;
mod lock;
mod networks;

use async_trait::async_trait;

use super::{account::KNOWN_FOR, count::Count, *};
use crate::{DeviceCookies, Inserted, MemoryRecords, Record, Replaced, device::SentDevices};

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
    match throttle.charge_networks("x", HOME, limit, now).await.unwrap() {
        Charge::Allowed(()) => None,
        Charge::Throttled { retry_after } => Some(retry_after),
        Charge::Locked => panic!("only accounts are locked"),
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
    let (throttle, limits) = (throttle(), ThrottleOptions { account: limit(), ..limits(1000, 1000) });
    let ann = Ann::at(&throttle, &limits);
    let ahead = NOW + seconds(24 * 3600);
    for _ in 0..4 {
        ann.guess(HOME, ahead).await;
    }
    assert_eq!(ann.guess(HOME, NOW).await, Answer::Waits(seconds(25)));
    assert_eq!(ann.guess(HOME, NOW + seconds(25)).await, Answer::Decided);
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
const DAY: u64 = 24 * 3600;

fn limits(account: u32, address: u32) -> ThrottleOptions {
    let free = |free| Limit { free, ..limit() };
    ThrottleOptions { account: free(account), max_failures: 1000, address: free(address), register: limit() }
}

/// A client that signs in to Ann's account.
#[derive(Clone)]
struct Ann {
    throttle: Throttle,
    limits: ThrottleOptions,
    account: String,
    device: Option<Device>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The password was compared.
    Decided,
    /// The same, and it was the last time.
    Last,
    Waits(Duration),
    Locked,
}

impl Ann {
    fn at(throttle: &Throttle, limits: &ThrottleOptions) -> Self {
        let account = account_key("ann@example.com");
        Self { throttle: throttle.clone(), limits: *limits, account, device: None }
    }

    /// A browser with a device cookie of this time.
    fn known(&self, issued: Timestamp) -> Self {
        let cookies = DeviceCookies::new(["a secret of at least thirty-two bytes"]).unwrap();
        let set = cookies.issue(&SentDevices::default(), &self.account, 0, issued);
        let pair = set[0].to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut headers = http::HeaderMap::new();
        headers.insert("cookie", pair.parse().unwrap());
        let device = cookies.find(&SentDevices::of(&headers), &self.account, issued);
        assert!(device.is_some());
        Self { device, ..self.clone() }
    }

    async fn attempt(&self, from: IpAddr, succeeds: bool, now: Timestamp) -> Answer {
        let attempted = Attempted { account: &self.account, addr: from, device: self.device };
        let mut asked = self.throttle.ask_sign_in(attempted, now).await.unwrap();
        asked.check_device(|_| true, &self.limits, now);
        match self.throttle.charge_sign_in(asked, &self.limits, now).await.unwrap() {
            Charge::Allowed(sign_in) => {
                let answer = if sign_in.is_last { Answer::Last } else { Answer::Decided };
                if succeeds {
                    self.throttle.settle(sign_in, &UserId::new("ann"), now).await.unwrap();
                }
                answer
            }
            Charge::Throttled { retry_after } => Answer::Waits(retry_after),
            Charge::Locked => Answer::Locked,
        }
    }

    async fn guess(&self, from: IpAddr, now: Timestamp) -> Answer {
        self.attempt(from, false, now).await
    }

    /// Whether the right password opens the account.
    async fn sign_in(&self, from: IpAddr, now: Timestamp) -> bool {
        matches!(self.attempt(from, true, now).await, Answer::Decided | Answer::Last)
    }

    /// So many guesses at once from these addresses; how many passwords were compared.
    async fn guesses(&self, from: impl Iterator<Item = IpAddr>, now: Timestamp) -> u32 {
        let guess = |addr| {
            let ann = self.clone();
            tokio::spawn(async move { ann.guess(addr, now).await })
        };
        let mut decided = 0;
        for guess in from.map(guess).collect::<Vec<_>>() {
            decided += u32::from(matches!(guess.await.unwrap(), Answer::Decided | Answer::Last));
        }
        decided
    }

    async fn counts(&self) -> AccountCounts {
        self.throttle.account(&self.account, NOW).await.unwrap().body
    }
}

async fn on_networks(throttle: &Throttle, addr: IpAddr) -> Vec<u32> {
    let place = throttle.place::<NetworkCounts>(key(&Network::of(addr).id("login")), NOW).await;
    place.unwrap().body.attempts()
}

#[tokio::test]
async fn guesses_are_counted_on_the_account_and_on_the_address_however_many_come_at_once() {
    for (account, address) in [(3, 7), (7, 3)] {
        let (throttle, limits) = (throttle(), limits(account, address));
        let ann = Ann::at(&throttle, &limits);
        assert_eq!(ann.guesses(std::iter::repeat_n(ELSEWHERE, 32), NOW).await, 3);
        let counted = ann.counts().await.others.attempts;
        assert_eq!(counted, 3, "what the address was refused for is not held against the account");
    }
    let (throttle, limits) = (throttle(), limits(1, 5));
    let ann = Ann::at(&throttle, &limits);
    for allowed in [Answer::Decided, Answer::Waits(seconds(10)), Answer::Waits(seconds(10))] {
        assert_eq!(ann.guess(ELSEWHERE, NOW).await, allowed);
    }
    let counted = on_networks(&throttle, ELSEWHERE).await;
    assert_eq!(counted, [3, 3], "an attempt at a blocked account counts on the address");
}

#[tokio::test]
async fn success_gives_back_and_forgets() {
    let (throttle, limits) = (throttle(), limits(3, 2));
    let ann = Ann::at(&throttle, &limits);
    for _ in 0..9 {
        assert!(ann.sign_in(HOME, NOW).await);
    }
    assert!(on_networks(&throttle, HOME).await.is_empty());
    assert_eq!(ann.guess(HOME, NOW).await, Answer::Decided);
    for _ in 0..20 {
        assert!(ann.sign_in(HOME, NOW).await, "one failure, then only successes");
    }
    let counts = ann.counts().await;
    assert_eq!((counts.others, counts.failures.count(NOW)), (Count::default(), 0));
    assert!(counts.addresses.values().all(|known| known.count == Count::default()));
    assert_eq!(counts.addresses.len(), 1);
}

#[tokio::test]
async fn successes_cost_nothing_however_many_come_at_once() {
    let (throttle, limits) = (throttle(), limits(1000, 1000));
    for device in [false, true] {
        let ann = Ann::at(&throttle, &limits);
        let ann = if device { ann.known(NOW) } else { ann };
        let sign_ins = (0..100).map(|_| {
            let ann = ann.clone();
            tokio::spawn(async move { ann.sign_in(HOME, NOW).await })
        });
        for sign_in in sign_ins.collect::<Vec<_>>() {
            assert!(sign_in.await.unwrap());
        }
        assert!(on_networks(&throttle, HOME).await.is_empty());
        assert_eq!(ann.counts().await.failures.count(NOW), 0);
    }
}

#[tokio::test]
async fn counting_begins_anew_even_where_somebody_always_signs_in() {
    let (throttle, limits) = (throttle(), limits(3, 3));
    let ann = Ann::at(&throttle, &limits);
    for minute in 0..60 {
        let now = NOW + seconds(minute * 20);
        let answer = ann.attempt(HOME, minute % 3 != 0, now).await;
        assert_eq!(answer, Answer::Decided, "one failure in each window of a minute never adds up");
    }
}

#[tokio::test]
async fn the_owner_is_not_locked_out_by_guesses_from_elsewhere() {
    let (throttle, limits) = (throttle(), limits(3, 1000));
    let ann = Ann::at(&throttle, &limits);
    assert!(ann.sign_in(HOME, NOW).await);
    while ann.guess(ELSEWHERE, NOW).await == Answer::Decided {}
    for _ in 0..3 {
        assert_eq!(ann.guess(HOME, NOW).await, Answer::Decided);
    }
    assert_eq!(ann.guess(HOME, NOW).await, Answer::Waits(seconds(10)), "but not without end either");
    let later = NOW + KNOWN_FOR;
    assert_eq!(ann.guess(HOME, later).await, Answer::Decided);
    assert_eq!(ann.counts().await.others.attempts, 1, "forgotten after a while");
}

#[tokio::test]
async fn a_sign_in_that_was_never_decided_counts_nowhere() {
    let (throttle, limits) = (throttle(), ThrottleOptions { max_failures: 5, ..limits(3, 3) });
    for ann in [Ann::at(&throttle, &limits), Ann::at(&throttle, &limits).known(NOW)] {
        for _ in 0..20 {
            let attempted = Attempted { account: &ann.account, addr: HOME, device: ann.device };
            let asked = throttle.ask_sign_in(attempted, NOW).await.unwrap();
            let Charge::Allowed(sign_in) = throttle.charge_sign_in(asked, &limits, NOW).await.unwrap() else {
                panic!("throttled")
            };
            throttle.take_back(sign_in, NOW).await.unwrap();
        }
        assert_eq!(
            (ann.counts().await.failures.count(NOW), on_networks(&throttle, HOME).await.len()),
            (0, 0)
        );
    }
}

#[tokio::test]
async fn an_account_remembers_so_many_addresses_and_the_latest_stay() {
    let (throttle, limits) = (throttle(), limits(1000, 1000));
    let ann = Ann::at(&throttle, &limits);
    for number in 0..20_u8 {
        assert!(ann.sign_in([192, 0, 2, number].into(), NOW + seconds(u64::from(number))).await);
    }
    let counts = ann.counts().await;
    assert_eq!(counts.addresses.len(), 16);
    assert!(counts.addresses.contains_key(&address_hash(&ann.account, [192, 0, 2, 19].into())));
}

#[tokio::test]
async fn counts_of_former_versions_begin_anew() {
    let throttle = throttle();
    let body = r#"{"attempts":12,"blocked_until":9000000}"#.to_owned();
    let key = key(&account_key("ann@example.com"));
    let old = Record { key, owner: None, body, expires: Some(NOW + seconds(60)), version: 0 };
    throttle.records.insert(&old, NOW).await.unwrap();
    assert_eq!(Ann::at(&throttle, &limits(3, 3)).guess(HOME, NOW).await, Answer::Decided);
}

#[test]
fn keys_hold_no_address_of_a_person_and_one_key_per_network() {
    for spelling in [" Ann@Example.com", "\u{feff}ann@example.com", "ANN@EXAMPLE.COM\t"] {
        assert_eq!(account_key(spelling), account_key("ann@example.com"), "{spelling:?}");
    }
    assert!(!account_key("ann@example.com").contains("ann"));
    let id = |addr: &str| Network::of(addr.parse().unwrap()).id("login");
    let client = |addr: &str| Network::of(addr.parse().unwrap()).client();
    assert!(!id("192.0.2.1").contains("192"));
    assert_eq!(client("2001:db8:1:2:3::4"), client("2001:db8:1:2:ffff::"));
    assert_ne!(client("2001:db8:1:2::"), client("2001:db8:1:3::"));
    assert_eq!(id("2001:db8:1:2::"), id("2001:db8:1:3::"));
    assert_ne!(id("2001:db8:1::"), id("2001:db8:2::"));
    assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    assert_eq!(id("192.0.2.1"), id("192.0.2.2"));
    assert_ne!(id("192.0.2.1"), id("192.0.3.1"));
}

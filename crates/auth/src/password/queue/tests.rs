use super::*;

const PATIENT: Duration = Duration::from_secs(60);

fn from(addr: &str) -> Requester {
    Requester::address(addr.parse().unwrap())
}

fn known(addr: &str, id: u64) -> Requester {
    Requester::known(addr.parse().unwrap(), id)
}

/// One permit, taken; requests queue behind it in the order of their making.
struct Harness {
    queue: Arc<Queue>,
    taken: Option<Permit>,
    requests: Vec<(&'static str, tokio::task::JoinHandle<Option<Permit>>)>,
}

impl Harness {
    async fn new(capacity: usize) -> Self {
        let queue = Queue::new(1, capacity);
        let taken = queue.acquire(Requester::operator(), PATIENT).await;
        assert!(taken.is_some());
        Self { queue, taken, requests: Vec::new() }
    }

    async fn ask(&mut self, name: &'static str, requester: Requester) {
        let (queue, before) = (self.queue.clone(), self.queue.waiting());
        let request = tokio::spawn(async move { queue.acquire(requester, PATIENT).await });
        while self.queue.waiting() == before && !request.is_finished() {
            tokio::task::yield_now().await;
            // One that displaced another leaves their number as it was.
            if self.queue.waiting() == self.queue.capacity {
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
                break;
            }
        }
        self.requests.push((name, request));
    }

    /// Who is served, one after the other, and who was turned away.
    async fn served(mut self) -> (Vec<&'static str>, Vec<&'static str>) {
        let (mut served, mut refused) = (Vec::new(), Vec::new());
        drop(self.taken.take());
        while !self.requests.is_empty() {
            tokio::task::yield_now().await;
            let Some(at) = self.requests.iter().position(|(_, request)| request.is_finished()) else {
                continue;
            };
            let (name, request) = self.requests.remove(at);
            match request.await.unwrap() {
                Some(permit) => {
                    served.push(name);
                    drop(permit);
                }
                None => refused.push(name),
            }
        }
        assert_eq!(self.queue.free(), 1, "the permit came back");
        (served, refused)
    }
}

#[tokio::test]
async fn networks_take_turns_and_so_do_clients_of_one_network() {
    let mut harness = Harness::new(64).await;
    for _ in 0..4 {
        harness.ask("flood", from("192.0.2.1")).await;
    }
    harness.ask("neighbour", from("192.0.2.77")).await;
    harness.ask("elsewhere", from("198.51.100.1")).await;
    harness.ask("ipv6", from("2001:db8:1:2::3")).await;
    let (served, refused) = harness.served().await;
    assert_eq!(served, ["flood", "elsewhere", "ipv6", "neighbour", "flood", "flood", "flood"]);
    assert!(refused.is_empty());
}

#[tokio::test]
async fn many_addresses_of_one_ipv6_network_are_one_in_the_queue() {
    let mut harness = Harness::new(64).await;
    for part in 0..8 {
        harness.ask("spray", from(&format!("2001:db8:1:{part:x}::1"))).await;
    }
    harness.ask("elsewhere", from("2001:db8:2::1")).await;
    let (served, _) = harness.served().await;
    assert_eq!(served.iter().position(|name| *name == "elsewhere"), Some(1));
}

#[tokio::test]
async fn known_browsers_go_first_and_others_are_served_too() {
    let mut harness = Harness::new(64).await;
    for _ in 0..3 {
        harness.ask("other", from("192.0.2.1")).await;
    }
    for id in 0..9 {
        harness.ask("known", known("192.0.2.1", id)).await;
    }
    let (served, _) = harness.served().await;
    let others: Vec<usize> =
        served.iter().enumerate().filter(|(_, name)| **name == "other").map(|(at, _)| at).collect();
    // The one that held the permit was known too.
    assert_eq!(others, [4, 9, 11], "{served:?}");
}

#[tokio::test]
async fn a_known_browser_that_floods_delays_other_known_ones_by_one_turn() {
    let mut harness = Harness::new(64).await;
    for _ in 0..20 {
        harness.ask("flood", known("192.0.2.1", 1)).await;
    }
    harness.ask("owner", known("192.0.2.1", 2)).await;
    let (served, _) = harness.served().await;
    assert_eq!(served[1], "owner");
}

#[tokio::test]
async fn a_full_queue_turns_away_the_newest_of_the_network_with_most() {
    let mut harness = Harness::new(4).await;
    for name in ["flood 1", "flood 2", "flood 3", "flood 4", "flood 5"] {
        harness.ask(name, from("192.0.2.1")).await;
    }
    harness.ask("elsewhere", from("198.51.100.1")).await;
    harness.ask("known", known("198.51.100.1", 1)).await;
    let (served, mut refused) = harness.served().await;
    refused.sort_unstable();
    assert_eq!(served, ["known", "flood 1", "elsewhere", "flood 2", "flood 3"]);
    assert_eq!(refused, ["flood 4", "flood 5"]);
}

#[tokio::test]
async fn a_full_queue_is_shared_by_the_clients_of_one_network() {
    let mut harness = Harness::new(4).await;
    for name in ["flood 1", "flood 2", "flood 3", "flood 4"] {
        harness.ask(name, from("192.0.2.1")).await;
    }
    harness.ask("neighbour", from("192.0.2.2")).await;
    let (served, refused) = harness.served().await;
    assert_eq!(served, ["flood 1", "neighbour", "flood 2", "flood 3"]);
    assert_eq!(refused, ["flood 4"]);
}

#[tokio::test]
async fn equal_networks_do_not_displace_each_other() {
    let mut harness = Harness::new(2).await;
    harness.ask("one", from("192.0.2.1")).await;
    harness.ask("two", from("198.51.100.1")).await;
    harness.ask("three", from("203.0.113.1")).await;
    let (served, refused) = harness.served().await;
    assert_eq!((served.as_slice(), refused.as_slice()), (["one", "two"].as_slice(), ["three"].as_slice()));
}

#[tokio::test]
async fn a_request_that_goes_away_takes_no_turn_and_no_room() {
    let mut harness = Harness::new(1).await;
    harness.ask("gone", from("192.0.2.1")).await;
    let (_, request) = harness.requests.remove(0);
    request.abort();
    assert!(request.await.is_err());
    harness.ask("next", from("192.0.2.1")).await;
    let (served, _) = harness.served().await;
    assert_eq!(served, ["next"]);
}

#[tokio::test]
async fn no_permit_is_lost_however_requests_end() {
    let queue = Queue::new(2, 64);
    for round in 0..50_u64 {
        let requests: Vec<_> = (0..8)
            .map(|number| {
                let queue = queue.clone();
                let deadline = Duration::from_millis(if number % 2 == 0 { 0 } else { 1000 });
                tokio::spawn(async move {
                    let permit = queue.acquire(known("192.0.2.1", number), deadline).await;
                    tokio::task::yield_now().await;
                    drop(permit);
                })
            })
            .collect();
        for (number, request) in requests.into_iter().enumerate() {
            if round % 3 == 0 && number % 3 == 0 {
                request.abort();
            }
            let _ = request.await;
        }
        assert_eq!((queue.free(), queue.waiting()), (2, 0), "round {round}");
    }
}

//! Counts of networks.

use super::*;

fn v6(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// How many of so many guesses at different accounts, one from each address, are allowed.
async fn sprayed(limits: &ThrottleOptions, from: impl Iterator<Item = IpAddr>) -> u32 {
    let throttle = throttle();
    let mut allowed = 0;
    for (number, addr) in from.enumerate() {
        let ann =
            Ann { account: account_key(&format!("u{number}@example.com")), ..Ann::at(&throttle, limits) };
        allowed += u32::from(ann.guess(addr, NOW).await == Answer::Decided);
    }
    allowed
}

#[tokio::test]
async fn fresh_addresses_of_one_network_do_not_get_round_the_counts() {
    let limits = limits(1000, 10);
    let one = (0..60).map(|host| v6(&format!("2001:db8:1:1::{host:x}")));
    assert_eq!(sprayed(&limits, one).await, 10, "one /64");
    let house = (0..60).map(|part| v6(&format!("2001:db8:1:ab{part:02x}::1")));
    assert_eq!(sprayed(&limits, house).await, 20, "one /56");
    let site = (0..120).map(|part| v6(&format!("2001:db8:1:{part:x}00::1")));
    assert_eq!(sprayed(&limits, site).await, 30, "one /48");
    let apart = (0..60).map(|site| v6(&format!("2001:db8:{site:x}::1")));
    assert_eq!(sprayed(&limits, apart).await, 60, "other networks have their own");
    let v4 = (0..250).map(|host| IpAddr::from([192, 0, 2, host]));
    assert_eq!(sprayed(&limits, v4).await, 100, "one IPv4 /24");
}

#[tokio::test]
async fn parallel_guesses_from_one_network_do_not_slip_through() {
    let (throttle, limits) = (throttle(), limits(1000, 3));
    let ann = Ann::at(&throttle, &limits);
    let from = (0..32).map(|part| v6(&format!("2001:db8:1:{part:x}00::1")));
    assert_eq!(ann.guesses(from, NOW).await, 9);
}

#[tokio::test]
async fn a_networks_record_does_not_grow_without_bound() {
    let (throttle, limits) = (throttle(), limits(1_000_000, 1_000_000));
    let ann = Ann::at(&throttle, &limits);
    for part in 0..400 {
        ann.guess(v6(&format!("2001:db8:1:{part:x}::1")), NOW).await;
    }
    let counted = on_networks(&throttle, v6("2001:db8:1::1")).await;
    assert!(counted.len() <= 128 + 3, "{}", counted.len());
    assert_eq!(counted.iter().max(), Some(&400), "the /48 counts them all");
}

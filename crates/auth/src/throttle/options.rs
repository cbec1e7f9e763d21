//! [`ThrottleOptions`]: the limits.

use std::time::Duration;

/// How often one key may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Attempts without waiting.
    pub free: u32,
    /// Counting begins anew this long after the first attempt, or after the last wait.
    pub window: Duration,
    /// The first wait; each further one is twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub max_wait: Duration,
}

/// The limits of sign-in and registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleOptions {
    /// Failed sign-ins to one account: of each browser that is [known](crate::DeviceCookies) to it, of each address from which its owner
    /// has signed in, and of all others together. Default: 10 free in 15 minutes, then 30 seconds to 15 minutes.
    pub account: Limit,
    /// Failed sign-ins in a row to one account, over days, after which a password alone no longer opens it: NIST SP 800-63B-4
    /// §3.2.2 allows 100. Known browsers, providers, and [`Auth::unlock`](crate::Auth::unlock) still do. Default: 100.
    pub max_failures: u32,
    /// Failed sign-ins from one client, whatever the account: an IPv4 address or an IPv6 /64. An IPv6 /56 has twice as many free, a /48
    /// three times, an IPv4 /24 ten times. Default: 100 free in 15 minutes.
    pub address: Limit,
    /// Registrations from one client, and from its networks as above. Default: 20 free in an hour.
    pub register: Limit,
}

impl Default for ThrottleOptions {
    fn default() -> Self {
        let limit = |free, minutes: u64| Limit {
            free,
            window: Duration::from_secs(minutes * 60),
            first_wait: Duration::from_secs(30),
            max_wait: Duration::from_secs(15 * 60),
        };
        Self { account: limit(10, 15), max_failures: 100, address: limit(100, 15), register: limit(20, 60) }
    }
}

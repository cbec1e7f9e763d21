//! The cookies that bind attempts to a browser: one an attempt, small, `SameSite=Lax` unless other sites' scripts begin them, and only so many.

use std::{collections::HashSet, fmt::Write};

use hallpass_session::{Timestamp, cookie_pairs};
use http::{HeaderMap, HeaderValue, header::COOKIE};

use super::attempt::{ATTEMPT_TTL, REPEAT_FOR, hash};

/// The most attempts a browser has at a time; the oldest go first. Each cookie has about 90 bytes.
const MAX_ATTEMPTS: usize = 8;

/// The most cookies of attempts that are looked at: a request of any size costs no more.
const MOST_READ: usize = 64;

/// The most cookies that one response clears, so that a request of any size gets a response head of at most 2 KiB for them.
const MOST_CLEARED: usize = 8;

/// Writes and reads them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cookies {
    /// Over https only: with the prefix that keeps other hosts of the domain from setting them (RFC 6265bis §4.1.3.2).
    pub(super) secure: bool,
    /// Answers to scripts of other sites set them.
    pub(super) cross_site: bool,
}

impl Cookies {
    fn prefix(self) -> &'static str {
        if self.secure { "__Host-hallpass-oauth-" } else { "hallpass-oauth-" }
    }

    /// The name tells which attempt, not its state.
    fn name(self, state: &str) -> String {
        format!("{}{}", self.prefix(), &hash(state)[..8])
    }

    /// Sets the cookie of a new attempt, and drops the oldest ones when there are too many.
    pub(super) fn begin(
        self,
        headers: &HeaderMap,
        state: &str,
        secret: &str,
        now: Timestamp,
    ) -> Vec<HeaderValue> {
        let mut present: Vec<(&str, i64)> = self.present(headers).take(MOST_READ).collect();
        present.sort_by_key(|(_, begun)| *begun);
        // One `Set-Cookie` clears all cookies of a name.
        let mut seen = HashSet::new();
        present.retain(|(name, _)| seen.insert(*name));
        let surplus = (present.len() + 1).saturating_sub(MAX_ATTEMPTS).min(MOST_CLEARED);
        let dropped = present.iter().take(surplus).filter_map(|(name, _)| self.header(name, "", 0));
        let value = format!("{}.{secret}", now.as_millis() / 1000);
        let set = self.header(&self.name(state), &value, ATTEMPT_TTL.as_secs());
        dropped.chain(set).collect()
    }

    /// What the browser has for this attempt.
    pub(super) fn secret<'a>(self, headers: &'a HeaderMap, state: &str) -> Option<&'a str> {
        let name = self.name(state);
        let mut values = pairs(headers).filter(|(cookie, _)| *cookie == name).map(|(_, value)| value);
        values.next()?.split_once('.').map(|(_, secret)| secret)
    }

    /// Keeps the cookie of an attempt for requests that repeat the one that ended it.
    pub(super) fn linger(self, headers: &HeaderMap, state: &str) -> Option<HeaderValue> {
        let name = self.name(state);
        let (_, value) = pairs(headers).find(|(cookie, _)| *cookie == name)?;
        self.header(&name, value, REPEAT_FOR.as_secs())
    }

    /// Clears the cookie of an attempt.
    pub(super) fn end(self, state: &str) -> Option<HeaderValue> {
        self.header(&self.name(state), "", 0)
    }

    /// The names of the attempts in this browser, and when they began.
    fn present(self, headers: &HeaderMap) -> impl Iterator<Item = (&str, i64)> {
        let ours = move |name: &str| {
            let rest = name.strip_prefix(self.prefix());
            rest.is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let begun = |value: &str| value.split('.').next().and_then(|time| time.parse().ok()).unwrap_or(0);
        pairs(headers).filter(move |(name, _)| ours(name)).map(move |(name, value)| (name, begun(value)))
    }

    fn header(self, name: &str, value: &str, max_age: u64) -> Option<HeaderValue> {
        // Browsers take `None` with `Secure` only.
        let same_site = if self.cross_site && self.secure { "None" } else { "Lax" };
        let mut cookie = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite={same_site}");
        if self.secure {
            write!(cookie, "; Secure").ok()?;
        }
        HeaderValue::try_from(cookie).ok()
    }
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.get_all(COOKIE).iter().flat_map(|header| cookie_pairs(header.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAX: Cookies = Cookies { secure: true, cross_site: false };

    fn sent(set: &[HeaderValue]) -> HeaderMap {
        let pair = |cookie: &HeaderValue| cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        for cookie in set.iter().filter(|cookie| !cookie.to_str().unwrap().contains("Max-Age=0")) {
            headers.append(COOKIE, pair(cookie).parse().unwrap());
        }
        headers
    }

    #[test]
    fn each_attempt_has_its_own_and_the_oldest_make_room() {
        let cookies = LAX;
        let mut browser = HeaderMap::new();
        for number in 0..12 {
            let now = Timestamp::from_millis(number * 1000);
            let set = cookies.begin(&browser, &format!("state {number}"), &format!("secret {number}"), now);
            let gone: Vec<String> = set
                .iter()
                .filter(|cookie| cookie.to_str().unwrap().contains("Max-Age=0"))
                .map(|cookie| cookie.to_str().unwrap().split('=').next().unwrap().to_owned())
                .collect();
            let kept: Vec<_> = browser
                .get_all(COOKIE)
                .iter()
                .filter(|pair| !gone.iter().any(|name| pair.to_str().unwrap().starts_with(name)))
                .cloned()
                .collect();
            browser = sent(&set);
            for pair in kept {
                browser.append(COOKIE, pair);
            }
        }
        assert_eq!(browser.get_all(COOKIE).iter().count(), MAX_ATTEMPTS);
        assert_eq!(cookies.secret(&browser, "state 11"), Some("secret 11"));
        assert_eq!(cookies.secret(&browser, "state 4"), Some("secret 4"));
        assert_eq!(cookies.secret(&browser, "state 3"), None);
    }

    #[test]
    fn a_response_clears_few_cookies_however_many_arrive() {
        let pair = |number: usize| format!("__Host-hallpass-oauth-{:08x}={number}.secret", number % 7000);
        let cookies = (0..14_000).map(pair).collect::<Vec<_>>().join("; ");
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookies.parse().unwrap());
        let set = LAX.begin(&headers, "s", "x", Timestamp::from_millis(0));
        assert_eq!(set.len(), MOST_CLEARED + 1);
        let mut repeated = HeaderMap::new();
        repeated.insert(COOKIE, vec![pair(1); 5000].join("; ").parse().unwrap());
        let set = LAX.begin(&repeated, "s", "x", Timestamp::from_millis(0));
        assert_eq!(set.len(), 1, "one attempt, however often its cookie is sent");
    }

    #[test]
    fn the_cookie_is_lax_http_only_and_the_hosts_own() {
        let secure = LAX.begin(&HeaderMap::new(), "s", "x", Timestamp::from_millis(0));
        let text = secure[0].to_str().unwrap();
        assert!(text.starts_with("__Host-hallpass-oauth-") && text.len() < 200, "{text}");
        for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(text.contains(part), "{text}");
        }
        let plain = Cookies { secure: false, cross_site: true }.end("s").unwrap();
        let plain = plain.to_str().unwrap();
        assert!(!plain.contains("Secure") && plain.contains("; SameSite=Lax"), "{plain}");
        let cross = Cookies { cross_site: true, ..LAX }.end("s").unwrap();
        assert!(cross.to_str().unwrap().contains("; SameSite=None; Secure"));
    }
}

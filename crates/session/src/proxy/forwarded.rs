//! The rightmost-untrusted algorithm over `X-Forwarded-For`, `-Proto` and `-Host`.
//!
//! Each proxy appends what it saw, so only what stands right of the first untrusted address is worth anything. Express
//! takes the *leftmost* `X-Forwarded-Proto` and `-Host`, which a client can forge whenever a proxy appends; here they are taken
//! from the same position as the address. RFC 7239's `Forwarded` is not read: one source of truth is enough, and
//! proxies that do not know it pass a client's forgery through.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName, Uri, header::HOST, uri::Authority};

use super::{Client, Scheme, TrustProxy};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The client of a request that came in over a connection from `peer`.
pub(super) fn client(trust: &TrustProxy, peer: IpAddr, headers: &HeaderMap, uri: &Uri) -> Client {
    let mut client =
        Client { addr: peer.to_canonical(), scheme: own_scheme(uri), host: own_host(headers, uri) };
    if !trust.trusts(client.addr, 0) {
        return client;
    }
    let hops = walk(trust, &mut client.addr, headers);
    if let Some(scheme) = nth_from_right(headers, &PROTO, hops).and_then(scheme) {
        client.scheme = scheme;
    }
    if let Some(host) = nth_from_right(headers, &FORWARDED_HOST, hops).and_then(host) {
        client.host = Some(host);
    }
    client
}

/// Whether the request carries any of the headers that only a proxy should send.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    [FOR, PROTO, FORWARDED_HOST].iter().any(|name| headers.contains_key(name))
}

/// Moves `addr` from our peer to the first address that is not a trusted proxy, and says over how many proxies. An entry
/// that is no address ends the walk: the proxy that wrote it is as far as we know.
fn walk(trust: &TrustProxy, addr: &mut IpAddr, headers: &HeaderMap) -> usize {
    let mut hops = 0;
    for entry in values(headers, &FOR).rev() {
        let Some(next) = parse_addr(entry) else { break };
        hops += 1;
        *addr = next;
        if !trust.trusts(next, hops) {
            break;
        }
    }
    hops
}

/// The non-empty values of a header that may be repeated and may hold comma-separated lists, in order. What is no text
/// stays in its place, as something that is neither address nor word: a client must not hide a proxy's entry with it.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a str> {
    let entries = headers.get_all(name).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let entries = entries.map(|entry| str::from_utf8(entry).map_or("\u{fffd}", str::trim));
    entries.filter(|entry| !entry.is_empty()).collect::<Vec<_>>().into_iter()
}

/// What the proxy that spoke to the client said: the entry at the address's position. A proxy that overwrites instead of
/// appending leaves fewer entries; then the leftmost of those is its own.
fn nth_from_right<'a>(headers: &'a HeaderMap, name: &HeaderName, hops: usize) -> Option<&'a str> {
    values(headers, name).rev().take(hops.max(1)).last()
}

/// An address as proxies write it: plain, with a port, in brackets, an IPv6 one with the zone in which it counts (RFC 4007 §11).
fn parse_addr(entry: &str) -> Option<IpAddr> {
    let (host, port) = match entry.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        // One colon ends an IPv4 address; an IPv6 one has at least two.
        None if entry.matches(':').count() == 1 => entry.split_at(entry.find(':')?),
        None => (entry, ""),
    };
    let is_port = |port: &str| match port.strip_prefix('_') {
        // A port that the proxy hides (RFC 7239 §6.2).
        Some(hidden) => {
            !hidden.is_empty()
                && hidden.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => port.parse::<u16>().is_ok(),
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return None;
    }
    let addr: IpAddr = match host.split_once('%') {
        Some((host, zone)) if !zone.is_empty() => host.parse::<Ipv6Addr>().ok()?.into(),
        Some(_) => return None,
        None => host.parse().ok()?,
    };
    Some(addr.to_canonical())
}

fn scheme(text: &str) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(Scheme::Https),
        "http" | "ws" => Some(Scheme::Http),
        _ => None,
    }
}

/// A host with an optional port and nothing else.
fn host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    (!text.contains('@') && !authority.host().is_empty()).then(|| text.to_ascii_lowercase())
}

fn own_scheme(uri: &Uri) -> Scheme {
    if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http }
}

fn own_host(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let header = headers.get(HOST).and_then(|value| value.to_str().ok());
    uri.authority().map(Authority::as_str).or(header).and_then(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn seen(trust: &str, peer: &str, lines: &[(&'static str, &str)]) -> (String, Scheme, Option<String>) {
        let trust = TrustProxy::parse(trust).unwrap();
        let mut all = headers(&[("host", "inner:8080")]);
        for (name, value) in headers(lines) {
            all.append(name.unwrap_or(FOR), value);
        }
        let client = client(&trust, peer.parse().unwrap(), &all, &Uri::from_static("/"));
        (client.addr.to_string(), client.scheme, client.host)
    }

    const XFF: &str = "x-forwarded-for";

    #[test]
    fn the_address_is_the_first_untrusted_one_from_the_right() {
        for (trust, peer, forwarded, client) in [
            ("off", "127.0.0.1", "1.1.1.1", "127.0.0.1"),
            ("loopback", "9.9.9.9", "1.1.1.1", "9.9.9.9"),
            ("loopback", "127.0.0.1", "1.1.1.1", "1.1.1.1"),
            ("loopback", "127.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
            ("loopback", "::ffff:127.0.0.1", "::ffff:1.1.1.1", "1.1.1.1"),
            ("1", "10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
            ("2", "10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
            ("9", "10.0.0.1", "1.1.1.1, 10.0.0.2", "1.1.1.1"),
            ("true", "10.0.0.1", "6.6.6.6, 1.1.1.1", "6.6.6.6"),
            ("uniquelocal", "10.0.0.1", "6.6.6.6, 1.1.1.1, 192.168.0.9", "1.1.1.1"),
            ("loopback", "127.0.0.1", "1.1.1.1:5555", "1.1.1.1"),
            ("loopback", "127.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
            ("loopback", "127.0.0.1", "[2001:db8::1]", "2001:db8::1"),
            ("loopback", "127.0.0.1", "fe80::1%eth0", "fe80::1"),
            ("loopback", "127.0.0.1", "[fe80::1%eth0]:443", "fe80::1"),
            ("loopback", "127.0.0.1", "[fe80::1%25eth0]", "fe80::1"),
            ("loopback", "127.0.0.1", "6.6.6.6, ::ffff:127.0.0.2%lo", "6.6.6.6"),
            ("loopback", "127.0.0.1", "[2001:db8::1]:_hidden", "2001:db8::1"),
            ("loopback", "127.0.0.1", "1.1.1.1:_x1", "1.1.1.1"),
            ("loopback", "127.0.0.1", "1.1.1.1:99999", "127.0.0.1"),
            ("loopback", "127.0.0.1", "1.1.1.1%eth0", "127.0.0.1"),
            ("loopback", "127.0.0.1", "[fe80::1", "127.0.0.1"),
            ("loopback", "127.0.0.1", "fe80::1%", "127.0.0.1"),
            ("loopback", "127.0.0.1", "1.1.1.1, unknown", "127.0.0.1"),
            ("loopback", "127.0.0.1", "garbage, 127.0.0.2", "127.0.0.2"),
            ("loopback", "127.0.0.1", " , 1.1.1.1,", "1.1.1.1"),
        ] {
            assert_eq!(seen(trust, peer, &[(XFF, forwarded)]).0, client, "{trust} {peer} {forwarded}");
        }
        assert_eq!(seen("loopback", "127.0.0.1", &[]).0, "127.0.0.1");
        assert_eq!(seen("2", "10.0.0.1", &[(XFF, "6.6.6.6, 1.1.1.1"), (XFF, "10.0.0.2")]).0, "1.1.1.1");
    }

    #[test]
    fn scheme_and_host_come_from_the_same_proxy_as_the_address() {
        for (proto, scheme) in [
            ("https", Scheme::Https),
            ("HTTPS", Scheme::Https),
            ("wss", Scheme::Https),
            ("http", Scheme::Http),
            ("gopher", Scheme::Http),
            ("https, http", Scheme::Http),
            ("http, https", Scheme::Https),
        ] {
            let lines = [(XFF, "1.1.1.1"), ("x-forwarded-proto", proto)];
            assert_eq!(seen("1", "10.0.0.1", &lines).1, scheme, "{proto}");
            assert_eq!(seen("off", "10.0.0.1", &lines).1, Scheme::Http, "untrusted: {proto}");
        }
        let two = [(XFF, "1.1.1.1, 10.0.0.2"), ("x-forwarded-proto", "http, https, http")];
        assert_eq!(
            seen("2", "10.0.0.1", &two).1,
            Scheme::Https,
            "the forged leftmost entry counts for nothing"
        );
        let alone = [("x-forwarded-proto", "https")];
        assert_eq!(
            seen("1", "10.0.0.1", &alone).1,
            Scheme::Https,
            "without addresses the proxy still speaks"
        );

        let host = |value| seen("1", "10.0.0.1", &[(XFF, "1.1.1.1"), ("x-forwarded-host", value)]).2;
        assert_eq!(host("App.example.com").as_deref(), Some("app.example.com"));
        assert_eq!(host("evil.com, app.example.com:444").as_deref(), Some("app.example.com:444"));
        for bad in ["a b", "user@app.example.com", "app/evil"] {
            assert_eq!(host(bad).as_deref(), Some("inner:8080"), "{bad}");
        }
        assert_eq!(
            seen("off", "10.0.0.1", &[("x-forwarded-host", "evil.com")]).2.as_deref(),
            Some("inner:8080")
        );
    }

    #[test]
    fn an_entry_that_is_no_text_keeps_its_place() {
        let mut headers = HeaderMap::new();
        headers.append(FOR, http::HeaderValue::from_bytes(b"6.6.6.6, \xff, 1.1.1.1, 10.0.0.2").unwrap());
        for (hops, expected) in [(1, "10.0.0.2"), (2, "1.1.1.1"), (3, "1.1.1.1"), (4, "1.1.1.1")] {
            let seen =
                client(&TrustProxy::Hops(hops), [10, 0, 0, 1].into(), &headers, &Uri::from_static("/"));
            assert_eq!(seen.addr.to_string(), expected, "{hops} hops");
        }
    }

    proptest! {
        /// Behind one trusted proxy that appends, nothing the client sends changes what we see.
        #[test]
        fn what_a_client_sends_itself_changes_nothing(forged in "[ -~]{0,60}") {
            let appended = format!("{forged}, 192.0.2.7");
            prop_assert_eq!(seen("1", "10.0.0.1", &[(XFF, &appended)]).0, "192.0.2.7");
            let appended = format!("{forged}, https");
            let lines = [(XFF, "192.0.2.7"), ("x-forwarded-proto", appended.as_str())];
            prop_assert_eq!(seen("1", "10.0.0.1", &lines).1, Scheme::Https);
        }

        #[test]
        fn any_header_bytes_are_harmless(bytes: Vec<u8>) {
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                let mut all = HeaderMap::new();
                for name in [FOR, PROTO, FORWARDED_HOST, HOST] {
                    all.append(name, value.clone());
                }
                client(&TrustProxy::All, [127, 0, 0, 1].into(), &all, &Uri::from_static("/"));
            }
        }
    }
}

//! What HTTP demands of every request, and for which host names the server answers.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hallpass_session::Client;
use http::{
    HeaderMap, HeaderValue, StatusCode, Version,
    header::{CONNECTION, HOST, TRANSFER_ENCODING},
    uri::Authority,
};
use url::Host;

use crate::{app::App, error::ApiError, routes::is_health};

/// How much of a host that is refused is logged.
const MAX_LOGGED: usize = 200;

/// The names under which the server may be addressed. A page whose own name an attacker points at this server (DNS
/// rebinding) sends that name, so it is refused.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    names: Vec<String>,
    any: bool,
    any_address: bool,
}

impl AllowedHosts {
    /// The host of `public_url`, and those that the operator names: a host, `.example.com` for all below it, or `*`.
    /// Without a public URL, IP addresses count too: nobody can point an address elsewhere.
    pub(crate) fn new(public: Option<&str>, names: &[String]) -> Result<Self, String> {
        let mut allowed = Self { any_address: public.is_none(), ..Self::default() };
        allowed.names.extend(public.map(str::to_ascii_lowercase));
        for name in names {
            if name == "*" {
                allowed.any = true;
            } else {
                allowed.names.push(named(name)?);
            }
        }
        Ok(allowed)
    }

    /// Whether the server answers for this host, with or without a port. Loopback names always count: they mean this
    /// machine, whoever asks.
    pub(crate) fn allows(&self, host: &str) -> bool {
        let Some(host) = host.parse::<Authority>().ok().filter(|host| !is_bad(host)) else { return false };
        let name = host.host().trim_end_matches('.').to_ascii_lowercase();
        let address = match Host::parse(&name) {
            Ok(Host::Ipv4(address)) => Some(address.into()),
            Ok(Host::Ipv6(address)) => Some(std::net::IpAddr::from(address)),
            _ => None,
        };
        let is_loopback = name == "localhost"
            || name.ends_with(".localhost")
            || address.is_some_and(|address| address.to_canonical().is_loopback());
        let is_named = |allowed: &String| match allowed.strip_prefix('.') {
            Some(_) => name.ends_with(allowed.as_str()),
            None => name == *allowed,
        };
        self.any || is_loopback || self.any_address && address.is_some() || self.names.iter().any(is_named)
    }
}

/// A host as `allowed_hosts` takes it.
fn named(text: &str) -> Result<String, String> {
    let name = text.strip_prefix('.').unwrap_or(text);
    let is_host =
        !name.contains(['/', '@', '*']) && Host::parse(name).is_ok_and(|host| host.to_string() == name);
    if is_host {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is no host; write auth.example.com without scheme or port and in small letters, \
             .example.com for all below it, or *"
        ))
    }
}

/// Refuses with 400 what RFC 9112 says is no request, and closes the connection. hyper refuses the rest itself; what it
/// corrects silently, see [`Framing`](crate::connections).
pub(crate) async fn demand_http(request: Request, next: Next) -> Response {
    match check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let mut response = error.into_response();
            // Its body may be framed otherwise than it says.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

fn check(request: &Request) -> Result<(), ApiError> {
    let host = host(request.headers(), request.version())?;
    // A request-target with an authority, as for proxies: it counts instead of `Host` (RFC 9112 §3.2.2), and clients
    // must send the same in both.
    if let Some(target) = request.uri().authority()
        && (is_bad(target) || host.is_some_and(|host| !host.as_str().eq_ignore_ascii_case(target.as_str())))
    {
        return Err(ApiError::invalid("The host of the request target and the Host field differ"));
    }
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if codings.next().is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        let message = "The only transfer coding is chunked";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "invalid_request", message));
    }
    Ok(())
}

/// The one `Host` field. HTTP/1.0 has none (RFC 9112 §3.2); old health checks and `ab` still speak it.
fn host(headers: &HeaderMap, version: Version) -> Result<Option<Authority>, ApiError> {
    let mut fields = headers.get_all(HOST).iter();
    let refuse = |message: &'static str| Err(ApiError::invalid(message));
    match (fields.next(), fields.next()) {
        (None, _) if version == Version::HTTP_10 => Ok(None),
        (None, _) => refuse("The Host field is missing"),
        (Some(_), Some(_)) => refuse("There is more than one Host field"),
        (Some(field), None) => match Authority::try_from(field.as_bytes()) {
            Ok(host) if !is_bad(&host) => Ok(Some(host)),
            _ => refuse("The Host field is no host"),
        },
    }
}

/// Whether it is more or less than a host with an optional port.
fn is_bad(authority: &Authority) -> bool {
    let port = authority.as_str().strip_prefix(authority.host());
    let good_port = port.is_some_and(|port| matches!(port, "" | ":") || authority.port_u16().is_some());
    authority.host().is_empty() || authority.as_str().contains('@') || !good_port
}

/// Refuses requests for a host that is not ours, with 421 (RFC 9110 §7.4). Health checks are exempt: they come from
/// supervisors, which address a server by whatever name they know, and their answers are the same for everybody.
pub(crate) async fn demand_known_host(State(app): State<App>, request: Request, next: Next) -> Response {
    let host = request.extensions().get::<Client>().and_then(|client| client.host.as_deref());
    match host {
        Some(host) if !app.config().allowed_hosts.allows(host) && !is_health(request.uri().path()) => {
            let host: String = host.chars().take(MAX_LOGGED).collect();
            tracing::warn!(
                event = "host_refused",
                host,
                "if this host is yours, set public_url or add it to allowed_hosts"
            );
            let message = "This server does not answer for this host name";
            ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message).into_response()
        }
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn allowed(public: Option<&str>, names: &[&str]) -> AllowedHosts {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        AllowedHosts::new(public, &names).unwrap()
    }

    #[test]
    fn names_that_dns_could_point_here_must_be_known() {
        let development = allowed(None, &[]);
        let production = allowed(Some("Auth.example.com"), &[]);
        let both = allowed(Some("auth.example.com"), &["other.test", ".example.org"]);
        for (host, in_development, in_production, with_names) in [
            ("localhost:8080", true, true, true),
            ("LOCALHOST", true, true, true),
            ("app.localhost", true, true, true),
            ("127.0.0.1:8080", true, true, true),
            ("127.9.9.9", true, true, true),
            ("[::1]:8080", true, true, true),
            ("192.0.2.1:8080", true, false, false),
            ("[2001:db8::1]", true, false, false),
            ("auth.example.com", false, true, true),
            ("AUTH.example.com:443", false, true, true),
            ("auth.example.com.", false, true, true),
            ("other.test:8443", false, false, true),
            ("a.example.org", false, false, true),
            ("example.org", false, false, false),
            ("evil-example.org", false, false, false),
            ("evil.test", false, false, false),
            ("auth.example.com.evil.test", false, false, false),
            ("notauth.example.com", false, false, false),
            ("localhost.evil.test", false, false, false),
            ("127.0.0.1.evil.test", false, false, false),
            ("evil.test:80@localhost", false, false, false),
            ("", false, false, false),
        ] {
            assert_eq!(development.allows(host), in_development, "{host}");
            assert_eq!(production.allows(host), in_production, "{host}");
            assert_eq!(both.allows(host), with_names, "{host}");
        }
        assert!(allowed(Some("auth.example.com"), &["*"]).allows("evil.test"));
    }

    #[test]
    fn what_is_no_host_is_refused_with_advice() {
        for bad in ["https://a.test", "a.test:80", "a.test/x", "*.a.test", "A.test", "", ".", "u@a.test"] {
            assert!(AllowedHosts::new(None, &[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        let request = |version, target: &str, hosts: &[&[u8]]| {
            let mut request = http::Request::builder().version(version).uri(target);
            for host in hosts {
                request = request.header(HOST, HeaderValue::from_bytes(host).unwrap());
            }
            request.body(Body::empty()).unwrap()
        };
        for (target, hosts) in [
            ("/", &["a.test"][..]),
            ("/", &["a.test:8080"]),
            ("/", &["[::1]:8080"]),
            ("http://a.test/", &["A.test"]),
        ] {
            let hosts: Vec<&[u8]> = hosts.iter().map(|host| host.as_bytes()).collect();
            assert!(check(&request(Version::HTTP_11, target, &hosts)).is_ok(), "{target} {hosts:?}");
        }
        assert!(check(&request(Version::HTTP_10, "/", &[])).is_ok());
        for (target, hosts) in [
            ("/", &[][..]),
            ("/", &["a.test", "a.test"]),
            ("/", &[""]),
            ("/", &["u@a.test"]),
            ("/", &["u:p@a.test"]),
            ("/", &["a.test:99999"]),
            ("/", &["a.test:b"]),
            ("/", &["a.test/x"]),
            ("/", &["a test"]),
            ("/", &["http://a.test"]),
            ("/", &["[::1"]),
            ("http://a.test/", &["b.test"]),
            ("http://u@a.test/", &["u@a.test"]),
        ] {
            let hosts: Vec<&[u8]> = hosts.iter().map(|host| host.as_bytes()).collect();
            assert!(check(&request(Version::HTTP_11, target, &hosts)).is_err(), "{target} {hosts:?}");
        }
        let two: [&[u8]; 2] = [b"a.test", b"b.test"];
        assert!(check(&request(Version::HTTP_10, "/", &two)).is_err());
    }
}

//! Which other origins' scripts may call the API, with the meaning that the npm package `cors` gives the same options.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method};
use regex_lite::Regex;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use url::Url;

/// One entry of `cors.origins`.
#[derive(Clone, Debug)]
enum Allowed {
    Any,
    Exact(String),
    /// All hosts below one, at this scheme and port: what stands before and after the part that differs.
    Below(String, String),
    Pattern(Regex),
}

/// The policy. Empty: no other origin.
#[derive(Clone, Debug)]
pub struct CorsPolicy {
    origins: Arc<[Allowed]>,
    credentials: bool,
    methods: Vec<Method>,
    allowed_headers: Vec<HeaderName>,
    exposed_headers: Vec<HeaderName>,
    max_age: Duration,
}

/// The setting and what is wrong with it.
type Problem = (&'static str, String);

impl CorsPolicy {
    /// Reads the settings of `[cors]`; all problems at once.
    pub(crate) fn new(
        origins: &[String],
        credentials: bool,
        methods: &[String],
        allowed_headers: &[String],
        exposed_headers: &[String],
        max_age: Duration,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let origins = read("cors.origins", origins, &mut problems, allowed);
        if credentials && origins.iter().any(|allowed| matches!(allowed, Allowed::Any)) {
            let advice =
                "with * every site could act as the person; list the origins, or set credentials = false";
            problems.push(("cors.credentials", advice.to_owned()));
        }
        for (at, names) in [
            ("cors.methods", methods),
            ("cors.allowed_headers", allowed_headers),
            ("cors.exposed_headers", exposed_headers),
        ] {
            if credentials && names.iter().any(|name| name == "*") {
                let advice = "* means nothing to browsers beside credentials; list the names";
                problems.push((at, advice.to_owned()));
            }
        }
        let header = |text: &str| text.parse().map_err(|_| format!("{text:?} is no header name"));
        let method = |text: &str| text.parse().map_err(|_| format!("{text:?} is no method"));
        let policy = Self {
            origins: origins.into(),
            credentials,
            methods: read("cors.methods", methods, &mut problems, method),
            allowed_headers: read("cors.allowed_headers", allowed_headers, &mut problems, header),
            exposed_headers: read("cors.exposed_headers", exposed_headers, &mut problems, header),
            max_age,
        };
        if problems.is_empty() { Ok(policy) } else { Err(problems) }
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed {
            Allowed::Any => true,
            Allowed::Exact(exact) => exact == origin,
            Allowed::Below(before, after) => is_below(origin, before, after),
            Allowed::Pattern(pattern) => pattern.is_match(origin),
        })
    }

    /// Whether this origin's scripts may act as the person: such requests are no forgeries.
    pub(crate) fn allows_acting(&self, origin: &str) -> bool {
        self.credentials && self.allows(origin)
    }

    /// The layer; `None` when no other origin is allowed.
    pub(crate) fn layer(&self) -> Option<CorsLayer> {
        if self.origins.is_empty() {
            return None;
        }
        let layer = CorsLayer::new()
            .allow_credentials(self.credentials)
            .allow_methods(self.methods.clone())
            .expose_headers(self.exposed_headers.clone())
            .max_age(self.max_age);
        let layer = if self.allowed_headers.is_empty() {
            layer.allow_headers(AllowHeaders::mirror_request())
        } else {
            layer.allow_headers(self.allowed_headers.clone())
        };
        if self.origins.iter().any(|allowed| matches!(allowed, Allowed::Any)) {
            return Some(layer.allow_origin(AllowOrigin::any()));
        }
        let policy = self.clone();
        Some(layer.allow_origin(AllowOrigin::predicate(move |origin: &HeaderValue, _: &_| {
            origin.to_str().is_ok_and(|origin| policy.allows(origin))
        })))
    }
}

/// Whether labels of a host, and nothing else, stand between the two.
fn is_below(origin: &str, before: &str, after: &str) -> bool {
    let labels = origin.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    labels
        .is_some_and(|labels| labels.bytes().all(allowed) && labels.split('.').all(|label| !label.is_empty()))
}

fn read<T>(
    at: &'static str,
    texts: &[String],
    problems: &mut Vec<Problem>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let parsed = texts.iter().map(|text| parse(text));
    parsed.filter_map(|item| item.map_err(|advice| problems.push((at, advice))).ok()).collect()
}

/// `*`, an origin, or a pattern between slashes, which must match the whole origin.
fn allowed(text: &str) -> Result<Allowed, String> {
    if text == "*" {
        return Ok(Allowed::Any);
    }
    if let Some(pattern) = text.strip_prefix('/').and_then(|text| text.strip_suffix('/')) {
        // JavaScript writes \/ for a slash.
        let pattern = Regex::new(&format!("^(?:{})$", pattern.replace("\\/", "/")));
        return pattern.map(Allowed::Pattern).map_err(|error| format!("{text:?} is no pattern: {error}"));
    }
    if is_origin(text) {
        return Ok(Allowed::Exact(text.to_owned()));
    }
    if let Some((before, after)) = text.split_once("://*.") {
        // `*.com` would be everybody.
        let origin = format!("{before}://{after}");
        if is_origin(&origin) && Url::parse(&origin).is_ok_and(|url| has_two_labels(&url)) {
            return Ok(Allowed::Below(format!("{before}://"), format!(".{after}")));
        }
    }
    Err(format!(
        "{text:?} is no origin; write https://app.example.com without a path, https://*.example.com for all below it, or a pattern /…/"
    ))
}

fn has_two_labels(url: &Url) -> bool {
    url.domain().is_some_and(|domain| domain.trim_end_matches('.').contains('.'))
}

/// Whether the text is an origin as browsers write it: scheme, host, perhaps a port, nothing behind.
pub(crate) fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        !text.contains('*')
            && matches!(url.scheme(), "http" | "https")
            && url.origin().ascii_serialization() == text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(origins: &[&str], credentials: bool) -> Result<CorsPolicy, Vec<Problem>> {
        let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
        CorsPolicy::new(&origins, credentials, &[], &[], &[], Duration::ZERO)
    }

    #[test]
    fn patterns_match_whole_origins_only() {
        let policy = policy(&[r"/https:\/\/[a-z]+\.example\.com/", "https://other.test:8443"], true).unwrap();
        for (origin, allowed) in [
            ("https://app.example.com", true),
            ("https://other.test:8443", true),
            ("https://app.example.com.evil.test", false),
            ("https://evil.test?https://app.example.com", false),
            ("http://app.example.com", false),
            ("https://other.test", false),
            ("null", false),
        ] {
            assert_eq!(policy.allows_acting(origin), allowed, "{origin}");
        }
    }

    #[test]
    fn a_star_in_front_means_all_hosts_below() {
        let policy = policy(&["https://*.example.com", "http://*.test.example:8080"], true).unwrap();
        for (origin, allowed) in [
            ("https://app.example.com", true),
            ("https://a.b.example.com", true),
            ("http://x.test.example:8080", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://a..example.com", false),
            ("http://app.example.com", false),
            ("https://app.example.com:8443", false),
            ("https://evil.test/.example.com", false),
            ("https://evil.test?.example.com", false),
            ("https://evil.test#.example.com", false),
            ("https://evil.test:1.example.com", false),
            ("https://evil@app.example.com", false),
            ("https://evil-example.com", false),
            ("https://app.example.com.evil.test", false),
            ("null", false),
        ] {
            assert_eq!(policy.allows_acting(origin), allowed, "{origin}");
        }
    }

    #[test]
    fn a_star_never_goes_with_credentials() {
        assert!(policy(&["*"], true).is_err());
        let open = policy(&["*"], false).unwrap();
        assert!(open.allows("https://any.test") && !open.allows_acting("https://any.test"));
    }

    #[test]
    fn what_is_no_origin_is_refused_with_advice() {
        for bad in [
            "example.com",
            "https://example.com/",
            "https://example.com/app",
            "ftp://example.com",
            "/[/",
            "https://*",
            "https://*.com",
            "https://*.",
            "https://*.example.com/",
            "https://*.*.example.com",
            "https://app.*.example.com",
            "https://app*.example.com",
            "https://*.127.0.0.1",
            "*.example.com",
            "HTTPS://App.example.com",
        ] {
            let problems = policy(&[bad], true).unwrap_err();
            assert_eq!(problems.len(), 1, "{bad}");
            assert!(problems[0].1.contains("is no"), "{bad}");
        }
    }
}

//! [`RedirectPath`]: where to go after signing in, on this site only.

use std::fmt;

/// No honest path is longer.
const MAX_LENGTH: usize = 2048;

/// A path (and query) on this site. What could leave it cannot be made (ASVS 5.0 3.7.2, RFC 9700 §4.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectPath(Box<str>);

impl RedirectPath {
    /// `text` if every browser resolves it to this site: one slash in front, no second slash or backslash behind it (also
    /// not percent-encoded), no blanks and no control characters, which browsers drop before they read a URL.
    pub fn parse(text: &str) -> Option<Self> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let lower = path.to_ascii_lowercase();
        let decoded = lower
            .replace("%2f", "/")
            .replace("%5c", "\\")
            .replace("%09", "")
            .replace("%0a", "")
            .replace("%0d", "");
        let local = text.starts_with('/') && !decoded.contains("//") && !decoded.contains('\\');
        (printable && local && text.len() <= MAX_LENGTH).then(|| Self(text.into()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedirectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_this_site_pass() {
        for good in ["/", "/account", "/a/b?next=/c&x=//y", "/a#b", "/caf%C3%A9", "/a?u=https://example.com"]
        {
            assert_eq!(RedirectPath::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn everything_that_could_lead_elsewhere_is_refused() {
        for bad in [
            "",
            "account",
            "//evil.com",
            "///evil.com",
            "/\\evil.com",
            "\\\\evil.com",
            "/%2fevil.com",
            "/%2Fevil.com",
            "/%5cevil.com",
            "https://evil.com",
            "https:evil.com",
            "javascript:alert(1)",
            "/\tevil.com",
            "/a b",
            "/a\r\nSet-Cookie: x",
            "/\u{2028}",
            "@evil.com",
            "/a//b",
            "/%09/evil.com",
            " /account",
        ] {
            assert_eq!(RedirectPath::parse(bad), None, "{bad:?}");
        }
        assert_eq!(RedirectPath::parse(&format!("/{}", "x".repeat(2048))), None);
    }

    proptest! {
        #[test]
        fn no_accepted_path_leaves_the_site(text in "[/\\\\%25fFcCaA09.:@?#a-z\t ]{0,12}") {
            if let Some(path) = RedirectPath::parse(&text) {
                let base = url::Url::parse("https://here.example/login").unwrap();
                let target = base.join(path.as_str()).unwrap();
                prop_assert_eq!(target.origin(), base.origin());
            }
        }
    }
}

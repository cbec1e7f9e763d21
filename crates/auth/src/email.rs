//! [`Email`]: an address in its one spelling.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// The longest address SMTP can carry (RFC 5321 §4.5.3.1.3).
const MAX_LENGTH: usize = 254;

/// An e-mail address, normalised once: without surrounding blanks, NFKC, lower case. Two spellings of one
/// address are equal, so uniqueness is equality. Whether mail arrives there, only mail can tell.
/// In a table that another application made, it is what that has as the login, spelled as it stands there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(Box<str>);

/// The text cannot be an e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this does not look like an e-mail address; it should read like name@example.com")]
pub struct InvalidEmail;

impl Email {
    /// Normalises and checks `text`: something, one `@`, and a domain, without blanks or control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let email = normalise(text.trim());
        let (local, domain) = email.split_once('@').ok_or(InvalidEmail)?;
        let printable = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[]\\,;:\"".contains(c);
        let labels = domain
            .split('.')
            .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
        if local.is_empty()
            || domain.contains('@')
            || !labels
            || email.len() > MAX_LENGTH
            || !email.chars().all(printable)
        {
            return Err(InvalidEmail);
        }
        Ok(Self(email.into()))
    }

    /// A login as it stands in a table that another application made; it may be no address.
    pub fn verbatim(login: &str) -> Self {
        Self(login.into())
    }

    /// The normalised address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the two differ in capital letters at most, as they may in a table that another application made.
    pub fn is_spelling_of(&self, other: &Self) -> bool {
        self == other || self.0.to_lowercase() == other.0.to_lowercase()
    }

    /// What stands before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.split('@').next().unwrap_or_default()
    }
}

/// The one form of all spellings that a typed login may have: what counts and costs are kept by.
pub(crate) fn login_form(login: &str) -> String {
    Email::parse(login).map_or_else(|_| login.trim().to_lowercase(), |email| email.as_str().to_owned())
}

/// NFKC and lower case. Lowercasing can undo NFKC and the other way round, so until nothing changes any more.
fn normalise(text: &str) -> String {
    let step = |text: &str| text.nfkc().collect::<String>().to_lowercase();
    let (mut before, mut after) = (text.to_owned(), step(text));
    while before != after {
        (before, after) = (after.clone(), step(&after));
    }
    after
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Email {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_address_are_equal() {
        for spelling in ["ann@example.com", " Ann@Example.COM ", "\u{ff41}nn@example.com"] {
            assert_eq!(Email::parse(spelling).unwrap().as_str(), "ann@example.com", "{spelling}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for bad in
            ["", "ann", "@example.com", "ann@", "a@b@c", "a b@c.d", "a@b..c", "a@-b.c", "a@b\n.c", "<a@b.c>"]
        {
            assert_eq!(Email::parse(bad), Err(InvalidEmail), "{bad:?}");
        }
        assert!(Email::parse(&format!("{}@example.com", "x".repeat(250))).is_err());
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in ".{0,20}@.{0,20}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }
    }
}

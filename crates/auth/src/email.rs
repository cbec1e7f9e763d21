//! [`Email`]: an address in its one spelling.
//!
//! The domain is compared by UTS #46 (non-transitional), so letters and punycode are one; the local part by code points after NFC and lower
//! case, as RFC 6531 keeps it. Compatibility forms (NFKC) are never folded: the mailbox of `ａnn` is not that of `ann`. What looks like
//! another address without being it is refused for new accounts.

use std::fmt;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

/// The longest address SMTP can carry, in bytes (RFC 5321 §4.5.3.1.3).
const MAX_LENGTH: usize = 254;

/// An e-mail address, normalised once: without surrounding blanks, in NFC and lower case, its domain in letters. Two spellings of one
/// address are equal, so uniqueness is equality. Whether mail arrives there, only mail can tell.
/// In a table that another application made, it is what that has as the login, spelled as it stands there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(Box<str>);

/// Why a text cannot be the address of a new account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEmail {
    /// It does not have the form of an address.
    #[error("this does not look like an e-mail address; it should read like name@example.com")]
    Form,
    /// The part after the `@` is no domain name (UTS #46, STD 3, RFC 1035 §2.3.4).
    #[error("the part of the address after the @ is not a domain name")]
    Domain,
    /// It has a control, zero-width or bidirectional character.
    #[error("the address contains a character that cannot be seen; type it instead of pasting it")]
    Invisible,
    /// The part before the `@` has a compatibility character, which looks like others.
    #[error("the address contains a character that looks like another one; use plain letters")]
    LookAlike,
    /// More than 254 bytes.
    #[error("the address is longer than 254 bytes")]
    TooLong,
}

impl Email {
    /// Normalises and checks `text`: a local part, one `@`, and a domain, without blanks or anything that cannot be seen.
    ///
    /// # Errors
    /// When no new account may have this address.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim();
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail::Form)?;
        let written = |c: char| !c.is_whitespace() && !"<>()[]\\,;:\"@".contains(c);
        if local.is_empty() || !local.chars().all(written) || has_encoded_control(local) {
            return Err(InvalidEmail::Form);
        }
        if text.chars().any(is_invisible) {
            return Err(InvalidEmail::Invisible);
        }
        let local = plain_form(local)?;
        let (letters, ascii) = domain_forms(domain).ok_or(InvalidEmail::Domain)?;
        if local.len() + 1 + letters.len().max(ascii.len()) > MAX_LENGTH {
            return Err(InvalidEmail::TooLong);
        }
        Ok(Self(format!("{local}@{letters}").into()))
    }

    /// A login as it stands in a table that another application made, or made before today's rules; it may be no address.
    pub fn verbatim(login: &str) -> Self {
        Self(login.into())
    }

    /// The normalised address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the two are one address, or one user name, in two spellings, as they may stand in a table that another application made.
    /// What no new account could have is spelled in one way only.
    pub fn is_spelling_of(&self, other: &Self) -> bool {
        self == other || self.form().is_some_and(|form| other.form() == Some(form))
    }

    /// What all spellings have in common; `None` where a look-alike must not be taken for what it looks like.
    fn form(&self) -> Option<String> {
        if self.0.contains('@') {
            return Self::parse(&self.0).ok().map(|email| email.0.into());
        }
        if self.0.chars().any(is_invisible) { None } else { plain_form(&self.0).ok() }
    }

    /// The key that groups accounts of one address: [what spellings have in common](Self::is_spelling_of), else the text itself.
    pub fn grouping_key(&self) -> String {
        self.form().unwrap_or_else(|| self.0.to_string())
    }

    /// The same address with its domain in punycode, where that differs: some tables have it so.
    pub fn in_ascii(&self) -> Option<Self> {
        let (local, domain) = self.0.rsplit_once('@').filter(|(_, domain)| !domain.is_ascii())?;
        domain_forms(domain).map(|(_, ascii)| Self(format!("{local}@{ascii}").into()))
    }

    /// The same address with its domain in letters, where that differs.
    pub(crate) fn in_letters(&self) -> Option<Self> {
        let (local, domain) = self.0.rsplit_once('@').filter(|(_, domain)| has_punycode(domain))?;
        let (letters, _) = domain_forms(domain)?;
        (letters != domain).then(|| Self(format!("{local}@{letters}").into()))
    }

    /// What stands before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.split('@').next().unwrap_or_default()
    }

    /// What stands behind the last `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit('@').next().unwrap_or_default()
    }
}

/// The form in which two domains are compared, in letters; `None` for what is no domain name.
pub fn domain_form(domain: &str) -> Option<String> {
    domain_forms(domain).map(|(letters, _)| letters)
}

/// Whether a part of the text may be punycode.
pub(crate) fn has_punycode(text: &str) -> bool {
    text.to_ascii_lowercase().contains("xn--")
}

/// A domain in letters and in ASCII.
fn domain_forms(domain: &str) -> Option<(String, String)> {
    let (uts46, deny, hyphens) = (Uts46::new(), AsciiDenyList::STD3, Hyphens::CheckFirstLast);
    let ascii = uts46.to_ascii(domain.as_bytes(), deny, hyphens, DnsLength::Verify).ok()?;
    let (letters, valid) = uts46.to_unicode(ascii.as_bytes(), deny, hyphens);
    valid.ok()?;
    Some((letters.into_owned(), ascii.into_owned()))
}

/// NFC and lower case of a text in which no character stands for another.
pub(crate) fn plain_form(text: &str) -> Result<String, InvalidEmail> {
    if text.is_ascii() {
        return Ok(text.to_ascii_lowercase());
    }
    if text.chars().any(is_look_alike) { Err(InvalidEmail::LookAlike) } else { Ok(lower(text)) }
}

/// NFC and lower case. Each can undo the other, so until nothing changes any more.
fn lower(text: &str) -> String {
    let step = |text: &str| text.nfc().collect::<String>().to_lowercase();
    let (mut before, mut after) = (text.to_owned(), step(text));
    while before != after {
        (before, after) = (after.clone(), step(&after));
    }
    after
}

/// Whether normalising or lowercasing makes another character of this one: KELVIN SIGN, fullwidth letters, `ª`, `ﬁ`.
fn is_look_alike(c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    let one = std::iter::once(c);
    let is_itself = one.clone().nfc().eq(std::iter::once(c));
    // Some letters have several code points in NFC, such as those of Devanagari with a dot; one for one is another character.
    let is_replaced = !is_itself && one.clone().nfc().count() == 1;
    is_replaced || !one.clone().nfkc().eq(one.nfc()) || c.to_lowercase().any(|lower| lower.is_ascii())
}

/// Control and format characters, and whatever else shows nothing (Unicode's `Default_Ignorable_Code_Point`, and blanks that are letters).
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{ffff}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Characters that change the direction of the text around them.
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `%00` and the like, which some program on the way may decode.
fn has_encoded_control(text: &str) -> bool {
    let hex = |part: &str| u8::from_str_radix(part, 16).ok();
    let code = |(at, _): (usize, &str)| text.get(at + 1..at + 3).and_then(hex);
    text.match_indices('%').filter_map(code).any(|code| code.is_ascii_control())
}

/// What was typed, without what comes along when it is pasted: blanks, and characters that show nothing, around it.
pub(crate) fn pasted(typed: &str) -> &str {
    typed.trim_matches(|c: char| c.is_whitespace() || is_invisible(c))
}

/// The one form of all spellings that a typed login may have: what counts and costs are kept by.
pub(crate) fn login_form(login: &str) -> String {
    let login = pasted(login);
    Email::parse(login).map_or_else(|_| lower(login), |email| email.as_str().to_owned())
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
mod tests;

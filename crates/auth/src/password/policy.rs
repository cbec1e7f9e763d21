//! [`PasswordPolicy`]: which passwords are accepted.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::{common, pattern};
use crate::Email;

/// The shortest part of a name or an address that makes a bad password by itself, in characters.
const SHORTEST_PART: usize = 3;

/// Which new passwords are accepted. Length and a list of common ones; no rules about digits or marks, and no forced
/// changes (NIST SP 800-63B-4 §3.1.1.2, ASVS 5.0 V6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// The fewest code points when the password is the only factor. Default: 15.
    pub min_length: usize,
    /// The fewest when a second factor is required as well. Default: 8.
    pub min_length_with_second_factor: usize,
    /// The most code points, so that hashing has a bounded cost. Default: 256.
    pub max_length: usize,
    /// The name of the service, which makes a bad password.
    pub service_name: String,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            min_length: 15,
            min_length_with_second_factor: 8,
            max_length: 256,
            service_name: "hallpass".to_owned(),
        }
    }
}

/// Why a password is refused. Prints a sentence for the person who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// Too few code points.
    #[error(
        "This password is too short. Use at least {min} characters; a few words you will remember work well."
    )]
    TooShort {
        /// The fewest accepted.
        min: usize,
    },
    /// Too many code points.
    #[error("This password is too long. Use at most {max} characters.")]
    TooLong {
        /// The most accepted.
        max: usize,
    },
    /// Too many bytes for bcrypt, which would ignore the rest.
    #[error(
        "This password is too long. Use at most {max} characters, and fewer if they are accented, emoji or of other scripts."
    )]
    TooManyBytes {
        /// The most accepted.
        max: usize,
    },
    /// A NUL character, where bcrypt may end.
    #[error("This password contains a character that cannot be kept. Leave out control characters.")]
    Nul,
    /// On the list of common passwords.
    #[error(
        "This password is one of the first that attackers try. Choose something less common; a few random words work well."
    )]
    Common,
    /// One group of characters again and again, or keys in their order.
    #[error(
        "This password follows a simple pattern that attackers try in every length. Choose something less regular; a few random words work well."
    )]
    Pattern,
    /// Made of the address, the name or the service's name.
    #[error(
        "This password is easy to guess, because it is your name, your address or the name of this service."
    )]
    Context,
}

impl PasswordPolicy {
    /// Checks a new password of the person with this address and name; `second_factor` when another factor is required too.
    pub fn check(
        &self,
        password: &str,
        email: &Email,
        name: Option<&str>,
        second_factor: bool,
    ) -> Result<(), PasswordProblem> {
        let typed = password.chars().count();
        let password = normalise(password);
        let min = if second_factor { self.min_length_with_second_factor } else { self.min_length };
        let length = password.chars().count();
        // One typed character may become many: it is still one.
        if length.min(typed) < min {
            return Err(PasswordProblem::TooShort { min });
        }
        if length > self.max_length {
            return Err(PasswordProblem::TooLong { max: self.max_length });
        }
        if pattern::is_pattern(&password.to_lowercase()) {
            return Err(PasswordProblem::Pattern);
        }
        if common::is_common(&password) {
            return Err(PasswordProblem::Common);
        }
        let context = self.context(email, name);
        if context.iter().any(|word| common::is_made_of(&password, word)) {
            return Err(PasswordProblem::Context);
        }
        Ok(())
    }

    /// What is known of the person and the service to everybody.
    fn context(&self, email: &Email, name: Option<&str>) -> Vec<String> {
        let (local, domain, name) = (email.local_part(), email.domain(), name.unwrap_or_default());
        let whole = [email.as_str(), local, domain, name, &self.service_name];
        let joined = |text: &&str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        let parts = whole.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
        // A short part is in too many words.
        let parts = parts.filter(|part| part.chars().count() >= SHORTEST_PART).map(str::to_owned);
        let backwards = |text: &&str| text.chars().rev().collect::<String>();
        let changed = whole.iter().map(joined).chain(whole.iter().map(backwards)).chain(parts);
        whole.iter().map(|text| (*text).to_owned()).chain(changed).collect()
    }
}

/// One spelling for one password: different keyboards write `é` in different ways (NFKC, NIST SP 800-63B-4 §3.1.1.2).
pub(super) fn normalise(password: &str) -> Zeroizing<String> {
    // Growing would leave copies behind.
    let length = password.nfkc().map(char::len_utf8).sum();
    let mut normal = Zeroizing::new(String::with_capacity(length));
    normal.extend(password.nfkc());
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), PasswordProblem> {
        let email = Email::parse("ann.smith@example.com").unwrap();
        PasswordPolicy::default().check(password, &email, Some("Ann Catherine Smith"), false)
    }

    #[test]
    fn length_counts_code_points_and_nothing_else_is_demanded() {
        assert_eq!(check(&"b".repeat(14)), Err(PasswordProblem::TooShort { min: 15 }));
        for accepted in ["aabbcc ddeeff gg", "🦀🐫🦞🐝🦊🐙🦉🐢🦋🐞🦎🐌🦔🐍🦇", "fifteen letters"]
        {
            assert_eq!(check(accepted), Ok(()), "{accepted}");
        }
        assert_eq!(check(&"four words and a number 77 ".repeat(9)), Ok(()));
        assert_eq!(check(&"x".repeat(257)), Err(PasswordProblem::TooLong { max: 256 }));
    }

    #[test]
    fn patterns_are_refused_with_the_reason() {
        for pattern in [
            "aaaaaaaaaaaaaaa",
            "               ",
            "Qwertyuiop12345",
            "xyxyxyxyxyxyxyxy",
            "\u{ff41}aaaaaaaaaaaaaaa",
        ] {
            assert_eq!(check(pattern), Err(PasswordProblem::Pattern), "{pattern}");
        }
        assert!(PasswordProblem::Pattern.to_string().contains("simple pattern"));
    }

    #[test]
    fn a_second_factor_allows_eight() {
        let email = Email::parse("ann@example.com").unwrap();
        let policy = PasswordPolicy::default();
        assert_eq!(policy.check("t9!kwz2p", &email, None, true), Ok(()));
        assert_eq!(policy.check("t9!kwz2", &email, None, true), Err(PasswordProblem::TooShort { min: 8 }));
        assert_eq!(policy.check("password", &email, None, true), Err(PasswordProblem::Common));
    }

    #[test]
    fn common_passwords_and_own_names_are_refused_with_the_reason() {
        assert_eq!(check("password123456789"), Err(PasswordProblem::Common));
        for own in [
            "ann.smith@example.com",
            "annsmithannsmith",
            "htimS enirehtaC nnA",
            "example.com2026!",
            "exampleexample1",
            "AnnCatherineSmith",
            "ANN.SMITHann.smith",
            "Ann Catherine Smith!",
            "hallpasshallpass2026",
        ] {
            assert_eq!(check(own), Err(PasswordProblem::Context), "{own}");
        }
        assert!(PasswordProblem::Common.to_string().contains("attackers try"));
    }
}

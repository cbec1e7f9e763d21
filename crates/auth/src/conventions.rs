//! [`Conventions`]: how the accounts of a store are kept. Our own layouts have one way; an existing table has its application's.

use unicode_normalization::UnicodeNormalization;

use crate::{
    Email, InvalidEmail, PasswordFormat, User,
    email::{has_punycode, is_invisible, pasted, plain_form},
};

/// The longest login, in bytes.
const MAX_LENGTH: usize = 254;

/// How the accounts of a store are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conventions {
    /// What people sign in with.
    pub logins: Logins,
    /// The format of new password hashes.
    pub passwords: PasswordFormat,
    /// Ids are numbers, and stand as numbers in the session's data too, where an Express app may compare them.
    pub numeric_ids: bool,
    /// There is a place for the person's name.
    pub names: bool,
    /// Whether the id of a deleted account may be given to somebody else.
    pub reuse: Reuse,
}

impl Default for Conventions {
    /// Those of our own layouts.
    fn default() -> Self {
        let logins = Logins { kind: LoginKind::Email, case: Case::Lower };
        Self {
            logins,
            passwords: PasswordFormat::default(),
            numeric_ids: false,
            names: true,
            reuse: Reuse::Never,
        }
    }
}

/// How an account is told from a later one that was given the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// No id is given twice.
    Never,
    /// By when it was made, which the accounts say; of those that do not, by their login.
    ByCreated,
    /// By its login: the database gives ids again, and nothing else tells. Who has got another login meanwhile may be somebody else, and
    /// counts as such.
    ByLogin,
}

impl Reuse {
    /// What is noted of an account beside its id; `None`: the id is enough.
    pub fn mark(self, user: &User) -> Option<String> {
        match self {
            Self::Never => None,
            // It does not say when it was made.
            Self::ByCreated if user.created.as_millis() == 0 => Self::ByLogin.mark(user),
            Self::ByCreated => Some(format!("{CREATED}{}", user.created.as_millis())),
            Self::ByLogin => Some(format!("{LOGIN}{}", user.email.as_str().to_lowercase())),
        }
    }

    /// Whether what was noted may have been noted of this account. Notes from before anything told accounts apart may have been, and so
    /// may those of what the accounts do not say any more.
    pub(crate) fn fits(self, mark: Option<&str>, user: &User) -> bool {
        let Some(mark) = mark else { return true };
        let noted = if mark.starts_with(LOGIN) { Self::ByLogin } else { Self::ByCreated };
        match (self, noted) {
            (Self::Never, _) | (Self::ByLogin, Self::ByCreated) => true,
            _ => noted.mark(user).as_deref() == Some(mark),
        }
    }
}

const CREATED: &str = "created ";
const LOGIN: &str = "login ";

/// What people sign in with. [`User::email`](crate::User::email) holds it, whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logins {
    /// What it is.
    pub kind: LoginKind,
    /// Whether `Ann` and `ann` are two people.
    pub case: Case,
}

/// What a login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginKind {
    /// An e-mail address.
    Email,
    /// A name the person has chosen.
    UserName,
}

/// How capital letters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Everything is stored in lower case (mongoose's `lowercase: true`), and so is what is typed.
    Lower,
    /// Stored as typed. User names are looked for in lower case too; addresses in any spelling, if one account alone has it, and no new
    /// account gets one that another has in any spelling.
    Exact,
    /// Stored as typed, and the database compares without regard to case: `citext`, `collate nocase`, an index over `lower(…)`.
    Insensitive,
}

impl Logins {
    /// What is looked for when somebody signs in as `typed`, the likeliest first; empty when nobody can have such a login. Most logins have
    /// one form. An address whose domain is not ASCII has two, and whatever no new account could have is looked for as it was typed.
    pub fn candidates(&self, typed: &str) -> Vec<Email> {
        let (exact, pasted) = (typed.trim(), pasted(typed));
        let mut found = Vec::with_capacity(1);
        match (self.kind, self.case) {
            (LoginKind::Email, Case::Lower) => {
                if let Ok(email) = Email::parse(pasted) {
                    found.push(email);
                }
                found.extend(verbatim(&exact.to_lowercase()));
            }
            (LoginKind::UserName, Case::Lower) => {
                found.extend([exact, pasted].iter().filter_map(|typed| verbatim(&typed.to_lowercase())));
            }
            (kind, Case::Exact | Case::Insensitive) => {
                found.extend([exact, pasted].into_iter().filter_map(verbatim));
                if let (LoginKind::Email, Ok(parsed)) = (kind, Email::parse(pasted)) {
                    found.push(as_typed(pasted, &parsed));
                }
            }
        }
        if self.kind == LoginKind::Email {
            found.extend(found.clone().iter().flat_map(other_domains));
        }
        let mut seen = Vec::with_capacity(found.len());
        found.retain(|login| {
            let new = !seen.contains(login);
            seen.push(login.clone());
            new
        });
        found
    }

    /// The forms in which this address may be stored: as it is, and with its domain in letters or in punycode.
    pub(crate) fn forms(self, email: &Email) -> Vec<Email> {
        let others = if self.kind == LoginKind::Email { other_domains(email) } else { Vec::new() };
        [email.clone()].into_iter().chain(others).collect()
    }

    /// The login of a new account.
    ///
    /// # Errors
    /// When no new account may have it.
    pub fn new_login(&self, typed: &str) -> Result<Email, InvalidEmail> {
        if self.kind == LoginKind::Email {
            let parsed = Email::parse(typed)?;
            return Ok(if self.case == Case::Lower { parsed } else { as_typed(typed.trim(), &parsed) });
        }
        let typed = typed.trim();
        let login = if self.case == Case::Lower { typed.to_lowercase() } else { typed.to_owned() };
        let login = verbatim(&login).ok_or(InvalidEmail::Form)?;
        if login.as_str().chars().any(char::is_whitespace) {
            return Err(InvalidEmail::Form);
        }
        if login.as_str().chars().any(is_invisible) {
            return Err(InvalidEmail::Invisible);
        }
        plain_form(login.as_str())?;
        Ok(login)
    }
}

/// An address as it was typed, capital letters included, in NFC; its domain too, unless that is neither in letters nor in punycode: the
/// database would take other forms for other addresses.
fn as_typed(typed: &str, parsed: &Email) -> Email {
    let typed: String = typed.nfc().collect();
    let (local, domain) = typed.rsplit_once('@').unwrap_or((&typed, ""));
    let is = |form: &Email| form.domain() == domain.to_lowercase();
    let domain = if is(parsed) || parsed.in_ascii().is_some_and(|ascii| is(&ascii)) {
        domain
    } else {
        parsed.domain()
    };
    Email::verbatim(&format!("{local}@{domain}"))
}

/// The address with its domain in the other of two forms; none of what no new account could have.
fn other_domains(email: &Email) -> Vec<Email> {
    if email.as_str().is_ascii() && !has_punycode(email.as_str()) || Email::parse(email.as_str()).is_err() {
        return Vec::new();
    }
    email.in_ascii().into_iter().chain(email.in_letters()).collect()
}

/// What is typed, where some account may have it.
fn verbatim(typed: &str) -> Option<Email> {
    let possible = !typed.is_empty() && typed.len() <= MAX_LENGTH && !typed.chars().any(char::is_control);
    possible.then(|| Email::verbatim(typed))
}

#[cfg(test)]
mod tests {
    use hallpass_session::Timestamp;

    use super::*;

    fn of(kind: LoginKind, case: Case, typed: &str) -> (Option<String>, Option<String>) {
        let logins = Logins { kind, case };
        let text = |email: Email| email.as_str().to_owned();
        (logins.candidates(typed).into_iter().next().map(text), logins.new_login(typed).ok().map(text))
    }

    #[test]
    fn capital_letters_count_as_the_existing_data_has_it() {
        let some = |text: &str| Some(text.to_owned());
        let typed = " Ann@Example.com ";
        assert_eq!(
            of(LoginKind::Email, Case::Lower, typed),
            (some("ann@example.com"), some("ann@example.com"))
        );
        for case in [Case::Exact, Case::Insensitive] {
            assert_eq!(of(LoginKind::Email, case, typed), (some("Ann@Example.com"), some("Ann@Example.com")));
        }
        assert_eq!(of(LoginKind::UserName, Case::Lower, " Ann "), (some("ann"), some("ann")));
        assert_eq!(of(LoginKind::UserName, Case::Exact, " Ann "), (some("Ann"), some("Ann")));
    }

    #[test]
    fn an_account_is_told_from_another_with_its_id() {
        let user = |login: &str, created| User::new(Email::verbatim(login), Timestamp::from_millis(created));
        let (ann, moved, bob) = (user("Ann@x", 1), user("ann@y", 1), user("bob@x", 2));
        let fits = |reuse: Reuse, noted: Reuse, user: &User| reuse.fits(noted.mark(&ann).as_deref(), user);
        for noted in [Reuse::Never, Reuse::ByCreated, Reuse::ByLogin] {
            assert!(fits(noted, noted, &ann) && fits(Reuse::Never, noted, &bob), "{noted:?}");
        }
        assert!(
            fits(Reuse::ByCreated, Reuse::ByCreated, &moved)
                && !fits(Reuse::ByCreated, Reuse::ByCreated, &bob)
        );
        assert!(fits(Reuse::ByLogin, Reuse::ByLogin, &user("ann@X", 3)));
        assert!(!fits(Reuse::ByLogin, Reuse::ByLogin, &moved) && !fits(Reuse::ByLogin, Reuse::ByLogin, &bob));
        // Noted before the map had the field, and after it was taken out.
        assert!(
            fits(Reuse::ByCreated, Reuse::ByLogin, &ann) && !fits(Reuse::ByCreated, Reuse::ByLogin, &bob)
        );
        let undated = user("ann@x", 0);
        assert_eq!(Reuse::ByCreated.mark(&undated), Reuse::ByLogin.mark(&ann));
        assert!(Reuse::ByCreated.fits(Reuse::ByCreated.mark(&undated).as_deref(), &ann));
        assert!(!Reuse::ByCreated.fits(Reuse::ByCreated.mark(&undated).as_deref(), &user("bob@x", 0)));
        assert!(fits(Reuse::ByCreated, Reuse::Never, &bob) && fits(Reuse::ByLogin, Reuse::ByCreated, &bob));
    }

    #[test]
    fn who_is_there_already_may_have_a_login_that_no_new_account_gets() {
        assert_eq!(of(LoginKind::Email, Case::Exact, "admin"), (Some("admin".to_owned()), None));
        assert_eq!(of(LoginKind::UserName, Case::Exact, "Ann Lee"), (Some("Ann Lee".to_owned()), None));
        for nobody in ["", "  ", "a\nb", &"x".repeat(255)] {
            assert_eq!(of(LoginKind::UserName, Case::Exact, nobody), (None, None), "{nobody:?}");
        }
    }

    #[test]
    fn a_login_is_looked_for_in_every_form_that_may_be_stored() {
        let of = |kind, case, typed: &str| {
            let found = Logins { kind, case }.candidates(typed);
            found.iter().map(|login| login.as_str().to_owned()).collect::<Vec<String>>()
        };
        let (email, name) = (LoginKind::Email, LoginKind::UserName);
        for case in [Case::Lower, Case::Exact, Case::Insensitive] {
            assert_eq!(of(email, case, " ann@example.com "), ["ann@example.com"], "{case:?}");
            assert_eq!(of(name, case, "ann"), ["ann"]);
            for typed in ["ann@bücher.example", "ann@xn--bcher-kva.example"] {
                let mut both = of(email, case, typed);
                both.sort();
                assert_eq!(both, ["ann@bücher.example", "ann@xn--bcher-kva.example"], "{case:?} {typed}");
            }
        }
        assert_eq!(of(email, Case::Lower, "\u{feff}Ann@example.com")[0], "ann@example.com");
        // As it was registered before this was refused.
        assert_eq!(of(email, Case::Lower, "ann@exam\u{ad}ple.com"), ["ann@exam\u{ad}ple.com"]);
        assert_eq!(of(email, Case::Lower, "quac\u{212a}@example.com").len(), 1);
        assert_eq!(of(name, Case::Exact, "admin\u{200b}"), ["admin\u{200b}", "admin"]);
    }

    #[test]
    fn an_address_is_stored_in_a_form_that_is_found_again() {
        for case in [Case::Exact, Case::Insensitive] {
            let logins = Logins { kind: LoginKind::Email, case };
            for (typed, stored) in [
                (" Ann@Example.com ", "Ann@Example.com"),
                ("Ann@B\u{dc}CHER.example", "Ann@B\u{dc}CHER.example"),
                ("Ann@XN--BCHER-KVA.example", "Ann@XN--BCHER-KVA.example"),
                ("Ann@\u{ff45}xample.com", "Ann@example.com"),
                ("Ann@example\u{3002}com", "Ann@example.com"),
                ("Jose\u{301}@example.com", "Jos\u{e9}@example.com"),
            ] {
                assert_eq!(logins.new_login(typed).unwrap().as_str(), stored, "{typed}");
                let candidates = logins.candidates(typed);
                assert!(candidates.contains(&Email::verbatim(stored)), "{typed} {candidates:?}");
            }
        }
    }

    #[test]
    fn no_new_user_name_looks_like_another_or_hides_something() {
        let new = |typed: &str| Logins { kind: LoginKind::UserName, case: Case::Exact }.new_login(typed);
        assert_eq!(new("admin\u{200b}"), Err(InvalidEmail::Invisible));
        assert_eq!(new("\u{202e}nimda"), Err(InvalidEmail::Invisible));
        assert_eq!(new("\u{ff41}dmin"), Err(InvalidEmail::LookAlike));
        assert_eq!(new("\u{212a}im"), Err(InvalidEmail::LookAlike));
        assert!(new("Zo\u{eb}").is_ok());
    }
}

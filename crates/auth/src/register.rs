//! Making accounts.

use std::{fmt, time::Duration};

use hallpass_session::{Secret, Session, Timestamp};

use crate::{
    Auth, Case, Email, Error, InvalidEmail, LoginKind, Origin, PasswordProblem, Requester, Reuse, User,
    UserCreated, UserId, email::is_bidi_control, throttle::Charge,
};

/// The longest name, in code points.
const MAX_NAME_LENGTH: usize = 100;

/// The longest role, in code points.
const MAX_ROLE_LENGTH: usize = 100;

/// What a new account is made of, as typed.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The address.
    pub email: String,
    /// The password.
    pub password: Secret<String>,
    /// What to call the person.
    pub name: Option<String>,
}

/// Why an account cannot be made, or not like this. Prints a sentence for the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not an e-mail address for a new account.
    Email(InvalidEmail),
    /// Not a user name for a new account.
    UserName(InvalidEmail),
    /// The name is too long or holds control characters.
    Name,
    /// The accounts have no place for a name.
    NoNames,
    /// The password is not accepted.
    Password(PasswordProblem),
    /// A role is empty, too long, or holds what would make it look like several.
    Role,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(reason) => f.write_str(match reason {
                InvalidEmail::Form => {
                    "This does not look like an e-mail address. It should read like name@example.com."
                }
                InvalidEmail::Domain => "The part after the @ is not a domain name, such as example.com.",
                InvalidEmail::Invisible => {
                    "This address contains a character that cannot be seen. Type it instead of pasting it."
                }
                InvalidEmail::LookAlike => {
                    "This address contains a character that looks like another one. Use plain letters."
                }
                InvalidEmail::TooLong => "This address is too long. Use at most 254 characters.",
            }),
            Self::UserName(reason) => f.write_str(match reason {
                InvalidEmail::Invisible => {
                    "This user name contains a character that cannot be seen. Type it instead of pasting it."
                }
                InvalidEmail::LookAlike => {
                    "This user name contains a character that looks like another one. Use plain letters."
                }
                InvalidEmail::Form | InvalidEmail::Domain | InvalidEmail::TooLong => {
                    "This user name cannot be used. Use letters, digits and signs without blanks between them."
                }
            }),
            Self::NoNames => f.write_str("Names are not kept here. Leave this empty."),
            Self::Name => {
                write!(f, "This name cannot be used. Use at most {MAX_NAME_LENGTH} characters, on one line.")
            }
            Self::Password(problem) => problem.fmt(f),
            Self::Role => write!(
                f,
                "This role cannot be used. Use 1 to {MAX_ROLE_LENGTH} characters on one line, without a comma, \
                 that do not begin with + or -."
            ),
        }
    }
}

/// The answer to a [`Registration`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// The account exists and the session belongs to it.
    Registered(User),
    /// The account exists, but the session could not be stored: the user signs in.
    SignInAgain(User),
    /// The address has an account already.
    Taken,
    /// Something has to be changed.
    Refused(Refusal),
    /// The existing table takes no new accounts, or not like this. For the operator: why, and what to do.
    Closed(String),
    /// Too many registrations from this address.
    Throttled {
        /// When the next one is allowed.
        retry_after: Duration,
    },
}

impl Auth {
    /// Makes an account and signs in to it.
    pub async fn register(
        &self,
        session: &Session,
        registration: Registration,
        origin: &Origin,
    ) -> Result<RegisterOutcome, Error> {
        let (throttle, limit) = (&self.inner().throttle, &self.options().throttle.register);
        let charge = throttle.charge_networks("register", origin.addr, limit, session.now()).await?;
        if let Charge::Throttled { retry_after } = charge {
            tracing::warn!(event = "register_throttled", client = %origin.addr);
            return Ok(RegisterOutcome::Throttled { retry_after });
        }
        let outcome =
            self.create(registration, Vec::new(), Requester::address(origin.addr), session.now()).await?;
        Ok(match outcome {
            RegisterOutcome::Registered(user) => {
                tracing::info!(event = "registered", user = %user.id, client = %origin.addr);
                // The account is there, so what fails from here on is no error.
                if self.establish(session, &user, origin).is_ok() && self.is_stored(session).await {
                    self.note_sign_in(&user, origin, session.now()).await;
                    RegisterOutcome::Registered(user)
                } else {
                    session.discard();
                    RegisterOutcome::SignInAgain(user)
                }
            }
            RegisterOutcome::Closed(reason) => {
                tracing::error!(event = "register_closed", reason);
                RegisterOutcome::Closed(reason)
            }
            other => other,
        })
    }

    /// Makes an account with these roles, for programs; nobody is signed in. Operators [provision](Self::provision_user) accounts.
    pub async fn create_user(
        &self,
        registration: Registration,
        roles: Vec<String>,
        now: Timestamp,
    ) -> Result<RegisterOutcome, Error> {
        self.create(registration, roles, Requester::operator(), now).await
    }

    async fn create(
        &self,
        registration: Registration,
        roles: Vec<String>,
        requester: Requester,
        now: Timestamp,
    ) -> Result<RegisterOutcome, Error> {
        let Registration { email, password, name } = registration;
        let (email, name) = match self.new_names(&email, name.as_deref()) {
            Ok(names) => names,
            Err(refusal) => return Ok(RegisterOutcome::Refused(refusal)),
        };
        if let Err(problem) = self.check_password(&password, &email, name.as_deref()) {
            return Ok(RegisterOutcome::Refused(Refusal::Password(problem)));
        }
        if !roles.iter().all(|role| is_role(role)) {
            return Ok(RegisterOutcome::Refused(Refusal::Role));
        }
        let logins = self.conventions().logins;
        if (logins.case == Case::Exact || logins.forms(&email).len() > 1)
            && self.user_of_address(&email).await?.is_some()
        {
            // The index takes another spelling of the same address for somebody else.
            return Ok(RegisterOutcome::Taken);
        }
        let mut user = User::new(email, now);
        user.password = Some(self.inner().hashing.hash(password, requester).await?);
        user.session_epoch = self.inner().users.epoch_at_first(&user);
        user.name = name;
        user.roles = roles;
        Ok(match self.store_new(&user).await? {
            UserCreated::Done(id) => {
                self.forget_former(&id, now).await?;
                RegisterOutcome::Registered(User { id, ..user })
            }
            UserCreated::Taken => RegisterOutcome::Taken,
            UserCreated::Closed(reason) => RegisterOutcome::Closed(reason),
        })
    }

    /// The login of a new account.
    pub(crate) fn new_login(&self, login: &str) -> Result<Email, Refusal> {
        let logins = self.conventions().logins;
        logins.new_login(login).map_err(|reason| match logins.kind {
            LoginKind::Email => Refusal::Email(reason),
            LoginKind::UserName => Refusal::UserName(reason),
        })
    }

    /// Stores a new account. When the answer is lost, the table says whether it was.
    async fn store_new(&self, user: &User) -> Result<UserCreated, Error> {
        let users = &self.inner().users;
        match users.create(user).await {
            Ok(created) => Ok(created),
            Err(error) => match users.find_by_email(&user.email).await {
                // Each hash has a salt of its own, so nobody else stored this one.
                Ok(Some(found)) if found.password == user.password => Ok(UserCreated::Done(found.id)),
                _ => Err(error.into()),
            },
        }
    }

    /// Removes what a former account of this id has left behind. An account to which that might count is none: it goes again. Where it
    /// cannot go either, it is made, and the log says what may count for it.
    async fn forget_former(&self, id: &UserId, now: Timestamp) -> Result<(), Error> {
        if self.conventions().reuse == Reuse::Never {
            return Ok(());
        }
        let Err(error) = self.inner().records.delete_owned(id, now).await else { return Ok(()) };
        if self.inner().users.delete(id).await.is_ok() {
            return Err(error.into());
        }
        tracing::error!(event = "former_records_remain", user = %id, error = &error as &dyn std::error::Error);
        Ok(())
    }

    /// The login and the name of a new account.
    fn new_names(&self, login: &str, name: Option<&str>) -> Result<(Email, Option<String>), Refusal> {
        let (login, name) = (self.new_login(login)?, clean_name(name)?);
        if name.is_some() && !self.conventions().names { Err(Refusal::NoNames) } else { Ok((login, name)) }
    }

    /// Whether somebody may have this password.
    pub(crate) fn check_password(
        &self,
        password: &Secret<String>,
        email: &Email,
        name: Option<&str>,
    ) -> Result<(), PasswordProblem> {
        self.options().password.check(password.expose(), email, name, false)?;
        self.conventions().passwords.check(password.expose())
    }
}

/// Whether somebody may be given this role. A sign in front means adding or taking away on the command line, and a comma
/// separates roles wherever they are listed.
pub(crate) fn is_role(role: &str) -> bool {
    let odd = |c: char| c.is_control() || is_bidi_control(c) || c == ',';
    let length = role.chars().count();
    (1..=MAX_ROLE_LENGTH).contains(&length)
        && role.trim() == role
        && !role.starts_with(['+', '-'])
        && !role.chars().any(odd)
}

/// A name is one line of text, and nothing at all is no name.
pub(crate) fn clean_name(name: Option<&str>) -> Result<Option<String>, Refusal> {
    let name = name.map(str::trim).filter(|name| !name.is_empty());
    // Characters that turn the direction of the text around them make a name look like another one.
    let odd = |c: char| c.is_control() || is_bidi_control(c);
    let bad = |name: &str| name.chars().count() > MAX_NAME_LENGTH || name.chars().any(odd);
    if name.is_some_and(bad) { Err(Refusal::Name) } else { Ok(name.map(str::to_owned)) }
}

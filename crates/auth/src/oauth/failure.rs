//! [`Failure`]: why somebody could not sign in with a provider; said to the person here, to the operator in the log.

use super::fetch::FetchError;
use crate::Error;

/// Why signing in with a provider, or linking it, did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody in this browser is waiting for this answer: it is a forgery, a replay, or came too late.
    Unexpected,
    /// The person said no at the provider.
    Denied,
    /// The provider cannot be reached, or does not answer in time.
    Unreachable,
    /// The provider answers that it cannot now.
    Unavailable,
    /// The provider does not accept this application as it is configured.
    Misconfigured,
    /// The provider says that something else went wrong.
    Provider,
    /// The clocks of the provider and of this machine differ too much.
    Clock,
    /// What the provider sent does not prove anything: signature, issuer, audience, nonce.
    Untrusted,
    /// The person was to sign in at the provider anew, and it let them through without, or does not say.
    StaleSignIn,
    /// The provider told no e-mail address.
    NoEmail,
    /// An account has this address, and one of the two sides has not verified it.
    AddressTaken,
    /// There is no such account, and none is made.
    SignUpClosed,
    /// The address is of none of the allowed domains.
    DomainRefused,
    /// The account is disabled.
    Disabled,
    /// This account of the provider is linked to somebody else.
    LinkedElsewhere,
    /// Somebody else, or nobody, is signed in now, or proved it too long ago.
    NotSignedIn,
    /// Too many attempts, or new accounts, from one address.
    Throttled,
    /// A store failed after part of it was done: an account was made or taken over, or a link was made. Beginning again finishes it.
    Interrupted,
}

/// Each failure with its code.
const CODES: &[(Failure, &str)] = &[
    (Failure::Unexpected, "unexpected"),
    (Failure::Denied, "denied"),
    (Failure::Unreachable, "unreachable"),
    (Failure::Unavailable, "unavailable"),
    (Failure::Misconfigured, "misconfigured"),
    (Failure::Provider, "provider"),
    (Failure::Clock, "clock"),
    (Failure::Untrusted, "untrusted"),
    (Failure::StaleSignIn, "stale_sign_in"),
    (Failure::NoEmail, "no_email"),
    (Failure::AddressTaken, "address_taken"),
    (Failure::SignUpClosed, "sign_up_closed"),
    (Failure::DomainRefused, "domain_refused"),
    (Failure::Disabled, "disabled"),
    (Failure::LinkedElsewhere, "linked_elsewhere"),
    (Failure::NotSignedIn, "not_signed_in"),
    (Failure::Throttled, "throttled"),
    (Failure::Interrupted, "interrupted"),
];

impl Failure {
    /// For programs and addresses of pages; never changes.
    pub fn code(self) -> &'static str {
        CODES.iter().find(|(failure, _)| *failure == self).map_or("provider", |(_, code)| code)
    }

    /// The failure of this code.
    pub fn from_code(code: &str) -> Option<Self> {
        CODES.iter().find(|(_, known)| *known == code).map(|(failure, _)| *failure)
    }

    /// What the person is told; `label` is the provider's.
    pub fn sentence(self, label: &str) -> String {
        match self {
            Self::Unexpected => {
                format!("This sign-in with {label} has expired or was already used. Please start again.")
            }
            Self::Denied => format!("You did not let {label} tell us who you are, so nobody was signed in."),
            Self::Unreachable => {
                format!(
                    "{label} does not answer right now. Try again in a moment, or use another way to sign in."
                )
            }
            Self::Unavailable => {
                format!(
                    "{label} says that it cannot sign anybody in right now. Try again in a moment, or use another way to sign in."
                )
            }
            Self::Misconfigured => {
                format!(
                    "Signing in with {label} is not set up correctly here. The operator of this service can see why in the log."
                )
            }
            Self::Provider => format!("{label} could not sign you in. Try again in a moment."),
            Self::Clock => {
                format!(
                    "The clocks of this service and of {label} differ too much. The operator of this service has to set it right."
                )
            }
            Self::Untrusted => {
                format!(
                    "What came back from {label} could not be verified, so nobody was signed in. Please start again."
                )
            }
            Self::StaleSignIn => {
                format!(
                    "You have to sign in at {label} once more for this, and {label} did not ask you to. Sign out there and try again, or use another way to sign in."
                )
            }
            Self::NoEmail => {
                format!(
                    "{label} did not tell us your e-mail address. Add one to your account there, or allow it to be shared, and try again."
                )
            }
            Self::AddressTaken => {
                format!(
                    "There is an account with this e-mail address already. Sign in to it another way, then connect {label} on your account page."
                )
            }
            Self::SignUpClosed => {
                "There is no account for you here. New accounts are made by the operator of this service."
                    .to_owned()
            }
            Self::DomainRefused => {
                format!(
                    "Accounts from {label} are accepted here only with a verified e-mail address of certain organisations."
                )
            }
            Self::Disabled => "This account is disabled.".to_owned(),
            Self::LinkedElsewhere => format!("This {label} account is connected to another account here."),
            Self::NotSignedIn => format!("Sign in again before you connect {label}."),
            Self::Throttled => "Too many attempts came from your network. Try again later.".to_owned(),
            Self::Interrupted => {
                format!(
                    "This was interrupted by a failure here after a part was done. Start again with {label} to finish it."
                )
            }
        }
    }
}

/// A failure, with what only the operator is told. Holds no secret.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) failure: Failure,
    pub(super) detail: String,
}

impl Problem {
    pub(super) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into() }
    }

    pub(super) fn untrusted(detail: impl Into<String>) -> Self {
        Self::new(Failure::Untrusted, detail)
    }
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        let failure = match error {
            FetchError::Unreachable(_) => Failure::Unreachable,
            FetchError::Unreadable(_) => Failure::Provider,
        };
        Self::new(failure, error.to_string())
    }
}

/// Why a step goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// An answer: no.
    Problem(Problem),
    /// A store is broken, or the hashing pool busy.
    Broken(Error),
}

impl<E: Into<Problem>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl From<hallpass_session::StoreError> for Stop {
    fn from(error: hallpass_session::StoreError) -> Self {
        Self::Broken(error.into())
    }
}

impl From<hallpass_session::ValueError> for Stop {
    fn from(error: hallpass_session::ValueError) -> Self {
        Self::Broken(error.into())
    }
}

/// What a provider wrote, fit for one line of a log.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_code_of_its_own_and_a_sentence() {
        for (failure, code) in CODES {
            assert_eq!(Failure::from_code(code), Some(*failure));
            assert_eq!(failure.code(), *code);
            assert!(failure.sentence("Example").ends_with('.'));
        }
        assert_eq!(Failure::from_code("<script>"), None);
    }
}

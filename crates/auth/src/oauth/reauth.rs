//! Signing in anew: whether the provider asked the person who they are, or only knew them still (OpenID Connect Core 1.0 §3.1.2.1).
//!
//! `prompt=login` makes it ask; the browser carries it there and may leave it out, so it proves nothing. `max_age` makes it say when it
//! last asked (`auth_time`, §2), and that is signed.

use std::time::Duration;

use hallpass_session::Timestamp;

use super::{
    Entry,
    attempt::Attempt,
    failure::{Failure, Problem},
    id_token::SKEW,
    profile::Identity,
    provider::Provider,
};

/// What a provider can do when a person must sign in anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reauth {
    /// It asks the person again, and its ID token says when it did (`auth_time`): every OpenID provider must be able to (OpenID Connect
    /// Core 1.0 §15.1). A session is as fresh as that sign-in, and not fresh when the token does not say.
    Prove,
    /// It asks the person again, but does not always say so. A session is as fresh as its ID token says; when it does not say, only that
    /// of a person who was to sign in anew is, and any other is not.
    Ask,
    /// It cannot be asked for that. Its word that somebody is signed in there counts as a sign-in of now, whoever sits there.
    Never,
}

/// A year: no sign-in is asked for, only its time.
const ANY_AGE: Duration = Duration::from_secs(365 * 24 * 3600);

const PROMPT: &str = "prompt";
const MAX_AGE: &str = "max_age";

impl Provider {
    /// The parameters by which a sign-in is asked for, beside those of the flow.
    pub(super) fn parameters(&self, anew: bool) -> Vec<(&str, String)> {
        let asked = match (self.reauth, anew) {
            (Reauth::Never, _) | (Reauth::Ask, false) => Vec::new(),
            (Reauth::Prove, false) => vec![(MAX_AGE, ANY_AGE)],
            // Whoever signed in this short a while ago would be accepted below, and some providers ask again and again at 0.
            (Reauth::Prove | Reauth::Ask, true) => vec![(MAX_AGE, SKEW)],
        };
        let ours = |name: &str| anew && self.reauth != Reauth::Never && [PROMPT, MAX_AGE].contains(&name);
        let own: Vec<(&str, String)> = self
            .parameters
            .iter()
            .filter(|(name, _)| !ours(name))
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        let mut all = Vec::new();
        if anew && !asked.is_empty() {
            all.push((PROMPT, "login".to_owned()));
        }
        let missing = |name: &str| own.iter().all(|(other, _)| *other != name);
        let asked = asked.into_iter().filter(|(name, _)| missing(name));
        all.extend(asked.map(|(name, age)| (name, age.as_secs().to_string())));
        all.extend(own);
        all
    }
}

impl Entry {
    /// When the person proved who they are, as far as this provider can say; a problem when they were to prove it anew and did not.
    pub(super) fn proved(
        &self,
        attempt: &Attempt,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Problem> {
        let reauth = self.provider.reauth;
        // A time that is still to come, as of a provider that writes milliseconds, says nothing.
        let told = identity.authenticated.filter(|told| *told <= now + SKEW);
        let anew = attempt.anew.map(Timestamp::from_millis).filter(|_| reauth != Reauth::Never);
        if let Some(begun) = anew {
            match told {
                Some(told) if told + SKEW < begun => {
                    let ago = begun.since(told).as_secs();
                    return Err(stale(format!(
                        "it did not ask the person to sign in: they had {ago} seconds before (auth_time)"
                    )));
                }
                None if reauth == Reauth::Prove => {
                    return Err(stale("its ID token does not say when the person signed in (auth_time)"));
                }
                _ => {}
            }
        }
        Ok(match reauth {
            Reauth::Prove => told,
            Reauth::Ask => told.or(anew.map(|_| now)),
            Reauth::Never => Some(now),
        })
    }
}

fn stale(detail: impl Into<String>) -> Problem {
    Problem::new(Failure::StaleSignIn, detail)
}

#[cfg(test)]
mod tests {
    use hallpass_session::Secret;

    use super::*;

    fn asked(provider: &Provider, anew: bool) -> String {
        let parameters = provider.parameters(anew).into_iter();
        parameters.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }

    #[test]
    fn each_parameter_stands_there_once() {
        let secret = || Secret::new("s".to_owned());
        let mut provider = Provider::gitlab(None, "id", secret());
        assert_eq!(asked(&provider, false), "max_age=31536000");
        assert_eq!(asked(&provider, true), "prompt=login&max_age=60");
        let own = [("prompt", "consent"), ("max_age", "600"), ("hd", "example.com")];
        provider.parameters = own.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(asked(&provider, false), "prompt=consent&max_age=600&hd=example.com");
        assert_eq!(asked(&provider, true), "prompt=login&max_age=60&hd=example.com");
        provider.reauth = Reauth::Never;
        assert_eq!(asked(&provider, true), "prompt=consent&max_age=600&hd=example.com");
        let provider = Provider { reauth: Reauth::Ask, ..Provider::gitlab(None, "id", secret()) };
        assert_eq!(
            (asked(&provider, false).as_str(), asked(&provider, true).as_str()),
            ("", "prompt=login&max_age=60")
        );
    }
}

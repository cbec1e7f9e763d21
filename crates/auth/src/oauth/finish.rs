//! Somebody comes back from a provider.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use hallpass_session::{Session, Timestamp};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tracing::Instrument;

use super::{
    Callback, Endpoints, Entry, Failure, Providers,
    attempt::{Attempt, Met},
    failure::{Problem, Stop, printable},
    profile::{Identity, usable_name},
    provider::Protocol,
    repeat::{Again, answer_of},
    token::Tokens,
};
use crate::{Email, Error, Origin, Record, RedirectPath, User, domain_form};

/// How long a request waits before it looks again whether another one, with the same answer, is done.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often it does: a provider's answers take seconds at most.
const MOST_LOOKS: u32 = 120;

/// The answer to [`Providers::finish`].
#[derive(Clone, Debug)]
pub struct Finished {
    /// What came of it.
    pub outcome: Outcome,
    /// Where the person wanted to go, if this browser began the attempt.
    pub next: Option<RedirectPath>,
    /// It was about linking an account, not about signing in.
    pub linking: bool,
    /// For `Set-Cookie`: the attempt is over.
    pub cookies: Vec<HeaderValue>,
}

/// What came of an attempt to sign in, or to link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session belongs to this user now and will get a new id.
    SignedIn {
        /// Who.
        user: User,
        /// The account was made just now.
        created: bool,
        /// The account existed, but nobody had proved that its address is theirs. Its password, links and sessions are gone: somebody else
        /// may have made it in wait for the owner.
        claimed: bool,
    },
    /// The provider's account opens the user's account from now on.
    Linked,
    /// Nothing of that.
    Failed(Failure),
}

/// Work that is done to its end: in a task of its own from when the request is dropped, because the browser has gone away.
struct ToTheEnd<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let done = work.as_mut().poll(context);
        if done.is_ready() {
            self.0 = None;
        }
        done
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

impl Finished {
    fn unexpected() -> Self {
        let outcome = Outcome::Failed(Failure::Unexpected);
        Self { outcome, next: None, linking: false, cookies: Vec::new() }
    }
}

impl Attempt {
    /// The attempt with what came of it, and no cookies.
    pub(super) fn finished(&self, outcome: Outcome) -> Finished {
        Finished {
            outcome,
            next: self.next.as_deref().and_then(RedirectPath::parse),
            linking: self.link.is_some(),
            cookies: Vec::new(),
        }
    }
}

/// What is known of somebody who came back.
pub(super) struct Arrival<'a> {
    pub(super) entry: &'a Entry,
    pub(super) identity: Identity,
    pub(super) tokens: Tokens,
    pub(super) origin: &'a Origin,
    /// Something of an account or a link is written.
    pub(super) begun: AtomicBool,
}

impl Arrival<'_> {
    /// From here on a failure is no longer "nothing has happened".
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }
}

impl Providers {
    /// Takes what the provider `name` sent back through the browser. `headers` are the request's, with the cookies of
    /// [`begin`](Self::begin). Whatever is not the one answer to an attempt of this browser changes nothing. Who brings the same answer
    /// again within a minute gets what came of it; who goes away meanwhile finds it done.
    pub async fn finish(
        &self,
        name: &str,
        session: &Session,
        headers: &HeaderMap,
        callback: &Callback,
        origin: &Origin,
    ) -> Result<Finished, Error> {
        let Some(entry) = self.entry(name) else { return Ok(Finished::unexpected()) };
        let state = &callback.state;
        let cookie = self.0.cookies.secret(headers, state);
        let mut met = Attempt::meet(self.records(), state, name, cookie, session.now()).await?;
        let mut looks = 0;
        while matches!(met, Met::Busy) && looks < MOST_LOOKS {
            looks += 1;
            tokio::time::sleep(LOOK_AGAIN).await;
            met = Attempt::meet(self.records(), state, name, cookie, session.now()).await?;
        }
        match met {
            Met::First(attempt, record) => {
                let lingering = self.0.cookies.linger(headers, state);
                let (this, session, callback) = (self.clone(), session.clone(), callback.clone());
                let (name, origin) = (name.to_owned(), origin.clone());
                let first = async move {
                    this.first(&name, &attempt, record, &session, &callback, &origin, lingering).await
                };
                ToTheEnd(Some(Box::pin(first.in_current_span()))).await
            }
            Met::Over(attempt, record, answer) => {
                let again = Again { attempt: &attempt, record, alone: looks == 0 };
                self.repeat(entry, again, answer, session, origin).await
            }
            Met::Busy | Met::Missing => {
                let detail = match cookie {
                    Some(_) => "the attempt is over: used already, or begun too long ago",
                    None => "this browser began no such attempt, or lost its cookie",
                };
                entry.log(&Problem::new(Failure::Unexpected, detail));
                Ok(Finished::unexpected())
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a request brings, once")]
    async fn first(
        &self,
        name: &str,
        attempt: &Attempt,
        record: Record,
        session: &Session,
        callback: &Callback,
        origin: &Origin,
        lingering: Option<HeaderValue>,
    ) -> Result<Finished, Error> {
        let Some(entry) = self.entry(name) else { return Ok(Finished::unexpected()) };
        let outcome = match self.arrive(entry, attempt, session, callback, origin).await {
            Ok(outcome) => outcome,
            Err(Stop::Problem(problem)) => {
                entry.log(&problem);
                Outcome::Failed(problem.failure)
            }
            Err(Stop::Broken(error)) => {
                // Nobody knows what a repeat would be told; it is to begin again.
                self.records().take(&record.key, session.now()).await.ok();
                return Err(error);
            }
        };
        let kept = match answer_of(&outcome, session) {
            Some(answer) => attempt.close(self.records(), record, answer, session.now()).await,
            None => Ok(false),
        };
        if let Err(error) = &kept {
            // It has happened all the same; only a repeat fails.
            tracing::warn!(event = "sign_in_not_repeatable", error = error as &dyn std::error::Error);
        }
        let cookie =
            if kept.is_ok_and(|kept| kept) { lingering } else { self.0.cookies.end(&callback.state) };
        Ok(Finished { cookies: cookie.into_iter().collect(), ..attempt.finished(outcome) })
    }

    async fn arrive(
        &self,
        entry: &Entry,
        attempt: &Attempt,
        session: &Session,
        callback: &Callback,
        origin: &Origin,
    ) -> Result<Outcome, Stop> {
        let now = session.now();
        let endpoints = self.endpoints(entry, now).await?;
        entry.check_issuer(&endpoints, callback.issuer.as_deref())?;
        let code = code(callback)?;
        let tokens = entry.exchange(self.fetch(), &endpoints, code, attempt, now).await?;
        let mut identity = entry.identity(self.fetch(), &endpoints, &tokens, attempt, now).await?;
        if identity.name.is_none() {
            identity.name = callback.user.as_deref().and_then(apples_name);
        }
        entry.check_domain(&identity)?;
        let proved = entry.proved(attempt, &identity, now)?;
        let arrival = Arrival { entry, identity, tokens, origin, begun: AtomicBool::new(false) };
        let outcome = self.complete(&arrival, attempt, session, proved, now).await;
        if outcome.is_err() {
            // An answer that says it failed must sign nobody in.
            session.discard();
        }
        match outcome {
            Err(Stop::Broken(error)) if arrival.begun.load(Ordering::Relaxed) => {
                tracing::error!(
                    event = "provider_sign_in_interrupted",
                    error = &error as &dyn std::error::Error
                );
                Err(Problem::new(Failure::Interrupted, "a store failed after a part was done").into())
            }
            outcome => outcome,
        }
    }

    /// Signs in or links. The session comes last: when it is stored, nothing that can fail is left.
    async fn complete(
        &self,
        arrival: &Arrival<'_>,
        attempt: &Attempt,
        session: &Session,
        proved: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Outcome, Stop> {
        let outcome = match &attempt.link {
            Some(user) => self.link(session, arrival, user, attempt.epoch).await?,
            None => self.sign_in(session, arrival).await?,
        };
        self.keep(arrival, &outcome, now).await?;
        if matches!(outcome, Outcome::SignedIn { .. }) {
            session.proved_at(proved);
            session.save().await.map_err(Error::from)?;
        }
        Ok(outcome)
    }
}

impl Entry {
    /// RFC 9207 §2.4: whose answer this is. Mixed-up answers must not lead to a token endpoint.
    fn check_issuer(&self, endpoints: &Endpoints, given: Option<&str>) -> Result<(), Problem> {
        let (wanted, demanded) = match (&self.provider.protocol, &endpoints.metadata) {
            // Of the many tenants' issuers none is known yet; the ID token will name it.
            (Protocol::OpenId(openid), _) if openid.tenants => return Ok(()),
            (Protocol::OpenId(openid), Some(metadata)) => {
                (&openid.issuer, metadata.authorization_response_iss_parameter_supported)
            }
            (Protocol::OpenId(openid), None) => (&openid.issuer, false),
            // Each provider has a redirect URI of its own, which keeps answers apart as well (RFC 9700 §4.4.2).
            (Protocol::OAuth2(oauth), _) => match &oauth.expected_issuer {
                Some(issuer) => (issuer, false),
                None => return Ok(()),
            },
        };
        match given {
            Some(given) if given == wanted => Ok(()),
            None if !demanded => Ok(()),
            Some(given) => {
                let given = printable(given);
                Err(Problem::untrusted(format!("the answer is from {given:?}, not from {wanted:?} (iss)")))
            }
            None => Err(Problem::untrusted(
                "the answer does not say who it is from (iss), though this provider always does",
            )),
        }
    }

    fn check_domain(&self, identity: &Identity) -> Result<(), Problem> {
        let allowed = &self.provider.allowed_domains;
        if let Some(missing) = identity.missing.clone().filter(|_| !allowed.is_empty()) {
            return Err(missing);
        }
        let email = identity.email.as_ref().filter(|_| identity.email_verified);
        let fits = email.is_some_and(|email| has_domain(email, allowed));
        if allowed.is_empty() || fits {
            return Ok(());
        }
        Err(Problem::new(Failure::DomainRefused, "no verified address of an allowed domain"))
    }
}

/// Whether an address has one of these domains, in letters or in punycode.
pub(super) fn has_domain(email: &Email, domains: &[String]) -> bool {
    domains.iter().any(|one| domain_form(one).is_some_and(|one| one == email.domain()))
}

/// The code; or why there is none (RFC 6749 §4.1.2.1, OpenID Connect Core 1.0 §3.1.2.6).
fn code(callback: &Callback) -> Result<&str, Problem> {
    let Some(error) = callback.error.as_deref() else {
        let code = callback.code.as_deref().filter(|code| !code.is_empty());
        return code.ok_or_else(|| Problem::untrusted("the answer holds neither a code nor an error"));
    };
    let failure = match error {
        "access_denied"
        | "user_cancelled_authorize"
        | "user_cancelled_login"
        | "consent_required"
        | "login_required"
        | "interaction_required" => Failure::Denied,
        "temporarily_unavailable" | "server_error" => Failure::Unavailable,
        "unauthorized_client"
        | "invalid_client"
        | "invalid_scope"
        | "invalid_request"
        | "unsupported_response_type"
        | "redirect_uri_mismatch"
        | "application_suspended" => Failure::Misconfigured,
        _ => Failure::Provider,
    };
    let description = callback.description.as_deref().unwrap_or_default();
    Err(Problem::new(failure, format!("it sent back {}: {}", printable(error), printable(description))))
}

/// `{"name":{"firstName":…,"lastName":…}}`. It came through the browser, so it names and proves nothing.
fn apples_name(user: &str) -> Option<String> {
    let user: Value = serde_json::from_str(user).ok()?;
    let part = |part: &str| user["name"][part].as_str().map(str::trim).unwrap_or_default();
    usable_name(format!("{} {}", part("firstName"), part("lastName")).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apples_name_is_a_name_or_nothing() {
        assert_eq!(
            apples_name(r#"{"name":{"firstName":"Ann","lastName":"Lee"}}"#).as_deref(),
            Some("Ann Lee")
        );
        assert_eq!(apples_name(r#"{"name":{"firstName":"Ann"}}"#).as_deref(), Some("Ann"));
        for bad in ["", "{}", "[]", r#"{"name":"Ann"}"#, r#"{"name":{"firstName":"a\nb"}}"#] {
            assert_eq!(apples_name(bad), None, "{bad}");
        }
    }
}

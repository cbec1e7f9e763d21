//! Sending somebody to a provider.

use std::fmt;

use hallpass_session::{Session, Timestamp};
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::{
    Endpoints, Entry, Failure, Providers,
    attempt::Attempt,
    failure::Problem,
    provider::{Protocol, Provider},
};
use crate::{Error, Limit, Origin, RedirectPath, User, throttle::Charge};

/// The answer to [`Providers::begin`]. `Debug` shows neither state nor cookies.
#[derive(Clone)]
pub enum Begun {
    /// Send the browser there.
    Away {
        /// Where, for `Location` (with status 303).
        location: String,
        /// For `Set-Cookie`: they bind the attempt to this browser.
        cookies: Vec<HeaderValue>,
    },
    /// It is no use now.
    Failed(Failure),
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away { .. } => f.debug_struct("Away").finish_non_exhaustive(),
            Self::Failed(failure) => f.debug_tuple("Failed").field(failure).finish(),
        }
    }
}

/// Most who begin sign in as well, so this many times more are free than failed sign-ins from an address.
const BEGINS: u32 = 10;

impl Providers {
    /// Counts a client that wants to [`begin`](Self::begin), which anybody may ask for and which is remembered for a while. Call it first, and
    /// do not begin when it is a failure: too many came from this address. The limit is ten times
    /// [that of failed sign-ins](crate::ThrottleOptions::address).
    pub async fn admit(&self, origin: &Origin, now: Timestamp) -> Result<Result<(), Failure>, Error> {
        let address = self.0.auth.options().throttle.address;
        let limit = Limit { free: address.free.saturating_mul(BEGINS), ..address };
        let throttle = &self.0.auth.inner().throttle;
        Ok(match throttle.charge_networks("oauth_begin", origin.addr, &limit, now).await? {
            Charge::Allowed(()) => Ok(()),
            Charge::Throttled { .. } | Charge::Locked => Err(Failure::Throttled),
        })
    }

    /// Begins to sign somebody in with the provider `name`. `headers` are the request's; `next` is where to go afterwards.
    pub async fn begin(
        &self,
        name: &str,
        headers: &HeaderMap,
        next: Option<&RedirectPath>,
        now: Timestamp,
    ) -> Result<Begun, Error> {
        self.begin_to_sign_in(name, headers, next, None, now).await
    }

    /// As [`begin`](Self::begin), for somebody whose sign-in is too old for what they want: the provider is asked to have them sign in
    /// there once more, and what it says is held to that as far as it [can say](super::Reauth).
    pub async fn begin_anew(
        &self,
        name: &str,
        headers: &HeaderMap,
        next: Option<&RedirectPath>,
        now: Timestamp,
    ) -> Result<Begun, Error> {
        self.begin_to_sign_in(name, headers, next, Some(now.as_millis()), now).await
    }

    async fn begin_to_sign_in(
        &self,
        name: &str,
        headers: &HeaderMap,
        next: Option<&RedirectPath>,
        anew: Option<i64>,
        now: Timestamp,
    ) -> Result<Begun, Error> {
        let Some(entry) = self.entry(name) else { return Ok(Begun::Failed(Failure::Misconfigured)) };
        let (mut attempt, secrets) = Attempt::new(name, &entry.redirect_uri);
        attempt.next = next.map(|next| next.as_str().to_owned());
        attempt.anew = anew;
        self.send(entry, attempt, secrets, headers, now).await
    }

    /// Begins to link an account of the provider to `user`, who is signed in in `session` and must have proved it a short while ago.
    pub async fn begin_link(
        &self,
        name: &str,
        headers: &HeaderMap,
        session: &Session,
        user: &User,
    ) -> Result<Begun, Error> {
        let Some(entry) = self.entry(name) else { return Ok(Begun::Failed(Failure::Misconfigured)) };
        if !session.is_fresh() {
            return Ok(Begun::Failed(Failure::NotSignedIn));
        }
        let (mut attempt, secrets) = Attempt::new(name, &entry.redirect_uri);
        attempt.link = Some(user.id.as_str().to_owned());
        attempt.epoch = user.session_epoch;
        self.send(entry, attempt, secrets, headers, session.now()).await
    }

    async fn send(
        &self,
        entry: &Entry,
        attempt: Attempt,
        secrets: super::attempt::Secrets,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Begun, Error> {
        let endpoints = match self.endpoints(entry, now).await {
            Ok(endpoints) => endpoints,
            Err(problem) => return Ok(failed(entry, &problem)),
        };
        attempt.remember(self.records(), &secrets.state, now).await?;
        let location = authorization(&entry.provider, endpoints, &attempt, &secrets.state).into();
        let cookies = self.0.cookies.begin(headers, &secrets.state, &secrets.cookie, now);
        Ok(Begun::Away { location, cookies })
    }
}

fn failed(entry: &Entry, problem: &Problem) -> Begun {
    entry.log(problem);
    Begun::Failed(problem.failure)
}

/// The authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3).
fn authorization(provider: &Provider, endpoints: Endpoints, attempt: &Attempt, state: &str) -> Url {
    let mut url = endpoints.authorize;
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &provider.client_id)
        .append_pair("redirect_uri", &attempt.redirect_uri)
        .append_pair("state", state)
        .append_pair("code_challenge", &attempt.challenge())
        .append_pair("code_challenge_method", "S256");
    if !provider.scopes.is_empty() {
        query.append_pair("scope", &provider.scopes.join(" "));
    }
    if let Protocol::OpenId(openid) = &provider.protocol {
        query.append_pair("nonce", &attempt.nonce);
        if openid.form_post {
            query.append_pair("response_mode", "form_post");
        }
    }
    for (name, value) in provider.parameters(attempt.anew.is_some()) {
        query.append_pair(name, &value);
    }
    drop(query);
    url
}

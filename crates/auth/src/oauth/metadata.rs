//! What a provider says about itself (OpenID Connect Discovery 1.0 §4), and its keys: fetched when needed, kept for a while.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use hallpass_session::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;

use super::{
    failure::{Failure, Problem},
    fetch::{self, Fetch},
    jwt::{Jwt, KeySet, Signature},
    provider::{OpenId, is_local, is_safe},
};

/// Metadata and keys are fetched anew after this time.
const FRESH_FOR: Duration = Duration::from_secs(3600);

/// When the provider does not answer, what is known counts this much longer.
const STALE_FOR: Duration = Duration::from_secs(24 * 3600);

/// Whoever comes this soon after a request that failed gets the same answer: nobody is made to wait for none, or asks again and again.
const DOWN_FOR: Duration = Duration::from_secs(6);

/// Keys are fetched because of an unknown name at most this often.
const FLOOR: Duration = Duration::from_secs(3);

/// What is used of the metadata.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) jwks_uri: Url,
    pub(super) end_session_endpoint: Option<Url>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// What stands at `url`, if it can be used.
    pub(super) fn read(object: Map<String, Value>, url: &Url, openid: &OpenId) -> Result<Self, Problem> {
        let needed = ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"];
        let missing: Vec<&str> = needed.into_iter().filter(|name| !object.contains_key(*name)).collect();
        let refused = |why: String| {
            Problem::new(
                Failure::Misconfigured,
                format!("{} is no OpenID metadata: {why}", fetch::place(url)),
            )
        };
        if !missing.is_empty() {
            return Err(refused(format!("{} missing", missing.join(", "))));
        }
        let metadata: Self =
            serde_json::from_value(Value::Object(object)).map_err(|error| refused(error.to_string()))?;
        metadata.check(openid)
    }

    fn check(self, openid: &OpenId) -> Result<Self, Problem> {
        let wanted = if openid.tenants {
            // Microsoft writes the placeholder where the tenant will stand.
            self.issuer.contains("{tenantid}") && same_host(&self.issuer, &openid.issuer)
        } else {
            self.issuer == openid.issuer
        };
        if !wanted {
            let detail = format!(
                "the provider calls itself {:?}, the configuration {:?} ({}): write the issuer exactly as the provider does",
                self.issuer,
                openid.issuer,
                difference(&self.issuer, &openid.issuer)
            );
            return Err(Problem::new(Failure::Misconfigured, detail));
        }
        let addresses = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri];
        let optional = [self.userinfo_endpoint.as_ref(), self.end_session_endpoint.as_ref()];
        // Nobody elsewhere makes us ask services of this machine.
        let local = Url::parse(&openid.issuer).is_ok_and(|issuer| is_local(&issuer));
        let bad = |url: &&Url| !is_safe(url) || is_local(url) && !local;
        let detail = addresses
            .into_iter()
            .chain(optional.into_iter().flatten())
            .find(bad)
            .map(|url| format!("{} is not https, or an address of this machine", fetch::place(url)));
        match detail {
            Some(detail) => Err(Problem::new(Failure::Misconfigured, detail)),
            None => Ok(self),
        }
    }

    /// Whether the secret goes into the form; without a word about it, the header is the standard's default.
    pub(super) fn wants_secret_in_form(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_deref();
        methods.is_some_and(|methods| {
            let knows = |name: &str| methods.iter().any(|method| method == name);
            knows("client_secret_post") && !knows("client_secret_basic")
        })
    }
}

/// How two issuers differ, in the words of an operator.
fn difference(theirs: &str, ours: &str) -> &'static str {
    let bare = |text: &str| text.trim_end_matches('/').to_owned();
    let part = |text: &str, part: fn(&Url) -> String| Url::parse(text).ok().map(|url| part(&url));
    let same = |of: fn(&Url) -> String| part(theirs, of) == part(ours, of);
    if bare(theirs) == bare(ours) {
        "only the slash at the end differs"
    } else if theirs.eq_ignore_ascii_case(ours) {
        "capital letters differ"
    } else if !same(|url| url.scheme().to_owned()) {
        "http or https differs"
    } else if !same(|url| url.host_str().unwrap_or_default().to_owned()) {
        "the host differs"
    } else if !same(|url| url.port_or_known_default().unwrap_or_default().to_string()) {
        "the port differs"
    } else {
        "the path differs"
    }
}

pub(super) fn same_host(one: &str, other: &str) -> bool {
    let host = |text: &str| Url::parse(&text.replace("{tenantid}", "t")).ok().map(|url| url.origin());
    host(one).is_some_and(|origin| Some(origin) == host(other))
}

/// A thing and when it was fetched.
#[derive(Clone)]
struct Kept<T> {
    thing: T,
    fetched: Timestamp,
}

/// What is known of an OpenID provider. While one request fetches, others wait for its answer only if they need it.
#[derive(Default)]
pub(super) struct Known {
    metadata: Mutex<Option<Kept<Metadata>>>,
    /// When asking last failed, and why.
    down: std::sync::Mutex<Option<(Timestamp, Problem)>>,
    keys: std::sync::Mutex<Option<Kept<KeySet>>>,
    /// Held while keys are fetched: when that was last tried, whatever came of it.
    tried: Mutex<Option<Timestamp>>,
}

/// What to do with a token by an unknown key when keys were fetched a moment ago.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Wait until they may be fetched again: the token comes from the provider itself.
    Wait,
    /// Refuse: anybody may have sent it.
    Refuse,
}

impl Known {
    pub(super) async fn metadata(
        &self,
        fetch: &dyn Fetch,
        openid: &OpenId,
        now: Timestamp,
    ) -> Result<Metadata, Problem> {
        let mut kept = self.metadata.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.fetched.is_younger(FRESH_FOR, now)) {
            return Ok(kept.thing.clone());
        }
        let found = match self.is_down(now) {
            Some(problem) => Err(problem),
            None => discover(fetch, openid).await,
        };
        match found {
            Ok(metadata) => {
                *kept = Some(Kept { thing: metadata.clone(), fetched: now });
                Ok(metadata)
            }
            Err(problem) => {
                self.note_down(&problem, now);
                stale(kept.as_ref(), problem, now)
            }
        }
    }

    /// Why not to ask now: it failed a moment ago.
    fn is_down(&self, now: Timestamp) -> Option<Problem> {
        self.down()
            .as_ref()
            .filter(|(at, _)| at.is_younger(DOWN_FOR, now))
            .map(|(_, problem)| problem.clone())
    }

    fn note_down(&self, problem: &Problem, now: Timestamp) {
        if self.is_down(now).is_none() {
            *self.down() = Some((now, problem.clone()));
        }
    }

    fn down(&self) -> MutexGuard<'_, Option<(Timestamp, Problem)>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_keys(&self) -> Option<Kept<KeySet>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh_keys(&self, now: Timestamp) -> Option<Kept<KeySet>> {
        self.kept_keys().filter(|kept| kept.fetched.is_younger(FRESH_FOR, now))
    }

    /// The token's claims, if a key of the provider signed it.
    pub(super) async fn verified<'a>(
        &self,
        fetch: &dyn Fetch,
        metadata: &Metadata,
        token: &'a str,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Jwt<'a>, Problem> {
        let jwt = Jwt::parse(token).map_err(Problem::untrusted)?;
        let keys = self.keys(fetch, metadata, now).await?;
        let mut signature = keys.thing.check(&jwt);
        if signature == Signature::UnknownKey {
            signature = match self.newer_keys(fetch, metadata, &keys, patience, now).await? {
                Some(keys) => keys.check(&jwt),
                None => signature,
            };
        }
        match signature {
            Signature::Good => Ok(jwt),
            Signature::Bad => Err(Problem::untrusted("the signature is not the provider's")),
            Signature::UnknownKey => Err(Problem::untrusted("no key of the provider has signed this (kid)")),
        }
    }

    async fn keys(
        &self,
        fetch: &dyn Fetch,
        metadata: &Metadata,
        now: Timestamp,
    ) -> Result<Kept<KeySet>, Problem> {
        if let Some(kept) = self.fresh_keys(now) {
            return Ok(kept);
        }
        let mut tried = self.tried.lock().await;
        if let Some(kept) = self.fresh_keys(now) {
            return Ok(kept);
        }
        match self.fetch_keys(fetch, metadata, &mut tried, now).await {
            Ok(kept) => Ok(kept),
            Err(problem) => {
                let thing = stale(self.kept_keys().as_ref(), problem, now)?;
                Ok(Kept { thing, fetched: now })
            }
        }
    }

    /// Keys that are newer than `seen`; `None` when they may not be fetched again yet.
    async fn newer_keys(
        &self,
        fetch: &dyn Fetch,
        metadata: &Metadata,
        seen: &Kept<KeySet>,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Option<KeySet>, Problem> {
        let mut tried = self.tried.lock().await;
        if let Some(newer) = self.kept_keys().filter(|kept| kept.fetched > seen.fetched) {
            return Ok(Some(newer.thing));
        }
        // Never longer than that, also when the clock was set back since.
        let wait = tried.map_or(Duration::ZERO, |last| (last + FLOOR).since(now).min(FLOOR));
        if !wait.is_zero() {
            if patience == Patience::Refuse {
                return Ok(None);
            }
            tokio::time::sleep(wait).await;
        }
        let kept = self.fetch_keys(fetch, metadata, &mut tried, now + wait).await?;
        tracing::info!(event = "provider_keys_changed", issuer = metadata.issuer);
        Ok(Some(kept.thing))
    }

    /// Fetches the keys, unless asking failed a moment ago. The try counts even if it fails or whoever asks goes away.
    async fn fetch_keys(
        &self,
        fetch: &dyn Fetch,
        metadata: &Metadata,
        tried: &mut Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Kept<KeySet>, Problem> {
        if let Some(problem) = self.is_down(now) {
            return Err(problem);
        }
        *tried = Some(now);
        match fetch_keys(fetch, metadata).await {
            Ok(thing) => {
                let kept = Kept { thing, fetched: now };
                *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept.clone());
                Ok(kept)
            }
            Err(problem) => {
                self.note_down(&problem, now);
                Err(problem)
            }
        }
    }
}

/// Whether the provider's answer says nothing about what it said before.
fn passes(failure: Failure) -> bool {
    matches!(failure, Failure::Unreachable | Failure::Unavailable | Failure::Provider)
}

/// What is known still, when the provider does not answer.
fn stale<T: Clone>(kept: Option<&Kept<T>>, problem: Problem, now: Timestamp) -> Result<T, Problem> {
    match kept.filter(|kept| passes(problem.failure) && kept.fetched.is_younger(STALE_FOR, now)) {
        Some(kept) => {
            tracing::warn!(event = "provider_stale", detail = problem.detail, "going on with what was known");
            Ok(kept.thing.clone())
        }
        None => Err(problem),
    }
}

/// Where the provider describes itself.
pub(super) fn place_of(openid: &OpenId) -> Result<Url, Problem> {
    let address = format!("{}/.well-known/openid-configuration", openid.issuer.trim_end_matches('/'));
    Url::parse(&address).map_err(|_| Problem::new(Failure::Misconfigured, "the issuer is no web address"))
}

async fn discover(fetch: &dyn Fetch, openid: &OpenId) -> Result<Metadata, Problem> {
    let url = place_of(openid)?;
    let object = fetch::get(fetch, &url, None).await?.object(&url)?;
    Metadata::read(object, &url, openid)
}

async fn fetch_keys(fetch: &dyn Fetch, metadata: &Metadata) -> Result<KeySet, Problem> {
    let url = &metadata.jwks_uri;
    let object = fetch::get(fetch, url, None).await?.object(url)?;
    KeySet::parse(&Value::Object(object))
        .ok_or_else(|| Problem::new(Failure::Provider, format!("{} holds no keys", fetch::place(url))))
}

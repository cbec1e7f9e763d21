//! Sign in with Google, GitHub, or any OpenID provider: the authorization code flow of OAuth 2.0 (RFC 6749) with PKCE (RFC 7636),
//! OpenID Connect on top of it, and the advice of RFC 9700. The browser gets a session, never a provider's token.
//!
//! ```
//! # use std::sync::Arc;
//! # use hallpass_auth::{Auth, oauth::{Fetch, Provider, ProviderError, Providers, ProvidersOptions}};
//! # use hallpass_session::Secret;
//! # fn example(auth: Auth, fetch: Arc<dyn Fetch>, secret: Secret<String>) -> Result<(), ProviderError> {
//! let github = Provider::github("Iv1.8a61f9b3a7aba766", secret);
//! let providers = Providers::new(auth, fetch, vec![github], ProvidersOptions::new("https://app.example.com"))?;
//! // GET /auth/oauth/github:          providers.begin(…), then redirect to where it says
//! // GET /auth/oauth/github/callback: providers.finish(…), then redirect to where it says
//! # drop(providers);
//! # Ok(())
//! # }
//! ```
//!
//! Accounts are keyed by the issuer and its name for the person, never by e-mail address. An address links accounts only when both sides have
//! verified it; what nobody has verified here, its owner takes over without what somebody else may have prepared in it.

mod account;
mod apple;
mod attempt;
mod begin;
mod callback;
#[cfg(feature = "http-client")]
mod client;
mod client_key;
mod cookie;
mod create;
mod departure;
mod examine;
mod failure;
mod fetch;
mod finish;
mod id_token;
mod jwt;
mod kept;
mod link;
mod logout;
mod merge;
mod metadata;
mod presets;
mod profile;
mod provider;
#[cfg(feature = "http-client")]
mod proxy;
mod reauth;
mod rekey;
mod repeat;
mod seal;
mod signer;
mod token;

use std::{fmt, sync::Arc};

use hallpass_session::Timestamp;
use url::Url;

pub use self::{
    apple::{AppleKey, AppleKeyError},
    begin::Begun,
    callback::Callback,
    client_key::{ClientKey, ClientKeyError},
    departure::{Departed, Departure},
    examine::{Finding, Verdict},
    failure::Failure,
    fetch::{Fetch, FetchError, MAX_RESPONSE},
    finish::{Finished, Outcome},
    id_token::{Expected, IdToken},
    jwt::KeySet,
    link::{Link, Unlinked},
    logout::LogoutRefused,
    merge::Merged,
    provider::{ClientAuth, FieldMap, OAuth2, OpenId, Protocol, Provider, ProviderError},
    reauth::Reauth,
    rekey::Rekeyed,
    seal::SealKeys,
};
#[cfg(feature = "http-client")]
pub use self::{
    client::HttpClient,
    proxy::{ForwardProxy, ForwardProxyError},
};
use self::{
    cookie::Cookies,
    failure::Problem,
    metadata::{Known, Metadata},
};
use crate::{Auth, UserStore, records::RecordStore};

/// What providers have in common.
#[derive(Debug)]
pub struct ProvidersOptions {
    /// Where browsers reach the application: scheme, host and port. With https, cookies are `Secure` and have the prefix `__Host-`.
    pub public_url: String,
    /// The path that providers send people back to, with `{name}` where the provider's name stands.
    /// Default: `/auth/oauth/{name}/callback`. One for each provider keeps their answers apart (RFC 9700 §4.4.2).
    pub callback_path: String,
    /// Keys for tokens that are kept; needed for `keep_tokens` and `end_session`.
    pub seal: Option<SealKeys>,
    /// Scripts of other sites begin attempts (CORS with credentials), as they may where the session's cookie is `SameSite=None`. Then those
    /// of attempts are, or browsers would refuse them in the answers to such scripts. Default: false.
    pub cross_site: bool,
}

impl ProvidersOptions {
    /// The defaults for an application at `public_url`.
    pub fn new(public_url: &str) -> Self {
        Self {
            public_url: public_url.to_owned(),
            callback_path: "/auth/oauth/{name}/callback".to_owned(),
            seal: None,
            cross_site: false,
        }
    }
}

/// The providers that people can sign in with. Cheap to clone.
#[derive(Clone)]
pub struct Providers(Arc<Inner>);

struct Inner {
    auth: Auth,
    fetch: Arc<dyn Fetch>,
    entries: Vec<Entry>,
    cookies: Cookies,
    options: ProvidersOptions,
}

/// A provider and what is known of it.
struct Entry {
    provider: Provider,
    known: Known,
    redirect_uri: String,
    refreshing: kept::Turns,
}

/// Where a provider is asked.
struct Endpoints {
    authorize: Url,
    token: Url,
    /// The secret goes into the form.
    secret_in_form: bool,
    /// What OpenID providers say about themselves.
    metadata: Option<Metadata>,
}

impl Providers {
    /// Providers whose people sign in through `auth`. The first problem with a description is an error.
    pub fn new(
        auth: Auth,
        fetch: Arc<dyn Fetch>,
        providers: Vec<Provider>,
        options: ProvidersOptions,
    ) -> Result<Self, ProviderError> {
        let mut entries: Vec<Entry> = Vec::new();
        for provider in providers {
            provider.check()?;
            let refused =
                |advice: &str| ProviderError { name: provider.name.clone(), advice: advice.to_owned() };
            if entries.iter().any(|other| other.provider.name == provider.name) {
                return Err(refused("another provider has this name"));
            }
            entries.iter().try_for_each(|other| provider.check_beside(&other.provider))?;
            if (provider.keep_tokens || provider.end_session) && options.seal.is_none() {
                return Err(refused("keeping tokens needs secrets to encrypt them with"));
            }
            let path = options.callback_path.replace("{name}", &provider.name);
            let redirect_uri = format!("{}{path}", options.public_url.trim_end_matches('/'));
            entries.push(Entry {
                provider,
                known: Known::default(),
                redirect_uri,
                refreshing: kept::Turns::default(),
            });
        }
        let secure = options.public_url.starts_with("https://");
        let cookies = Cookies { secure, cross_site: options.cross_site };
        Ok(Self(Arc::new(Inner { auth, fetch, entries, cookies, options })))
    }

    /// No providers: for applications where they are a matter of configuration.
    pub fn none(auth: Auth) -> Self {
        let options = ProvidersOptions::new("http://localhost");
        let (fetch, cookies) = (Arc::new(fetch::Nobody), Cookies { secure: false, cross_site: false });
        Self(Arc::new(Inner { auth, fetch, entries: Vec::new(), cookies, options }))
    }

    /// The providers, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.entries.iter().map(|entry| &entry.provider)
    }

    /// The provider of this name.
    pub fn get(&self, name: &str) -> Option<&Provider> {
        self.entry(name).map(|entry| &entry.provider)
    }

    /// The address that must be registered at the provider of this name.
    pub fn redirect_uri(&self, name: &str) -> Option<&str> {
        self.entry(name).map(|entry| entry.redirect_uri.as_str())
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.0.entries.iter().find(|entry| entry.provider.name == name)
    }

    fn fetch(&self) -> &dyn Fetch {
        &*self.0.fetch
    }

    fn records(&self) -> &dyn RecordStore {
        &*self.0.auth.inner().records
    }

    fn users(&self) -> &dyn UserStore {
        &*self.0.auth.inner().users
    }

    async fn endpoints(&self, entry: &Entry, now: Timestamp) -> Result<Endpoints, Problem> {
        match &entry.provider.protocol {
            Protocol::OAuth2(oauth) => Ok(Endpoints {
                authorize: oauth.authorize_url.clone(),
                token: oauth.token_url.clone(),
                secret_in_form: true,
                metadata: None,
            }),
            Protocol::OpenId(openid) => {
                let metadata = entry.known.metadata(self.fetch(), openid, now).await?;
                Ok(Endpoints {
                    authorize: metadata.authorization_endpoint.clone(),
                    token: metadata.token_endpoint.clone(),
                    secret_in_form: metadata.wants_secret_in_form(),
                    metadata: Some(metadata),
                })
            }
        }
    }
}

impl Entry {
    /// Which tokens are for us.
    fn expected<'a>(&'a self, openid: &'a OpenId, metadata: &'a Metadata) -> Expected<'a> {
        let issuer = if openid.tenants { &metadata.issuer } else { &openid.issuer };
        Expected { issuer, tenants: openid.tenants, client_id: &self.provider.client_id }
    }

    /// Tells the operator why somebody could not sign in.
    fn log(&self, problem: &Problem) {
        let advice = match problem.failure {
            Failure::Misconfigured => format!(
                "check client_id, client_secret, and that exactly {} is registered as redirect URI",
                self.redirect_uri
            ),
            Failure::Clock => "run a time service such as chrony".to_owned(),
            Failure::StaleSignIn => {
                "this provider is expected to ask again and to say when it did; reauth = \"ask\" or \"never\" for one that cannot"
                    .to_owned()
            }
            Failure::NoEmail => {
                "ask for the scope that gives the address, and allow it at the provider".to_owned()
            }
            _ => String::new(),
        };
        let advice = (!advice.is_empty()).then_some(advice);
        tracing::warn!(
            event = "provider_refused",
            provider = self.provider.name,
            failure = problem.failure.code(),
            detail = problem.detail,
            advice,
        );
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|provider| &provider.name)).finish()
    }
}

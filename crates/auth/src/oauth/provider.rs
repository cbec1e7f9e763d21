//! [`Provider`]: a description of one place where people can prove who they are.

use hallpass_session::Secret;
use url::{Host, Url};

use crate::domain_form;

use super::{apple::AppleKey, client_key::ClientKey, metadata::same_host, reauth::Reauth};

/// A provider, as an operator configures it. Begin with a preset such as [`Provider::google`] and change what differs.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the configuration")]
pub struct Provider {
    /// Names it in paths and records: lower-case letters, digits, `-` and `_`, at most 32. Never reuse a name for another provider.
    pub name: String,
    /// What buttons call it.
    pub label: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// What it calls this application.
    pub client_id: String,
    /// How this application proves itself to it.
    pub client_auth: ClientAuth,
    /// What is asked for; no more than needed (RFC 9700 §2.3).
    pub scopes: Vec<String>,
    /// Further parameters of the authorization request, such as `access_type=offline`.
    pub parameters: Vec<(String, String)>,
    /// Take its word for addresses that it does not call verified. Only for a provider that belongs to the same organisation:
    /// whoever can set an address there can take over the account with that address here.
    pub trust_email: bool,
    /// Accept verified addresses of these domains only; empty: any.
    pub allowed_domains: Vec<String>,
    /// Domains whose addresses it may vouch for; empty: all. Another address counts as one that it has not verified.
    pub trusted_domains: Vec<String>,
    /// Whether its word about an address opens an account that has it, or takes it over if nobody has verified that. If not, people sign in
    /// another way and connect it then.
    pub may_claim: bool,
    /// Whether people without an account get one.
    pub sign_up: bool,
    /// Keep the session when the browser is closed.
    pub remember: bool,
    /// Keep the provider's tokens, encrypted, for [`Providers::access_token`](super::Providers::access_token).
    pub keep_tokens: bool,
    /// Whoever signs out here signs out there too, if the provider can do that (OpenID Connect RP-Initiated Logout 1.0).
    pub end_session: bool,
    /// What it can do when a person must sign in anew.
    pub reauth: Reauth,
}

/// How a provider is spoken to.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// OpenID Connect: the provider describes itself below its issuer (Discovery 1.0), and signs who somebody is.
    OpenId(OpenId),
    /// Plain OAuth 2.0: who somebody is stands at an address of the provider.
    OAuth2(Box<OAuth2>),
}

/// An OpenID provider.
#[derive(Clone, Debug)]
pub struct OpenId {
    /// The issuer, exactly as the provider writes it.
    pub issuer: String,
    /// The issuer of ID tokens is `https://login.microsoftonline.com/{tenantid}/v2.0` with the person's tenant in it, as Microsoft does for
    /// applications of many tenants.
    pub tenants: bool,
    /// The provider answers with a form that the browser posts, as Apple does.
    pub form_post: bool,
}

/// An OAuth 2.0 provider.
#[derive(Clone, Debug)]
pub struct OAuth2 {
    /// Names the provider in links: it must never change. What answers say is [`expected_issuer`](Self::expected_issuer).
    pub issuer: String,
    /// What the `iss` of answers must equal, where they have one (RFC 9207); `None`: it is not known, and not looked at.
    pub expected_issuer: Option<String>,
    /// Where people go.
    pub authorize_url: Url,
    /// Where codes become tokens.
    pub token_url: Url,
    /// Where the profile stands.
    pub userinfo_url: Url,
    /// Where a list of addresses stands, as at GitHub: objects with `email`, `primary` and `verified`.
    pub emails_url: Option<Url>,
    /// Where in the profile things stand.
    pub fields: FieldMap,
}

/// Where in a profile things stand: names of members, with dots for members of members (`data.email`). Empty: nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMap {
    /// What never changes and is never reused; text or a number.
    pub subject: String,
    /// The e-mail address.
    pub email: String,
    /// Whether the provider has verified it.
    pub email_verified: String,
    /// What to call the person.
    pub name: String,
}

impl Default for FieldMap {
    /// The names of OpenID Connect.
    fn default() -> Self {
        let text = |name: &str| name.to_owned();
        Self {
            subject: text("sub"),
            email: text("email"),
            email_verified: text("email_verified"),
            name: text("name"),
        }
    }
}

/// How an application proves itself at the token endpoint.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// Not at all: a public client, with PKCE alone.
    None,
    /// With a secret, in the way the provider's metadata asks for; without metadata in the form.
    Secret(Secret<String>),
    /// With a secret in the `Authorization` header (`client_secret_basic`).
    Basic(Secret<String>),
    /// With a secret in the form (`client_secret_post`).
    Post(Secret<String>),
    /// With a signature of a key of its own (`private_key_jwt`).
    PrivateKey(ClientKey),
    /// With a signature made by a key of Apple's.
    Apple(AppleKey),
}

/// What protects the flow is not for configuration to change.
const OUR_PARAMETERS: &[&str] = &[
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

/// A description that cannot work, or would not be safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("provider {name:?}: {advice}")]
pub struct ProviderError {
    /// Which provider.
    pub name: String,
    /// What to write instead.
    pub advice: String,
}

impl Provider {
    /// Refuses what cannot work or would not be safe: the first problem found.
    pub fn check(&self) -> Result<(), ProviderError> {
        let problems = [
            (!is_name(&self.name)).then(|| {
                "its name may hold lower-case letters, digits, single - and _ only, and at most 32 of them".to_owned()
            }),
            self.client_id.is_empty().then(|| "client_id is missing; the provider shows it where the application is registered".to_owned()),
            self.check_protocol(),
            (self.trust_email && self.is_open_to_all()).then(|| {
                "trust_email would let everybody with an account there take any account here; leave it off".to_owned()
            }),
            self.check_domains(),
            self.check_secret(),
            (self.reauth != Reauth::Never && matches!(self.protocol, Protocol::OAuth2(_))).then(|| {
                "plain OAuth 2.0 knows no way to ask for a new sign-in; leave reauth out".to_owned()
            }),
            self.parameters.iter().find(|(name, _)| OUR_PARAMETERS.contains(&name.as_str())).map(|(name, _)| {
                format!("the parameter {name} is set by the flow itself; leave it out")
            }),
        ];
        match problems.into_iter().flatten().next() {
            Some(advice) => Err(ProviderError { name: self.name.clone(), advice }),
            None => Ok(()),
        }
    }

    fn check_protocol(&self) -> Option<String> {
        match &self.protocol {
            Protocol::OpenId(openid) => match Url::parse(&openid.issuer) {
                Ok(url) if url.query().is_none() && url.fragment().is_none() => check_url("issuer", &url),
                _ => Some(format!(
                    "issuer {:?} is no web address; write https://login.example.com",
                    openid.issuer
                )),
            },
            Protocol::OAuth2(oauth) => [
                ("authorize_url", &oauth.authorize_url),
                ("token_url", &oauth.token_url),
                ("userinfo_url", &oauth.userinfo_url),
            ]
            .iter()
            .find_map(|(at, url)| check_url(at, url))
            .or_else(|| oauth.fields.subject.is_empty().then(|| "subject_field is missing".to_owned())),
        }
    }

    fn check_domains(&self) -> Option<String> {
        let mut domains = self.trusted_domains.iter().chain(&self.allowed_domains);
        let odd = domains.find(|domain| domain_form(domain).is_none())?;
        Some(format!("{odd:?} is no domain name; write example.com"))
    }

    fn check_secret(&self) -> Option<String> {
        match &self.client_auth {
            ClientAuth::Secret(secret) | ClientAuth::Basic(secret) | ClientAuth::Post(secret)
                if secret.expose().is_empty() =>
            {
                Some(
                    "client_secret is missing; put it into a file and name that in client_secret_file"
                        .to_owned(),
                )
            }
            _ => None,
        }
    }

    /// Whether the two can stand side by side. Links are by issuer and subject: providers that would name different people alike are
    /// refused, or one person there would open the account of another here.
    pub fn check_beside(&self, other: &Self) -> Result<(), ProviderError> {
        let advice = match (&self.protocol, &other.protocol) {
            (Protocol::OAuth2(one), Protocol::OAuth2(two)) => {
                let alike = one.userinfo_url == two.userinfo_url && one.fields.subject == two.fields.subject;
                (one.issuer == two.issuer && !alike).then_some("asks for people elsewhere")
            }
            (Protocol::OAuth2(oauth), Protocol::OpenId(openid))
            | (Protocol::OpenId(openid), Protocol::OAuth2(oauth)) => {
                let same = oauth.issuer == openid.issuer
                    || openid.tenants && same_host(&oauth.issuer, &openid.issuer);
                same.then_some("is asked another way")
            }
            (Protocol::OpenId(_), Protocol::OpenId(_)) => None,
        };
        match advice {
            None => Ok(()),
            Some(why) => Err(ProviderError {
                name: self.name.clone(),
                advice: format!(
                    "has the same issuer as {}, which {why}; give one of them a link_key of its own",
                    other.name
                ),
            }),
        }
    }

    /// Anybody can get an account there, under an address of their choice.
    fn is_open_to_all(&self) -> bool {
        match &self.protocol {
            Protocol::OpenId(openid) => {
                openid.tenants || super::presets::OPEN_TO_ALL.contains(&openid.issuer.as_str())
            }
            Protocol::OAuth2(oauth) => {
                let places = [oauth.issuer.as_str(), oauth.authorize_url.as_str()];
                let is_one = |open: &&str| places.iter().any(|place| same_host(open, place));
                super::presets::OPEN_TO_ALL.iter().any(is_one)
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let outer = |c: char| c.is_ascii_alphanumeric();
    (1..=32).contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(outer)
        && name.ends_with(outer)
        && !name.contains("__")
}

fn check_url(at: &str, url: &Url) -> Option<String> {
    (!is_safe(url)).then(|| format!("{at} must be an https address (http only for localhost)"))
}

/// https; http only to this machine.
pub(super) fn is_safe(url: &Url) -> bool {
    url.username().is_empty()
        && url.password().is_none()
        && (url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_local(url))
}

/// An address of this machine.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openid(issuer: &str) -> Provider {
        Provider::openid("login", "Login", issuer, "app", ClientAuth::None)
    }

    #[test]
    fn two_providers_do_not_name_different_people_alike() {
        let plain = |issuer: &str, people: &str| {
            let url = |path: &str| Url::parse(&format!("https://login.example.com/{path}")).unwrap();
            let oauth = OAuth2 {
                issuer: issuer.to_owned(),
                expected_issuer: None,
                authorize_url: url("authorize"),
                token_url: url("token"),
                userinfo_url: url(people),
                emails_url: None,
                fields: FieldMap::default(),
            };
            Provider::oauth2("plain", "Plain", oauth, "app", ClientAuth::None)
        };
        let (issuer, another) = ("https://login.example.com", "https://another.example.com");
        assert!(plain(issuer, "one").check_beside(&plain(issuer, "two")).is_err());
        assert!(plain(issuer, "one").check_beside(&openid(issuer)).is_err());
        assert!(openid(issuer).check_beside(&plain(issuer, "one")).is_err());
        assert_eq!(plain(issuer, "one").check_beside(&plain(issuer, "one")), Ok(()));
        assert_eq!(plain(issuer, "one").check_beside(&plain(another, "two")), Ok(()));
        assert_eq!(openid(issuer).check_beside(&openid(issuer)), Ok(()), "two applications there");
    }

    #[test]
    fn what_cannot_work_or_is_not_safe_is_refused_with_advice() {
        assert_eq!(openid("https://login.example.com").check(), Ok(()));
        assert_eq!(openid("http://localhost:8000/realms/a").check(), Ok(()));
        for issuer in [
            "http://login.example.com",
            "login.example.com",
            "ftp://x",
            "https://a.example/?b",
            "https://u:p@a.example",
        ] {
            assert!(openid(issuer).check().unwrap_err().advice.contains("issuer"), "{issuer}");
        }
        for name in ["", "Google", "a__b", "-a", "a/b", &"x".repeat(33)] {
            let named = Provider { name: name.to_owned(), ..openid("https://a.example") };
            assert!(named.check().unwrap_err().advice.contains("name"), "{name}");
        }
        let empty = Secret::new(String::new());
        assert!(Provider::google("id", empty).check().unwrap_err().advice.contains("client_secret_file"));
    }

    #[test]
    fn nobody_takes_the_word_of_a_provider_where_everybody_writes_what_they_like() {
        let secret = || Secret::new("s".to_owned());
        for open in [
            Provider::microsoft("common", "id", secret()),
            Provider::facebook("id", secret()),
            Provider::github("id", secret()),
        ] {
            assert!(Provider { trust_email: true, ..open }.check().is_err());
        }
        let own = Provider::microsoft("8eaef023-2b34-4da1-9baa-8bc8c9d6a490", "id", secret());
        assert_eq!(Provider { trust_email: true, ..own }.check(), Ok(()));
    }
}

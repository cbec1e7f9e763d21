//! Providers to sign in with: `[providers.NAME]`.

use hallpass_auth::oauth::{
    AppleKey, ClientAuth, ClientKey, FieldMap, ForwardProxy, OAuth2, Provider, Reauth,
};
use hallpass_session::Secret;
use url::Url;

use super::gather::Values;

/// The section's name.
const SECTION: &str = "providers";

/// The settings of one provider.
struct Section<'a> {
    values: &'a mut Values,
    name: &'a str,
}

/// Reads the settings; problems are noted with the values.
pub(super) fn check(values: &mut Values) -> Vec<Provider> {
    let sign_up = values.flag_of("registration.open");
    let names = values.names(SECTION);
    let provider = |name: &String| {
        let mut provider = Section { values, name }.provider()?;
        provider.sign_up &= sign_up;
        if let Err(error) = provider.check() {
            values.problem(&format!("{SECTION}.{name}"), error.advice);
        }
        Some(provider)
    };
    let providers: Vec<Provider> = names.iter().filter_map(provider).collect();
    for (index, provider) in providers.iter().enumerate() {
        let beside = providers.iter().take(index).try_for_each(|other| provider.check_beside(other));
        if let Err(error) = beside {
            values.problem(&format!("{SECTION}.{}", error.name), error.advice);
        }
    }
    providers
}

/// The way to them.
pub(super) fn proxy(values: &mut Values) -> Option<ForwardProxy> {
    const PROXY: &str = "outbound.proxy";
    let url = Secret::new(values.text(PROXY).to_owned());
    let (place, for_others_too) = (values.place(PROXY), values.is_usual(PROXY));
    // What is said to all programs is no mistake of one that asks nobody.
    if url.expose().is_empty() || for_others_too && values.names(SECTION).is_empty() {
        return None;
    }
    let instead = if for_others_too {
        format!("; or say it to this server alone: {PROXY} in its file, \"\" for none")
    } else {
        String::new()
    };
    let proxy = ForwardProxy::new(&url, values.list("outbound.no_proxy"));
    proxy.map_err(|error| values.problem(&place, format!("{error}{instead}"))).ok()
}

impl Section<'_> {
    fn path(&self, key: &str) -> String {
        format!("{SECTION}.{}.{key}", self.name)
    }

    fn text(&self, key: &str) -> String {
        self.values.text(&self.path(key)).to_owned()
    }

    fn text_or(&self, key: &str, default: &str) -> String {
        Some(self.text(key)).filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned())
    }

    fn secret(&self, key: &str) -> Secret<String> {
        Secret::new(self.text(key))
    }

    fn problem(&mut self, key: &str, advice: &str) {
        self.values.problem(&self.path(key), advice.to_owned());
    }

    fn provider(&mut self) -> Option<Provider> {
        let mut provider = self.preset()?;
        self.name.clone_into(&mut provider.name);
        provider.label = self.text_or("label", &provider.label);
        self.client_auth(&mut provider);
        match self.text("reauth").as_str() {
            "prove" => provider.reauth = Reauth::Prove,
            "ask" => provider.reauth = Reauth::Ask,
            "never" => provider.reauth = Reauth::Never,
            _ => {}
        }
        let scopes = self.values.list(&self.path("scopes"));
        if !scopes.is_empty() {
            provider.scopes = scopes.to_vec();
        }
        provider.parameters = self.parameters();
        provider.allowed_domains = self.values.list(&self.path("allowed_domains")).to_vec();
        let flag = |key: &str| self.values.flag_of(&self.path(key));
        provider.trust_email = flag("trust_email");
        provider.remember = flag("remember");
        provider.keep_tokens = flag("keep_tokens");
        provider.end_session = flag("end_session");
        provider.trusted_domains = self.values.list(&self.path("trusted_domains")).to_vec();
        // Not given is true.
        provider.may_claim = self.values.get(&self.path("may_claim")).is_none() || flag("may_claim");
        provider.sign_up = self.values.get(&self.path("sign_up")).is_none() || flag("sign_up");
        Some(provider)
    }

    fn preset(&mut self) -> Option<Provider> {
        let preset = self.text_or("preset", self.name);
        if !matches!(preset.as_str(), "apple" | "openid") && !self.text("private_key").is_empty() {
            self.problem("private_key", "is for apple and openid only; others want client_secret");
        }
        let (id, secret, issuer) =
            (self.text("client_id"), self.secret("client_secret"), self.text("issuer"));
        Some(match preset.as_str() {
            "google" => Provider::google(&id, secret),
            "github" if issuer.is_empty() => Provider::github(&id, secret),
            "github" => Provider::github_enterprise(&self.url("issuer")?, &id, secret),
            "microsoft" => Provider::microsoft(&self.text_or("tenant", "common"), &id, secret),
            "apple" => Provider::apple(&id, self.apple_key()?),
            "gitlab" => {
                Provider::gitlab(Some(issuer.as_str()).filter(|issuer| !issuer.is_empty()), &id, secret)
            }
            "discord" => Provider::discord(&id, secret),
            "facebook" => Provider::facebook(&id, secret),
            "openid" => {
                let auth = self.client_key()?.map_or(ClientAuth::Secret(secret), ClientAuth::PrivateKey);
                Provider::openid(self.name, self.name, &issuer, &id, auth)
            }
            "oauth2" => {
                Provider::oauth2(self.name, self.name, self.oauth2()?, &id, ClientAuth::Secret(secret))
            }
            _ => {
                let advice = "say what it is: openid for a provider with discovery, oauth2 for plain OAuth 2.0, or one of the others";
                self.problem("preset", advice);
                return None;
            }
        })
    }

    fn apple_key(&mut self) -> Option<AppleKey> {
        for key in ["team_id", "key_id", "private_key"] {
            if self.text(key).is_empty() {
                self.problem(key, "is missing; Apple shows it where the key was made");
                return None;
            }
        }
        let key = AppleKey::new(&self.text("team_id"), &self.text("key_id"), &self.secret("private_key"));
        key.map_err(|error| self.problem("private_key", &error.to_string())).ok()
    }

    /// The key that an OpenID provider knows this service by; `None`: it cannot be used.
    #[expect(clippy::option_option, reason = "a problem, no key, a key")]
    fn client_key(&mut self) -> Option<Option<ClientKey>> {
        if self.text("private_key").is_empty() {
            return Some(None);
        }
        let (secret, auth) = (self.text("client_secret"), self.text("client_auth"));
        if !secret.is_empty() || !matches!(auth.as_str(), "" | "auto") {
            self.problem(
                "private_key",
                "stands instead of client_secret and client_auth; keep one of the two",
            );
            return None;
        }
        let id = Some(self.text("key_id")).filter(|id| !id.is_empty());
        let key = ClientKey::new(id.as_deref(), &self.secret("private_key"));
        key.map(Some).map_err(|error| self.problem("private_key", &error.to_string())).ok()
    }

    fn oauth2(&mut self) -> Option<OAuth2> {
        let authorize_url = self.url("authorize_url");
        let (token_url, userinfo_url) = (self.url("token_url"), self.url("userinfo_url"));
        let authorize_url = authorize_url?;
        let names = FieldMap::default();
        Some(OAuth2 {
            issuer: self.text_or("link_key", &authorize_url.origin().ascii_serialization()),
            expected_issuer: Some(self.text("issuer")).filter(|issuer| !issuer.is_empty()),
            authorize_url,
            token_url: token_url?,
            userinfo_url: userinfo_url?,
            emails_url: None,
            fields: FieldMap {
                subject: self.text_or("subject_field", &names.subject),
                email: self.text_or("email_field", &names.email),
                email_verified: self.text_or("email_verified_field", &names.email_verified),
                name: self.text_or("name_field", &names.name),
            },
        })
    }

    fn url(&mut self, key: &str) -> Option<Url> {
        let url = Url::parse(&self.text(key)).ok();
        if url.is_none() {
            self.problem(key, "is no web address; write https://login.example.com/…");
        }
        url
    }

    fn client_auth(&self, provider: &mut Provider) {
        let secret = self.secret("client_secret");
        match self.text("client_auth").as_str() {
            "basic" => provider.client_auth = ClientAuth::Basic(secret),
            "post" => provider.client_auth = ClientAuth::Post(secret),
            "none" => provider.client_auth = ClientAuth::None,
            _ => {}
        }
    }

    fn parameters(&mut self) -> Vec<(String, String)> {
        let given = self.values.list(&self.path("parameters")).to_vec();
        let pair =
            |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let pairs: Vec<_> = given.iter().filter_map(pair).collect();
        if pairs.len() < given.len() {
            self.problem("parameters", "every item reads name=value, as in \"access_type=offline\"");
        }
        pairs
    }
}

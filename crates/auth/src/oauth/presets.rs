//! The well-known providers, as their own documentation describes them. docs/providers.md says where to register.

use hallpass_session::Secret;
use url::Url;

use super::{
    apple::AppleKey,
    provider::{ClientAuth, FieldMap, OAuth2, OpenId, Protocol, Provider},
    reauth::Reauth,
};

const GITLAB: &str = "https://gitlab.com";
const GOOGLE: &str = "https://accounts.google.com";
const MICROSOFT: &str = "https://login.microsoftonline.com/";
const APPLE: &str = "https://appleid.apple.com";
const GITHUB: &str = "https://github.com/login/oauth";
const DISCORD: &str = "https://discord.com";
const FACEBOOK: &str = "https://www.facebook.com";

/// Issuers where everybody can have an account.
pub(super) const OPEN_TO_ALL: &[&str] = &[GITLAB, GOOGLE, APPLE, GITHUB, DISCORD, FACEBOOK];

/// What Microsoft calls a tenant that is none in particular.
const MANY_TENANTS: &[&str] = &["common", "organizations", "consumers"];

impl Provider {
    /// An OpenID provider by its issuer: Keycloak, Authentik, Okta, Auth0, Entra ID, and every other that has
    /// `/.well-known/openid-configuration`.
    pub fn openid(name: &str, label: &str, issuer: &str, client_id: &str, client_auth: ClientAuth) -> Self {
        let reauth = reauth_of(issuer);
        let issuer = issuer.to_owned();
        let protocol = Protocol::OpenId(OpenId { issuer, tenants: false, form_post: false });
        let scopes = &["openid", "email", "profile"];
        Self { reauth, ..Self::new(name, label, protocol, client_id, client_auth, scopes) }
    }

    /// A plain OAuth 2.0 provider by its addresses.
    pub fn oauth2(name: &str, label: &str, oauth: OAuth2, client_id: &str, client_auth: ClientAuth) -> Self {
        Self::new(name, label, Protocol::OAuth2(Box::new(oauth)), client_id, client_auth, &[])
    }

    /// Google.
    pub fn google(client_id: &str, secret: Secret<String>) -> Self {
        Self::openid("google", "Google", GOOGLE, client_id, ClientAuth::Secret(secret))
    }

    /// Microsoft: `common` for everybody, `organizations` for work and school, `consumers` for private accounts, or the id of one tenant.
    pub fn microsoft(tenant: &str, client_id: &str, secret: Secret<String>) -> Self {
        let issuer = format!("{MICROSOFT}{tenant}/v2.0");
        let mut provider =
            Self::openid("microsoft", "Microsoft", &issuer, client_id, ClientAuth::Secret(secret));
        let tenants = MANY_TENANTS.contains(&tenant);
        provider.protocol = Protocol::OpenId(OpenId { issuer, tenants, form_post: false });
        provider
    }

    /// Apple; `client_id` is the identifier of the Services ID.
    pub fn apple(client_id: &str, key: AppleKey) -> Self {
        let mut provider = Self::openid("apple", "Apple", APPLE, client_id, ClientAuth::Apple(key));
        provider.scopes = texts(&["openid", "email", "name"]);
        if let Protocol::OpenId(openid) = &mut provider.protocol {
            // Apple answers with a form whenever it is asked for name or address.
            openid.form_post = true;
        }
        provider
    }

    /// GitLab, at gitlab.com or at the address of another server.
    pub fn gitlab(server: Option<&str>, client_id: &str, secret: Secret<String>) -> Self {
        Self::openid("gitlab", "GitLab", server.unwrap_or(GITLAB), client_id, ClientAuth::Secret(secret))
    }

    /// GitHub. Accounts are keyed by its number for the person: logins there can be renamed and taken by others.
    pub fn github(client_id: &str, secret: Secret<String>) -> Self {
        let site = url("https://github.com");
        github(&site, url("https://api.github.com/user"), client_id, secret)
    }

    /// GitHub Enterprise Server at this address.
    pub fn github_enterprise(server: &Url, client_id: &str, secret: Secret<String>) -> Self {
        github(server, below(server, "/api/v3/user"), client_id, secret)
    }

    /// Discord.
    pub fn discord(client_id: &str, secret: Secret<String>) -> Self {
        let oauth = OAuth2 {
            issuer: DISCORD.to_owned(),
            expected_issuer: None,
            authorize_url: url("https://discord.com/oauth2/authorize"),
            token_url: url("https://discord.com/api/oauth2/token"),
            userinfo_url: url("https://discord.com/api/users/@me"),
            emails_url: None,
            fields: fields("id", "email", "verified", "global_name"),
        };
        preset("discord", "Discord", oauth, client_id, secret, &["identify", "email"])
    }

    /// Facebook. It does not say whether it has verified an address, so nothing is linked by it.
    pub fn facebook(client_id: &str, secret: Secret<String>) -> Self {
        let oauth = OAuth2 {
            issuer: FACEBOOK.to_owned(),
            expected_issuer: None,
            authorize_url: url("https://www.facebook.com/v23.0/dialog/oauth"),
            token_url: url("https://graph.facebook.com/v23.0/oauth/access_token"),
            userinfo_url: url("https://graph.facebook.com/v23.0/me?fields=id,name,email"),
            emails_url: None,
            fields: fields("id", "email", "", "name"),
        };
        preset("facebook", "Facebook", oauth, client_id, secret, &["public_profile", "email"])
    }

    fn new(
        name: &str,
        label: &str,
        protocol: Protocol,
        client_id: &str,
        client_auth: ClientAuth,
        scopes: &[&str],
    ) -> Self {
        let reauth = if matches!(protocol, Protocol::OpenId(_)) { Reauth::Prove } else { Reauth::Never };
        Self {
            name: name.to_owned(),
            label: label.to_owned(),
            protocol,
            client_id: client_id.to_owned(),
            client_auth,
            scopes: texts(scopes),
            parameters: Vec::new(),
            trust_email: false,
            allowed_domains: Vec::new(),
            trusted_domains: Vec::new(),
            may_claim: true,
            sign_up: true,
            remember: false,
            keep_tokens: false,
            end_session: false,
            reauth,
        }
    }
}

fn github(site: &Url, api: Url, client_id: &str, secret: Secret<String>) -> Provider {
    let issuer = String::from(below(site, "/login/oauth"));
    let oauth = OAuth2 {
        // GitHub's answers have it.
        expected_issuer: Some(issuer.clone()),
        issuer,
        authorize_url: below(site, "/login/oauth/authorize"),
        token_url: below(site, "/login/oauth/access_token"),
        emails_url: Some(below(&api, &format!("{}/emails", api.path()))),
        userinfo_url: api,
        // The address of the public profile says nothing; the list does.
        fields: fields("id", "", "", "name"),
    };
    preset("github", "GitHub", oauth, client_id, secret, &["read:user", "user:email"])
}

/// What an OpenID provider can do when a person must sign in anew: what they all must, but for those that are known not to.
fn reauth_of(issuer: &str) -> Reauth {
    match issuer.trim_end_matches('/') {
        // Google knows neither `max_age` nor `prompt=login`; Apple neither.
        GOOGLE | APPLE => Reauth::Never,
        // Its tokens tell the time of a sign-in only where the optional claim `auth_time` is configured.
        issuer if issuer.starts_with(MICROSOFT) => Reauth::Ask,
        _ => Reauth::Prove,
    }
}

/// The address of this path at the same place.
fn below(site: &Url, path: &str) -> Url {
    let mut url = site.clone();
    url.set_path(path);
    url
}

fn preset(
    name: &str,
    label: &str,
    oauth: OAuth2,
    client_id: &str,
    secret: Secret<String>,
    scopes: &[&str],
) -> Provider {
    let mut provider = Provider::oauth2(name, label, oauth, client_id, ClientAuth::Post(secret));
    provider.scopes = texts(scopes);
    provider
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn fields(subject: &str, email: &str, email_verified: &str, name: &str) -> FieldMap {
    let text = |name: &str| name.to_owned();
    FieldMap {
        subject: text(subject),
        email: text(email),
        email_verified: text(email_verified),
        name: text(name),
    }
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("the addresses of the presets are addresses: a test makes them all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_presets_can_be_used() {
        let secret = || Secret::new("secret".to_owned());
        for provider in [
            Provider::google("id", secret()),
            Provider::microsoft("common", "id", secret()),
            Provider::gitlab(None, "id", secret()),
            Provider::github("id", secret()),
            Provider::discord("id", secret()),
            Provider::facebook("id", secret()),
        ] {
            assert_eq!(provider.check(), Ok(()), "{}", provider.name);
        }
    }

    #[test]
    fn who_cannot_prove_a_sign_in_is_not_asked_for_it_under_any_name() {
        for (issuer, reauth) in [
            ("https://login.example.com", Reauth::Prove),
            ("https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0", Reauth::Ask),
            ("https://login.microsoftonline.com.example.com/v2.0", Reauth::Prove),
            ("https://accounts.google.com", Reauth::Never),
            ("https://appleid.apple.com", Reauth::Never),
        ] {
            assert_eq!(Provider::openid("p", "P", issuer, "id", ClientAuth::None).reauth, reauth, "{issuer}");
        }
        let secret = || Secret::new("secret".to_owned());
        let presets = [
            Provider::google("id", secret()),
            Provider::microsoft("common", "id", secret()),
            Provider::github("id", secret()),
        ];
        assert_eq!(presets.map(|provider| provider.reauth), [Reauth::Never, Reauth::Ask, Reauth::Never]);
    }
}

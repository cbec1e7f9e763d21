//! Who somebody is, as a provider tells.

use hallpass_session::Timestamp;
use serde_json::{Map, Value};
use url::Url;

use super::{
    Endpoints, Entry, IdToken, OAuth2, OpenId,
    attempt::{Attempt, hash},
    failure::{Failure, Problem},
    fetch::{self, Fetch},
    finish::has_domain,
    id_token::{authenticated, id_token, text},
    metadata::{Metadata, Patience},
    provider::Protocol,
    token::Tokens,
};
use crate::{Email, InvalidEmail, register::clean_name};

const MICROSOFT: &str = "https://login.microsoftonline.com/";

/// How the domain begins of addresses that GitHub, and its servers elsewhere, make up.
const NO_REPLY: &str = "users.noreply.";

/// A person at a provider.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Who says so.
    pub(super) issuer: String,
    /// Its name for the person, which never changes.
    pub(super) subject: String,
    pub(super) email: Option<Email>,
    /// Why the address that the provider told cannot be used.
    pub(super) refused: Option<InvalidEmail>,
    /// Why what the provider says beyond the subject is not known. Whoever has an account here needs none of it.
    pub(super) missing: Option<Problem>,
    /// The provider has verified that the address is the person's.
    pub(super) email_verified: bool,
    pub(super) name: Option<String>,
    /// The provider's name for the session there (`sid`).
    pub(super) session: Option<String>,
    /// When the person signed in there.
    pub(super) authenticated: Option<Timestamp>,
}

impl Identity {
    /// Unique among all providers: the length in front keeps one pair from reading like another.
    pub(super) fn key(&self) -> String {
        key(&self.issuer, &self.subject)
    }

    /// Whether the provider vouches that this address is the person's; another application's table may spell it with capital letters.
    pub(super) fn proves(&self, address: &Email) -> bool {
        let email = self.email.as_ref().filter(|_| self.email_verified);
        email.is_some_and(|email| email.is_spelling_of(address))
    }
}

/// The key of a person, or a session, of an issuer.
pub(super) fn key(issuer: &str, name: &str) -> String {
    hash(&format!("{}:{issuer}{name}", issuer.len()))
}

impl Entry {
    /// Who the tokens are about.
    pub(super) async fn identity(
        &self,
        fetch: &dyn Fetch,
        endpoints: &Endpoints,
        tokens: &Tokens,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<Identity, Problem> {
        let mut identity = match (&self.provider.protocol, &endpoints.metadata) {
            (Protocol::OAuth2(oauth), _) => by_profile(fetch, oauth, tokens).await?,
            (Protocol::OpenId(openid), Some(metadata)) => {
                self.by_id_token(fetch, openid, metadata, tokens, attempt, now).await?
            }
            (Protocol::OpenId(_), None) => return Err(Problem::untrusted("the provider is not known")),
        };
        let domains = &self.provider.trusted_domains;
        let trusted = |email: &Email| domains.is_empty() || has_domain(email, domains);
        identity.email_verified |= self.provider.trust_email;
        identity.email_verified &= identity.email.as_ref().is_some_and(trusted);
        Ok(identity)
    }

    async fn by_id_token(
        &self,
        fetch: &dyn Fetch,
        openid: &OpenId,
        metadata: &Metadata,
        tokens: &Tokens,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<Identity, Problem> {
        let token = tokens.id_token.as_ref().ok_or_else(|| {
            Problem::new(Failure::Misconfigured, "the provider gave no ID token: is openid among the scopes?")
        })?;
        let jwt = self.known.verified(fetch, metadata, token.expose(), Patience::Wait, now).await?;
        jwt.check_at_hash(tokens.access.expose()).map_err(Problem::untrusted)?;
        let mut token = id_token(jwt.claims, self.expected(openid, metadata), &attempt.nonce, now)?;
        let mut missing = None;
        if let Some(url) = metadata.userinfo_endpoint.as_ref().filter(|_| !token.claims.contains_key("email"))
        {
            missing = complete(fetch, url, tokens, &mut token).await.err();
        }
        Ok(Identity { missing, ..of_claims(token) })
    }
}

/// What the ID token leaves out stands at the userinfo endpoint; it counts only when it is about the same person
/// (OpenID Connect Core 1.0 §5.3.2).
async fn complete(fetch: &dyn Fetch, url: &Url, tokens: &Tokens, token: &mut IdToken) -> Result<(), Problem> {
    let object = fetch::get(fetch, url, Some(tokens.access.expose())).await?.object(url)?;
    if text(&object, "sub") != Some(&token.subject) {
        return Err(Problem::untrusted("the profile is about somebody else (sub)"));
    }
    for name in ["email", "email_verified", "name", "preferred_username"] {
        if let Some(value) = object.get(name) {
            token.claims.entry(name).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}

fn of_claims(IdToken { issuer, subject, claims }: IdToken) -> Identity {
    // Microsoft lets administrators write any address; it says elsewhere whether the domain's owner is known.
    let verified = if issuer.starts_with(MICROSOFT) { "xms_edov" } else { "email_verified" };
    let (email, refused) = usable_address(text(&claims, "email"));
    Identity {
        email,
        refused,
        missing: None,
        email_verified: claims.get(verified).is_some_and(is_true),
        name: text(&claims, "name").and_then(usable_name),
        session: text(&claims, "sid").map(str::to_owned),
        authenticated: authenticated(&claims),
        issuer,
        subject,
    }
}

/// The address that a provider told, or why it cannot be used: what no account may be made with opens none either.
fn usable_address(told: Option<&str>) -> (Option<Email>, Option<InvalidEmail>) {
    match told.filter(|told| !told.is_empty()).map(Email::parse) {
        None => (None, None),
        Some(Ok(email)) => (Some(email), None),
        Some(Err(reason)) => (None, Some(reason)),
    }
}

/// Apple and Microsoft write `"true"` and `1` as well.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::String(text) => text == "true" || text == "1",
        Value::Number(number) => number.as_u64() == Some(1),
        _ => false,
    }
}

pub(super) fn usable_name(name: &str) -> Option<String> {
    clean_name(Some(name)).ok().flatten()
}

async fn by_profile(fetch: &dyn Fetch, oauth: &OAuth2, tokens: &Tokens) -> Result<Identity, Problem> {
    let bearer = Some(tokens.access.expose().as_str());
    let url = &oauth.userinfo_url;
    let profile = fetch::get(fetch, url, bearer).await?.object(url)?;
    let fields = &oauth.fields;
    let subject = at(&profile, &fields.subject).and_then(|value| match value {
        Value::String(text) if !text.is_empty() && text.len() <= 255 => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let subject = subject.ok_or_else(|| {
        let detail = format!("{} has no {:?}: set subject_field", fetch::place(url), fields.subject);
        Problem::new(Failure::Misconfigured, detail)
    })?;
    let mut email = at(&profile, &fields.email).and_then(Value::as_str).map(str::to_owned);
    let mut email_verified = at(&profile, &fields.email_verified).is_some_and(is_true);
    let mut missing = None;
    if let Some(url) = &oauth.emails_url {
        (email, email_verified) = match best_address(fetch, url, bearer).await {
            Ok(best) => best,
            Err(problem) => {
                missing = Some(problem);
                (None, false)
            }
        };
    }
    let (address, refused) = usable_address(email.as_deref());
    Ok(Identity {
        issuer: oauth.issuer.clone(),
        subject,
        email: address,
        refused,
        missing,
        email_verified,
        name: at(&profile, &fields.name).and_then(Value::as_str).and_then(usable_name),
        session: None,
        authenticated: None,
    })
}

/// The member at a path with dots.
fn at<'a>(profile: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let value = profile.get(first)?;
    if rest.is_empty() { Some(value) } else { at(value.as_object()?, rest) }
}

/// The primary address if it is verified, else the first other verified one, else the primary one as it is. A second verified address opens
/// no account: its owner connects the provider on the account's page. Addresses that GitHub makes up to hide others reach nobody.
async fn best_address(
    fetch: &dyn Fetch,
    url: &Url,
    bearer: Option<&str>,
) -> Result<(Option<String>, bool), Problem> {
    let answer = fetch::get(fetch, url, bearer).await?;
    let Value::Array(list) = &answer.body else {
        // The person, or the application's registration, does not let us see addresses.
        return if answer.status.is_client_error() { Ok((None, false)) } else { Err(answer.unexpected(url)) };
    };
    let flag = |entry: &Value, name: &str| entry.get(name).is_some_and(is_true);
    let reaches = |entry: &&Value| {
        let address = entry.get("email").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
        !address.rsplit('@').next().unwrap_or_default().starts_with(NO_REPLY)
    };
    // Of equals `max_by_key` takes the last.
    let best = list
        .iter()
        .rev()
        .filter(reaches)
        .max_by_key(|entry| (flag(entry, "verified"), flag(entry, "primary")));
    let address = best.and_then(|entry| entry.get("email")?.as_str().map(str::to_owned));
    Ok((address, best.is_some_and(|entry| flag(entry, "verified"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(issuer: &str, claims: Value) -> Identity {
        let Value::Object(claims) = claims else { unreachable!() };
        of_claims(IdToken { issuer: issuer.to_owned(), subject: "1".to_owned(), claims })
    }

    #[test]
    fn an_address_is_verified_only_when_the_provider_says_so() {
        let verified = |issuer: &str, more: Value| {
            let mut all = json!({ "email": "ann@example.com" });
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            claims(issuer, all).email_verified
        };
        assert!(verified("https://a.example", json!({ "email_verified": true })));
        assert!(verified("https://appleid.apple.com", json!({ "email_verified": "true" })));
        for no in [
            json!({}),
            json!({ "email_verified": false }),
            json!({ "email_verified": "yes" }),
            json!({ "email_verified": null }),
        ] {
            assert!(!verified("https://a.example", no));
        }
        let tenant = format!("{MICROSOFT}8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0");
        assert!(
            !verified(&tenant, json!({ "email_verified": true })),
            "anybody can be administrator of a tenant"
        );
        assert!(verified(&tenant, json!({ "xms_edov": true })));
    }

    #[test]
    fn keys_of_different_people_differ() {
        assert_ne!(key("https://a", "b"), key("https://ab", ""));
        assert_ne!(key("https://a", "1"), key("https://b", "1"));
    }

    #[test]
    fn fields_may_lie_deep() {
        let Value::Object(profile) = json!({ "data": { "user": { "id": 7 } } }) else { unreachable!() };
        assert_eq!(at(&profile, "data.user.id"), Some(&json!(7)));
        assert_eq!(at(&profile, "data.user.name"), None);
        assert_eq!(at(&profile, ""), None);
    }
}
